using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Hadal.Text;
using Hadal.Training.Running;
using Hadal.Training.Supervised;

namespace Hadal.Training.Data;

/// <summary>
/// The data of a run: documents → held-out split → tokenizer → fill-in-the-middle per document → tokens between BOS and EOS → rows by best fit [V3 §4.1].
/// Everything is a function of texts, configuration and seed; the rows are cached by the hash of those in <see cref="HadalHome.TokenCache"/>.
/// </summary>
public sealed class PreparedRun
{
    PreparedRun(Tokenizer tokenizer, TokenRows rows, IReadOnlyList<HeldOutText> heldOut, string hash)
    {
        Tokenizer = tokenizer;
        Rows = rows;
        HeldOut = heldOut;
        Hash = hash;
    }

    /// <summary>Loaded, or trained on the training documents.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>Rows of sequence length + 1 + MTP depth tokens.</summary>
    public TokenRows Rows { get; }

    /// <summary>Held-out documents per source that has any.</summary>
    public IReadOnlyList<HeldOutText> HeldOut { get; }

    /// <summary>Of everything that decides the rows, hexadecimal.</summary>
    public string Hash { get; }

    /// <summary>Held-out problems per task of a supervised run; empty for text.</summary>
    public IReadOnlyList<TaskProblem> Problems { get; private init; } = [];

    /// <summary>Reads, splits, tokenises and packs; or makes the samples of a supervised run.</summary>
    /// <param name="run">The configuration.</param>
    /// <param name="mtpDepth">Tokens a row has beyond sequence length + 1.</param>
    /// <param name="observer">Is told what happens.</param>
    /// <param name="cache">Folder of cached rows; null for none.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="TrainingDataException">No text, or text that cannot be read.</exception>
    public static PreparedRun Prepare(RunConfiguration run, int mtpDepth, ITrainingObserver observer, string? cache, CancellationToken cancel = default)
    {
        if (run.Supervised is not null) return PrepareSupervised(run, mtpDepth, observer, cancel);

        // 1. Read and split.
        observer.Preparing("reading text");
        var split = new HeldOutSplit(run.Data.HeldOutEvery, SplitSeed);
        var training = new List<Document>();
        var heldOut = new List<Corpus>();
        foreach (string source in run.Data.Sources)
        {
            cancel.ThrowIfCancellationRequested();
            (Corpus part, Corpus held) = split.Divide(CorpusSources.Load(source, run.Data.Boundary, run.Seed));
            training.AddRange(part.Documents);
            if (held.Documents.Count > 0) heldOut.Add(held);
            else if (run.Data.HeldOutEvery > 0) observer.Warned($"'{source}' is a single document: all of it is trained on and none is held out.");
        }

        // 2. Tokenizer.
        Tokenizer tokenizer = GetTokenizer(run, training, observer, cancel);

        // 3. Rows.
        int rowTokens = run.Data.SequenceLength + 1 + mtpDepth;
        string hash = HashOf(run, tokenizer, training, rowTokens);
        string? file = cache is null ? null : Path.Combine(cache, hash + ".rows");
        TokenRows? rows = file is null ? null : TokenRows.TryLoad(file, rowTokens);
        if (rows is null)
        {
            observer.Preparing(string.Create(CultureInfo.InvariantCulture, $"tokenising {training.Count} documents"));
            rows = RowPacking.Pack(training, tokenizer, run.Data, run.Seed, rowTokens, cancel);
            if (file is not null) TrySave(rows, file, observer);
        }

        return new PreparedRun(tokenizer, rows, [.. heldOut.Select(c => Tokenise(c, tokenizer))], hash);
    }

    static PreparedRun PrepareSupervised(RunConfiguration run, int mtpDepth, ITrainingObserver observer, CancellationToken cancel)
    {
        if (run.Tokenizer.File is not string file)
            throw new RunConfigurationException("'tokenizer.file' is not given; expected the tokenizer.json of the model that is trained on. Begin from a model with one ('model.from'), or name a file.");
        Tokenizer tokenizer = Tokenizer.Load(file);
        RequireTemplate(tokenizer, file);
        observer.Preparing(string.Create(CultureInfo.InvariantCulture, $"making {run.Supervised!.Samples} samples"));
        TokenRows rows = SupervisedSamples.Pack(run, tokenizer, run.Data.SequenceLength + 1 + mtpDepth, cancel);
        return new PreparedRun(tokenizer, rows, [], SupervisedSamples.HashOf(run, tokenizer, rows)) { Problems = TaskEvaluation.Problems(run.Supervised.Tasks, run.Supervised.Problems) };
    }

