using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Hadal.Inference.Serving.Workers;

/// <summary>
/// An engine made of workers: prompts are computed by prefill workers, their pages handed to decode workers, which write the texts. Balances both kinds by what they have to do,
/// keeps requests in line rather than miss a latency goal, and begins a request again elsewhere when a worker dies: with the tokens reported so far, so that its text does not change
/// and nothing is lost. Safe to call from many threads; it has no thread of its own and waits without turning.
/// </summary>
public sealed class Router : IInferenceEngine
{
    readonly Lock _gate = new();
    readonly WorkerSlot<IPrefillWorker>[] _prefill;
    readonly WorkerSlot<IDecodeWorker>[] _decode;
    readonly RouterOptions _options;
    readonly IReadOnlyList<IAsyncDisposable> _owned;
    readonly List<Ticket> _line = [];
    readonly Dictionary<string, double> _served = new(StringComparer.Ordinal);
    readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    bool _draining;
    int _active;
    long _finished, _cancelled, _prompt, _cached, _generated, _drafted, _accepted, _requests, _firstHeld, _perHeld, _redone, _perTokenCount;
    double _firstSeconds, _perTokenSeconds, _secondsPerRequest = 1;
    long _lastFinish;

    sealed class Ticket(string owner, int tokens)
    {
        public string Owner { get; } = owner;
        public int Tokens { get; } = tokens;
        public TaskCompletionSource Admitted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public WorkerSlot<IDecodeWorker>? Decode { get; set; }
        public double HeldTokens { get; set; }
    }

    /// <summary>Puts workers together.</summary>
    /// <param name="model">What they all serve.</param>
    /// <param name="prefill">May be empty: then decode workers compute prompts too.</param>
    /// <param name="decode">At least one.</param>
    /// <param name="options">Goals; null for none.</param>
    /// <param name="owned">Released with the router.</param>
    public Router(ServedModel model, IReadOnlyList<IPrefillWorker> prefill, IReadOnlyList<IDecodeWorker> decode, RouterOptions? options = null, params IReadOnlyList<IAsyncDisposable> owned)
    {
        if (decode.Count == 0) throw new ArgumentException("A router needs at least one decode worker; none was given.", nameof(decode));
        Model = model;
        _options = options ?? new RouterOptions();
        _owned = owned;
        _prefill = [.. prefill.Select(worker => new WorkerSlot<IPrefillWorker>(worker))];
        _decode = [.. decode.Select(worker => new WorkerSlot<IDecodeWorker>(worker))];

        // With a goal the number of texts at once is found from below.
        if (_options.TimePerOutputToken is not null)
            foreach (WorkerSlot<IDecodeWorker> slot in _decode) slot.Limit = Math.Min(slot.Limit, 2);
    }

    /// <inheritdoc/>
    public ServedModel Model { get; }

    /// <summary>How often the goals held.</summary>
    public RouterReport Report
    {
        get
        {
            lock (_gate)
            {
                return new RouterReport(_requests, _firstHeld, _perHeld, _redone, TimeSpan.FromSeconds(_firstSeconds / Math.Max(1, _requests)),
                    TimeSpan.FromSeconds(_perTokenSeconds / Math.Max(1, _perTokenCount)));
            }
        }
    }

