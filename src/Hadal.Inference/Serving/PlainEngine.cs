using Hadal.Model;

namespace Hadal.Inference.Serving;

/// <summary>
/// The slow twin of the engine and the definition of its texts: one request at a time, first come first served, one <see cref="GenerationSession"/>, no page is ever shared,
/// moved or guessed at.
/// </summary>
public sealed class PlainEngine : ThreadedEngine
{
    const int Chunk = 256;
    readonly GenerationSession _session;
    RequestState? _current;
    int _running;
    long _promptTokens, _generatedTokens;

    /// <summary>Starts the engine's thread.</summary>
    /// <param name="model">As its callers see it.</param>
    /// <param name="transformer">The weights; no one else may run them meanwhile.</param>
    /// <param name="options">Only the length of the queue matters.</param>
    /// <param name="owned">Released with the engine, in this order.</param>
    public PlainEngine(ServedModel model, Transformer transformer, EngineOptions? options = null, params IReadOnlyList<IDisposable> owned)
        : base(model, options ?? new EngineOptions(), transformer.Shape.Vocabulary, new PlainSampler(), fair: false, owned)
    {
        _session = new GenerationSession(transformer, model.MaxPositions);
        Begin();
    }

    /// <inheritdoc/>
    public override EngineStatistics Statistics => new()
    {
        Queued = WaitingRequests,
        Running = Volatile.Read(ref _running),
        Finished = FinishedRequests,
        Cancelled = CancelledRequests,
        PromptTokens = Volatile.Read(ref _promptTokens),
        GeneratedTokens = Volatile.Read(ref _generatedTokens),
    };

    private protected override IEnumerable<RequestState> Running => _current is null ? [] : [_current];

    private protected override bool Step()
    {
        if (_current is null)
        {
            if (Queue.Next() is not RequestState next) return false;
            Start(next);
            _current = next;
            _session.Truncate(0);
            Volatile.Write(ref _running, 1);
            _promptTokens += next.PromptLength;
            next.Start();
        }

        RequestState state = _current;
        int count = Math.Min(Chunk, state.Length - _session.Length);
        _session.Append(state.Tokens.Slice(_session.Length, count));
        if (_session.Length < state.Length) return true;
        try
        {
            state.Step(_session.Logits);
        }
        catch (InvalidDataException error)
        {
            Leave(error);
            return true;
        }

        _generatedTokens++;
        if (state.Reason is null) state.Report();
        else Leave(null);
        return true;
    }

    private protected override void DropCancelled()
    {
        if (_current is { IsCancelled: true }) Leave(null);
    }

    private protected override void Release() => _session.Dispose();

    void Leave(Exception? error)
    {
        RequestState state = _current!;
        _current = null;
        Volatile.Write(ref _running, 0);
        Complete(state, error);
    }
}
