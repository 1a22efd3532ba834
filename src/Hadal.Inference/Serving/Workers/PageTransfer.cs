using System.Buffers.Binary;
using System.Text;
using Hadal.Formats;
using Hadal.Inference.Serving.Paging;

namespace Hadal.Inference.Serving.Workers;

/// <summary>A request whose pages are handed on when its prompt is computed up to the last token.</summary>
sealed class PageExport
{
    /// <summary>Receives the pages in the form of <see cref="PageTransfer"/>.</summary>
    public TaskCompletionSource<byte[]> Pages { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}

/// <summary>Pages computed elsewhere, with which a request begins.</summary>
/// <param name="Pages">In the form of <see cref="PageTransfer"/>, verified.</param>
sealed record PageImport(byte[] Pages);

/// <summary>
/// Latent pages as bytes between workers, little-endian. Header: magic, version, fingerprint of the model (32 characters), layers, bytes of a row, positions, checksum of the
/// header. Then for each page, for each layer: page, layer, bytes, checksum (XXH64), rows. The last page has only the rows that are used.
/// </summary>
public static class PageTransfer
{
    const int HeaderBytes = 64, PartBytes = 24, Version = 1;
    const uint MostRows = 1u << 28;

    static ReadOnlySpan<byte> Magic => "HADALPGS"u8;

    /// <summary>Bytes that the pages of so many positions have.</summary>
    /// <param name="positions">0 or more.</param>
    /// <param name="layers">Layers of the cache.</param>
    /// <param name="rowBytes">Bytes of a position in a layer.</param>
    public static long MostBytes(long positions, int layers, int rowBytes)
    {
        long pages = (positions + GenerationSession.PageLength - 1) / GenerationSession.PageLength;
        return checked(HeaderBytes + (pages * layers * PartBytes) + (positions * rowBytes * layers));
    }

    /// <summary>Refuses what is damaged, cut, or of another model. Nothing is trusted before it was compared.</summary>
    /// <param name="pages">The bytes that arrived.</param>
    /// <param name="fingerprint">Of the model that is to use them.</param>
    /// <param name="layers">Layers of its cache.</param>
    /// <param name="rowBytes">Bytes of a position in a layer.</param>
    /// <returns>Positions that the pages hold.</returns>
    /// <exception cref="InvalidDataException">What was found, and what was expected.</exception>
    public static int Verify(ReadOnlySpan<byte> pages, string fingerprint, int layers, int rowBytes)
    {
        if (pages.Length < HeaderBytes) throw new InvalidDataException($"The pages arrived with {pages.Length} bytes; expected at least {HeaderBytes}. Send them again.");
        if (!pages[..8].SequenceEqual(Magic) || BinaryPrimitives.ReadUInt64LittleEndian(pages[56..]) != Checksum64.Compute(pages[..56]))
            throw new InvalidDataException("The header of the pages is damaged. Send them again.");
        int version = BinaryPrimitives.ReadInt32LittleEndian(pages[8..]);
        if (version != Version) throw new InvalidDataException($"The pages have version {version}; expected {Version}. Run the same release on all workers.");
        string model = Encoding.ASCII.GetString(pages.Slice(12, 32));
        if (!string.Equals(model, fingerprint, StringComparison.Ordinal)) throw new InvalidDataException($"The pages are of model {model}; expected {fingerprint}. Start all workers with the same model.");
        int hasLayers = BinaryPrimitives.ReadInt32LittleEndian(pages[44..]), hasRow = BinaryPrimitives.ReadInt32LittleEndian(pages[48..]);
        uint positions = BinaryPrimitives.ReadUInt32LittleEndian(pages[52..]);
        if (hasLayers != layers || hasRow != rowBytes || positions > MostRows)
            throw new InvalidDataException($"The pages have {hasLayers} layers of {hasRow} bytes a position and {positions} positions; expected {layers} layers of {rowBytes} bytes. Start all workers with the same --speculate.");
        ReadOnlySpan<byte> rest = pages[HeaderBytes..];
        for (int page = 0; (long)page * GenerationSession.PageLength < positions; page++)
        {
            long bytes = Math.Min(GenerationSession.PageLength, positions - ((long)page * GenerationSession.PageLength)) * rowBytes;
            for (int layer = 0; layer < layers; layer++)
            {
                if (rest.Length < PartBytes + bytes) throw new InvalidDataException($"The pages end inside page {page}, layer {layer}. Send them again.");
                if (BinaryPrimitives.ReadInt32LittleEndian(rest) != page || BinaryPrimitives.ReadInt32LittleEndian(rest[4..]) != layer || BinaryPrimitives.ReadInt64LittleEndian(rest[8..]) != bytes
                    || BinaryPrimitives.ReadUInt64LittleEndian(rest[16..]) != Checksum64.Compute(rest.Slice(PartBytes, (int)bytes)))
                    throw new InvalidDataException($"Page {page}, layer {layer} is damaged: its checksum or its header differs. Send the pages again.");
                rest = rest[(PartBytes + (int)bytes)..];
            }
        }

        if (!rest.IsEmpty) throw new InvalidDataException($"{rest.Length} bytes follow the last page; expected none. Send the pages again.");
        return (int)positions;
    }

