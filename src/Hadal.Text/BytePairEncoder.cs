using System.Buffers;
using System.Runtime.InteropServices;

namespace Hadal.Text;

/// <summary>
/// Byte-pair encoding of one piece: starting from single bytes, the adjacent pair of lowest rank (leftmost among equals) merges until none can
/// [Sennrich et al. 2016]. Short pieces scan all ranks; long ones keep candidates in a heap, O(n log n), so that a hostile run of a million letters stays cheap.
/// </summary>
sealed class BytePairEncoder(int[] byteIds, MergeTable merges)
{
    /// <summary>Up to this many bytes the quadratic scan of a few cache lines is faster than the heap.</summary>
    const int LongestScan = 64;

    readonly PieceCache _cache = new();

    /// <summary>Appends the ids of one piece.</summary>
    public void Encode(ReadOnlySpan<byte> piece, List<int> ids)
    {
        if (piece.Length == 1)
        {
            ids.Add(byteIds[piece[0]]);
            return;
        }
        if (piece.Length > LongestScan)
        {
            EncodeLong(piece, ids);
            return;
        }
        uint hash = 0;
        if (piece.Length <= PieceCache.LongestPiece)
        {
            hash = PieceCache.Hash(piece);
            ReadOnlySpan<int> known = _cache.Find(piece, hash);
            if (known.Length == 1)
            {
                ids.Add(known[0]);
                return;
            }
            if (!known.IsEmpty)
            {
                ids.AddRange(known);
                return;
            }
        }
        Span<int> symbols = stackalloc int[LongestScan];
        ReadOnlySpan<int> encoded = symbols[..EncodeShort(piece, symbols)];
        ids.AddRange(encoded);
        if (piece.Length <= PieceCache.LongestPiece) _cache.Add(piece, hash, encoded);
    }

    /// <summary>Encodes at most <see cref="LongestScan"/> bytes; returns the number of ids.</summary>
    int EncodeShort(ReadOnlySpan<byte> piece, Span<int> symbols)
    {
        Span<int> ranks = stackalloc int[LongestScan];
        int count = piece.Length;
        for (int i = 0; i < count; i++) symbols[i] = byteIds[piece[i]];
        for (int i = 0; i + 1 < count; i++) ranks[i] = merges.Rank(symbols[i], symbols[i + 1], out _);
        while (count > 1)
        {
            int best = 0;
            for (int i = 1; i < count - 1; i++)
                if (ranks[i] < ranks[best]) best = i;
            if (ranks[best] == int.MaxValue) break;
            merges.Rank(symbols[best], symbols[best + 1], out int merged);
            symbols[best] = merged;
            symbols[(best + 2)..count].CopyTo(symbols[(best + 1)..]);
            if (best + 2 < count) ranks[(best + 2)..(count - 1)].CopyTo(ranks[(best + 1)..]);
            count--;
            if (best > 0) ranks[best - 1] = merges.Rank(symbols[best - 1], merged, out _);
            if (best + 1 < count) ranks[best] = merges.Rank(merged, symbols[best + 1], out _);
        }
        return count;
    }

    void EncodeLong(ReadOnlySpan<byte> piece, List<int> ids)
    {
        int count = piece.Length;
        int[] rented = ArrayPool<int>.Shared.Rent(checked(count * 3));
        // Every merge removes a symbol and offers at most two new pairs.
        ulong[] heapRented = ArrayPool<ulong>.Shared.Rent(checked(count * 3));
        try
        {
            Span<int> symbols = rented.AsSpan(0, count);
            Span<int> next = rented.AsSpan(count, count);
            Span<int> previous = rented.AsSpan(2 * count, count);
            var heap = new MinimumHeap(heapRented);
            for (int i = 0; i < count; i++)
            {
                symbols[i] = byteIds[piece[i]];
                previous[i] = i - 1;
                next[i] = i + 1;
            }
            for (int i = 0; i + 1 < count; i++) Offer(ref heap, symbols, i, i + 1);
            while (heap.TryPop(out ulong lowest))
            {
                int position = (int)(uint)lowest;
                int rank = (int)(lowest >> 32);
                if (symbols[position] < 0 || next[position] >= count) continue;
                int other = next[position];
                // An entry is stale when a neighbour merged since it was offered.
                if (merges.Rank(symbols[position], symbols[other], out int merged) != rank) continue;
                symbols[position] = merged;
                symbols[other] = -1;
                int after = next[other];
                next[position] = after;
                if (after < count)
                {
                    previous[after] = position;
                    Offer(ref heap, symbols, position, after);
                }
                if (previous[position] >= 0) Offer(ref heap, symbols, previous[position], position);
            }
            int total = 0;
            for (int i = 0; i < count; i++)
                if (symbols[i] >= 0) symbols[total++] = symbols[i];
            int first = ids.Count;
            CollectionsMarshal.SetCount(ids, first + total);
            symbols[..total].CopyTo(CollectionsMarshal.AsSpan(ids)[first..]);
        }
        finally
        {
            ArrayPool<int>.Shared.Return(rented);
            ArrayPool<ulong>.Shared.Return(heapRented);
        }
    }

    void Offer(ref MinimumHeap heap, ReadOnlySpan<int> symbols, int left, int right)
    {
        int rank = merges.Rank(symbols[left], symbols[right], out _);
        if (rank != int.MaxValue) heap.Push(((ulong)(uint)rank << 32) | (uint)left);
    }
}
