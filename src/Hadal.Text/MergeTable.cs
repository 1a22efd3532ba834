using System.Numerics;
using System.Runtime.CompilerServices;

namespace Hadal.Text;

/// <summary>
/// The merges of a byte-pair encoding: pair of token ids → rank and merged id. Open addressing with linear probing, at most half full; read-only once built.
/// </summary>
sealed class MergeTable
{
    struct Slot
    {
        public ulong Pair;
        public int Rank;
        public int Merged;
    }

    /// <summary>No pair: both halves would be id −1.</summary>
    const ulong Empty = ulong.MaxValue;

    readonly Slot[] _slots;
    readonly int _shift;

    /// <summary>Builds the table.</summary>
    /// <param name="left">Left ids by rank.</param>
    /// <param name="right">Right ids by rank.</param>
    /// <param name="merged">Merged ids by rank. When a pair occurs twice, its last rank counts.</param>
    public MergeTable(ReadOnlySpan<int> left, ReadOnlySpan<int> right, ReadOnlySpan<int> merged)
    {
        int capacity = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(16, left.Length * 2));
        _shift = 64 - BitOperations.Log2((uint)capacity);
        _slots = new Slot[capacity];
        foreach (ref Slot slot in _slots.AsSpan()) slot.Pair = Empty;
        for (int rank = 0; rank < left.Length; rank++)
        {
            ulong pair = Pack(left[rank], right[rank]);
            int place = Place(pair);
            while (_slots[place].Pair != Empty && _slots[place].Pair != pair) place = (place + 1) & (capacity - 1);
            _slots[place] = new Slot { Pair = pair, Rank = rank, Merged = merged[rank] };
        }
    }

    /// <summary>Rank of a pair, lower merges first, or <see cref="int.MaxValue"/> when it never merges.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Rank(int left, int right, out int merged)
    {
        ulong pair = Pack(left, right);
        Slot[] slots = _slots;
        int place = Place(pair);
        while (true)
        {
            ref readonly Slot slot = ref slots[place & (slots.Length - 1)];
            if (slot.Pair == pair)
            {
                merged = slot.Merged;
                return slot.Rank;
            }
            if (slot.Pair == Empty)
            {
                merged = -1;
                return int.MaxValue;
            }
            place++;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static ulong Pack(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    int Place(ulong pair) => (int)((pair * 0x9E3779B97F4A7C15) >> _shift);
}
