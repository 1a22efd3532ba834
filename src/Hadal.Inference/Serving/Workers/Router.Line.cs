using System.Diagnostics;

namespace Hadal.Inference.Serving.Workers;

/// <summary>Who waits, who is taken, and which workers are held for whom.</summary>
public sealed partial class Router
{
    readonly List<Ticket> _line = [];
    readonly FairShare _share = new();
    int _active;

    /// <summary>One request on its way. Guarded by the router's lock.</summary>
    sealed class Ticket(string owner, int tokens)
    {
        public string Owner { get; } = owner;
        public int Tokens { get; } = tokens;
        public TaskCompletionSource Admitted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        public WorkerSlot<IDecodeWorker>? Decode { get; set; }
        public WorkerSlot<IPrefillWorker>? Prefill { get; set; }
        public double DecodeTokens { get; set; }
        public double PrefillTokens { get; set; }

        // Where the tokens of the prompt are pending, until the first token.
        public Action<double>? AddPending { get; set; }
        public Action<double>? Learn { get; set; }
        public long Entered { get; } = Stopwatch.GetTimestamp();
        public long Taken { get; set; }
        public long First { get; set; }
        public long Last { get; set; }
        public long MarkTime { get; set; }
        public int MarkCount { get; set; }
        public int Generated { get; set; }

        // Its worker took nothing more; not guarded, for its own caller alone looks at it.
        public bool IsBusy { get; set; }
    }

    void Enter(Ticket ticket)
    {
        lock (_gate)
        {
            if (_draining) throw new EngineStoppingException($"The router of {Model.Name} is shutting down and takes no new request.");
            _places.Enter(ticket.Owner, _secondsPerRequest);
            _share.Come(ticket.Owner);
            _line.Add(ticket);
        }

        Admit();
    }

    (int Place, TimeSpan Wait) PlaceOf(Ticket ticket)
    {
        lock (_gate)
        {
            // Before it: those of owners with fewer tokens, and earlier ones of owners with as many. 0: it is in line no more.
            int index = _line.IndexOf(ticket);
            if (index < 0) return (0, TimeSpan.Zero);
            double served = _share.Of(ticket.Owner);
            int place = 1;
            for (int i = 0; i < _line.Count; i++)
            {
                double other = _share.Of(_line[i].Owner);
                if (other < served || (other == served && i < index)) place++;
            }

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
                Ticket next = _line.MinBy(t => _share.Of(t.Owner))!;
                WorkerSlot<IDecodeWorker>? decode = RouterBalance.ForDecode(_decode, next.Tokens);
                WorkerSlot<IPrefillWorker>? prefill = RouterBalance.ForPrefill(_prefill, next.Tokens, AttentionWork(next.Tokens));
                if (_active > 0 && !MayStart(next, prefill, decode)) return;
                _line.Remove(next);
                _places.Leave(next.Owner);
                _active++;
                _share.Charge(next.Owner, next.Tokens);
                _prompt += next.Tokens;
                next.Taken = Stopwatch.GetTimestamp();
                HoldDecode(next, decode, next.Tokens);
                HoldPrefill(next, prefill, next.Tokens);
                if (prefill is not null) Pend(next, prefill);
                else if (decode is not null) Pend(next, decode);
                next.Admitted.TrySetResult();
            }
        }
    }

    bool MayStart(Ticket ticket, WorkerSlot<IPrefillWorker>? prefill, WorkerSlot<IDecodeWorker>? decode)
    {
        if (decode is null) return false;
        if (_options.TimeToFirstToken is not TimeSpan goal) return true;
        return prefill is not null ? prefill.Keeps(goal, ticket.Tokens) : decode.Keeps(goal, ticket.Tokens);
    }

    static void Pend<T>(Ticket ticket, WorkerSlot<T> slot)
        where T : IWorker
    {
        double ahead = slot.Pending;
        slot.Pending += ticket.Tokens;
        ticket.AddPending = tokens => slot.Pending = Math.Max(0, slot.Pending + tokens);
        ticket.Learn = seconds => slot.Learn(ticket.Tokens, ahead, seconds);
    }

    static void EndPending(Ticket ticket)
    {
        ticket.AddPending?.Invoke(-ticket.Tokens);
        ticket.AddPending = null;
    }

    /// <summary>The decode worker of a request: the one held since it was taken, or another where that one failed; null when none is there.</summary>
    WorkerSlot<IDecodeWorker>? HeldDecode(Ticket ticket, double tokens)
    {
        lock (_gate)
        {
            if (ticket.Decode is not { IsAlive: true })
            {
                LetGoOfDecode(ticket);
                HoldDecode(ticket, RouterBalance.ForDecode(_decode, tokens) ?? _decode.Where(s => s.IsAlive).MinBy(s => s.Requests), tokens);
            }

            return ticket.Decode;
        }
    }

    /// <summary>The prefill worker of a request: the one held since it was taken, or another; null when none is there.</summary>
    WorkerSlot<IPrefillWorker>? HeldPrefill(Ticket ticket, double tokens)
    {
        lock (_gate)
        {
            if (ticket.Prefill is not { IsAlive: true })
            {
                LetGoOfPrefill(ticket, keepPending: true);
                HoldPrefill(ticket, RouterBalance.ForPrefill(_prefill, tokens, AttentionWork(tokens)), tokens);
            }

            return ticket.Prefill;
        }
    }

    static double AttentionWork(double tokens) => tokens * (tokens + 1) / 2;

    static void HoldDecode(Ticket ticket, WorkerSlot<IDecodeWorker>? slot, double tokens)
    {
        ticket.Decode = slot;
        if (slot is null) return;
        ticket.DecodeTokens = tokens;
        slot.Requests++;
        slot.Tokens += tokens;
    }

    static void HoldPrefill(Ticket ticket, WorkerSlot<IPrefillWorker>? slot, double tokens)
    {
        ticket.Prefill = slot;
        if (slot is null) return;
        ticket.PrefillTokens = tokens;
        slot.Requests++;
        slot.Tokens += tokens;
        slot.Work += AttentionWork(tokens);
    }

    static void LetGoOfDecode(Ticket ticket)
    {
        if (ticket.Decode is not { } slot) return;
        slot.Requests--;
        slot.Tokens -= ticket.DecodeTokens;
        ticket.Decode = null;
    }

    static void LetGoOfPrefill(Ticket ticket, bool keepPending)
    {
        if (!keepPending) EndPending(ticket);
        if (ticket.Prefill is not { } slot) return;
        slot.Requests--;
        slot.Tokens -= ticket.PrefillTokens;
        slot.Work -= AttentionWork(ticket.PrefillTokens);
        ticket.Prefill = null;
    }

    void LeaveAlone<T>(WorkerSlot<T> slot)
        where T : IWorker => slot.AloneUntil = Environment.TickCount64 + (long)_options.RetryAfter.TotalMilliseconds;

    void Exit(Ticket ticket, bool cancelled)
    {
        lock (_gate)
        {
            if (_line.Remove(ticket)) _places.Leave(ticket.Owner);
            else _active--;
            LetGoOfPrefill(ticket, keepPending: false);
            LetGoOfDecode(ticket);
            _share.Leave(ticket.Owner);
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
}
