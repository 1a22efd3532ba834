using System.Text;
using System.Text.Json.Nodes;

namespace Hadal.Server.Web.Text;

/// <summary>
/// Reads a formula in TeX's notation, as far as models write it, into MathML's elements: fractions, roots, scripts, Greek, operators, accents, text, stretched brackets, matrices, cases, aligned
/// lines. A name it does not know is shown as it was written, and nothing in a formula can lead anywhere: there are no links, no macros, no files.
/// </summary>
sealed class FormulaReader
{
    const int Longest = 8000;
    const int Deepest = 40;
    readonly string _text;
    readonly bool _display;
    int _at;
    int _depth;

    FormulaReader(string text, bool display) => (_text, _display) = (text, display);

    /// <summary>The element <c>math</c>; null when the formula is too long or too deep, or its brackets do not fit: it is shown as written then.</summary>
    public static JsonArray? Read(string text, bool display)
    {
        if (text.Length is 0 or > Longest) return null;
        var reader = new FormulaReader(text, display);
        try
        {
            JsonArray row = reader.Rows(close: null);
            if (reader._at < text.Length) return null;
            return E("math", [row], display ? new JsonObject { ["display"] = "block" } : null);
        }
        catch (FormatException)
        {
            return null;
        }
    }

    static JsonArray E(string name, JsonNode?[] children, JsonObject? attributes = null) => MarkdownTree.Element(name, children, attributes);

    static JsonArray Operator(string text, bool stretchy = false, bool fence = false) =>
        E("mo", [text], stretchy || fence ? new JsonObject { ["stretchy"] = stretchy ? "true" : "false" } : null);

    // A whole formula or cell may hold \\ without an environment: lines.
    JsonArray Rows(string? close)
    {
        JsonArray first = Row(close);
        if (!IsNext("\\\\") || close is "]") return first;
        var lines = new List<JsonNode?> { E("mtr", [E("mtd", [first])]) };
        while (IsNext("\\\\"))
        {
            _at += 2;
            lines.Add(E("mtr", [E("mtd", [Row(close)])]));
        }

        return E("mtable", [.. lines]);
    }

    // Up to a closing mark that is left for the caller, or the end.
    JsonArray Row(string? close)
    {
        if (++_depth > Deepest) throw new FormatException("too deep");
        var atoms = new List<JsonNode?>();
        bool displayStyle = false;
        while (true)
        {
            SkipSpaces();
            if (_at >= _text.Length || _text[_at] is '}' or '&' || IsNext("\\\\") || IsCommand("right") || IsCommand("end") || IsCommand("middle") || (close is "]" && _text[_at] is ']')) break;
            if (IsCommand("displaystyle"))
            {
                displayStyle = true;
                _at += "\\displaystyle".Length;
                continue;
            }

            if (Scripted() is { } atom) atoms.Add(atom);
        }

        _depth--;
        JsonArray row = atoms is [JsonArray single] ? single : E("mrow", [.. atoms]);
        return displayStyle ? E("mstyle", [row], new JsonObject { ["displaystyle"] = "true" }) : row;
    }

    // An atom with what stands below and above it.
    JsonArray? Scripted()
    {
        bool limits = false;
        JsonArray? atom = _text[_at] is '^' or '_' or '\'' ? E("mrow", []) : Atom(ref limits);
        JsonArray? below = null, above = null;
        while (true)
        {
            SkipSpaces();
            if (IsCommand("limits"))
            {
                limits = true;
                _at += "\\limits".Length;
            }
            else if (IsCommand("nolimits"))
            {
                limits = false;
                _at += "\\nolimits".Length;
            }
            else if (_at < _text.Length && _text[_at] is '_' && below is null)
            {
                _at++;
                below = Argument();
            }
            else if (_at < _text.Length && _text[_at] is '^' && above is null)
            {
                _at++;
                above = Argument();
            }
            else if (_at < _text.Length && _text[_at] is '\'' && above is null)
            {
                int primes = 0;
                for (; _at < _text.Length && _text[_at] is '\''; _at++) primes++;
                above = E("mo", [new string('′', primes)]);
            }
            else
            {
                break;
            }
        }

        if (atom is null) return below is null && above is null ? null : E("mrow", [below, above]);
        if (below is null && above is null) return atom;
        string name = (limits, below, above) switch
        {
            (true, _, null) => "munder",
            (true, null, _) => "mover",
            (true, _, _) => "munderover",
            (false, _, null) => "msub",
            (false, null, _) => "msup",
            _ => "msubsup",
        };
        return E(name, [atom, below, above]);
    }

