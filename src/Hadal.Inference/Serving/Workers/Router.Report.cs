using System.Diagnostics;

namespace Hadal.Inference.Serving.Workers;

/// <summary>What is measured, and what the goals make of it.</summary>
public sealed partial class Router
{
    const int TokensPerMark = 32;
    long _finished, _cancelled, _prompt, _cached, _generated, _drafted, _accepted, _requests, _firstHeld, _perHeld, _bothHeld, _redone, _perTokenCount, _lastFinish;
    double _firstSeconds, _perTokenSeconds, _waitSeconds, _secondsPerRequest = 1;

    /// <summary>How often the goals held.</summary>
    public RouterReport Report
    {
        get
        {
            lock (_gate)
            {
                return new RouterReport(_requests, _firstHeld, _perHeld, _bothHeld, _redone, TimeSpan.FromSeconds(_firstSeconds / Math.Max(1, _requests)),
                    TimeSpan.FromSeconds(_perTokenSeconds / Math.Max(1, _perTokenCount)), TimeSpan.FromSeconds(_waitSeconds / Math.Max(1, _requests)));
            }
        }
    }

    /// <inheritdoc/>
    public EngineStatistics Statistics
    {
        get
        {
            WorkerSlot<IPrefillWorker>[] prefill;
            WorkerSlot<IDecodeWorker>[] decode;
            lock (_gate) (prefill, decode) = (_prefill, _decode);
            EngineStatistics[] workers = [.. decode.Select(slot => slot.Worker.Statistics)];
            EngineStatistics[] all = [.. prefill.Select(slot => slot.Worker.Statistics).Concat(workers)];
            RouterReport report = Report;
            lock (_gate)
            {
                return new EngineStatistics
                {
                    Queued = _line.Count, Running = _active, Finished = _finished, Cancelled = _cancelled, PromptTokens = _prompt, CachedTokens = _cached, GeneratedTokens = _generated,
                    DraftedTokens = _drafted, AcceptedTokens = _accepted, Pages = all.Sum(s => s.Pages), PagesInUse = all.Sum(s => s.PagesInUse), PagesCached = all.Sum(s => s.PagesCached),
                    Preempted = all.Sum(s => s.Preempted), ExpertLoad = Sum(all, s => s.ExpertLoad), RecentExpertLoad = Sum(all, s => s.RecentExpertLoad),
                    DecodeStepSeconds = workers.Length == 0 ? 0 : workers.Max(s => s.DecodeStepSeconds), PromptTokensPerSecond = all.Sum(s => s.PromptTokensPerSecond),
                    DraftedSteps = workers.Sum(s => s.DraftedSteps), PlainSteps = workers.Sum(s => s.PlainSteps), SpeculationGain = workers.Length == 0 ? 0 : workers.Max(s => s.SpeculationGain),
                    PagesOnDisk = all.Sum(s => s.PagesOnDisk), Goals = report,
                };
            }
        }
    }

    /// <summary>Tokens came: times are kept, and a goal moves how many texts the worker writes at once.</summary>
    void Generated(Ticket ticket, WorkerSlot<IDecodeWorker> slot, int count, bool redone)
    {
        if (count == 0) return;
        lock (_gate)
        {
            long now = Stopwatch.GetTimestamp();
            ticket.Generated += count;
            ticket.Last = now;
            if (ticket.First == 0)
            {
                (ticket.First, ticket.MarkTime, ticket.MarkCount) = (now, now, ticket.Generated);
                EndPending(ticket);
                if (!redone) ticket.Learn?.Invoke(Stopwatch.GetElapsedTime(ticket.Taken, now).TotalSeconds);
                return;
            }

            if (ticket.Generated - ticket.MarkCount >= TokensPerMark) Mark(ticket, slot, now);
        }
    }

    /// <summary>A text is over.</summary>
    void Finish(Ticket ticket, WorkerSlot<IDecodeWorker> slot, TokenUsage usage)
    {
        lock (_gate)
        {
            _finished++;
            _requests++;
            _cached += usage.CachedTokens;
            _generated += usage.GeneratedTokens;
            _drafted += usage.DraftedTokens;
            _accepted += usage.AcceptedTokens;
            _share.Charge(ticket.Owner, 2 * usage.GeneratedTokens);
            double first = ticket.First == 0 ? 0 : Stopwatch.GetElapsedTime(ticket.Taken, ticket.First).TotalSeconds;
            _firstSeconds += first;
            _waitSeconds += Stopwatch.GetElapsedTime(ticket.Entered, ticket.Taken).TotalSeconds;
            bool firstHeld = _options.TimeToFirstToken is not TimeSpan goal || first <= goal.TotalSeconds, perHeld = true;
            long now = Stopwatch.GetTimestamp();
            if (_lastFinish != 0 && _line.Count > 0) _secondsPerRequest += 0.2 * (Math.Min(600, Stopwatch.GetElapsedTime(_lastFinish, now).TotalSeconds) - _secondsPerRequest);
            _lastFinish = now;
            if (ticket.Generated > 1 && ticket.Last > ticket.First)
            {
                double seconds = Stopwatch.GetElapsedTime(ticket.First, ticket.Last).TotalSeconds / (ticket.Generated - 1);
                _perTokenSeconds += seconds;
                _perTokenCount++;
                perHeld = _options.TimePerOutputToken is not TimeSpan each || seconds <= each.TotalSeconds;
                Mark(ticket, slot, ticket.Last);
            }

            if (firstHeld) _firstHeld++;
            if (perHeld) _perHeld++;
            if (firstHeld && perHeld) _bothHeld++;
        }
    }

    /// <summary>Learns the worker's time per token. Texts at once: up by one while there is room below the goal, down by a fifth above it.</summary>
    void Mark(Ticket ticket, WorkerSlot<IDecodeWorker> slot, long now)
    {
        int count = ticket.Generated - ticket.MarkCount;
        if (count == 0) return;
        double seconds = Stopwatch.GetElapsedTime(ticket.MarkTime, now).TotalSeconds / count;
        (ticket.MarkTime, ticket.MarkCount) = (now, ticket.Generated);
        slot.SecondsPerToken = slot.SecondsPerToken == 0 ? seconds : slot.SecondsPerToken + (0.3 * (seconds - slot.SecondsPerToken));
        if (_options.TimePerOutputToken is not TimeSpan goal) return;
        if (slot.SecondsPerToken > goal.TotalSeconds) slot.Limit = Math.Max(1, slot.Limit * 0.8);
        else if (slot.SecondsPerToken < 0.85 * goal.TotalSeconds && slot.Requests >= Math.Floor(slot.Limit)) slot.Limit = Math.Min(slot.Worker.MostRequests, slot.Limit + 1);
    }

    static List<IReadOnlyList<T>> Sum<T>(EngineStatistics[] workers, Func<EngineStatistics, IReadOnlyList<IReadOnlyList<T>>> loads)
        where T : struct, System.Numerics.INumber<T>
    {
        // A worker that was not heard of yet has no load.
        var all = workers.Select(loads).Where(load => load.Count > 0).ToList();
        var sum = new List<IReadOnlyList<T>>();
        for (int layer = 0; all.Count > 0 && layer < all.Min(load => load.Count); layer++)
        {
            var experts = new T[all[0][layer].Count];
            foreach (IReadOnlyList<IReadOnlyList<T>> load in all)
                for (int e = 0; e < experts.Length && e < load[layer].Count; e++) experts[e] += load[layer][e];
            sum.Add(experts);
        }

        return sum;
    }
}
