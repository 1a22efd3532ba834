using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Interpreter;

/// <summary>An mbarrier: a phase ends when all arrivals have come and all announced bytes have.</summary>
sealed class PhaseBarrier(int count, Access initialized, int warps)
{
    readonly Clock _gathering = new(warps);

    public int Count { get; } = count;

    public Access Initialized { get; } = initialized;

    public bool Fenced { get; set; }

    public int Phase { get; private set; }

    public int Arrivals { get; private set; } = count;

    public long PendingBytes { get; private set; }

    public Clock Completed { get; } = new(warps);

    public bool HasEnded(uint parity) => (Phase & 1) != (parity & 1);

    public void Expect(long bytes) => PendingBytes += bytes;

    /// <summary>One arrival that brings what the arriving agent knows. False when the phase has had all its arrivals.</summary>
    public bool Arrive(Clock clock)
    {
        if (Arrivals == 0) return false;
        Arrivals--;
        _gathering.Join(clock);
        EndPhaseWhenDue();
        return true;
    }

    /// <summary>Bytes of an asynchronous copy have arrived; with the last of them the copy is finished for those who wait.</summary>
    public void Deliver(long bytes, int? finished)
    {
        PendingBytes -= bytes;
        if (finished is { } operation) _gathering.Finish(operation);
        EndPhaseWhenDue();
    }

    public string Describe(SourceLine line) =>
        $"phase {Phase}: {Count - Arrivals} of {Count} arrivals, {(PendingBytes == 0 ? "no bytes due" : PendingBytes > 0 ? $"{PendingBytes} announced bytes missing" : $"{-PendingBytes} bytes more than announced")} (set up at {Initialized.Line}, waited for at {line})";

    void EndPhaseWhenDue()
    {
        if (Arrivals != 0 || PendingBytes != 0) return;
        Completed.Join(_gathering);
        Phase++;
        Arrivals = Count;
    }
}

/// <summary>A named barrier, or the cluster's.</summary>
sealed class CountingBarrier(int warps)
{
    Clock _gathering = new(warps);

    public int Arrived { get; private set; }

    public int Generation { get; private set; }

    public Clock Released { get; } = new(warps);

    public void Arrive(Clock clock, int threads, int needed)
    {
        _gathering.Join(clock);
        Arrived += threads;
        if (Arrived < needed) return;
        Released.Join(_gathering);
        _gathering = new Clock(_gathering.Time.Length);
        Arrived = 0;
        Generation++;
    }
}
