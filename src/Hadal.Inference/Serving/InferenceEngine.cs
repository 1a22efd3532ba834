using System.Diagnostics;
using Hadal.Inference.Serving.Paging;
using Hadal.Inference.Serving.Workers;
using Hadal.Model;

namespace Hadal.Inference.Serving;

/// <summary>
/// The batching engine. Each step takes the next token of every text being written and chunks of prompts that wait, all in one pass; the latent cache is paged, prefixes are
/// found again, requests are put aside and taken up when pages are scarce, and the MTP module drafts tokens that the next step verifies. None of this changes a text:
/// <see cref="PlainEngine"/> says what each must be, and tests compare them token for token.
/// </summary>
/// <remarks>
/// One thread owns pages, sequences and the model. After warm-up a step allocates nothing but what its callers receive: an event, its text and its ids.
/// Speculation reads the MTP module's own rows of the cache. The row of the last position of a found prefix may come from another continuation of it: that can make a draft
/// worse, never a token.
/// </remarks>
public sealed partial class InferenceEngine : ThreadedEngine
{
    readonly Transformer _transformer;
    readonly PagePool _pool;
    readonly PageStore? _store;
    readonly SwapStore _swap;
    readonly BatchRunner _runner;
    readonly SpeculationChoice _choice;
    readonly List<Sequence> _running = [], _aside = [];
    readonly Sequence[] _step;
    readonly double[] _target;
    readonly long _begun = Stopwatch.GetTimestamp();
    readonly Dictionary<string, BlockKey> _roots = new(StringComparer.Ordinal);
    Sequence? _candidate;
    int _stepCount, _runningCount;
    long _orders, _preempted, _promptTokens, _cachedTokens, _generatedTokens, _drafted, _accepted, _steps, _draftedSteps, _plainSteps;
    double _stepSeconds, _tokensPerSecond;

    /// <summary>Starts the engine's thread.</summary>
    /// <param name="model">As its callers see it; its positions are cut to what the pages hold.</param>
    /// <param name="transformer">The weights; no one else may run them meanwhile.</param>
    /// <param name="options">How the engine uses the machine.</param>
    /// <param name="owned">Released with the engine, in this order.</param>
    /// <exception cref="ArgumentException">An option is out of range, or the cache has fewer than two pages.</exception>
    public InferenceEngine(ServedModel model, Transformer transformer, EngineOptions? options = null, params IReadOnlyList<IDisposable> owned)
        : this(model, transformer, (options ?? new EngineOptions()).Validate(), PagesOf(transformer, options ?? new EngineOptions()), owned)
    {
    }

    InferenceEngine(ServedModel model, Transformer transformer, EngineOptions options, int pages, IReadOnlyList<IDisposable> owned)
        : base(model with { MaxPositions = (int)Math.Min(model.MaxPositions, (pages - 1L) * GenerationSession.PageLength) }, options, transformer.Shape.Vocabulary, new Sampler(transformer.Shape.Vocabulary), fair: true, owned)
    {
        _transformer = transformer;
        bool speculate = Speculates(transformer, options);
        _pool = new PagePool(transformer, pages, speculate);
        _swap = new SwapStore(_pool.PageBytes, options.SwapBytes);
        _runner = new BatchRunner(transformer, _pool, speculate, options.ExpertLoadHalfLife);
        _choice = new SpeculationChoice(options);
        if (options.CacheDirectory is not null && options.PrefixCache) _store = new PageStore(Path.Combine(options.CacheDirectory, StoreName(model, _pool)), _pool.PageBytes, options.CacheDirectoryBytes, options.CacheDirectoryAge);
        _step = new Sequence[options.MaxRunning];
        _target = options.Fast ? new double[transformer.Shape.Vocabulary] : [];
        Begin();
    }

