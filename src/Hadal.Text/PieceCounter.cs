using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;

namespace Hadal.Text;

/// <summary>Counts how often each piece of the pre-tokenizer occurs in a corpus, on several threads. Sums do not depend on the order, so neither does the result.</summary>
static class PieceCounter
{
    /// <summary>Longer pieces are counted in slices of this many bytes, so that one word of a hostile text cannot make every merge expensive.</summary>
    public const int LongestPiece = 1024;

    /// <summary>Documents longer than this are cut where DeepSeek's splits certainly cut too (see <see cref="CutAfter"/>), so that threads share them.</summary>
    public const int DefaultChunk = 1 << 18;

    /// <summary>Counts pieces.</summary>
    /// <param name="documents">Texts as UTF-8, well-formed or not.</param>
    /// <param name="threads">How many threads count.</param>
    /// <param name="chunk">About how many bytes one thread takes at once.</param>
    /// <param name="bytesRead">Told after each chunk how many bytes were taken up; one call at a time.</param>
    /// <param name="cancellation">Ends the work.</param>
    public static Dictionary<byte[], long> Count(
        IEnumerable<ReadOnlyMemory<byte>> documents, int threads, int chunk, Action<long>? bytesRead, CancellationToken cancellation)
    {
        var total = new Dictionary<byte[], long>(ByteStringComparer.Instance);
        var options = new ParallelOptions { MaxDegreeOfParallelism = threads, CancellationToken = cancellation };
        var chunks = Partitioner.Create(Chunks(documents, chunk, bytesRead), EnumerablePartitionerOptions.NoBuffering);
        Parallel.ForEach(
            chunks,
            options,
            () => new Dictionary<byte[], long>(ByteStringComparer.Instance),
            (text, _, counts) =>
            {
                var sink = new CountingSink(counts);
                PreTokenizer.DeepSeek.Split(Utf8Scalars.Repair(text.Span), ref sink);
                return counts;
            },
            counts =>
            {
                lock (total)
                {
                    foreach ((byte[] piece, long count) in counts) CollectionsMarshal.GetValueRefOrAddDefault(total, piece, out _) += count;
                }
            });
        return total;
    }

    static IEnumerable<ReadOnlyMemory<byte>> Chunks(IEnumerable<ReadOnlyMemory<byte>> documents, int chunk, Action<long>? bytesRead)
    {
        long read = 0;
        foreach (ReadOnlyMemory<byte> document in documents)
        {
            ReadOnlyMemory<byte> rest = document;
            while (rest.Length > chunk && CutAfter(rest.Span, chunk) is int cut and > 0)
            {
                yield return rest[..cut];
                bytesRead?.Invoke(read += cut);
                rest = rest[cut..];
            }
            yield return rest;
            bytesRead?.Invoke(read += rest.Length);
        }
    }

    /// <summary>
    /// The first place at or after <paramref name="from"/> between a line feed and an ASCII letter: no match of DeepSeek's splits reaches across it, because a
    /// line feed is followed only by line ends in every alternative that takes one. Zero when there is none.
    /// </summary>
    static int CutAfter(ReadOnlySpan<byte> text, int from)
    {
        for (int position = from; position < text.Length; position++)
        {
            int skip = text[(position - 1)..].IndexOf((byte)'\n');
            if (skip < 0) return 0;
            position += skip;
            if (position < text.Length && char.IsAsciiLetter((char)text[position])) return position;
        }
        return 0;
    }

    [StructLayout(LayoutKind.Auto)]
    readonly struct CountingSink(Dictionary<byte[], long> counts) : IPieceSink
    {
        readonly Dictionary<byte[], long>.AlternateLookup<ReadOnlySpan<byte>> _lookup = counts.GetAlternateLookup<ReadOnlySpan<byte>>();

        public void Piece(ReadOnlySpan<byte> piece)
        {
            while (piece.Length > LongestPiece)
            {
                int cut = LongestPiece;
                while (Utf8Scalars.IsContinuation(piece[cut])) cut--;
                Add(piece[..cut]);
                piece = piece[cut..];
            }
            Add(piece);
        }

        void Add(ReadOnlySpan<byte> piece) => CollectionsMarshal.GetValueRefOrAddDefault(_lookup, piece, out _)++;
    }

    sealed class ByteStringComparer : IEqualityComparer<byte[]>, IAlternateEqualityComparer<ReadOnlySpan<byte>, byte[]>
    {
        public static ByteStringComparer Instance { get; } = new();

        public bool Equals(byte[]? x, byte[]? y) => x.AsSpan().SequenceEqual(y);

        public bool Equals(ReadOnlySpan<byte> alternate, byte[] other) => alternate.SequenceEqual(other);

        public int GetHashCode([DisallowNull] byte[] obj) => GetHashCode((ReadOnlySpan<byte>)obj);

        public int GetHashCode(ReadOnlySpan<byte> alternate) => (int)PieceCache.Hash(alternate);

        public byte[] Create(ReadOnlySpan<byte> alternate) => alternate.ToArray();
    }
}
