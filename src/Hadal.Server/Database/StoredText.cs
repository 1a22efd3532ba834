using System.Text;

namespace Hadal.Server.Database;

/// <summary>Text as every database can keep it.</summary>
static class StoredText
{
    /// <summary>A text without U+0000, which PostgreSQL refuses, and without halves of surrogate pairs, which UTF-8 cannot spell. Null becomes the empty text.</summary>
    public static string Clean(string? text)
    {
        if (string.IsNullOrEmpty(text)) return "";
        int at = NextRefused(text, 0);
        if (at < 0) return text;
        var clean = new StringBuilder(text.Length);
        int from = 0;
        while (at >= 0)
        {
            clean.Append(text, from, at - from);
            from = at + 1;
            at = NextRefused(text, from);
        }

        return clean.Append(text, from, text.Length - from).ToString();
    }

    /// <summary>The same, cut to a number of characters, not within a pair.</summary>
    public static string Clean(string? text, int longest)
    {
        string clean = Clean(text);
        return clean.Length > longest ? Clean(clean[..longest]) : clean;
    }

    static int NextRefused(string text, int from)
    {
        for (int i = from; i < text.Length; i++)
        {
            if (text[i] == '\0') return i;
            if (!char.IsSurrogate(text[i])) continue;
            if (i + 1 == text.Length || !char.IsSurrogatePair(text[i], text[i + 1])) return i;
            i++;
        }

        return -1;
    }
}
