using Hadal.Tensors;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// The ranks that work together, seen from one of them. A transport supplies one primitive, the batch of <see cref="Exchange"/>, and moves bytes; every
/// collective is made of it here. No transport adds: a training step adds its gradients on the ranks that own them along the tree over micro-batches,
/// from messages (docs/architecture.md §8). All members call the collectives in the same order. One thread at a time uses a group.
/// </summary>
public abstract unsafe class ProcessGroup : IDisposable
{
    readonly Transfer[] _batch;
    readonly byte[] _signal = new byte[2];
    bool _disposed;
    int _splits;

    /// <summary>A group of <paramref name="size"/> ranks.</summary>
    protected ProcessGroup(int rank, int size)
    {
        if (size < 1 || (uint)rank >= (uint)size) throw new ArgumentException($"Rank {rank} of a group of {size} was given; expected 0 to {size - 1}.", nameof(rank));
        Rank = rank;
        Size = size;
        _batch = new Transfer[2 * size];
    }

    /// <summary>This rank, from 0.</summary>
    public int Rank { get; }

    /// <summary>Number of ranks.</summary>
    public int Size { get; }

    /// <summary>What moves the bytes, for people.</summary>
    public abstract string Transport { get; }

    /// <summary>A member's index in the whole world; messages name ranks by it.</summary>
    public abstract int WorldRank(int rank);

    /// <summary>
    /// Runs a batch: all messages start together, in any order, and it returns when all have ended. The k-th send from one rank to another meets the k-th
    /// receive there, over all batches. A sent buffer may be used again afterwards.
    /// </summary>
    /// <exception cref="ArgumentException">A peer or a size is out of range.</exception>
    /// <exception cref="RankLostException">A rank was lost, or ranks wait for each other in a circle.</exception>
    public void Exchange(params ReadOnlySpan<Transfer> batch)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        foreach (ref readonly Transfer transfer in batch)
        {
            if ((uint)transfer.Peer >= (uint)Size) throw new ArgumentException($"Rank {Rank} was told to {transfer.Words} rank {transfer.Peer}; the group has ranks 0 to {Size - 1}.", nameof(batch));
            if (transfer.Bytes < 0 || (transfer.Bytes > 0 && transfer.Address == 0)) throw new ArgumentException($"Rank {Rank} was told to {transfer.Words} rank {transfer.Peer} at address {transfer.Address}.", nameof(batch));
        }

