namespace Hadal.Kernels.Interpreter;

/// <summary>
/// What an agent knows to have happened: for each warp of the cluster the time up to which its accesses are ordered before now, the time up to which its stores are
/// also fenced for the asynchronous proxy, and the set of finished asynchronous operations.
/// </summary>
sealed class Clock(int warps)
{
    public int[] Time { get; } = new int[warps];

    public int[] Fenced { get; } = new int[warps];

    ulong[] _finished = new ulong[4];

    public bool Knows(in Access access) => access.Operation >= 0 ? HasFinished(access.Operation) : Time[access.Warp] >= access.Time;

    public bool HasFinished(int operation) => operation >> 6 < _finished.Length && (_finished[operation >> 6] >> (operation & 63) & 1) != 0;

    public void Finish(int operation)
    {
        if (operation >> 6 >= _finished.Length) Array.Resize(ref _finished, Math.Max(2 * _finished.Length, (operation >> 6) + 1));
        _finished[operation >> 6] |= 1UL << (operation & 63);
    }

    public void Join(Clock other)
    {
        for (int i = 0; i < Time.Length; i++)
        {
            Time[i] = Math.Max(Time[i], other.Time[i]);
            Fenced[i] = Math.Max(Fenced[i], other.Fenced[i]);
        }

        if (_finished.Length < other._finished.Length) Array.Resize(ref _finished, other._finished.Length);
        for (int i = 0; i < other._finished.Length; i++) _finished[i] |= other._finished[i];
    }

    public Clock Copy()
    {
        var copy = new Clock(Time.Length);
        copy.Join(this);
        return copy;
    }
}

/// <summary>An access of shared memory: by a warp at its time, or by an asynchronous operation (then Operation ≥ 0).</summary>
/// <param name="Warp">Index of the warp in its cluster.</param>
/// <param name="Time">The warp's time.</param>
/// <param name="Operation">The asynchronous operation, or −1.</param>
/// <param name="Line">The line that recorded it.</param>
/// <param name="What">The operation's word.</param>
/// <param name="Epoch">How often the lanes of the warp had met.</param>
readonly record struct Access(int Warp, int Time, int Operation, Ir.SourceLine Line, string What, int Epoch = 0);
