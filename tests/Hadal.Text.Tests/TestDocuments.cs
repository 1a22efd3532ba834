using System.Text;

namespace Hadal.Text.Tests;

/// <summary>
/// Documents that are the same on every machine: prose, code, many scripts, emoji, control characters, every kind of white space, digits of many scripts, long runs,
/// names of control tokens, ill-formed UTF-8 and UTF-16.
/// </summary>
static class TestDocuments
{
    /// <summary>A text as UTF-16, or bytes that claim to be UTF-8.</summary>
    public readonly record struct Document(string? Text, byte[]? Bytes)
    {
        public int Length => Text is null ? Bytes!.Length : Encoding.UTF8.GetByteCount(Text);
    }

    static readonly string[] s_words =
        ("the of and to a in that it is was I for on you he be with as by at have are this not but had his they from she which or we an there her were one do been all "
        + "their has would will what if can when so no said who more about up them some could him into its then two out time like only my did other me your now over just "
        + "may these new also people any know very see first well after should than where back how get most way down our made got much think work between go years er "
        + "don't I'll we've it's o'clock mother-in-law naïve façade Zürich señor Ελληνικά русский язык עברית العربية हिन्दी ไทย 한국어 日本語 中文 Tiếng Việt").Split(' ');

    static readonly string[] s_emoji =
    [
        "😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵🇫🇷", "1️⃣", "❤️", "🧑🏿‍🚀", "☺︎", "🫠", "👩‍❤️‍💋‍👨", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "⌚️", "🀄", "🂡",
    ];

    static readonly string[] s_spaces =
    [
        " ", "  ", "\n", "\r\n", "\r", "\t", "\v", "\f", "\u0085", "\u00A0", "\u1680", "\u2000", "\u2003", "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F",
        "\u3000", "\u200B", "\uFEFF", "\u180E", "\u001C", "\u001F", "\n\n", "\n \n", "   \n", " \t ", "\r\r\n",
    ];

    static readonly string[] s_code =
    [
        "public static int Main(string[] args)\n{\n    return args.Length > 0 ? 0 : 1;\n}\n", "for (int i = 0; i < n; ++i) { sum += a[i] * b[i]; }", "def f(x):\n\treturn x**2 # comment\n\n",
        "<div class=\"a b\">&nbsp;</div>\n", "SELECT * FROM t WHERE id = 12345 AND name LIKE '%x%';", "$ ls -la | grep '^d' | wc -l\n", "{\"key\": [1, 2.5e-3, null, true]}\n",
        "https://example.org/a/b?c=d&e=f#g", "x = 0xDEADBEEF; y := 1_000_000\r\n", "---\n***\n===\n", "#include <stdio.h>\r\n\r\n", "if(!a&&b||c){d=e?.f??g;}", "C:\\Users\\name\\file.txt", "1,234,567.89 €",
    ];

