using System.Globalization;

namespace Hadal.Cli.Framework;

/// <summary>Token ids as a user writes and reads them: <c>5,17,42</c>.</summary>
static class TokenIds
{
    static readonly char[] Separators = [',', ' ', '\t', '\r', '\n'];

    /// <summary>Reads ids separated by commas or white space.</summary>
    /// <param name="text">What was given.</param>
    /// <param name="option">The option it was given to, for the message.</param>
    /// <param name="vocabulary">One past the largest id.</param>
    /// <exception cref="CommandError">A part is no whole number or no id of the vocabulary: wrong use.</exception>
    public static int[] Parse(string text, string option, int vocabulary)
    {
        string[] parts = text.Split(Separators, StringSplitOptions.RemoveEmptyEntries);
        var ids = new int[parts.Length];
        for (int i = 0; i < parts.Length; i++)
        {
            if (!int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out ids[i]) || ids[i] >= vocabulary)
                throw CommandError.WrongUse($"{option} holds \"{parts[i]}\" at place {i + 1}.", $"ids from 0 to {vocabulary - 1}, comma separated", $"for example {option} 5,17,42");
        }

        return ids;
    }

    /// <summary>How many ids a text holds, right or wrong ones.</summary>
    public static int Count(string text) => text.Split(Separators, StringSplitOptions.RemoveEmptyEntries).Length;

    /// <summary>Comma separated, nothing else.</summary>
    public static string Format(IReadOnlyList<int> ids) => string.Join(',', ids);
}
