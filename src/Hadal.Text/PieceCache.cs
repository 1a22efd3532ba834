using System.Runtime.InteropServices;

namespace Hadal.Text;

/// <summary>
/// Remembers the ids of short pieces. Bounded (<see cref="Slots"/> entries of at most <see cref="LongestPiece"/> bytes) and free of locks: an entry never changes
/// after it was published, so a reader sees all of one entry or none. A newer piece replaces an older one in its slot; that changes the speed, never the ids.
/// </summary>
sealed class PieceCache
{
    /// <summary>Entries: 2^15, about 5 MB when full.</summary>
    const int Slots = 1 << 15;

    /// <summary>Longer pieces are not remembered.</summary>
    public const int LongestPiece = 48;

    sealed class Entry(byte[] piece, int[] ids)
    {
        public readonly byte[] Piece = piece;
        public readonly int[] Ids = ids;
    }

    readonly Entry?[] _entries = new Entry?[Slots];

    /// <summary>The ids of a piece, or an empty span.</summary>
    public ReadOnlySpan<int> Find(ReadOnlySpan<byte> piece, uint hash)
    {
        Entry? entry = Volatile.Read(ref _entries[hash & (Slots - 1)]);
        if (entry is not null && piece.SequenceEqual(entry.Piece)) return entry.Ids;
        entry = Volatile.Read(ref _entries[(hash & (Slots - 1)) ^ 1]);
        return entry is not null && piece.SequenceEqual(entry.Piece) ? entry.Ids : default;
    }

    /// <summary>Remembers the ids of a piece.</summary>
    public void Add(ReadOnlySpan<byte> piece, uint hash, ReadOnlySpan<int> ids)
    {
        uint slot = hash & (Slots - 1);
        if (Volatile.Read(ref _entries[slot]) is not null && Volatile.Read(ref _entries[slot ^ 1]) is null) slot ^= 1;
        Volatile.Write(ref _entries[slot], new Entry(piece.ToArray(), ids.ToArray()));
    }

    /// <summary>A hash of a piece; collisions cost time only.</summary>
    public static uint Hash(ReadOnlySpan<byte> piece)
    {
        ulong hash = (ulong)piece.Length * 0x9E3779B97F4A7C15;
        while (piece.Length >= 8)
        {
            hash = Mix(hash ^ MemoryMarshal.Read<ulong>(piece));
            piece = piece[8..];
        }
        ulong tail = 0;
        if (piece.Length >= 4)
        {
            tail = MemoryMarshal.Read<uint>(piece);
            piece = piece[4..];
        }
        foreach (byte value in piece) tail = (tail << 8) | value;
        hash = Mix(hash ^ tail);
        return (uint)(hash >> 32);
    }

    static ulong Mix(ulong value)
    {
        value *= 0xD6E8FEB86659FD93;
        return value ^ (value >> 32);
    }
}
