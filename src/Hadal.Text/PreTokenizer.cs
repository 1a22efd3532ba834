namespace Hadal.Text;

/// <summary>Receives the pieces into which a <see cref="PreTokenizer"/> cuts a text, in order.</summary>
interface IPieceSink
{
    /// <summary>Takes one piece: well-formed UTF-8, not empty.</summary>
    void Piece(ReadOnlySpan<byte> piece);
}

/// <summary>
/// Cuts text into the pieces inside which pairs may merge: split patterns in sequence, each applied to the pieces of the one before. Matches and what lies between
/// them are pieces ("isolated"). The order matters: a lookahead at the end of a piece sees the end, not the text that follows it.
/// </summary>
sealed class PreTokenizer
{
    /// <summary>DeepSeek-V3's first split: digits in groups of at most three [V3 §4.1, its tokenizer.json].</summary>
    public const string DigitPattern = @"\p{N}{1,3}";

    /// <summary>DeepSeek-V3's second split: runs of CJK ideographs and kana.</summary>
    public const string IdeographPattern = "[一-龥\u3040-ゟ゠-ヿ]+";

    /// <summary>DeepSeek-V3's third split: words with what precedes them, punctuation with the line ends that follow it, white space.</summary>
    public const string WordPattern =
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";

    /// <summary>GPT-2's split, which a ByteLevel pre-tokenizer with <c>use_regex</c> applies [Radford et al. 2019].</summary>
    public const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    readonly SplitPattern[] _splits;

    public PreTokenizer(IEnumerable<SplitPattern> splits) => _splits = [.. splits];

    /// <summary>The split patterns in the order of their application.</summary>
    public IReadOnlyList<SplitPattern> Splits => _splits;

    /// <summary>DeepSeek-V3's three splits.</summary>
    public static PreTokenizer DeepSeek { get; } =
        new(new[] { DigitPattern, IdeographPattern, WordPattern }.Select(pattern => SplitPattern.Parse(pattern, "pre_tokenizer")));

    /// <summary>Cuts well-formed UTF-8 into pieces; their concatenation is the text.</summary>
    public void Split<TSink>(ReadOnlySpan<byte> text, ref TSink sink) where TSink : struct, IPieceSink
    {
        if (!text.IsEmpty) Split(0, text, ref sink);
    }

    void Split<TSink>(int level, ReadOnlySpan<byte> text, ref TSink sink) where TSink : struct, IPieceSink
    {
        if (level == _splits.Length)
        {
            sink.Piece(text);
            return;
        }
        SplitPattern split = _splits[level];
        int position = 0;
        while (split.TryFind(text, position, out int start, out int end))
        {
            if (start > position) Split(level + 1, text[position..start], ref sink);
            Split(level + 1, text[start..end], ref sink);
            position = end;
        }
        if (position < text.Length) Split(level + 1, text[position..], ref sink);
    }
}
