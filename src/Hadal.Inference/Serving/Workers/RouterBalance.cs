namespace Hadal.Inference.Serving.Workers;

/// <summary>What a router knows of one worker. Guarded by the router's lock.</summary>
sealed class WorkerSlot<T>(T worker)
    where T : IWorker
{
    public T Worker { get; } = worker;

    /// <summary>Requests it has.</summary>
    public int Requests { get; set; }

    /// <summary>Tokens it has: to be computed (prefill), or held in its cache (decode).</summary>
    public double Tokens { get; set; }

    /// <summary>Attention work it has: each token reads all before it, so n·(n + 1)/2 for a prompt of n.</summary>
    public double Work { get; set; }

    /// <summary>Tokens of prompts whose first token is still to come.</summary>
    public double Pending { get; set; }

    /// <summary>Requests it is given at most, moved by the goal.</summary>
    public double Limit { get; set; } = worker.MostRequests;

    /// <summary>Prompt tokens that got their first token a second, as measured from the moment requests were taken; 0 before the first.</summary>
    public double Speed { get; set; }

    /// <summary>Seconds per token of a text, as measured; 0 before the first.</summary>
    public double SecondsPerToken { get; set; }

    /// <summary>Until when it is left alone, in <see cref="Environment.TickCount64"/>.</summary>
    public long AloneUntil { get; set; }

    public bool IsAlive => Environment.TickCount64 >= AloneUntil && Worker.IsAvailable;

    /// <summary>Whether a prompt would get its first token in time, behind those that wait for theirs. One alone always may.</summary>
    public bool Keeps(TimeSpan goal, double tokens) => Pending == 0 || (Speed > 0 && (Pending + tokens) / Speed <= goal.TotalSeconds);

    /// <summary>Learns from a first token.</summary>
    /// <param name="tokens">Of the prompt.</param>
    /// <param name="ahead">Of those before it when it was taken.</param>
    /// <param name="seconds">From then on.</param>
    public void Learn(double tokens, double ahead, double seconds)
    {
        double speed = (tokens + ahead) / Math.Max(1e-6, seconds);
        Speed = Speed == 0 ? speed : Speed + (0.2 * (speed - Speed));
    }
}

/// <summary>Which worker a request goes to [inference spec §5]. Pure functions of loads.</summary>
static class RouterBalance
{
    /// <summary>Prefill: tokens and attention work are both kept even.</summary>
    public static WorkerSlot<T>? ForPrefill<T>(IReadOnlyList<WorkerSlot<T>> workers, double tokens, double work)
        where T : IWorker => Least(workers, static slot => true, slot => slot.Tokens + tokens, slot => slot.Work + work);

    /// <summary>Decode: use of the cache and requests are both kept even, and no worker gets more than its limit.</summary>
    public static WorkerSlot<T>? ForDecode<T>(IReadOnlyList<WorkerSlot<T>> workers, double tokens)
        where T : IWorker => Least(workers, static slot => slot.Requests < Math.Max(1, Math.Floor(slot.Limit)), slot => slot.Tokens + tokens, slot => slot.Requests + 1);

    // The larger of both shares of what all have decides; the first of equals.
    static WorkerSlot<T>? Least<T>(IReadOnlyList<WorkerSlot<T>> workers, Func<WorkerSlot<T>, bool> may, Func<WorkerSlot<T>, double> first, Func<WorkerSlot<T>, double> second)
        where T : IWorker
    {
        double allFirst = workers.Sum(first), allSecond = workers.Sum(second), best = double.PositiveInfinity;
        WorkerSlot<T>? chosen = null;
        foreach (WorkerSlot<T> slot in workers)
        {
            if (!slot.IsAlive || !may(slot)) continue;
            double share = Math.Max(first(slot) / Math.Max(1, allFirst), second(slot) / Math.Max(1, allSecond));
            if (share >= best) continue;
            best = share;
            chosen = slot;
        }

        return chosen;
    }
}
