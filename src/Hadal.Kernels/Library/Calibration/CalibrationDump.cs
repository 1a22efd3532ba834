using System.Buffers.Binary;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;

namespace Hadal.Kernels.Library.Calibration;

/// <summary>
/// A file of calibration tiles with their results: a line of text (format name, version, the card and driver that ran), then a Brotli stream of tiles. All numbers
/// little-endian; a tile is its family (length byte, UTF-8), columns and steps (u16 each), A, B, C, D.
/// </summary>
public sealed record CalibrationDump(string Device, IReadOnlyList<CalibrationTile> Tiles)
{
    const string Format = "hadal-wgmma-calibration 1";
    const int MostTiles = 4096;

    /// <summary>Runs all of <see cref="CalibrationTiles"/>.</summary>
    /// <param name="device">Card and driver, one line.</param>
    /// <param name="launch">Runs a kernel.</param>
    public static CalibrationDump Make(string device, CalibrationLaunch launch)
    {
        IReadOnlyList<CalibrationTile> tiles = CalibrationTiles.All();
        foreach (IGrouping<(int, int), CalibrationTile> shape in tiles.GroupBy(t => (t.Columns, t.Steps))) CalibrationTile.Run([.. shape], launch);
        return new CalibrationDump(device, tiles);
    }

    /// <summary>Writes the file.</summary>
    public void Write(Stream stream)
    {
        stream.Write(Encoding.UTF8.GetBytes($"{Format}; {Device.ReplaceLineEndings(" ")}\n"));
        using var packed = new BrotliStream(stream, CompressionLevel.SmallestSize, leaveOpen: true);
        Span<byte> word = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(word, Tiles.Count);
        packed.Write(word);
        foreach (CalibrationTile tile in Tiles)
        {
            byte[] family = Encoding.UTF8.GetBytes(tile.Family);
            packed.WriteByte((byte)family.Length);
            packed.Write(family);
            BinaryPrimitives.WriteUInt16LittleEndian(word, (ushort)tile.Columns);
            BinaryPrimitives.WriteUInt16LittleEndian(word[2..], (ushort)tile.Steps);
            packed.Write(word);
            packed.Write(tile.A);
            packed.Write(tile.B);
            packed.Write(MemoryMarshal.AsBytes(tile.C.AsSpan()));
            packed.Write(MemoryMarshal.AsBytes(tile.D.AsSpan()));
        }
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="InvalidDataException">The file is not one of these, or is damaged.</exception>
    public static CalibrationDump Read(Stream stream)
    {
        var line = new List<byte>();
        for (int next = stream.ReadByte(); next is not (-1 or '\n') && line.Count < 1024; next = stream.ReadByte()) line.Add((byte)next);
        string text = Encoding.UTF8.GetString([.. line]);
        if (!text.StartsWith(Format + "; ", StringComparison.Ordinal)) throw new InvalidDataException($"The file begins with '{text}'; expected '{Format}; …'.");
        using var packed = new BrotliStream(stream, CompressionMode.Decompress, leaveOpen: true);
        var tiles = new CalibrationTile[Count(packed)];
        for (int i = 0; i < tiles.Length; i++)
        {
            byte[] family = Bytes(packed, Bytes(packed, 1)[0]), shape = Bytes(packed, 4);
            int columns = BinaryPrimitives.ReadUInt16LittleEndian(shape), steps = BinaryPrimitives.ReadUInt16LittleEndian(shape.AsSpan(2));
            if (columns is < 8 or > 256 || columns % 8 != 0 || steps is < 1 or > 4)
                throw new InvalidDataException($"Tile {i} has {columns} columns and {steps} steps; expected a multiple of 8 up to 256, and 1 to 4.");
            byte[] a = Bytes(packed, CalibrationTile.Rows * 32 * steps), b = Bytes(packed, columns * 32 * steps);
            tiles[i] = new CalibrationTile(Encoding.UTF8.GetString(family), columns, steps, a, b, Singles(packed, CalibrationTile.Rows * columns), Singles(packed, CalibrationTile.Rows * columns));
        }

        return new CalibrationDump(text[(Format.Length + 2)..], tiles);
    }

    static int Count(Stream stream)
    {
        int count = BinaryPrimitives.ReadInt32LittleEndian(Bytes(stream, 4));
        return count is >= 0 and <= MostTiles ? count : throw new InvalidDataException($"The file announces {count} tiles; expected 0 to {MostTiles}.");
    }

    static byte[] Bytes(Stream stream, int count)
    {
        var bytes = new byte[count];
        if (stream.ReadAtLeast(bytes, count, throwOnEndOfStream: false) < count) throw new InvalidDataException("The file ends inside a tile.");
        return bytes;
    }

    static float[] Singles(Stream stream, int count) => MemoryMarshal.Cast<byte, float>(Bytes(stream, 4 * count)).ToArray();
}
