namespace Hadal.Text;

/// <summary>What a tokenizer consists of, checked for consistency, before the lookup structures are built. The reader and the trainer make it, the writer stores it.</summary>
sealed class TokenizerDefinition
{
    /// <summary>Largest id plus one that is accepted: 2^22. DeepSeek-V3 has 128,815.</summary>
    public const int LargestVocabulary = 1 << 22;

    /// <summary>Ordinary tokens by id in the spelling of <see cref="ByteAlphabet"/>; null where no ordinary token has the id.</summary>
    public required string?[] Vocabulary { get; init; }

    /// <summary>Left, right and merged id of each merge, by rank.</summary>
    public required (int[] Left, int[] Right, int[] Merged) Merges { get; init; }

    /// <summary>Added tokens by ascending id.</summary>
    public required AddedToken[] Added { get; init; }

    /// <summary>Split patterns in order.</summary>
    public required PreTokenizer PreTokenizer { get; init; }

    /// <summary>Ids that the post-processor puts before a text.</summary>
    public int[] Prefix { get; init; } = [];

    /// <summary>Ids that the post-processor puts after a text.</summary>
    public int[] Suffix { get; init; } = [];

    /// <summary>One past the largest id of an ordinary or added token.</summary>
    public int Size => Math.Max(Vocabulary.Length, Added.Length == 0 ? 0 : Added[^1].Id + 1);
}
