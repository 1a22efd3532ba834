using System.Numerics;
using System.Runtime.InteropServices;

namespace Hadal.Text;

/// <summary>A piece of a document in a row.</summary>
/// <param name="Document">Index of the document.</param>
/// <param name="Offset">First token of the piece in the document.</param>
/// <param name="Length">Number of tokens.</param>
[StructLayout(LayoutKind.Auto)]
public readonly record struct PackedPiece(int Document, int Offset, int Length);

/// <summary>Documents packed into rows.</summary>
public sealed class PackedRows
{
    readonly PackedPiece[] _pieces;
    readonly int[] _starts;

    internal PackedRows(int rowLength, PackedPiece[] pieces, int[] starts, int documents, int splitDocuments)
    {
        RowLength = rowLength;
        _pieces = pieces;
        _starts = starts;
        Documents = documents;
        SplitDocuments = splitDocuments;
        Tokens = pieces.Sum(piece => (long)piece.Length);
    }

    /// <summary>Tokens that fit in a row.</summary>
    public int RowLength { get; }

    /// <summary>Number of rows.</summary>
    public int Count => _starts.Length - 1;

    /// <summary>Documents that had at least one token.</summary>
    public int Documents { get; }

    /// <summary>Documents in more than one piece: only those longer than a row.</summary>
    public int SplitDocuments { get; }

    /// <summary>Tokens in all rows together: all tokens of all documents.</summary>
    public long Tokens { get; }

    /// <summary>Share of the rows that holds tokens; the rest is padding. 1 when there are no rows.</summary>
    public double Efficiency => Count == 0 ? 1 : Tokens / ((double)Count * RowLength);

    /// <summary>The pieces of a row in order; their lengths sum to at most <see cref="RowLength"/>.</summary>
    public ReadOnlySpan<PackedPiece> this[int row] => _pieces.AsSpan(_starts[row], _starts[row + 1] - _starts[row]);
}

/// <summary>
/// Packs documents into rows of equal length without cutting any that fits [V3 §4.1 "document packing"; Ding et al. 2024, best-fit packing]: documents
/// longer than a row are cut into whole rows and a rest; then pieces, longest first, each go where they leave the least room.
/// </summary>
/// <remarks>
/// Deterministic: equal lengths keep the order of documents, and among rows with equal room the one that got its room last is taken. Time is linear in pieces and row length:
/// lengths are sorted by counting, and a bit set over the possible rooms finds the best fit in a few steps.
/// </remarks>
public static class BestFitPacker
{
    /// <summary>Most tokens in a row: 2^24.</summary>
    public const int LongestRow = 1 << 24;

    /// <summary>Packs documents.</summary>
    /// <param name="lengths">Tokens of each document; a document without tokens is left out.</param>
    /// <param name="rowLength">Tokens in a row, at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">A length is negative or the row has no room.</exception>
    public static PackedRows Pack(ReadOnlySpan<int> lengths, int rowLength)
    {
        if (rowLength is < 1 or > LongestRow) throw new ArgumentOutOfRangeException(nameof(rowLength), rowLength, $"A row must have room for 1 to {LongestRow} tokens.");
        PackedPiece[] pieces = SortedPieces(lengths, rowLength, out int documents, out int splitDocuments);
        int[] rows = Assign(pieces, rowLength, out int count);

        // Rows in order, each with its pieces in the order in which they were placed: a counting sort by row.
        int[] starts = new int[count + 1];
        foreach (int row in rows) starts[row + 1]++;
        for (int row = 0; row < count; row++) starts[row + 1] += starts[row];
        int[] next = starts.AsSpan(0, count).ToArray();
        var placed = new PackedPiece[pieces.Length];
        for (int i = 0; i < pieces.Length; i++) placed[next[rows[i]]++] = pieces[i];
        return new PackedRows(rowLength, placed, starts, documents, splitDocuments);
    }

    /// <summary>Pieces of at most one row, longest first, equal ones in the order of documents.</summary>
    static PackedPiece[] SortedPieces(ReadOnlySpan<int> lengths, int rowLength, out int documents, out int splitDocuments)
    {
        var pieces = new List<PackedPiece>(lengths.Length);
        documents = 0;
        splitDocuments = 0;
        for (int document = 0; document < lengths.Length; document++)
        {
            int length = lengths[document];
            if (length < 0) throw new ArgumentOutOfRangeException(nameof(lengths), length, $"Document {document} has a negative length.");
            if (length > 0) documents++;
            if (length > rowLength) splitDocuments++;
            for (int offset = 0; offset < length; offset += Math.Min(rowLength, length - offset))
                pieces.Add(new(document, offset, Math.Min(rowLength, length - offset)));
        }
        int[] starts = new int[rowLength + 2];
        foreach (PackedPiece piece in pieces) starts[rowLength - piece.Length + 1]++;
        for (int i = 0; i <= rowLength; i++) starts[i + 1] += starts[i];
        var sorted = new PackedPiece[pieces.Count];
        foreach (PackedPiece piece in pieces) sorted[starts[rowLength - piece.Length]++] = piece;
        return sorted;
    }

    /// <summary>The row of each piece.</summary>
    static int[] Assign(PackedPiece[] pieces, int rowLength, out int count)
    {
        int[] rows = new int[pieces.Length];
        int[] newest = new int[rowLength + 1]; // by room: the row that got this room last, or −1
        Array.Fill(newest, -1);
        var older = new List<int>(); // by row: the row that had the same room before it
        var rooms = new RoomSet(rowLength + 1);
        for (int i = 0; i < pieces.Length; i++)
        {
            int length = pieces[i].Length;
            int room = rooms.FirstFrom(length);
            int row;
            if (room < 0)
            {
                row = older.Count;
                older.Add(-1);
                room = rowLength;
            }
            else
            {
                row = newest[room];
                newest[room] = older[row];
                if (newest[room] < 0) rooms.Remove(room);
            }
            rows[i] = row;
            int left = room - length;
            if (left == 0) continue;
            older[row] = newest[left];
            newest[left] = row;
            rooms.Add(left);
        }
        count = older.Count;
        return rows;
    }

    /// <summary>A set of small numbers with a quick search for the next member: a tree of 64-bit words, each bit of a level saying whether a word below has members.</summary>
    sealed class RoomSet
    {
        readonly ulong[][] _levels;

        public RoomSet(int size)
        {
            var levels = new List<ulong[]>();
            do
            {
                size = (size + 63) >> 6;
                levels.Add(new ulong[size]);
            }
            while (size > 1);
            _levels = [.. levels];
        }

        public void Add(int member)
        {
            foreach (ulong[] level in _levels)
            {
                level[member >> 6] |= 1ul << member;
                member >>= 6;
            }
        }

        public void Remove(int member)
        {
            foreach (ulong[] level in _levels)
            {
                level[member >> 6] &= ~(1ul << member);
                if (level[member >> 6] != 0) return;
                member >>= 6;
            }
        }

        /// <summary>The smallest member from a number on, or −1.</summary>
        public int FirstFrom(int number)
        {
            for (int level = 0; level < _levels.Length; level++)
            {
                int word = number >> 6;
                if (word >= _levels[level].Length) return -1;
                ulong members = _levels[level][word] & (ulong.MaxValue << number);
                if (members != 0)
                {
                    int found = (word << 6) | BitOperations.TrailingZeroCount(members);
                    while (level-- > 0) found = (found << 6) | BitOperations.TrailingZeroCount(_levels[level][found]);
                    return found;
                }
                number = word + 1;
            }
            return -1;
        }
    }
}