    static readonly (int First, int Last)[] s_ranges =
    [
        (0x00, 0x1F), (0x20, 0x7E), (0x80, 0x9F), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F),
        (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x20A0, 0x20FF), (0x2100, 0x21FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x3000, 0x30FF),
        (0x31C0, 0x33FF), (0x4DFE, 0x4E10), (0x4E00, 0x9FFF), (0x9FA0, 0x9FB0), (0xA980, 0xA9DF), (0xAC00, 0xD7A3), (0xE000, 0xE0FF), (0xF900, 0xFAFF), (0xFE00, 0xFE0F), (0xFF00, 0xFFEF),
        (0xFFF0, 0xFFFF), (0x10100, 0x10140), (0x10330, 0x1034A), (0x104A0, 0x104A9), (0x11066, 0x1106F), (0x1D400, 0x1D7FF), (0x1E900, 0x1E95F), (0x1F100, 0x1F1FF),
        (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0x30000, 0x3134A), (0xE0100, 0xE01EF), (0x10FF00, 0x10FFFF), (0x0, 0x10FFFF),
    ];

    static readonly string[] s_marks =
        [.. SpecialTokens.Leading, .. SpecialTokens.Trailing, "<|EOT|>", "<｜place▁holder▁no▁7｜>", "<｜User", "｜Assistant｜>", "<think", "<｜fim▁hole｜><｜fim▁hole｜>"];

    /// <summary>The documents with indices from zero up to a count.</summary>
    public static IEnumerable<Document> Generate(int count) => Enumerable.Range(0, count).Select(Make);

    static Document Make(int index)
    {
        var random = new SplitMix(SplitMix.Mix((ulong)index + 1));
        int kind = index % 16;
        if (kind == 14) return new(null, IllFormedBytes(random));
        if (kind == 15) return new(LoneSurrogates(random), null);
        var text = new StringBuilder();
        int parts = random.Next(1, kind < 8 ? 40 : 12);
        for (int i = 0; i < parts; i++) AppendPart(text, random, kind < 8 ? kind : random.Next(10));
        return new(text.ToString(), null);
    }

    static void AppendPart(StringBuilder text, SplitMix random, int kind)
    {
        switch (kind)
        {
            case 0:
                text.Append(random.Pick(s_words)).Append(random.Next(8) == 0 ? random.Pick((string[])[". ", ", ", "; ", "!\n", "?\r\n", "...\n\n", " – ", "\"", "' "]) : " ");
                break;
            case 1:
                text.Append(random.Pick(s_emoji)).Append(random.Next(3) == 0 ? random.Pick(s_words) : "");
                break;
            case 2:
                text.Append(random.Pick(s_spaces)).Append(random.Next(3) == 0 ? random.Pick(s_words) : "");
                break;
            case 3:
                text.Append(random.Pick(s_code)).Append(random.Next(2) == 0 ? random.Pick(s_spaces) : "");
                break;
            case 4:
                AppendScalars(text, random, random.Pick(s_ranges), random.Next(1, 12));
                break;
            case 5:
                text.Append(random.Next() >> random.Next(0, 63)).Append(random.Pick((string[])["", " ", ".", ",", "\n", "%", "x", "年"]));
                break;
            case 6:
                AppendScalars(text, random, (0, 0x10FFFF), random.Next(1, 6));
                break;
            case 7:
                AppendDigits(text, random);
                break;
            case 8:
                text.Append(random.Pick(s_marks)).Append(random.Next(2) == 0 ? random.Pick(s_words) : random.Pick(s_spaces));
                break;
            default:
                string unit = random.Pick((string[])["a", " ", "=", "\n", "啊", "😀", "1", "ab", "\u0301", "\0"]);
                for (int i = random.Next(1, 300); i > 0; i--) text.Append(unit);
                break;
        }
    }

    static void AppendScalars(StringBuilder text, SplitMix random, (int First, int Last) range, int count)
    {
        while (count-- > 0)
        {
            int scalar = random.Next(range.First, range.Last);
            if (Rune.IsValid(scalar)) text.Append(new Rune(scalar).ToString());
        }
    }

    static void AppendDigits(StringBuilder text, SplitMix random)
    {
        int zero = random.Pick((int[])['0', 0x660, 0x6F0, 0x966, 0xE50, 0xFF10, 0x1D7CE, 0x1D7F6, 0x104A0, 0x2160, 0x2460, 0xBC]);
        for (int i = random.Next(1, 7); i > 0; i--) text.Append(new Rune(zero + random.Next(zero == 0xBC ? 3 : 10)).ToString());
        if (random.Next(3) == 0) text.Append(random.Pick(s_words));
    }

    static byte[] IllFormedBytes(SplitMix random)
    {
        byte[] bytes = new byte[random.Next(1, 200)];
        byte[] prose = Encoding.UTF8.GetBytes(string.Join(' ', Enumerable.Range(0, 60).Select(_ => random.Pick(s_words) + random.Pick(s_emoji))));
        int kind = random.Next(3);
        for (int i = 0; i < bytes.Length; i++) bytes[i] = kind == 0 ? (byte)random.Next(256) : prose[i];
        if (kind == 1) bytes[random.Next(bytes.Length)] = (byte)random.Next(256);
        return bytes;
    }

    static string LoneSurrogates(SplitMix random)
    {
        var text = new StringBuilder();
        for (int i = random.Next(1, 30); i > 0; i--)
        {
            if (random.Next(3) == 0) text.Append((char)random.Next(0xD800, 0xDFFF));
            else text.Append(random.Pick(s_words)).Append(' ');
        }
        return text.ToString();
    }
}