    /// <summary>Writes the first positions of a sequence.</summary>
    internal static byte[] Write(PagePool pool, string fingerprint, ReadOnlySpan<int> pages, int positions)
    {
        long rows = positions, parts = (long)Sequence.PagesFor(positions) * pool.Layers;
        byte[] result = new byte[checked(HeaderBytes + (parts * PartBytes) + (rows * pool.RowBytes * pool.Layers))];
        Magic.CopyTo(result);
        BinaryPrimitives.WriteInt32LittleEndian(result.AsSpan(8), Version);
        Encoding.ASCII.GetBytes(fingerprint, result.AsSpan(12, 32));
        BinaryPrimitives.WriteInt32LittleEndian(result.AsSpan(44), pool.Layers);
        BinaryPrimitives.WriteInt32LittleEndian(result.AsSpan(48), pool.RowBytes);
        BinaryPrimitives.WriteInt32LittleEndian(result.AsSpan(52), positions);
        BinaryPrimitives.WriteUInt64LittleEndian(result.AsSpan(56), Checksum64.Compute(result.AsSpan(0, 56)));
        Span<byte> rest = result.AsSpan(HeaderBytes);
        for (int page = 0; page * GenerationSession.PageLength < positions; page++)
        {
            for (int layer = 0; layer < pool.Layers; layer++)
            {
                Span<byte> content = pool.Rows(layer, pages[page], Math.Min(GenerationSession.PageLength, positions - (page * GenerationSession.PageLength)));
                BinaryPrimitives.WriteInt32LittleEndian(rest, page);
                BinaryPrimitives.WriteInt32LittleEndian(rest[4..], layer);
                BinaryPrimitives.WriteInt64LittleEndian(rest[8..], content.Length);
                BinaryPrimitives.WriteUInt64LittleEndian(rest[16..], Checksum64.Compute(content));
                content.CopyTo(rest[PartBytes..]);
                rest = rest[(PartBytes + content.Length)..];
            }
        }

        return result;
    }

    /// <summary>Positions that verified pages hold.</summary>
    internal static int Positions(ReadOnlySpan<byte> pages) => BinaryPrimitives.ReadInt32LittleEndian(pages[52..]);

    /// <summary>Copies one page out of verified pages.</summary>
    internal static void Read(ReadOnlySpan<byte> pages, int page, PagePool pool, int to)
    {
        int positions = Positions(pages), rows = Math.Min(GenerationSession.PageLength, positions - (page * GenerationSession.PageLength));
        long full = pool.Layers * (PartBytes + ((long)GenerationSession.PageLength * pool.RowBytes));
        ReadOnlySpan<byte> rest = pages[checked((int)(HeaderBytes + (page * full)))..];
        for (int layer = 0; layer < pool.Layers; layer++)
        {
            rest.Slice(PartBytes, rows * pool.RowBytes).CopyTo(pool.Rows(layer, to, rows));
            rest = rest[(PartBytes + (rows * pool.RowBytes))..];
        }
    }
}