    static void RequireTemplate(Tokenizer tokenizer, string file)
    {
        foreach (string token in (string[])[SpecialTokens.BeginOfSentence, SpecialTokens.EndOfSentence, SpecialTokens.User, SpecialTokens.Assistant, SpecialTokens.ThinkBegin, SpecialTokens.ThinkEnd])
            if (!tokenizer.TryGetId(token, out _))
                throw new RunConfigurationException($"'{file}' has no token {token}, which the chat template needs; expected the control tokens of DeepSeek-R1, as hadal tokenizer train and quickstart give them.");
    }

    /// <summary>The split's seed is fixed: runs with any seed are measured on the same text.</summary>
    public const ulong SplitSeed = 20_241_226;

    /// <summary>Held-out documents as tokens after BOS.</summary>
    public static HeldOutText Tokenise(Corpus corpus, Tokenizer tokenizer)
    {
        int begin = tokenizer.RequireId(SpecialTokens.BeginOfSentence);
        return new HeldOutText(corpus.Name, [.. corpus.Documents.Select(d =>
        {
            var tokens = new List<int> { begin };
            tokenizer.Encode(d.Text, tokens);
            return new HeldOutDocument([.. tokens], Encoding.UTF8.GetByteCount(d.Text));
        })]);
    }

    static Tokenizer GetTokenizer(RunConfiguration run, List<Document> training, ITrainingObserver observer, CancellationToken cancel)
    {
        // A run that is continued keeps the tokenizer it began with.
        string own = Path.Combine(run.Output, "tokenizer.json");
        if (run.Tokenizer.File is string given) return Tokenizer.Load(given);
        if (File.Exists(own) && Directory.Exists(Path.Combine(run.Output, "checkpoints"))) return Tokenizer.Load(own);
        string what = string.Create(CultureInfo.InvariantCulture, $"training a tokenizer of {run.Tokenizer.Vocabulary} tokens");
        observer.Preparing(what);
        var options = new TokenizerTrainingOptions
        {
            VocabularySize = run.Tokenizer.Vocabulary,
            Threads = run.Threads > 0 ? run.Threads : Environment.ProcessorCount,
        };
        if (training.Count == 0) Throw.Data("There is no text to train on: every document is held out.", "Add text, or hold out less (data.held_out_every).");
        return TokenizerTrainer.Train(training.Select(d => d.Text), options, new TokenizerProgress(observer, what), cancel);
    }

    /// <summary>Tells a tenth of the merges at a time.</summary>
    sealed class TokenizerProgress(ITrainingObserver observer, string what) : IProgress<TokenizerTrainingProgress>
    {
        int _told;

        public void Report(TokenizerTrainingProgress value)
        {
            if (value.Stage != TokenizerTrainingStage.Merging || value.Total <= 0) return;
            int tenths = (int)(10L * value.Step / value.Total);
            if (tenths <= _told || tenths >= 10) return;
            _told = tenths;
            observer.Preparing(string.Create(CultureInfo.InvariantCulture, $"{what}, {10 * tenths} %"));
        }
    }

    static void TrySave(TokenRows rows, string file, ITrainingObserver observer)
    {
        try
        {
            rows.Save(file);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            observer.Warned($"Tokenised text could not be cached in '{file}': {exception.Message} Training goes on; set HADAL_HOME to a folder that can be written.");
        }
    }

    static string HashOf(RunConfiguration run, Tokenizer tokenizer, List<Document> training, int rowTokens)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        string head = string.Create(CultureInfo.InvariantCulture, $"rows 1|{rowTokens}|{run.Data.FillInMiddleRate:R}|{run.Data.PunctuationSplitRate:R}|{run.Seed}|{training.Count}\n");
        hash.AppendData(Encoding.UTF8.GetBytes(head));
        var json = new ArrayBufferWriter<byte>(1 << 16);
        tokenizer.Write(json);
        hash.AppendData(json.WrittenSpan);
        foreach (Document document in training)
        {
            hash.AppendData(Encoding.UTF8.GetBytes(document.Text));
            hash.AppendData("\0"u8);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset().AsSpan(0, 16));
    }
}
