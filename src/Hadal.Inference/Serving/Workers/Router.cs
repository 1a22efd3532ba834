using System.Runtime.CompilerServices;

namespace Hadal.Inference.Serving.Workers;

/// <summary>
/// An engine made of workers: prompts are computed by prefill workers, their pages handed to decode workers, which write the texts. Balances both kinds by what they have to do,
/// keeps requests in line rather than miss a latency goal, and begins a request again elsewhere when a worker dies: with the tokens reported so far, so that its text does not change
/// and nothing is lost. Safe to call from many threads; it has no thread of its own and waits without turning.
/// </summary>
public sealed partial class Router : IInferenceEngine
{
    readonly Lock _gate = new();
    readonly RouterOptions _options;
    readonly LineShare _places;
    readonly IReadOnlyList<IAsyncDisposable> _owned;
    readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    WorkerSlot<IPrefillWorker>[] _prefill = []; // replaced as a whole, under the lock
    WorkerSlot<IDecodeWorker>[] _decode = [];
    bool _draining;

    /// <summary>Puts workers together.</summary>
    /// <param name="model">What they all serve.</param>
    /// <param name="prefill">May be empty: then decode workers compute prompts too.</param>
    /// <param name="decode">At least one.</param>
    /// <param name="options">Goals; null for none.</param>
    /// <param name="owned">Released with the router.</param>
    public Router(ServedModel model, IReadOnlyList<IPrefillWorker> prefill, IReadOnlyList<IDecodeWorker> decode, RouterOptions? options = null, params IReadOnlyList<IAsyncDisposable> owned)
        : this(model, options, owned)
    {
        if (decode.Count == 0) throw new ArgumentException("A router needs at least one decode worker; none was given.", nameof(decode));
        foreach (IPrefillWorker worker in prefill) AddPrefill(worker);
        foreach (IDecodeWorker worker in decode) AddDecode(worker);
    }

    /// <summary>Begins without workers: requests wait until <see cref="AddDecode"/> brings one.</summary>
    /// <param name="model">What they all serve.</param>
    /// <param name="options">Goals; null for none.</param>
    /// <param name="owned">Released with the router.</param>
    public Router(ServedModel model, RouterOptions? options, params IReadOnlyList<IAsyncDisposable> owned)
    {
        Model = model;
        _options = options ?? new RouterOptions();
        _places = new LineShare(_options.QueueLength, fair: true);
        _owned = owned;
    }

    /// <inheritdoc/>
    public ServedModel Model { get; }

    /// <summary>Workers there are, those that cannot be reached included.</summary>
    public int Workers
    {
        get
        {
            lock (_gate) return _prefill.Length + _decode.Length;
        }
    }

    /// <summary>One more worker that computes prompts.</summary>
    public void AddPrefill(IPrefillWorker worker)
    {
        lock (_gate) _prefill = [.. _prefill, new WorkerSlot<IPrefillWorker>(worker)];
        Admit();
    }

