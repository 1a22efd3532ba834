namespace Hadal.Text;

/// <summary>What kind of vocabulary <see cref="TokenizerTrainer"/> learns.</summary>
public sealed record TokenizerTrainingOptions
{
    /// <summary>Tokens in all, control tokens included. Fewer result when no pair is frequent enough any more.</summary>
    public int VocabularySize { get; init; } = 8192;

    /// <summary>A pair that occurs less often is not merged.</summary>
    public long MinimumFrequency { get; init; } = 2;

    /// <summary>No token gets longer than this many bytes (control tokens excepted).</summary>
    public int MaximumTokenBytes { get; init; } = 64;

    /// <summary>Threads that count pieces. The result does not depend on it.</summary>
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>Control tokens with the last ids; <see cref="SpecialTokens.Leading"/> always have ids 0, 1, 2.</summary>
    public IReadOnlyList<string> TrailingTokens { get; init; } = SpecialTokens.Trailing;

    /// <summary>The smallest vocabulary: control tokens and the 256 bytes.</summary>
    public int SmallestVocabulary => SpecialTokens.Leading.Count + 256 + TrailingTokens.Count;
}

/// <summary>What the trainer is doing.</summary>
public enum TokenizerTrainingStage
{
    /// <summary>Splitting documents and counting their pieces; steps are bytes of text.</summary>
    Counting,

    /// <summary>Learning merges; steps are tokens of the vocabulary.</summary>
    Merging,
}

/// <summary>How far the trainer is.</summary>
/// <param name="Stage">What it is doing.</param>
/// <param name="Step">Steps done in this stage.</param>
/// <param name="Total">Steps of this stage, 0 when unknown (documents that are not in memory but read one by one).</param>
public readonly record struct TokenizerTrainingProgress(TokenizerTrainingStage Stage, long Step, long Total);