    /// <inheritdoc/>
    public override EngineStatistics Statistics => new()
    {
        Queued = WaitingRequests,
        Running = Volatile.Read(ref _runningCount),
        Pages = _pool.Count,
        PagesInUse = _pool.Count - _pool.Available,
        PagesCached = _pool.Remembered,
        Finished = FinishedRequests,
        Cancelled = CancelledRequests,
        Preempted = Volatile.Read(ref _preempted),
        PromptTokens = Volatile.Read(ref _promptTokens),
        CachedTokens = Volatile.Read(ref _cachedTokens),
        GeneratedTokens = Volatile.Read(ref _generatedTokens),
        DraftedTokens = Volatile.Read(ref _drafted),
        AcceptedTokens = Volatile.Read(ref _accepted),
        ExpertLoad = [.. _runner.ExpertLoad.Select(layer => (IReadOnlyList<long>)layer.ToArray())],
        RecentExpertLoad = _runner.RecentLoad.Present(Stopwatch.GetElapsedTime(_begun).TotalSeconds),
        DecodeStepSeconds = Volatile.Read(ref _stepSeconds),
        PromptTokensPerSecond = Volatile.Read(ref _tokensPerSecond),
        PagesOnDisk = PagesOnDisk,
        DraftedSteps = Volatile.Read(ref _draftedSteps),
        PlainSteps = Volatile.Read(ref _plainSteps),
        SpeculationGain = _choice.Gain,
    };

    /// <summary>Whether tokens are drafted.</summary>
    public bool IsSpeculating => _runner.Mtp is not null;

    /// <summary>Bytes that the steps of the engine allocated on its thread, events and the taking of requests excepted.</summary>
    internal long StepAllocatedBytes { get; private set; }

    /// <summary>Steps so far.</summary>
    internal long Steps => Volatile.Read(ref _steps);

    /// <summary>Layers of a page, and bytes of a position in one: what pages from elsewhere must have.</summary>
    public (int Layers, int RowBytes) PageForm => (_pool.Layers, _pool.RowBytes);

    /// <summary>Pages remembered on disk.</summary>
    internal int PagesOnDisk => _store?.Count ?? 0;

    private protected override IEnumerable<RequestState> Running => _running.Concat(_aside).Select(s => s.State);

    /// <summary>Computes a prompt up to its last token and returns its pages.</summary>
    /// <exception cref="OperationCanceledException">It was given up.</exception>
    internal async Task<PrefillResult> ComputePagesAsync(GenerationRequest request, int[] resumed, CancellationToken cancellationToken)
    {
        var export = new PageExport();
        int cached = 0;
        await foreach (GenerationEvent happened in GenerateAsync(request, resumed, export, cancellationToken).ConfigureAwait(false))
            if (happened is RequestStarted started) cached = started.CachedTokens;
        return new PrefillResult(await export.Pages.Task.WaitAsync(cancellationToken).ConfigureAwait(false), cached);
    }

    /// <summary>Runs a request whose prompt, and whose tokens so far, were computed elsewhere.</summary>
    internal IAsyncEnumerable<GenerationEvent> ContinueAsync(GenerationRequest request, int[] resumed, byte[]? pages, CancellationToken cancellationToken) =>
        GenerateAsync(request, resumed, pages is null ? null : new PageImport(pages), cancellationToken);

    private protected override bool Step()
    {
        Options.Returned?.TakeAll(_pool, _store);
        Admit();
        long allocated = GC.GetAllocatedBytesForCurrentThread();
        (int tokens, int logitRows) = Plan();
        if (_stepCount == 0) return _aside.Count > 0;
        Options.Turns?.Enter();
        try
        {
            Compute(tokens, logitRows);
        }
        finally
        {
            Options.Turns?.Leave();
        }

        for (int s = 0; s < _stepCount; s++) Seal(_step[s]);
        StepAllocatedBytes += GC.GetAllocatedBytesForCurrentThread() - allocated;
        for (int s = 0; s < _stepCount; s++) Report(_step[s]);
        Volatile.Write(ref _steps, _steps + 1);
        return true;
    }

    void Compute(int tokens, int logitRows)
    {
        long start = Stopwatch.GetTimestamp();
        _runner.RecentLoad.Advance(Stopwatch.GetElapsedTime(_begun, start).TotalSeconds);
        _runner.Forward(_step, _stepCount, tokens, logitRows);
        for (int s = 0; s < _stepCount; s++) Choose(_step[s]);
        long chosen = Stopwatch.GetTimestamp();
        if (_runner.Mtp is not null)
        {
            Draft();
            ObserveDrafts(start, chosen);
        }

        _runner.EndStep();
        Measure(start, tokens, logitRows);
    }

    private protected override void DropCancelled()
    {
        for (int i = _running.Count - 1; i >= 0; i--)
            if (_running[i].State.IsCancelled) Leave(_running[i], null);
        for (int i = _aside.Count - 1; i >= 0; i--)
        {
            Sequence sequence = _aside[i];
            if (!sequence.State.IsCancelled) continue;
            DropSwapped(sequence);
            _aside.RemoveAt(i);
            Complete(sequence.State);
        }
    }

