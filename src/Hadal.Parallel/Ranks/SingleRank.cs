namespace Hadal.Parallel.Ranks;

/// <summary>A group of one rank: what it sends itself is copied.</summary>
public sealed unsafe class SingleRank() : ProcessGroup(0, 1)
{
    /// <inheritdoc/>
    public override string Transport => "one rank";

    /// <inheritdoc/>
    public override int WorldRank(int rank) => 0;

    /// <inheritdoc/>
    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        int send = -1;
        foreach (ref readonly Transfer receive in batch)
        {
            if (receive.IsSend) continue;
            do send++;
            while (send < batch.Length && !batch[send].IsSend);
            if (send == batch.Length || batch[send].Bytes != receive.Bytes)
                throw new RankLostException(-1, $"Rank 0 was told to {receive.Words} itself and sends nothing of that size.");
            Buffer.MemoryCopy((void*)batch[send].Address, (void*)receive.Address, receive.Bytes, receive.Bytes);
        }
    }

    /// <inheritdoc/>
    protected override ProcessGroup CreatePart(int split, int color, int[] members) => new SingleRank();
}
