namespace Hadal.Inference.Serving;

/// <summary>Where a JSON text stands, byte by byte.</summary>
enum JsonPlace : byte
{
    /// <summary>Before the root object.</summary>
    Start,
    ObjectOpened, KeyExpected, KeyEnded, ValueExpected, ArrayOpened, ValueEnded,
    /// <summary>Inside a string: between characters, after a backslash, inside \uXXXX.</summary>
    String, Escape, Hex1, Hex2, Hex2D, Hex3, Hex4,
    /// <summary>After the first half of a surrogate pair the second must follow.</summary>
    HighHex3, HighHex4, LowBackslash, LowU, LowHex1, LowHex2,
    /// <summary>Inside a character of several bytes.</summary>
    More1, More2, More3, AfterE0, AfterED, AfterF0, AfterF4,
    Minus, Zero, Integer, Point, Fraction, Exponent, ExponentSign, ExponentDigits,
    True, False, Null,
    /// <summary>The root object is complete.</summary>
    Done,
}

/// <summary>
/// Accepts exactly the beginnings of one JSON object [RFC 8259], byte by byte, within bounds that keep every text readable by common readers: containers at most
/// <see cref="MostDepth"/> deep, at most <see cref="MostSpace"/> bytes of white space in a row, numbers of at most 20 + 20 digits and a two-digit exponent, escapes without
/// halves of surrogate pairs, well-formed UTF-8. At least one byte may follow in every state but <see cref="JsonPlace.Done"/>, so a text can always go on.
/// </summary>
/// <param name="Place">Where the text stands.</param>
/// <param name="Count">Digits, letters of a literal or white space seen so far.</param>
/// <param name="Depth">Open containers.</param>
/// <param name="IsKey">The string is a key.</param>
/// <param name="Objects">Bit d: the container at depth d is an object.</param>
readonly record struct JsonAutomaton(JsonPlace Place, byte Count, byte Depth, bool IsKey, uint Objects)
{
    public const int MostDepth = 31;
    public const int MostSpace = 64;
    const int MostDigits = 20, MostExponentDigits = 2;

    /// <summary>Before the object.</summary>
    public static JsonAutomaton Begin => default;

    /// <summary>The object is complete; only white space may follow.</summary>
    public bool IsDone => Place == JsonPlace.Done;

    /// <summary>
    /// Bytes of the shortest end that makes the text a complete object. Every byte lowers it by at most one, and in every state but <see cref="JsonPlace.Done"/> one byte does:
    /// a text that keeps as many tokens as this says can always be completed, for every byte is a token.
    /// </summary>
    public int Closing
    {
        get
        {
            int inString = Depth + 1 + (IsKey ? 2 : 0); // the quote, and of a key ":0"
            return Place switch
            {
                JsonPlace.Start => 2,
                JsonPlace.Done => 0,
                JsonPlace.ObjectOpened or JsonPlace.ArrayOpened or JsonPlace.ValueEnded => Depth,
                JsonPlace.Zero or JsonPlace.Integer or JsonPlace.Fraction or JsonPlace.ExponentDigits => Depth,
                JsonPlace.ValueExpected or JsonPlace.Minus or JsonPlace.Point or JsonPlace.Exponent or JsonPlace.ExponentSign => Depth + 1,
                JsonPlace.KeyEnded => Depth + 2,
                JsonPlace.KeyExpected => Depth + 4,
                JsonPlace.True or JsonPlace.Null => Depth + 4 - Count,
                JsonPlace.False => Depth + 5 - Count,
                JsonPlace.String => inString,
                JsonPlace.Escape or JsonPlace.Hex4 or JsonPlace.More1 => inString + 1,
                JsonPlace.Hex3 or JsonPlace.More2 or JsonPlace.AfterE0 or JsonPlace.AfterED => inString + 2,
                JsonPlace.Hex2 or JsonPlace.Hex2D or JsonPlace.LowHex2 or JsonPlace.More3 or JsonPlace.AfterF0 or JsonPlace.AfterF4 => inString + 3,
                JsonPlace.Hex1 or JsonPlace.LowHex1 => inString + 4,
                JsonPlace.LowU => inString + 5,
                JsonPlace.LowBackslash => inString + 6,
                JsonPlace.HighHex4 => inString + 7,
                _ => inString + 8,
            };
        }
    }

    /// <summary>Takes a byte.</summary>
    /// <returns>False: the byte cannot stand here, and <paramref name="next"/> means nothing.</returns>
    public bool Next(byte b, out JsonAutomaton next)
    {
        JsonAutomaton here = this; // next may be the same variable
        return here.Step(b, out next);
    }

    bool Step(byte b, out JsonAutomaton next)
    {
        next = this;
        if (b is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n' && MaySpace) return Space(out next);
        switch (Place)
        {
            case JsonPlace.Start:
                return b == '{' && Open(isObject: true, out next);
            case JsonPlace.ObjectOpened:
                return b == '}' ? Close(isObject: true, out next) : BeginString(b, isKey: true, out next);
            case JsonPlace.KeyExpected:
                return BeginString(b, isKey: true, out next);
            case JsonPlace.KeyEnded:
                next = At(JsonPlace.ValueExpected);
                return b == ':';
            case JsonPlace.ValueExpected:
                return Value(b, out next);
            case JsonPlace.ArrayOpened:
                return b == ']' ? Close(isObject: false, out next) : Value(b, out next);
            case JsonPlace.ValueEnded:
                return AfterValue(b, out next);
            case JsonPlace.Minus:
                next = At(b == '0' ? JsonPlace.Zero : JsonPlace.Integer, 1);
                return char.IsAsciiDigit((char)b);
            case JsonPlace.Zero or JsonPlace.Integer or JsonPlace.Point or JsonPlace.Fraction or JsonPlace.Exponent or JsonPlace.ExponentSign or JsonPlace.ExponentDigits:
                return Number(b, out next);
            case JsonPlace.True:
                return Literal(b, "true"u8, out next);
            case JsonPlace.False:
                return Literal(b, "false"u8, out next);
            case JsonPlace.Null:
                return Literal(b, "null"u8, out next);
            case JsonPlace.Done:
                return false;
            default:
                return Character(b, out next);
        }
    }

    bool MaySpace => Place is JsonPlace.Start or JsonPlace.ObjectOpened or JsonPlace.KeyExpected or JsonPlace.KeyEnded or JsonPlace.ValueExpected or JsonPlace.ArrayOpened
        or JsonPlace.ValueEnded or JsonPlace.Done or JsonPlace.Zero or JsonPlace.Integer or JsonPlace.Fraction or JsonPlace.ExponentDigits;

    bool InObject => Depth > 0 && (Objects >> (Depth - 1) & 1) == 1;

    JsonAutomaton At(JsonPlace place, byte count = 0) => this with { Place = place, Count = count };

    bool Space(out JsonAutomaton next)
    {
        // White space ends a number.
        bool number = Place is JsonPlace.Zero or JsonPlace.Integer or JsonPlace.Fraction or JsonPlace.ExponentDigits;
        next = number ? At(JsonPlace.ValueEnded, 1) : At(Place, (byte)(Count + 1));
        return number || Count < MostSpace;
    }

    bool Open(bool isObject, out JsonAutomaton next)
    {
        uint bit = 1u << Depth;
        next = new JsonAutomaton(isObject ? JsonPlace.ObjectOpened : JsonPlace.ArrayOpened, 0, (byte)(Depth + 1), false, isObject ? Objects | bit : Objects & ~bit);
        return Depth < MostDepth;
    }

    bool Close(bool isObject, out JsonAutomaton next)
    {
        next = this;
        if (Depth == 0 || InObject != isObject) return false;
        byte depth = (byte)(Depth - 1);
        next = new JsonAutomaton(depth == 0 ? JsonPlace.Done : JsonPlace.ValueEnded, 0, depth, false, Objects & ((1u << depth) - 1));
        return true;
    }

    bool BeginString(byte b, bool isKey, out JsonAutomaton next)
    {
        next = new JsonAutomaton(JsonPlace.String, 0, Depth, isKey, Objects);
        return b == '"';
    }

    bool Value(byte b, out JsonAutomaton next)
    {
        next = this;
        switch (b)
        {
            case (byte)'{':
                return Open(isObject: true, out next);
            case (byte)'[':
                return Open(isObject: false, out next);
            case (byte)'"':
                return BeginString(b, isKey: false, out next);
            case (byte)'-':
                next = At(JsonPlace.Minus);
                return true;
            case (byte)'0':
                next = At(JsonPlace.Zero, 1);
                return true;
            case (byte)'t':
                next = At(JsonPlace.True, 1);
                return true;
            case (byte)'f':
                next = At(JsonPlace.False, 1);
                return true;
            case (byte)'n':
                next = At(JsonPlace.Null, 1);
                return true;
            default:
                next = At(JsonPlace.Integer, 1);
                return b is >= (byte)'1' and <= (byte)'9';
        }
    }

    bool AfterValue(byte b, out JsonAutomaton next)
    {
        next = this;
        switch (b)
        {
            case (byte)',':
                next = At(InObject ? JsonPlace.KeyExpected : JsonPlace.ValueExpected);
                return true;
            case (byte)'}':
                return Close(isObject: true, out next);
            case (byte)']':
                return Close(isObject: false, out next);
            default:
                return false;
        }
    }

    bool Literal(byte b, ReadOnlySpan<byte> word, out JsonAutomaton next)
    {
        next = Count + 1 == word.Length ? At(JsonPlace.ValueEnded) : At(Place, (byte)(Count + 1));
        return b == word[Count];
    }

    bool Number(byte b, out JsonAutomaton next)
    {
        next = this;
        if (char.IsAsciiDigit((char)b))
        {
            (JsonPlace place, int most) = Place switch
            {
                JsonPlace.Integer => (JsonPlace.Integer, MostDigits),
                JsonPlace.Point or JsonPlace.Fraction => (JsonPlace.Fraction, MostDigits),
                JsonPlace.Exponent or JsonPlace.ExponentSign or JsonPlace.ExponentDigits => (JsonPlace.ExponentDigits, MostExponentDigits),
                _ => (Place, 0), // a digit after a leading zero
            };
            next = At(place, (byte)(Count + 1));
            return Count < most;
        }

        if (b == '.')
        {
            next = At(JsonPlace.Point);
            return Place is JsonPlace.Zero or JsonPlace.Integer;
        }

        if (b is (byte)'e' or (byte)'E')
        {
            next = At(JsonPlace.Exponent);
            return Place is JsonPlace.Zero or JsonPlace.Integer or JsonPlace.Fraction;
        }

        if (b is (byte)'+' or (byte)'-')
        {
            next = At(JsonPlace.ExponentSign);
            return Place is JsonPlace.Exponent;
        }

        return Place is JsonPlace.Zero or JsonPlace.Integer or JsonPlace.Fraction or JsonPlace.ExponentDigits && AfterValue(b, out next);
    }

    bool Character(byte b, out JsonAutomaton next)
    {
        bool hex = char.IsAsciiHexDigit((char)b), d = b is (byte)'d' or (byte)'D';
        bool high = b is (byte)'8' or (byte)'9' or (byte)'a' or (byte)'b' or (byte)'A' or (byte)'B', low = hex && !high && !(b is >= (byte)'0' and <= (byte)'7');
        (JsonPlace place, bool fits) = Place switch
        {
            JsonPlace.String => Plain(b),
            JsonPlace.Escape => (b == 'u' ? JsonPlace.Hex1 : JsonPlace.String, "\"\\/bfnrtu"u8.Contains(b)),
            JsonPlace.Hex1 => (d ? JsonPlace.Hex2D : JsonPlace.Hex2, hex),
            JsonPlace.Hex2 => (JsonPlace.Hex3, hex),
            JsonPlace.Hex2D => (high ? JsonPlace.HighHex3 : JsonPlace.Hex3, hex && !low),
            JsonPlace.Hex3 => (JsonPlace.Hex4, hex),
            JsonPlace.Hex4 => (JsonPlace.String, hex),
            JsonPlace.HighHex3 => (JsonPlace.HighHex4, hex),
            JsonPlace.HighHex4 => (JsonPlace.LowBackslash, hex),
            JsonPlace.LowBackslash => (JsonPlace.LowU, b == '\\'),
            JsonPlace.LowU => (JsonPlace.LowHex1, b == 'u'),
            JsonPlace.LowHex1 => (JsonPlace.LowHex2, d),
            JsonPlace.LowHex2 => (JsonPlace.Hex3, low),
            JsonPlace.More1 => (JsonPlace.String, b is >= 0x80 and <= 0xBF),
            JsonPlace.More2 => (JsonPlace.More1, b is >= 0x80 and <= 0xBF),
            JsonPlace.More3 => (JsonPlace.More2, b is >= 0x80 and <= 0xBF),
            JsonPlace.AfterE0 => (JsonPlace.More1, b is >= 0xA0 and <= 0xBF),
            JsonPlace.AfterED => (JsonPlace.More1, b is >= 0x80 and <= 0x9F),
            JsonPlace.AfterF0 => (JsonPlace.More2, b is >= 0x90 and <= 0xBF),
            _ => (JsonPlace.More2, b is >= 0x80 and <= 0x8F),
        };
        next = At(place);
        return fits;
    }

    (JsonPlace Place, bool Fits) Plain(byte b) => b switch
    {
        (byte)'"' => (IsKey ? JsonPlace.KeyEnded : JsonPlace.ValueEnded, true),
        (byte)'\\' => (JsonPlace.Escape, true),
        < 0x20 => (JsonPlace.String, false),
        < 0x80 => (JsonPlace.String, true),
        < 0xC2 => (JsonPlace.String, false),
        < 0xE0 => (JsonPlace.More1, true),
        0xE0 => (JsonPlace.AfterE0, true),
        0xED => (JsonPlace.AfterED, true),
        < 0xF0 => (JsonPlace.More2, true),
        0xF0 => (JsonPlace.AfterF0, true),
        < 0xF4 => (JsonPlace.More3, true),
        0xF4 => (JsonPlace.AfterF4, true),
        _ => (JsonPlace.String, false),
    };
}