    // One thing: a braced group, a command with its arguments, a sign.
    JsonArray? Atom(ref bool limits)
    {
        char c = _text[_at];
        if (c is '{') return Group();
        if (c is '\\') return Command(ref limits);
        if (c is '~')
        {
            _at++;
            return E("mspace", [], new JsonObject { ["width"] = "0.333em" });
        }

        if (char.IsAsciiDigit(c))
        {
            int start = _at;
            while (_at < _text.Length && (char.IsAsciiDigit(_text[_at]) || (_text[_at] is '.' or ',' && _at + 1 < _text.Length && char.IsAsciiDigit(_text[_at + 1]) && (_text[_at] is '.' || IsThousands(_at))))) _at++;
            return E("mn", [_text[start.._at]]);
        }

        int length = char.IsHighSurrogate(c) && _at + 1 < _text.Length ? 2 : 1;
        string sign = _text.Substring(_at, length);
        _at += length;
        if (char.IsLetter(sign, 0)) return E("mi", [sign]);
        return c switch
        {
            '-' => Operator("−"),
            '*' => Operator("∗"),
            '(' or ')' or '[' or ']' or '|' => Operator(sign, fence: true),
            _ => Operator(sign),
        };
    }

    // 1,000 is one number; f(1,2) has two.
    bool IsThousands(int comma) => comma + 3 < _text.Length && char.IsAsciiDigit(_text[comma + 2]) && char.IsAsciiDigit(_text[comma + 3]) && (comma + 4 >= _text.Length || !char.IsAsciiDigit(_text[comma + 4]));

    JsonArray Group()
    {
        _at++;
        JsonArray inside = Rows(close: "}");
        Expect('}');
        return inside;
    }

    JsonArray Argument()
    {
        SkipSpaces();
        if (_at >= _text.Length || _text[_at] is '}' or '&' or '^' or '_') throw new FormatException("an argument is missing");
        if (++_depth > Deepest) throw new FormatException("too deep");
        bool limits = false;
        JsonArray argument;
        if (char.IsAsciiDigit(_text[_at])) argument = E("mn", [_text[_at++].ToString()]); // x^23 is x²3
        else argument = Atom(ref limits) ?? E("mrow", []);
        _depth--;
        return argument;
    }

