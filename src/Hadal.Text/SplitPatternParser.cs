using System.Globalization;
using System.Text;

namespace Hadal.Text;

/// <summary>
/// Reads the regular-expression subset of <see cref="SplitPattern"/>: alternatives <c>a|b</c>; classes <c>[…]</c>, <c>\p{L}</c>, <c>\P{Nd}</c>, <c>\s</c>,
/// <c>\S</c> and single characters; counts <c>? * + {n} {n,} {n,m}</c>, greedy; negative lookahead of one character <c>(?!\S)</c>.
/// Everything else is refused by name, because guessing would give other ids than the tokenizer's author meant.
/// </summary>
ref struct SplitPatternParser
{
    const int MaximumAlternatives = 64;
    const int MaximumItems = 16;
    // Backtracking costs at most (length of text) to this power; the known patterns have at most two open counts in one alternative.
    const int MaximumOpenCounts = 3;
    const int MaximumLength = 4096;
    const string Supported = "Supported are alternatives of counted character classes ([...], \\p{L}, \\s, single characters with ? * + {n,m}) and (?!x); "
        + "DeepSeek's and GPT-2's patterns are of this kind.";

    readonly string _source;
    readonly string _where;
    readonly int[] _scalars;
    readonly List<CharacterClass> _classes;
    int _position;

    SplitPatternParser(string source, string where)
    {
        _source = source;
        _where = where;
        var scalars = new List<int>();
        foreach (Rune rune in source.EnumerateRunes()) scalars.Add(rune.Value);
        _scalars = [.. scalars];
        _classes = [];
    }

    readonly bool AtEnd => _position >= _scalars.Length;

    readonly int Current => _scalars[_position];

    public static SplitPattern Parse(string source, string where)
    {
        if (source.Length is 0 or > MaximumLength)
            throw new TokenizerFormatException(where, $"a split pattern of {source.Length} characters; 1 to {MaximumLength} are allowed.", Supported);
        return new SplitPatternParser(source, where).ParsePattern();
    }

    SplitPattern ParsePattern()
    {
        var alternatives = new List<SplitPattern.Item[]>();
        do
        {
            alternatives.Add(ParseAlternative());
            if (alternatives.Count > MaximumAlternatives) throw Refuse($"more than {MaximumAlternatives} alternatives");
        }
        while (Take('|'));
        return new SplitPattern(_source, [.. _classes], [.. alternatives]);
    }

    SplitPattern.Item[] ParseAlternative()
    {
        var items = new List<SplitPattern.Item>();
        while (!AtEnd && Current != '|')
        {
            items.Add(ParseItem());
            if (items.Count > MaximumItems) throw Refuse($"more than {MaximumItems} parts in one alternative");
        }
        if (!items.Any(item => !item.Lookahead && item.Minimum > 0)) throw Refuse("an alternative that can match nothing");
        if (items.Count(item => item.Maximum == int.MaxValue) > MaximumOpenCounts) throw Refuse($"more than {MaximumOpenCounts} open counts in one alternative");
        return [.. items];
    }

    SplitPattern.Item ParseItem()
    {
        if (Take('('))
        {
            if (!(Take('?') && Take('!'))) throw Refuse("a group other than (?!x)");
            ushort refused = ParseAtom();
            if (!Take(')')) throw Refuse("a lookahead of more than one character");
            if (!AtEnd && Current is '?' or '*' or '+' or '{') throw Refuse("a counted lookahead");
            return new(refused, 0, 0, Lookahead: true);
        }
        ushort atom = ParseAtom();
        (int minimum, int maximum) = ParseCount();
        return new(atom, minimum, maximum, Lookahead: false);
    }

    (int Minimum, int Maximum) ParseCount()
    {
        (int, int) count = (1, 1);
        if (AtEnd) return count;
        if (Take('?')) count = (0, 1);
        else if (Take('*')) count = (0, int.MaxValue);
        else if (Take('+')) count = (1, int.MaxValue);
        else if (Take('{'))
        {
            int minimum = ParseNumber();
            int maximum = minimum;
            if (Take(',')) maximum = !AtEnd && Current == '}' ? int.MaxValue : ParseNumber();
            if (!Take('}') || maximum < minimum || maximum == 0) throw Refuse("a count that is not {n}, {n,} or {n,m}");
            count = (minimum, maximum);
        }
        else return count;
        if (!AtEnd && Current is '?' or '+' or '*' or '{') throw Refuse("a lazy, possessive or repeated count");
        return count;
    }

    int ParseNumber()
    {
        int number = 0;
        int digits = 0;
        for (; !AtEnd && Current is >= '0' and <= '9'; _position++)
        {
            number = number * 10 + (Current - '0');
            if (++digits > 4) throw Refuse("a count above 9999");
        }
        return digits == 0 ? throw Refuse("a count without a number") : number;
    }

    /// <summary>One class as its bit.</summary>
    ushort ParseAtom()
    {
        if (AtEnd) throw Refuse("an incomplete pattern");
        var characters = new CharacterClass();
        if (Take('[')) ParseSet(characters);
        else if (Current == '\\') AddEscape(characters);
        else if (Current is '.' or '^' or '$' or '*' or '+' or '?' or '{' or '}' or ')' or ']') throw Refuse($"an unescaped '{(char)Current}'");
        else
        {
            characters.AddRange(Current, Current);
            _position++;
        }
        int index = _classes.IndexOf(characters);
        if (index < 0)
        {
            index = _classes.Count;
            if (index == SplitPattern.MaximumClasses) throw Refuse($"more than {SplitPattern.MaximumClasses} different character classes");
            _classes.Add(characters);
        }
        return (ushort)(1 << index);
    }

    void ParseSet(CharacterClass characters)
    {
        characters.Negated = Take('^');
        if (!AtEnd && Current == ']') throw Refuse("an empty character class");
        while (true)
        {
            if (AtEnd) throw Refuse("a character class without its end");
            if (Take(']')) return;
            // Oniguruma reads '[' and '&&' inside a class as nesting and intersection.
            if (Current == '[') throw Refuse("a nested character class");
            if (Current == '&' && _position + 1 < _scalars.Length && _scalars[_position + 1] == '&') throw Refuse("an intersection of character classes");
            int first = Current == '\\' ? AddEscape(characters) : _scalars[_position++];
            if (first < 0) continue;
            int last = first;
            if (!AtEnd && Current == '-' && _position + 1 < _scalars.Length && _scalars[_position + 1] != ']')
            {
                _position++;
                var end = new CharacterClass();
                last = Current == '\\' ? AddEscape(end) : _scalars[_position++];
                if (last < first) throw Refuse("a character range whose end is not a character at or above its start");
            }
            characters.AddRange(first, last);
        }
    }

    /// <summary>Adds what an escape stands for; a single character is also returned (so that it can begin a range), otherwise −1.</summary>
    int AddEscape(CharacterClass characters)
    {
        _position++;
        if (AtEnd) throw Refuse("a backslash at the end");
        int kind = _scalars[_position++];
        switch (kind)
        {
            case 's':
                characters.AddSpace();
                return -1;
            case 'S':
                characters.AddNonSpace();
                return -1;
            case 'p' or 'P':
                characters.AddCategories(ParseCategory(kind == 'P'));
                return -1;
        }
        int character = kind switch
        {
            'r' => '\r',
            'n' => '\n',
            't' => '\t',
            'f' => '\f',
            'v' => '\v',
            _ when kind < 0x80 && !char.IsAsciiLetterOrDigit((char)kind) => kind,
            _ => throw Refuse($"the escape \\{char.ConvertFromUtf32(kind)}"),
        };
        characters.AddRange(character, character);
        return character;
    }

    uint ParseCategory(bool negated)
    {
        if (!Take('{')) throw Refuse("a category without braces");
        var name = new StringBuilder();
        while (!AtEnd && Current != '}' && name.Length < 32) name.Append(char.ConvertFromUtf32(_scalars[_position++]));
        if (!Take('}')) throw Refuse("a category without its closing brace");
        uint mask = CharacterClass.CategoriesNamed(name.ToString());
        if (mask == 0) throw Refuse($"the property \\p{{{name}}}");
        return negated ? ~mask & ((1u << ((int)UnicodeCategory.OtherNotAssigned + 1)) - 1) : mask;
    }

    bool Take(int scalar)
    {
        if (AtEnd || Current != scalar) return false;
        _position++;
        return true;
    }

    readonly TokenizerFormatException Refuse(string what) => new(_where, $"the split pattern has {what} (at character {_position}).", Supported);
}
