using Hadal.Tensors;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// Sums over ranks along one fixed binary tree over their index: neighbours at distance 1 are added, earlier first, then at distance 2, 4 and so on. It is
/// the tree in which micro-batches are added, so ranks that own aligned runs of micro-batches arrive at the bits of one rank. Bytes travel once; the
/// arithmetic is <see cref="IOperations"/>' own, on whichever rank owns a piece.
/// </summary>
public static class TreeSum
{
    /// <summary>Adds the rows of <paramref name="pieces"/> along the tree; the sum is row 0, the other rows are used up.</summary>
    /// <param name="operations">Adds.</param>
    /// <param name="pieces">[ranks, elements].</param>
    public static void Rows(IOperations operations, Tensor pieces)
    {
        for (int distance = 1; distance < pieces.Rows; distance *= 2)
            for (int row = 0; row + distance < pieces.Rows; row += 2 * distance)
                operations.Elementwise.Add(pieces.Slice(row, 1), pieces.Slice(row + distance, 1), pieces.Slice(row, 1));
    }

    /// <summary>Each rank gets the sum of its own piece: rank r's is elements Σ lengths[0..r) to Σ lengths[0..r].</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="operations">Adds.</param>
    /// <param name="values">[Σ lengths], each rank's own addends.</param>
    /// <param name="lengths">Elements of each rank's piece; 0 for none.</param>
    /// <param name="room">[at least size × lengths[Rank]], overwritten; the sum is its first lengths[Rank] elements.</param>
    /// <returns>The summed piece, a view of <paramref name="room"/>.</returns>
    public static Tensor Scatter(ProcessGroup group, IOperations operations, Tensor values, ReadOnlySpan<int> lengths, Tensor room)
    {
        int mine = lengths[group.Rank];
        Span<int> receive = stackalloc int[Math.Min(group.Size, 1024)];
        if (group.Size > receive.Length) receive = new int[group.Size];
        receive.Fill(mine);
        group.AllToAll(values, lengths, room, receive);
        if (mine == 0) return room.Slice(0, 0);
        Rows(operations, room.Slice(0, group.Size * mine).Reshape(group.Size, mine));
        return room.Slice(0, mine);
    }

    /// <summary>Every rank gets the sum of everything.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="operations">Adds.</param>
    /// <param name="values">[elements], each rank's own addends; the sum afterwards.</param>
    /// <param name="room">[at least elements + size²], overwritten.</param>
    public static void All(ProcessGroup group, IOperations operations, Tensor values, Tensor room)
    {
        int elements = checked((int)values.Length), size = group.Size;
        Span<int> lengths = stackalloc int[Math.Min(size, 1024)];
        if (size > lengths.Length) lengths = new int[size];
        for (int rank = 0; rank < size; rank++) lengths[rank] = elements / size + (rank < elements % size ? 1 : 0);
        Tensor piece = Scatter(group, operations, values, lengths, room);
        group.AllGather(piece, values, lengths);
    }
}