    /// <summary>One more worker that writes texts.</summary>
    public void AddDecode(IDecodeWorker worker)
    {
        var slot = new WorkerSlot<IDecodeWorker>(worker);
        if (_options.TimePerOutputToken is not null) slot.Limit = Math.Min(slot.Limit, 2); // with a goal the number of texts at once is found from below
        lock (_gate) _decode = [.. _decode, slot];
        Admit();
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        RequestChecks.Require(request, Model, int.MaxValue);
        cancellationToken.ThrowIfCancellationRequested();

        // The same length on every worker, whatever its cache holds.
        request = request with { MaxNewTokens = Math.Min(request.MaxNewTokens, Model.MaxPositions - request.Prompt.Length) };
        var ticket = new Ticket(request.Owner, request.Prompt.Length);
        bool over = false;
        Enter(ticket);
        try
        {
            // 1. In line.
            int told = 0;
            while (!ticket.Admitted.Task.IsCompleted)
            {
                (int place, TimeSpan wait) = PlaceOf(ticket);
                if (place > 0 && place != told) yield return new RequestQueued(told = place, wait);
                await Task.WhenAny(ticket.Admitted.Task, Task.Delay(250, cancellationToken)).ConfigureAwait(false);
                cancellationToken.ThrowIfCancellationRequested();
                Admit();
            }

            // 2. Prefill and decode, again where a worker fails.
            var generated = new List<int>();
            int cached = -1;
            long busySince = 0;
            (int Tokens, byte[]? Pages, int Found)? computed = null; // a worker that was busy gets them again
            for (int attempt = 0; attempt < _options.MostAttempts && !over; attempt++)
            {
                var work = new WorkerRequest(request, [.. generated]);
                int tokens = work.Tokens + request.MaxNewTokens - generated.Count;
                if (!await WaitForDecodeAsync(ticket, tokens, cancellationToken).ConfigureAwait(false)) break;
                if (computed is not { } held || held.Tokens != work.Tokens)
                {
                    (byte[]? Pages, int Cached) prefilled = await PrefillAsync(ticket, work, cancellationToken).ConfigureAwait(false);
                    held = (work.Tokens, prefilled.Pages, prefilled.Cached);
                }

                (byte[]? pages, int found) = (held.Pages, held.Found);
                computed = null;
                if (HeldDecode(ticket, tokens) is not { } slot) continue;
                IAsyncEnumerator<GenerationEvent> events = slot.Worker.DecodeAsync(work, pages, cancellationToken).GetAsyncEnumerator(cancellationToken);
                await using (events.ConfigureAwait(false))
                {
                    while (!over && await NextAsync(events, ticket, slot).ConfigureAwait(false) is GenerationEvent happened)
                    {
                        switch (happened)
                        {
                            case RequestStarted started when cached < 0:
                                cached = pages is null ? started.CachedTokens : found;
                                yield return new RequestStarted(cached);
                                break;
                            case TokensGenerated tokensGenerated:
                                generated.AddRange(tokensGenerated.Tokens);
                                Generated(ticket, slot, tokensGenerated.Tokens.Count, redone: attempt > 0);
                                yield return tokensGenerated;
                                break;
                            case RequestFinished finished:
                                over = true;
                                TokenUsage usage = finished.Usage with { CachedTokens = Math.Max(0, cached) };
                                Finish(ticket, slot, usage);
                                yield return finished with { Usage = usage };
                                break;
                        }
                    }
                }

                if (over) continue;
                if (ticket.IsBusy)
                {
                    // Nothing died: the worker's own line is full. It is asked again, as long as a request waits for a worker.
                    ticket.IsBusy = false;
                    if (busySince == 0) busySince = Environment.TickCount64;
                    if (Environment.TickCount64 - busySince >= _options.WorkerWait.TotalMilliseconds) break;
                    computed = held;
                    attempt--;
                    await Task.Delay(100, cancellationToken).ConfigureAwait(false);
                    continue;
                }

                busySince = 0;
                lock (_gate) _redone++;
            }

            if (!over)
            {
                over = true;
                if (cached < 0) yield return new RequestStarted(0);
                lock (_gate) _finished++;
                yield return new RequestFinished(FinishReason.InsufficientResources, new TokenUsage(request.Prompt.Length, Math.Max(0, cached), generated.Count, 0, 0));
            }
        }
        finally
        {
            Exit(ticket, cancelled: !over);
        }
    }

    /// <inheritdoc/>
    public Task DrainAsync(CancellationToken cancellationToken = default)
    {
        lock (_gate)
        {
            _draining = true;
            if (_active == 0 && _line.Count == 0) _drained.TrySetResult();
        }

        return _drained.Task.WaitAsync(cancellationToken);
    }

    /// <summary>Takes nothing new, and releases the workers it owns.</summary>
    public async ValueTask DisposeAsync()
    {
        lock (_gate) _draining = true;
        foreach (IAsyncDisposable owned in _owned) await owned.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Pages of a prefill worker; none where there is none alive: the decode worker computes the prompt then.</summary>
    async Task<(byte[]? Pages, int Cached)> PrefillAsync(Ticket ticket, WorkerRequest work, CancellationToken cancellationToken)
    {
        for (int attempt = 0; attempt < _options.MostAttempts; attempt++)
        {
            if (HeldPrefill(ticket, work.Tokens) is not { } slot) return (null, 0);
            try
            {
                PrefillResult result = await slot.Worker.PrefillAsync(work, cancellationToken).ConfigureAwait(false);
                return (result.Pages, result.CachedTokens);
            }
            catch (WorkerFailedException)
            {
                lock (_gate)
                {
                    LeaveAlone(slot);
                    _redone++;
                }
            }
            catch (EngineBusyException)
            {
                await Task.Delay(50 * (attempt + 1), cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                lock (_gate) LetGoOfPrefill(ticket, keepPending: true);
                Admit();
            }
        }

        return (null, 0);
    }

    /// <summary>The next event; null when the stream broke and the request is to begin again elsewhere, or the worker is busy, which is noted.</summary>
    async Task<GenerationEvent?> NextAsync(IAsyncEnumerator<GenerationEvent> events, Ticket ticket, WorkerSlot<IDecodeWorker> slot)
    {
        try
        {
            return await events.MoveNextAsync().ConfigureAwait(false) ? events.Current : null;
        }
        catch (WorkerFailedException)
        {
            lock (_gate) LeaveAlone(slot);
            return null;
        }
        catch (PagesDamagedException)
        {
            return null;
        }
        catch (EngineBusyException)
        {
            ticket.IsBusy = true;
            return null;
        }
    }

    /// <summary>Waits until a decode worker is held; false when none came in time.</summary>
    async Task<bool> WaitForDecodeAsync(Ticket ticket, int tokens, CancellationToken cancellationToken)
    {
        long until = Environment.TickCount64 + (long)_options.WorkerWait.TotalMilliseconds;
        while (HeldDecode(ticket, tokens) is null)
        {
            if (Environment.TickCount64 >= until) return false;
            await Task.Delay(100, cancellationToken).ConfigureAwait(false);
        }

        return true;
    }
}
