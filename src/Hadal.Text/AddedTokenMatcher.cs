using System.Buffers;
using System.Globalization;
using System.Text;

namespace Hadal.Text;

/// <summary>
/// Finds added tokens in text: leftmost, then longest, without overlap, as the Hugging Face library does. A trie over UTF-8 bytes behind a vectorised search for first bytes.
/// </summary>
sealed class AddedTokenMatcher
{
    /// <summary>Longest content, in bytes of UTF-8: bounds the work at one position of the text.</summary>
    public const int LongestContent = 512;

    readonly SearchValues<byte> _firstBytes;
    readonly Dictionary<long, int> _edges = [];
    readonly List<AddedToken?> _tokens = [null];

    public AddedTokenMatcher(IEnumerable<AddedToken> tokens)
    {
        var first = new HashSet<byte>();
        foreach (AddedToken token in tokens)
        {
            int node = 0;
            byte[] content = Encoding.UTF8.GetBytes(token.Content);
            first.Add(content[0]);
            foreach (byte value in content)
            {
                long edge = ((long)node << 8) | value;
                if (!_edges.TryGetValue(edge, out node))
                {
                    node = _tokens.Count;
                    _tokens.Add(null);
                    _edges.Add(edge, node);
                }
            }
            _tokens[node] = token;
        }
        _firstBytes = SearchValues.Create([.. first]);
    }

    /// <summary>Whether there is nothing to find.</summary>
    public bool IsEmpty => _edges.Count == 0;

    /// <summary>Finds the next added token.</summary>
    /// <param name="text">Well-formed UTF-8.</param>
    /// <param name="search">In: where to search from. Out: where to go on searching (the end of the bare token).</param>
    /// <param name="taken">End of the last match: white space before it is not taken again.</param>
    /// <param name="start">First byte that belongs to the match, white space included where the token strips it.</param>
    /// <param name="end">One past its last byte.</param>
    /// <returns>The token, or null when there is none left.</returns>
    public AddedToken? Find(ReadOnlySpan<byte> text, ref int search, int taken, out int start, out int end)
    {
        while (search < text.Length)
        {
            int skip = text[search..].IndexOfAny(_firstBytes);
            if (skip < 0) break;
            search += skip;
            AddedToken? token = LongestAt(text, search, out int stop);
            if (token is null)
            {
                search++;
                continue;
            }
            start = search;
            end = stop;
            search = stop;
            if (token.SingleWord && (EndsWithWord(text[..start]) || StartsWithWord(text[end..]))) continue;
            if (token.LeftStrip) while (start > taken && IsSpaceBefore(text, start)) start = Utf8Scalars.Back(text, start);
            if (token.RightStrip) while (end < text.Length && IsSpace(Utf8Scalars.Read(text, end, out int length))) end += length;
            start = Math.Max(start, taken);
            return token;
        }
        start = end = search = text.Length;
        return null;
    }

    AddedToken? LongestAt(ReadOnlySpan<byte> text, int from, out int end)
    {
        AddedToken? longest = null;
        end = from;
        int node = 0;
        for (int position = from; position < text.Length && _edges.TryGetValue(((long)node << 8) | text[position], out node); position++)
        {
            if (_tokens[node] is not { } token) continue;
            longest = token;
            end = position + 1;
        }
        return longest;
    }

    static bool IsSpaceBefore(ReadOnlySpan<byte> text, int position) => IsSpace(Utf8Scalars.Read(text, Utf8Scalars.Back(text, position), out _));

    static bool EndsWithWord(ReadOnlySpan<byte> text) => !text.IsEmpty && IsWord(Utf8Scalars.Read(text, Utf8Scalars.Back(text, text.Length), out _));

    static bool StartsWithWord(ReadOnlySpan<byte> text) => !text.IsEmpty && IsWord(Utf8Scalars.Read(text, 0, out _));

    /// <summary>The property White_Space.</summary>
    static bool IsSpace(int scalar) => Rune.IsWhiteSpace(new Rune(scalar));

    /// <summary>
    /// A word character as Unicode Technical Standard #18 defines it: alphabetic, mark, decimal digit, connector punctuation, join control. Alphabetic
    /// is letters, letter numbers and Other_Alphabetic, of which only circled and squared Latin letters are not marks.
    /// </summary>
    static bool IsWord(int scalar) => CharUnicodeInfo.GetUnicodeCategory(scalar) switch
    {
        UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter or UnicodeCategory.ModifierLetter
            or UnicodeCategory.OtherLetter or UnicodeCategory.LetterNumber or UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark
            or UnicodeCategory.EnclosingMark or UnicodeCategory.DecimalDigitNumber or UnicodeCategory.ConnectorPunctuation => true,
        _ => scalar is 0x200C or 0x200D or (>= 0x24B6 and <= 0x24E9) or (>= 0x1F130 and <= 0x1F149) or (>= 0x1F150 and <= 0x1F169) or (>= 0x1F170 and <= 0x1F189),
    };
}
