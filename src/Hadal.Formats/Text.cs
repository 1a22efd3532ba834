using System.Text;

namespace Hadal.Formats;

/// <summary>Foreign text made fit for a message: bounded, without control characters.</summary>
static class Text
{
    const int Limit = 120;

    internal static string Shorten(string text)
    {
        var shown = new StringBuilder(Math.Min(text.Length, Limit) + 1);
        foreach (char c in text.AsSpan(0, Math.Min(text.Length, Limit))) shown.Append(char.IsControl(c) || char.IsSurrogate(c) ? '?' : c);
        if (text.Length > Limit) shown.Append('…');
        return shown.ToString();
    }
}