        Run(batch);
    }

    /// <summary>Sends a tensor and returns when it may be changed.</summary>
    public void Send(int peer, Tensor data) => Exchange(Transfer.Send(peer, data));

    /// <summary>Receives a tensor of the size that the peer sends.</summary>
    public void Receive(int peer, Tensor data) => Exchange(Transfer.Receive(peer, data));

    /// <summary>Returns when every rank has called it. ⌈log₂ size⌉ rounds of one byte.</summary>
    public void Barrier()
    {
        fixed (byte* signal = _signal)
        {
            for (int distance = 1; distance < Size; distance *= 2)
                Exchange(new(IsSend: true, (Rank + distance) % Size, (nint)signal, 1), new(IsSend: false, (Rank - distance + Size) % Size, (nint)(signal + 1), 1));
        }
    }

    /// <summary>Everyone gets the root's tensor, along a binomial tree.</summary>
    /// <param name="root">The rank that has it.</param>
    /// <param name="data">There the values, elsewhere where they go; the same size on all ranks.</param>
    public void Broadcast(int root, Tensor data)
    {
        Transfer whole = Transfer.Send(root, data);
        Broadcast(root, whole.Address, whole.Bytes);
    }

    void Broadcast(int root, nint address, long bytes)
    {
        int relative = (Rank - root + Size) % Size, reach = 1;
        while (reach < Size) reach *= 2;
        for (int distance = reach / 2; distance >= 1; distance /= 2)
        {
            if (relative % (2 * distance) == 0 && relative + distance < Size) Exchange(new Transfer(IsSend: true, (relative + distance + root) % Size, address, bytes));
            else if (relative % (2 * distance) == distance) Exchange(new Transfer(IsSend: false, (relative - distance + root) % Size, address, bytes));
        }
    }

    // Everyone's entry to everyone, up a binomial tree to rank 0 and down again.
    void Collect((int Color, int Key)[] all)
    {
        int entry = sizeof((int, int));
        fixed ((int, int)* first = all)
        {
            for (int distance = 1; distance < Size; distance *= 2)
            {
                if (Rank % (2 * distance) == distance)
                {
                    Exchange(new Transfer(IsSend: true, Rank - distance, (nint)(first + Rank), (long)entry * (Math.Min(Rank + distance, Size) - Rank)));
                    break;
                }

                int from = Rank + distance;
                if (from < Size) Exchange(new Transfer(IsSend: false, from, (nint)(first + from), (long)entry * (Math.Min(from + distance, Size) - from)));
            }

            Broadcast(0, (nint)first, (long)entry * Size);
        }
    }

    /// <summary>Sends <paramref name="sendRows"/>[p] rows to each rank p, in order of rank, and receives rows likewise. Either may be zero for any rank.</summary>
    /// <param name="send">[at least Σ sendRows, columns], contiguous.</param>
    /// <param name="sendRows">Rows for each rank.</param>
    /// <param name="receive">[at least Σ receiveRows, columns], contiguous; the rows of rank 0 come first.</param>
    /// <param name="receiveRows">Rows from each rank: what that rank says it sends here (<see cref="ExchangeCounts"/>).</param>
    public void AllToAll(Tensor send, ReadOnlySpan<int> sendRows, Tensor receive, ReadOnlySpan<int> receiveRows)
    {
        Require(send, sendRows, "send");
        Require(receive, receiveRows, "receive");
        int count = 0;
        long at = 0;
        for (int peer = 0; peer < Size; at += sendRows[peer++])
            if (sendRows[peer] > 0) _batch[count++] = Transfer.Send(peer, Rows(send, at, sendRows[peer]));
        at = 0;
        for (int peer = 0; peer < Size; at += receiveRows[peer++])
            if (receiveRows[peer] > 0) _batch[count++] = Transfer.Receive(peer, Rows(receive, at, receiveRows[peer]));
        Exchange(_batch.AsSpan(0, count));
    }

    /// <summary>Everyone tells everyone a number: theirs[p] = what rank p has in mine[this rank].</summary>
    public void ExchangeCounts(ReadOnlySpan<int> mine, Span<int> theirs)
    {
        if (mine.Length != Size || theirs.Length != Size) throw new ArgumentException($"{mine.Length} and {theirs.Length} counts were given; the group has {Size} ranks.", nameof(mine));
        fixed (int* send = mine, receive = theirs)
        {
            for (int peer = 0; peer < Size; peer++)
            {
                _batch[2 * peer] = new(IsSend: true, peer, (nint)(send + peer), sizeof(int));
                _batch[2 * peer + 1] = new(IsSend: false, peer, (nint)(receive + peer), sizeof(int));
            }

            Exchange(_batch);
        }
    }

    /// <summary>The root gets everyone's rows, in order of rank.</summary>
    /// <param name="root">Who gets them.</param>
    /// <param name="part">[rows[Rank], columns].</param>
    /// <param name="whole">[Σ rows, columns] on the root, not used elsewhere.</param>
    /// <param name="rows">Rows of each rank.</param>
    public void Gather(int root, Tensor part, Tensor whole, ReadOnlySpan<int> rows) => Collect(part, whole, rows, root, toEveryone: false);

    /// <summary>Everyone gets everyone's rows, in order of rank.</summary>
    /// <param name="part">[rows[Rank], columns].</param>
    /// <param name="whole">[Σ rows, columns].</param>
    /// <param name="rows">Rows of each rank.</param>
    public void AllGather(Tensor part, Tensor whole, ReadOnlySpan<int> rows) => Collect(part, whole, rows, Rank, toEveryone: true);

    /// <summary>Each rank gets its rows of the root's tensor.</summary>
    /// <param name="root">Who has them.</param>
    /// <param name="whole">[Σ rows, columns] on the root, not used elsewhere.</param>
    /// <param name="part">[rows[Rank], columns].</param>
    /// <param name="rows">Rows of each rank.</param>
    public void Scatter(int root, Tensor whole, Tensor part, ReadOnlySpan<int> rows)
    {
        int count = 0;
        if (Rank == root)
        {
            Require(whole, rows, "scatter");
            long at = 0;
            for (int peer = 0; peer < Size; at += rows[peer++])
                if (rows[peer] > 0) _batch[count++] = Transfer.Send(peer, Rows(whole, at, rows[peer]));
        }

        if (rows[Rank] > 0) _batch[count++] = Transfer.Receive(root, Rows(part, 0, rows[Rank]));
        Exchange(_batch.AsSpan(0, count));
    }

    /// <summary>
    /// Parts the group: ranks of one colour make a group, in order of key and then of rank. Every rank calls it.
    /// </summary>
    /// <param name="color">Which part; negative for none.</param>
    /// <param name="key">Order inside the part.</param>
    /// <returns>This rank's part, which it disposes; null for a negative colour.</returns>
    public ProcessGroup? Split(int color, int key)
    {
        int split = _splits++;
        (int Color, int Key)[] all = new (int, int)[Size];
        all[Rank] = (color, key);
        Collect(all);
        if (color < 0) return null;
        int[] members = [.. Enumerable.Range(0, Size).Where(rank => all[rank].Color == color).OrderBy(rank => all[rank].Key).ThenBy(rank => rank)];
        return CreatePart(split, color, members);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_disposed) Dispose(disposing: true);
        _disposed = true;
        GC.SuppressFinalize(this);
    }

    /// <summary>The first loss of the world that this rank knows of; null for none.</summary>
    internal virtual RankLostException? Loss => null;

    /// <summary>Tells the world that a rank was lost.</summary>
    /// <returns>The first loss, which everyone names.</returns>
    internal virtual RankLostException Lose(int rank, string reason) => new(rank, reason);

    /// <summary>Runs a batch whose peers and sizes are in range.</summary>
    protected abstract void Run(ReadOnlySpan<Transfer> batch);

    /// <summary>Makes this rank's view of a part.</summary>
    /// <param name="split">How many times this group was parted before: the same on all ranks.</param>
    /// <param name="color">Colour of the part.</param>
    /// <param name="members">Ranks of this group, in the order of the part.</param>
    protected abstract ProcessGroup CreatePart(int split, int color, int[] members);

    /// <summary>Lets the transport go.</summary>
    protected virtual void Dispose(bool disposing)
    {
    }

    void Collect(Tensor part, Tensor whole, ReadOnlySpan<int> rows, int root, bool toEveryone)
    {
        int count = 0;
        for (int peer = 0; peer < Size; peer++)
            if (rows[Rank] > 0 && (toEveryone || peer == root)) _batch[count++] = Transfer.Send(peer, Rows(part, 0, rows[Rank]));
        if (Rank == root)
        {
            Require(whole, rows, "gather");
            long at = 0;
            for (int peer = 0; peer < Size; at += rows[peer++])
                if (rows[peer] > 0) _batch[count++] = Transfer.Receive(peer, Rows(whole, at, rows[peer]));
        }

        Exchange(_batch.AsSpan(0, count));
    }

    // A vector is as many rows of one element.
    static Tensor Rows(Tensor tensor, long first, int count) => tensor.Rank <= 2 ? tensor.Slice(checked((int)first), count) : tensor.Reshape(tensor.Rows, tensor.Columns).Slice(checked((int)first), count);

    void Require(Tensor tensor, ReadOnlySpan<int> rows, string what)
    {
        long sum = 0;
        foreach (int count in rows)
        {
            if (count < 0) throw new ArgumentException($"Rank {Rank} was told to {what} {count} rows.", nameof(rows));
            sum += count;
        }

        long there = tensor.Rank == 1 ? tensor.Length : tensor.Rows;
        if (rows.Length != Size || sum > there)
            throw new ArgumentException($"Rank {Rank} was told to {what} {sum} rows for {rows.Length} ranks; the group has {Size} ranks and {tensor} has {there} rows.", nameof(rows));
    }
}
