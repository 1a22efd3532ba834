using System.Text;

namespace Hadal.Text;

/// <summary>
/// Trains a byte-level BPE tokenizer with DeepSeek-V3's splits and control tokens. Ids: 0–2 <see cref="SpecialTokens.Leading"/>, 3–258 the bytes in DeepSeek's
/// order, then the merged tokens in the order they were learned, last the trailing control tokens.
/// </summary>
/// <remarks>
/// The result depends on the multiset of documents and on the options alone: not on the number of threads, not on the order of documents.
/// The rule for ties is stated at <see cref="MergeLearner"/>: higher count, then lower left id, then lower right id.
/// </remarks>
public static class TokenizerTrainer
{
    /// <summary>Merges between two reports and two looks at the cancellation.</summary>
    const int ReportEvery = 64;

    /// <summary>Trains on texts.</summary>
    /// <param name="documents">The corpus; read once.</param>
    /// <param name="options">The vocabulary wanted; defaults when null.</param>
    /// <param name="progress">Is told how far the work is.</param>
    /// <param name="cancellation">Ends the work with <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="ArgumentException">The corpus is empty or the options are impossible.</exception>
    public static Tokenizer Train(
        IEnumerable<string> documents,
        TokenizerTrainingOptions? options = null,
        IProgress<TokenizerTrainingProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(documents);
        long total = documents is ICollection<string> all ? all.Sum(text => (long)Encoding.UTF8.GetByteCount(text)) : 0;
        return Train(documents.Select(text => (ReadOnlyMemory<byte>)Encoding.UTF8.GetBytes(text)), total, options ?? new(), progress, cancellation);
    }

    /// <summary>Trains on UTF-8 texts; see <see cref="Train(IEnumerable{string}, TokenizerTrainingOptions?, IProgress{TokenizerTrainingProgress}?, CancellationToken)"/>.</summary>
    public static Tokenizer TrainUtf8(
        IEnumerable<ReadOnlyMemory<byte>> documents,
        TokenizerTrainingOptions? options = null,
        IProgress<TokenizerTrainingProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(documents);
        return Train(documents, documents is ICollection<ReadOnlyMemory<byte>> all ? all.Sum(text => (long)text.Length) : 0, options ?? new(), progress, cancellation);
    }

    static Tokenizer Train(
        IEnumerable<ReadOnlyMemory<byte>> documents, long total, TokenizerTrainingOptions options, IProgress<TokenizerTrainingProgress>? progress, CancellationToken cancellation)
    {
        Check(options);
        Dictionary<byte[], long> counts = PieceCounter.Count(
            documents,
            options.Threads,
            PieceCounter.DefaultChunk,
            progress is null ? null : read => progress.Report(new(TokenizerTrainingStage.Counting, read, total)),
            cancellation);
        if (counts.Count == 0)
            throw new ArgumentException("The corpus has no text: a tokenizer is learned from text. Give at least one document that is not empty.", nameof(documents));

        var vocabulary = new List<string>(SpecialTokens.Leading);
        foreach (byte value in ByteAlphabet.VocabularyOrder) vocabulary.Add(ByteAlphabet.ToChar(value).ToString());
        int target = options.VocabularySize - options.TrailingTokens.Count;
        var learner = new MergeLearner(counts, vocabulary, options.TrailingTokens, options.MinimumFrequency, options.MaximumTokenBytes);
        while (vocabulary.Count < target && learner.TryLearn())
        {
            if (learner.Merges.Count % ReportEvery != 0) continue;
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new(TokenizerTrainingStage.Merging, vocabulary.Count, target));
        }
        progress?.Report(new(TokenizerTrainingStage.Merging, vocabulary.Count, target));
        return Assemble(vocabulary, learner.Merges, options.TrailingTokens);
    }

    static Tokenizer Assemble(List<string> vocabulary, List<(int Left, int Right, int Merged)> merges, IReadOnlyList<string> trailing)
    {
        // The flags are those of DeepSeek-V3's file.
        var added = new List<AddedToken>();
        for (int id = 0; id < SpecialTokens.Leading.Count; id++) added.Add(new AddedToken(id, SpecialTokens.Leading[id], Special: true));
        for (int i = 0; i < trailing.Count; i++) added.Add(new AddedToken(vocabulary.Count + i, trailing[i], Special: false) { Normalized = true });
        return new Tokenizer(new TokenizerDefinition
        {
            Vocabulary = [.. vocabulary],
            Merges = ([.. merges.Select(merge => merge.Left)], [.. merges.Select(merge => merge.Right)], [.. merges.Select(merge => merge.Merged)]),
            Added = [.. added],
            PreTokenizer = PreTokenizer.DeepSeek,
        });
    }

    static void Check(TokenizerTrainingOptions options)
    {
        if (options.VocabularySize < options.SmallestVocabulary || options.VocabularySize > TokenizerDefinition.LargestVocabulary)
        {
            throw new ArgumentException(
                $"A vocabulary of {options.VocabularySize} tokens was asked for; {options.SmallestVocabulary} (control tokens and 256 bytes) to "
                + $"{TokenizerDefinition.LargestVocabulary} are possible. Set VocabularySize accordingly.", nameof(options));
        }
        if (options.Threads < 1) throw new ArgumentException($"{options.Threads} threads were asked for; at least 1 is needed. Set Threads.", nameof(options));
        if (options.MaximumTokenBytes < 1) throw new ArgumentException($"MaximumTokenBytes is {options.MaximumTokenBytes}; at least 1 is needed.", nameof(options));
        var names = new HashSet<string>(SpecialTokens.Leading, StringComparer.Ordinal);
        foreach (string token in options.TrailingTokens)
        {
            int bytes = Encoding.UTF8.GetByteCount(token);
            // One character could be the spelling of a byte, which has its own id.
            if (token.Length < 2 || bytes > AddedTokenMatcher.LongestContent)
                throw new ArgumentException($"The control token \"{token}\" has {bytes} bytes; 2 characters to {AddedTokenMatcher.LongestContent} bytes are possible.", nameof(options));
            if (!names.Add(token)) throw new ArgumentException($"The control token \"{token}\" is given twice.", nameof(options));
        }
    }
}