    JsonArray? Command(ref bool limits)
    {
        string name = Name();
        if (FormulaSymbols.Letters.TryGetValue(name, out string? letter)) return E("mi", [letter]);
        if (FormulaSymbols.Upright.TryGetValue(name, out string? upright)) return E("mi", [upright], new JsonObject { ["mathvariant"] = "normal" });
        if (FormulaSymbols.Operators.TryGetValue(name, out string? sign)) return Operator(sign, fence: sign is "|" or "‖" or "{" or "}" or "⟨" or "⟩" or "⌊" or "⌋" or "⌈" or "⌉");
        if (FormulaSymbols.Large.TryGetValue(name, out string? large))
        {
            limits = true;
            return Operator(large);
        }

        if (FormulaSymbols.Integrals.TryGetValue(name, out string? integral)) return Operator(integral);
        if (FormulaSymbols.Limits.TryGetValue(name, out string? limit))
        {
            limits = _display;
            return E("mi", [limit]);
        }

        if (FormulaSymbols.Functions.Contains(name)) return E("mi", [name]);
        if (FormulaSymbols.Spaces.TryGetValue(name, out string? width)) return E("mspace", [], new JsonObject { ["width"] = width });
        if (FormulaSymbols.Accents.TryGetValue(name, out string? mark))
        {
            limits = name is "overbrace";
            return E("mover", [Argument(), Operator(mark, stretchy: name.Length > 5, fence: true)], new JsonObject { ["accent"] = "true" });
        }

        if (FormulaSymbols.Under.TryGetValue(name, out string? line))
        {
            limits = name is "underbrace";
            return E("munder", [Argument(), Operator(line, stretchy: true)]);
        }

        return name switch
        {
            "frac" or "cfrac" or "tfrac" => E("mfrac", [Argument(), Argument()]),
            "dfrac" => E("mstyle", [E("mfrac", [Argument(), Argument()])], new JsonObject { ["displaystyle"] = "true" }),
            "binom" or "dbinom" or "tbinom" => E("mrow", [Operator("(", stretchy: true), E("mfrac", [Argument(), Argument()], new JsonObject { ["linethickness"] = "0" }), Operator(")", stretchy: true)]),
            "sqrt" => Root(),
            "overset" or "stackrel" => Turned("mover"),
            "underset" => Turned("munder"),
            "text" or "textrm" or "textit" or "textsf" or "texttt" or "mbox" or "mathrm" or "operatorname" or "textbf" or "rm" => Words(name),
            "mathbf" or "boldsymbol" or "bm" or "mathbb" or "mathcal" or "mathscr" or "mathfrak" or "mathsf" or "mathtt" => Styled(name),
            "mathit" or "mathord" or "mathop" or "mathbin" or "mathrel" or "boxed" or "phantom" => Argument(),
            "left" => Brackets(),
            "big" or "Big" or "bigg" or "Bigg" or "bigl" or "bigr" or "Bigl" or "Bigr" or "biggl" or "biggr" or "Biggl" or "Biggr" or "bigm" => Operator(Bracket(), fence: true),
            "begin" => Environment(),
            "not" => Not(),
            "bmod" or "mod" => Operator("mod"),
            "pmod" => E("mrow", [E("mspace", [], new JsonObject { ["width"] = "0.5em" }), Operator("("), E("mi", ["mod"]), E("mspace", [], new JsonObject { ["width"] = "0.3em" }), Argument(), Operator(")")]),
            " " or "\n" => E("mspace", [], new JsonObject { ["width"] = "0.333em" }),
            "textstyle" or "scriptstyle" or "nonumber" or "notag" or "hline" => null,
            "label" or "tag" or "color" => Dropped(),
            _ => E("mtext", ["\\" + name]), // as it was written
        };
    }

    JsonArray Root()
    {
        SkipSpaces();
        if (_at >= _text.Length || _text[_at] is not '[') return E("msqrt", [Argument()]);
        _at++;
        JsonArray degree = Row(close: "]");
        Expect(']');
        return E("mroot", [Argument(), degree]);
    }

    JsonArray Turned(string name)
    {
        JsonArray mark = Argument();
        return E(name, [Argument(), mark]);
    }

    JsonArray Words(string name)
    {
        string words = Raw();
        return name is "operatorname" or "mathrm" or "rm" ? E("mi", [words.Replace("\\,", "\u2009", StringComparison.Ordinal)], new JsonObject { ["mathvariant"] = "normal" })
            : E("mtext", [words.Replace(' ', '\u00a0')]);
    }

    JsonArray Styled(string style)
    {
        SkipSpaces();
        if (_at < _text.Length && _text[_at] is '\\') return Argument(); // a Greek letter: as it is
        string letters = Raw();
        if (letters.Contains('\\', StringComparison.Ordinal)) return Read(letters, _display) is { } inner ? E("mrow", [.. inner.OfType<JsonArray>().Select(node => node.DeepClone())]) : throw new FormatException("not readable");
        var text = new StringBuilder();
        foreach (char c in letters.Where(c => !char.IsWhiteSpace(c))) text.Append(FormulaSymbols.Styled(style, c));
        return E("mi", [text.ToString()]);
    }

    JsonArray? Dropped()
    {
        Raw();
        return null;
    }

    JsonArray Brackets()
    {
        var parts = new List<JsonNode?> { Fence(Bracket()), Rows(close: "right") };
        while (IsCommand("middle"))
        {
            _at += "\\middle".Length;
            parts.Add(Fence(Bracket()));
            parts.Add(Rows(close: "right"));
        }

        if (!IsCommand("right")) throw new FormatException("no \\right");
        _at += "\\right".Length;
        parts.Add(Fence(Bracket()));
        return E("mrow", [.. parts]);
    }