    private protected override void Release()
    {
        foreach (Sequence sequence in _running.Concat(_aside)) sequence.Export?.Pages.TrySetException(new ObjectDisposedException(nameof(InferenceEngine), "The engine was stopped."));
        if (_store is not null)
        {
            foreach (Sequence sequence in _running) Remember(sequence);
            _store.DisposeAsync().AsTask().GetAwaiter().GetResult();
        }

        _runner.Dispose();
        _pool.Dispose();
    }

    static bool Speculates(Transformer transformer, EngineOptions options) => options.Speculate && transformer.Mtp.Count > 0;

    static int PagesOf(Transformer transformer, EngineOptions options)
    {
        long pages = options.Pages > 0 ? options.Pages : options.CacheBytes / PagePool.BytesOfPage(transformer, Speculates(transformer, options));

        // More than every running request could fill are of use only to remember prefixes; more than a tensor holds cannot be.
        pages = Math.Min(pages, int.MaxValue / ((long)GenerationSession.PageLength * transformer.Shape.LatentDim));
        if (pages < 2)
            throw new ArgumentException($"The latent cache has {pages} pages of {PagePool.BytesOfPage(transformer, Speculates(transformer, options))} bytes; expected at least 2. Raise {nameof(EngineOptions.CacheBytes)} or {nameof(EngineOptions.Pages)}.");
        return (int)pages;
    }

    // Pages of another form must never be read as ours: the form is part of the place.
    static string StoreName(ServedModel model, PagePool pool) => $"{model.Fingerprint}-{pool.Layers}x{pool.RowBytes}";

    void Measure(long start, int tokens, int logitRows)
    {
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        bool decoding = true;
        for (int s = 0; s < _stepCount; s++) decoding &= _step[s].LogitRow >= 0 && _step[s].StepTokens <= 2;
        if (decoding && logitRows > 0) Volatile.Write(ref _stepSeconds, _stepSeconds == 0 ? seconds : _stepSeconds + (0.1 * (seconds - _stepSeconds)));
        else Volatile.Write(ref _tokensPerSecond, _tokensPerSecond == 0 ? tokens / seconds : _tokensPerSecond + (0.2 * ((tokens / seconds) - _tokensPerSecond)));
    }

    /// <summary>Tells the choice how long a step took that only decoded: its verification, and what was done for the next one.</summary>
    void ObserveDrafts(long start, long chosen)
    {
        int texts = 0, drafted = 0, drafts = 0;
        for (int s = 0; s < _stepCount; s++)
        {
            Sequence sequence = _step[s];
            if (sequence.LogitRow < 0) continue;
            texts++;
            if (sequence.StepDrafted) drafted++;
            if (sequence.DraftRow >= 0) drafts++;
        }

        if (texts == 0) return;
        if (drafted > 0) Volatile.Write(ref _draftedSteps, _draftedSteps + 1);
        else Volatile.Write(ref _plainSteps, _plainSteps + 1);
        for (int s = 0; s < _stepCount; s++)
            if (_step[s].LogitRow < 0 || _step[s].StepTokens > 2) return; // prompts were read too
        if (drafted == 0 || drafted == texts) _choice.Verification(texts, drafted > 0, Stopwatch.GetElapsedTime(start, chosen).TotalSeconds);
        if (drafts == 0 || drafts == texts) _choice.Drafting(texts, drafts > 0, Stopwatch.GetElapsedTime(chosen).TotalSeconds);
    }

    /// <summary>Tells the caller what this step brought, and ends what is over.</summary>
    void Report(Sequence sequence)
    {
        RequestState state = sequence.State;
        if (sequence.Export is PageExport export)
        {
            if (sequence.Computed < sequence.Target) return;
            export.Pages.TrySetResult(PageTransfer.Write(_pool, Model.Fingerprint, sequence.Pages.AsSpan(0, sequence.PageCount), sequence.Computed));
            Leave(sequence, null);
        }
        else if (sequence.Failure is not null)
        {
            Leave(sequence, sequence.Failure);
        }
        else if (state.Reason is not null)
        {
            Leave(sequence, null);
        }
        else if (sequence.LogitRow >= 0)
        {
            state.Report();
        }
    }

    void Leave(Sequence sequence, Exception? error)
    {
        _running.Remove(sequence);
        Volatile.Write(ref _runningCount, _running.Count);
        Remember(sequence);
        ReleasePages(sequence);
        _runner.DropDeferred(sequence);
        Complete(sequence.State, error);
    }
}
