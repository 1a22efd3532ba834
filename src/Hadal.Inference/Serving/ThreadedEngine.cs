using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Hadal.Inference.Serving;

/// <summary>
/// What both engines have in common: one thread that owns everything, an inbox, a queue with places, and the way in for callers. All public members may be called from any
/// thread; the engine's thread sleeps when there is nothing to do.
/// </summary>
public abstract class ThreadedEngine : IInferenceEngine
{
    readonly Lock _gate = new();
    readonly Queue<RequestState> _inbox = new();
    readonly AutoResetEvent _signal = new(initialState: false);
    readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    readonly IReadOnlyList<IDisposable> _owned;
    readonly LineShare _line;
    readonly Action _wake;
    readonly Action<RequestState> _dropWaiting;
    readonly Action<RequestState, int> _tell;
    readonly Thread _thread;
    bool _draining, _stopping;
    Exception? _failure;
    long _lastStart, _lastPlaces;
    double _secondsPerStart = 1;

    private protected ThreadedEngine(ServedModel model, EngineOptions options, int vocabulary, ISampler sampler, bool fair, IReadOnlyList<IDisposable> owned)
    {
        Model = model;
        Options = options.Validate();
        Picker = new TokenPicker(model.Tokenizer, vocabulary, sampler);
        Queue = new RequestQueue(fair);
        _line = new LineShare(options.QueueLength, fair);
        _owned = owned;
        _wake = () => _signal.Set();
        _tell = (state, place) => state.Tell(place, TimeSpan.FromSeconds(place * _secondsPerStart));
        _dropWaiting = state =>
        {
            _line.Leave(state.Request.Owner);
            Count(cancelled: true);
            Discard(state);
            state.End(null);
        };
        _thread = new Thread(Loop) { IsBackground = true, Name = $"Hadal engine {model.Name}" };
    }

    /// <inheritdoc/>
    public ServedModel Model { get; }

    /// <summary>How the engine uses the machine.</summary>
    public EngineOptions Options { get; }

    /// <inheritdoc/>
    public abstract EngineStatistics Statistics { get; }

    private protected TokenPicker Picker { get; }

    private protected RequestQueue Queue { get; }

    private protected int WaitingRequests => _line.Waiting;

    private protected long FinishedRequests { get; private set; }

    private protected long CancelledRequests { get; private set; }

