using Hadal.Parallel.Ranks;

namespace Hadal.Training.Tests.Ranks;

/// <summary>Notes what a rank's thread has allocated whenever it gets or gives an order: between two of them lies all that a rank does in a step, and whatever follows it.</summary>
sealed class OrderNotes(ProcessGroup inner, long[] notes) : ProcessGroup(inner.Rank, inner.Size)
{
    const int OrderBytes = 64;
    int _count;

    /// <summary>Orders so far.</summary>
    internal int Count => _count;

    public override string Transport => inner.Transport;

    public override int WorldRank(int rank) => inner.WorldRank(rank);

    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        if (batch.Length == 1 && batch[0].Bytes == OrderBytes && _count < notes.Length) notes[_count++] = GC.GetAllocatedBytesForCurrentThread();
        inner.Exchange(batch);
    }

    protected override ProcessGroup CreatePart(int split, int color, int[] members) => inner.Split(color, Array.IndexOf(members, Rank))!;
}