    static JsonArray? Fence(string bracket) => bracket is "." or "" ? null : Operator(bracket, stretchy: true);

    string Bracket()
    {
        SkipSpaces();
        if (_at >= _text.Length) throw new FormatException("a bracket is missing");
        if (_text[_at] is not '\\') return _text[_at++] switch { '<' => "⟨", '>' => "⟩", var c => c.ToString() };
        string name = Name();
        return FormulaSymbols.Operators.TryGetValue(name, out string? sign) ? sign : throw new FormatException("no bracket");
    }

    JsonArray Environment()
    {
        string name = Raw();
        if (!FormulaSymbols.Environments.TryGetValue(name, out (string Before, string After) brackets)) throw new FormatException("an unknown environment");
        if (name is "array" or "alignedat") Raw();
        var rows = new List<JsonNode?>();
        var cells = new List<JsonNode?>();
        while (true)
        {
            cells.Add(E("mtd", [Row(close: "end")]));
            if (_at < _text.Length && _text[_at] is '&')
            {
                _at++;
                continue;
            }

            bool more = IsNext("\\\\");
            if (more || cells.Count > 1 || cells[0] is JsonArray { Count: > 1 }) rows.Add(E("mtr", [.. cells]));
            cells.Clear();
            if (!more) break;
            _at += 2;
            SkipSpaces();
            if (_at < _text.Length && _text[_at] is '[') // the height of a gap
            {
                int end = _text.IndexOf(']', _at);
                _at = end < 0 ? throw new FormatException("no ]") : end + 1;
            }
        }

        if (!IsCommand("end")) throw new FormatException("no \\end");
        _at += "\\end".Length;
        if (!string.Equals(Raw(), name, StringComparison.Ordinal)) throw new FormatException("another \\end");
        string kind = name switch { "cases" or "rcases" => "cases", "aligned" or "align" or "align*" or "split" or "alignedat" => "aligned", _ => "matrix" };
        JsonArray table = E("mtable", [.. rows], new JsonObject { ["kind"] = kind });
        return brackets is ("", "") ? table : E("mrow", [Fence(brackets.Before), table, Fence(brackets.After)]);
    }

    JsonArray Not()
    {
        bool limits = false;
        SkipSpaces();
        if (_at >= _text.Length) throw new FormatException("nothing after \\not");
        JsonArray? negated = Atom(ref limits);
        string sign = negated is [_, .., JsonValue value] ? value.GetValue<string>() : "";
        return Operator(sign switch { "=" => "≠", "∈" => "∉", "∃" => "∄", "⊂" => "⊄", "⊆" => "⊈", "≡" => "≢", "∣" => "∤", _ => sign + "\u0338" });
    }

    // The text of a braced argument as it stands, or one sign.
    string Raw()
    {
        SkipSpaces();
        if (_at >= _text.Length) throw new FormatException("an argument is missing");
        if (_text[_at] is not '{') return _text[_at++].ToString();
        int start = ++_at, open = 1;
        for (; _at < _text.Length; _at++)
        {
            if (_text[_at] is '\\') _at++;
            else if (_text[_at] is '{') open++;
            else if (_text[_at] is '}' && --open == 0) return _text[start.._at++];
        }

        throw new FormatException("no }");
    }

    string Name()
    {
        int start = ++_at;
        while (_at < _text.Length && char.IsAsciiLetter(_text[_at])) _at++;
        if (_at == start) _at = Math.Min(_at + 1, _text.Length);
        return _text[start.._at];
    }

    void Expect(char c)
    {
        SkipSpaces();
        if (_at >= _text.Length || _text[_at] != c) throw new FormatException($"no {c}");
        _at++;
    }

    void SkipSpaces()
    {
        while (_at < _text.Length && char.IsWhiteSpace(_text[_at])) _at++;
    }

    bool IsNext(string text) => string.CompareOrdinal(_text, _at, text, 0, text.Length) == 0;

    bool IsCommand(string name) => IsNext("\\" + name) && (_at + 1 + name.Length >= _text.Length || !char.IsAsciiLetter(_text[_at + 1 + name.Length]));
}