    /// <inheritdoc/>
    public IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, CancellationToken cancellationToken = default) =>
        GenerateAsync(request, [], null, cancellationToken);

    /// <summary>Runs a request some of whose tokens were generated elsewhere.</summary>
    private protected async IAsyncEnumerable<GenerationEvent> GenerateAsync(
        GenerationRequest request, int[] resumed, object? attachment, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        RequestState state = Submit(request, resumed, attachment);
        using CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(static state => ((RequestState)state!).Cancel(), state);
        try
        {
            await foreach (GenerationEvent happened in state.Events.ReadAllAsync(cancellationToken).ConfigureAwait(false)) yield return happened;
        }
        finally
        {
            state.Cancel();
        }
    }

    /// <inheritdoc/>
    public Task DrainAsync(CancellationToken cancellationToken = default)
    {
        lock (_gate) _draining = true;
        _signal.Set();
        return Task.WhenAny(_drained.Task, _ended.Task).WaitAsync(cancellationToken);
    }

    /// <summary>Stops the engine: requests that run or wait end with an <see cref="ObjectDisposedException"/>, then the model is released if the engine owns it.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _draining = true;
            _stopping = true;
        }

        _signal.Set();
        await _ended.Task.ConfigureAwait(false);
        GC.SuppressFinalize(this);
    }

    /// <summary>Called by the constructor of the engine when everything is ready.</summary>
    private protected void Begin() => _thread.Start();

    /// <summary>Does some work: takes requests from the queue, computes one step, reports. False when there was nothing to do.</summary>
    private protected abstract bool Step();

    /// <summary>Drops what is being generated for requests that were given up.</summary>
    private protected abstract void DropCancelled();

    /// <summary>The requests being generated.</summary>
    private protected abstract IEnumerable<RequestState> Running { get; }

    /// <summary>Frees what the engine holds for a request that never ran.</summary>
    private protected virtual void Discard(RequestState state)
    {
    }

    /// <summary>Frees memory, on the engine's thread, after its last step.</summary>
    private protected abstract void Release();

    /// <summary>Takes a request out of the queue to serve it.</summary>
    private protected void Start(RequestState state)
    {
        Queue.Start(state);
        _line.Leave(state.Request.Owner);
        long now = Stopwatch.GetTimestamp();
        if (Queue.Count > 0 && _lastStart != 0)
            _secondsPerStart += 0.2 * (Math.Clamp(Stopwatch.GetElapsedTime(_lastStart, now).TotalSeconds, 0.001, 600) - _secondsPerStart);
        _lastStart = now;
    }

    /// <summary>A request that was served is over: finished, given up, or failed with an error.</summary>
    private protected void Complete(RequestState state, Exception? error = null)
    {
        Queue.Finish(state);
        Count(state.IsCancelled && state.Reason is null);
        if (error is null && !state.IsCancelled) state.Report();
        state.End(error);
    }

    void Count(bool cancelled)
    {
        FinishedRequests++;
        if (cancelled) CancelledRequests++;
    }

    RequestState Submit(GenerationRequest request, int[] resumed, object? attachment)
    {
        RequestChecks.Require(request, Model, Picker.Vocabulary);
        lock (_gate)
        {
            if (_draining && _failure is null or ObjectDisposedException) throw new EngineStoppingException($"The engine of {Model.Name} is shutting down and takes no new request.");
            if (_failure is not null) throw new InvalidOperationException($"The engine of {Model.Name} has stopped: {_failure.Message}", _failure);
            _line.Enter(request.Owner, _secondsPerStart);
            bool queued = false;
            try
            {
                if (request.Form == OutputForm.JsonObject) _ = Picker.Json;
                var state = new RequestState(request, resumed, Model, Picker, _wake) { Attachment = attachment };
                if (state.Reason is not null && attachment is not Workers.PageExport)
                {
                    // Its last token was generated elsewhere; only the last event is missing.
                    state.Start();
                    state.Report();
                    return state;
                }

                _inbox.Enqueue(state);
                queued = true;
                _signal.Set();
                return state;
            }
            finally
            {
                if (!queued) _line.Leave(request.Owner);
            }
        }
    }

    void Loop()
    {
        try
        {
            while (TakeInbox())
            {
                DropCancelled();
                Queue.RemoveCancelled(_dropWaiting);
                bool worked = Step();
                TellPlaces();
                if (worked) continue;
                lock (_gate)
                {
                    if (_draining && _line.Waiting == 0) _drained.TrySetResult();
                }

                _signal.WaitOne();
            }

            Fail(new ObjectDisposedException(GetType().Name, $"The engine of {Model.Name} was stopped."));
        }
#pragma warning disable CA1031 // the engine's thread must not end the process: every caller gets the error
        catch (Exception error)
#pragma warning restore CA1031
        {
            Fail(error);
        }

        Release();
        foreach (IDisposable owned in _owned) owned.Dispose();
        _ended.TrySetResult();
    }

    // False when the engine is to stop.
    bool TakeInbox()
    {
        lock (_gate)
        {
            while (_inbox.TryDequeue(out RequestState? state)) Queue.Add(state);
            return !_stopping;
        }
    }

    // Once ten times a second at most: a long line is walked as a whole.
    void TellPlaces()
    {
        if (Queue.Count == 0) return;
        long now = Environment.TickCount64;
        if (now - _lastPlaces < 100 && _lastPlaces != 0) return;
        _lastPlaces = now;
        Queue.Places(_tell);
    }

    void Fail(Exception error)
    {
        RequestState[] all;
        lock (_gate)
        {
            _failure = error;
            all = [.. _inbox, .. Queue.Waiting, .. Running];
            _inbox.Clear();
        }

        foreach (RequestState state in all) state.End(error);
        _line.Clear();
        _drained.TrySetResult();
    }
}