    /// <inheritdoc/>
    public EngineStatistics Statistics
    {
        get
        {
            EngineStatistics[] workers = [.. _decode.Select(slot => slot.Worker.Statistics)];
            EngineStatistics[] all = [.. _prefill.Select(slot => slot.Worker.Statistics).Concat(workers)];
            lock (_gate)
            {
                return new EngineStatistics
                {
                    Queued = _line.Count, Running = _active, Finished = _finished, Cancelled = _cancelled, PromptTokens = _prompt, CachedTokens = _cached, GeneratedTokens = _generated,
                    DraftedTokens = _drafted, AcceptedTokens = _accepted, Pages = all.Sum(s => s.Pages), PagesInUse = all.Sum(s => s.PagesInUse), PagesCached = all.Sum(s => s.PagesCached),
                    Preempted = all.Sum(s => s.Preempted), ExpertLoad = Sum(workers),
                };
            }
        }
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        RequestChecks.Require(request, Model, int.MaxValue);
        cancellationToken.ThrowIfCancellationRequested();
        var ticket = new Ticket(request.Owner, request.Prompt.Length);
        bool over = false;
        Enter(ticket);
        try
        {
            // 1. In line.
            (int Place, long Second) told = default;
            while (!ticket.Admitted.Task.IsCompleted)
            {
                (int place, TimeSpan wait) = PlaceOf(ticket);
                if (place > 0 && place != told.Place)
                {
                    told = (place, 0);
                    yield return new RequestQueued(place, wait);
                }

                await Task.WhenAny(ticket.Admitted.Task, Task.Delay(250, cancellationToken)).ConfigureAwait(false);
                cancellationToken.ThrowIfCancellationRequested();
                Admit();
            }

            // 2. Prefill and decode, again where a worker fails.
            var generated = new List<int>();
            var clock = new Clock();
            int cached = -1;
            for (int attempt = 0; attempt < _options.MostAttempts && !over; attempt++)
            {
                var work = new WorkerRequest(request, [.. generated]);
                (byte[]? pages, int found) = await PrefillAsync(work, cancellationToken).ConfigureAwait(false);
                if (Place(ticket, work.Tokens + request.MaxNewTokens - generated.Count) is not { } slot)
                {
                    await Task.Delay(100, cancellationToken).ConfigureAwait(false);
                    continue;
                }

                IAsyncEnumerator<GenerationEvent> events = slot.Worker.DecodeAsync(work, pages, cancellationToken).GetAsyncEnumerator(cancellationToken);
                await using (events.ConfigureAwait(false))
                {
                    while (!over && await Next(events, slot).ConfigureAwait(false) is GenerationEvent happened)
                    {
                        switch (happened)
                        {
                            case RequestStarted started when cached < 0:
                                cached = pages is null ? started.CachedTokens : found;
                                yield return new RequestStarted(cached);
                                break;
                            case TokensGenerated tokens:
                                generated.AddRange(tokens.Tokens);
                                clock.Tokens(tokens.Tokens.Count);
                                yield return tokens;
                                break;
                            case RequestFinished finished:
                                over = true;
                                Finish(slot, clock, finished.Usage with { CachedTokens = Math.Max(0, cached) }, ticket);
                                yield return finished with { Usage = finished.Usage with { CachedTokens = Math.Max(0, cached) } };
                                break;
                        }
                    }
                }

                if (!over) lock (_gate) _redone++;
            }

            if (!over)
            {
                over = true;
                var usage = new TokenUsage(request.Prompt.Length, Math.Max(0, cached), generated.Count, 0, 0);
                if (cached < 0) yield return new RequestStarted(0);
                lock (_gate) _finished++;
                yield return new RequestFinished(FinishReason.InsufficientResources, usage);
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

    sealed class Clock
    {
        readonly long _start = Stopwatch.GetTimestamp();
        long _first, _last;
        int _count;

        public void Tokens(int count)
        {
            if (count == 0) return;
            _last = Stopwatch.GetTimestamp();
            if (_count == 0) _first = _last;
            _count += count;
        }

        public double? FirstSeconds => _count == 0 ? null : Stopwatch.GetElapsedTime(_start, _first).TotalSeconds;

        public double? SecondsPerToken => _count < 2 ? null : Stopwatch.GetElapsedTime(_first, _last).TotalSeconds / (_count - 1);
    }

    /// <summary>Pages of a prefill worker; none where there is none alive: the decode worker computes the prompt then.</summary>
    async Task<(byte[]? Pages, int Cached)> PrefillAsync(WorkerRequest work, CancellationToken cancellationToken)
    {
        double tokens = work.Tokens, attention = tokens * (tokens + 1) / 2;
        for (int attempt = 0; attempt < _options.MostAttempts; attempt++)
        {
            WorkerSlot<IPrefillWorker>? slot;
            double ahead;
            lock (_gate)
            {
                slot = RouterBalance.ForPrefill(_prefill, tokens, attention);
                if (slot is null) return (null, 0);
                ahead = slot.Tokens;
                slot.Tokens += tokens;
                slot.Work += attention;
                slot.Requests++;
            }

            long start = Stopwatch.GetTimestamp();
            try
            {
                PrefillResult result = await slot.Worker.PrefillAsync(work, cancellationToken).ConfigureAwait(false);
                double speed = (tokens + ahead) / Math.Max(1e-6, Stopwatch.GetElapsedTime(start).TotalSeconds);
                lock (_gate) slot.Speed = slot.Speed == 0 ? speed : slot.Speed + (0.2 * (speed - slot.Speed));
                return (result.Pages, result.CachedTokens);
            }
            catch (Exception failed) when (failed is WorkerFailedException or EngineBusyException)
            {
                lock (_gate)
                {
                    if (failed is WorkerFailedException) LeaveAlone(slot);
                    _redone++;
                }
            }
            finally
            {
                lock (_gate)
                {
                    slot.Tokens -= tokens;
                    slot.Work -= attention;
                    slot.Requests--;
                }

                Admit();
            }
        }

        return (null, 0);
    }

    /// <summary>The next event; null when the text has to be begun again elsewhere.</summary>
    async Task<GenerationEvent?> Next(IAsyncEnumerator<GenerationEvent> events, WorkerSlot<IDecodeWorker> slot)
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
        catch (Exception again) when (again is PagesDamagedException or EngineBusyException)
        {
            return null;
        }
    }

    void LeaveAlone<T>(WorkerSlot<T> slot)
        where T : IWorker => slot.AloneUntil = Environment.TickCount64 + (long)_options.RetryAfter.TotalMilliseconds;

    void Enter(Ticket ticket)
    {
        lock (_gate)
        {
            if (_draining) throw new InvalidOperationException($"The router of {Model.Name} is shutting down and takes no new request.");
            if (_line.Count >= _options.QueueLength) throw new EngineBusyException(_line.Count + 1, TimeSpan.FromSeconds(_line.Count * _secondsPerRequest));
            if (!_served.ContainsKey(ticket.Owner)) _served[ticket.Owner] = _served.Count == 0 ? 0 : _served.Values.Min();
            _line.Add(ticket);
        }

        Admit();
    }

    (int Place, TimeSpan Wait) PlaceOf(Ticket ticket)
    {
        lock (_gate)
        {
            int place = _line.OrderBy(t => _served.GetValueOrDefault(t.Owner)).ToList().IndexOf(ticket) + 1;
            return (place, TimeSpan.FromSeconds(place * _secondsPerRequest));
        }
    }

    /// <summary>Takes requests from the line while the goals allow; the owner with the fewest tokens first.</summary>
    void Admit()
    {
        lock (_gate)
        {
            while (_line.Count > 0)
            {
                Ticket next = _line.MinBy(t => _served.GetValueOrDefault(t.Owner))!;
                if (_active > 0 && !MayStart(next)) return;
                _line.Remove(next);
                _active++;
                _served[next.Owner] = _served.GetValueOrDefault(next.Owner) + next.Tokens;
                Hold(next, RouterBalance.ForDecode(_decode, next.Tokens), next.Tokens);
                _prompt += next.Tokens;
                next.Admitted.TrySetResult();
            }
        }
    }

    bool MayStart(Ticket ticket)
    {
        if (RouterBalance.ForDecode(_decode, ticket.Tokens) is null) return false;
        if (_options.TimeToFirstToken is not TimeSpan goal || _prefill.Length == 0) return true;
        if (RouterBalance.ForPrefill(_prefill, ticket.Tokens, 0) is not { } slot) return true;
        return slot.Speed == 0 ? slot.Requests == 0 : (slot.Tokens + ticket.Tokens) / slot.Speed <= goal.TotalSeconds || slot.Requests == 0;
    }

    /// <summary>The decode worker of a request: the one held since it was taken, or another where that one failed.</summary>
    WorkerSlot<IDecodeWorker>? Place(Ticket ticket, double tokens)
    {
        lock (_gate)
        {
            if (ticket.Decode is not { IsAlive: true })
            {
                LetGo(ticket);
                Hold(ticket, RouterBalance.ForDecode(_decode, tokens) ?? _decode.Where(s => s.IsAlive).MinBy(s => s.Requests), tokens);
            }

            return ticket.Decode;
        }
    }

    static void Hold(Ticket ticket, WorkerSlot<IDecodeWorker>? slot, double tokens)
    {
        ticket.Decode = slot;
        if (slot is null) return;
        ticket.HeldTokens = tokens;
        slot.Requests++;
        slot.Tokens += tokens;
    }

    static void LetGo(Ticket ticket)
    {
        if (ticket.Decode is not { } slot) return;
        slot.Requests--;
        slot.Tokens -= ticket.HeldTokens;
        ticket.Decode = null;
    }

    void Finish(WorkerSlot<IDecodeWorker> slot, Clock clock, TokenUsage usage, Ticket ticket)
    {
        lock (_gate)
        {
            _finished++;
            _requests++;
            _cached += usage.CachedTokens;
            _generated += usage.GeneratedTokens;
            _drafted += usage.DraftedTokens;
            _accepted += usage.AcceptedTokens;
            _served[ticket.Owner] = _served.GetValueOrDefault(ticket.Owner) + (2 * usage.GeneratedTokens);
            if (_served.Count > 4096) _served.Clear();
            double first = clock.FirstSeconds ?? 0;
            _firstSeconds += first;
            if (_options.TimeToFirstToken is not TimeSpan goal || first <= goal.TotalSeconds) _firstHeld++;
            long now = Stopwatch.GetTimestamp();
            if (_lastFinish != 0 && _line.Count > 0) _secondsPerRequest += 0.2 * (Math.Min(600, Stopwatch.GetElapsedTime(_lastFinish, now).TotalSeconds) - _secondsPerRequest);
            _lastFinish = now;
            if (clock.SecondsPerToken is not double seconds)
            {
                _perHeld++;
                return;
            }

            _perTokenSeconds += seconds;
            _perTokenCount++;
            slot.SecondsPerToken = slot.SecondsPerToken == 0 ? seconds : slot.SecondsPerToken + (0.3 * (seconds - slot.SecondsPerToken));
            if (_options.TimePerOutputToken is not TimeSpan each || seconds <= each.TotalSeconds) _perHeld++;
            if (_options.TimePerOutputToken is not TimeSpan perToken) return;

            // Up by one while there is room below the goal, down by a fifth above it.
            if (slot.SecondsPerToken > perToken.TotalSeconds) slot.Limit = Math.Max(1, slot.Limit * 0.8);
            else if (slot.SecondsPerToken < 0.85 * perToken.TotalSeconds && slot.Requests >= Math.Floor(slot.Limit)) slot.Limit = Math.Min(slot.Worker.MostRequests, slot.Limit + 1);
        }
    }

    void Exit(Ticket ticket, bool cancelled)
    {
        lock (_gate)
        {
            if (!_line.Remove(ticket)) _active--;
            LetGo(ticket);
            if (cancelled)
            {
                _cancelled++;
                _finished++;
            }
        }

        Admit();
        lock (_gate)
        {
            if (_draining && _active == 0 && _line.Count == 0) _drained.TrySetResult();
        }
    }

    static List<IReadOnlyList<long>> Sum(EngineStatistics[] workers)
    {
        var sum = new List<IReadOnlyList<long>>();
        for (int layer = 0; layer < workers.Min(w => w.ExpertLoad.Count); layer++)
        {
            long[] load = new long[workers[0].ExpertLoad[layer].Count];
            foreach (EngineStatistics worker in workers)
                for (int e = 0; e < load.Length && e < worker.ExpertLoad[layer].Count; e++) load[e] += worker.ExpertLoad[layer][e];
            sum.Add(load);
        }

        return sum;
    }
}
