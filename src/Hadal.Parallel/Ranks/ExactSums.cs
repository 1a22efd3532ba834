using Hadal.Tensors;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// Sums whose order cannot matter: whole numbers, and values that all ranks but one leave at zero. Along a binomial tree, so a rank sends ⌈log₂ size⌉ messages at most.
/// </summary>
public static class ExactSums
{
    /// <summary>Every rank gets the sums.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="values">F64 [n]; each rank's own, the sums afterwards. Whole numbers below 2^53 in size, or zero on all ranks but one.</param>
    /// <param name="room">F64 [n], overwritten.</param>
    public static void All(ProcessGroup group, Tensor values, Tensor room)
    {
        int rank = group.Rank;
        for (int distance = 1; distance < group.Size; distance *= 2)
        {
            if (rank % (2 * distance) == distance)
            {
                group.Send(rank - distance, values);
                break;
            }

            if (rank + distance >= group.Size) continue;
            group.Receive(rank + distance, room);
            Span<double> sums = values.AsSpan<double>();
            ReadOnlySpan<double> more = room.AsSpan<double>();
            for (int i = 0; i < sums.Length; i++) sums[i] += more[i];
        }

        group.Broadcast(0, values);
    }
}
