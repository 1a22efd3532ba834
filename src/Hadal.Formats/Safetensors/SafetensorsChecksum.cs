using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Hadal.Formats;

/// <summary>
/// The data checksum that Hadal puts into the metadata of the safetensors files it writes: XXH64 over the little-endian XXH64 values of the tensors' bytes, in file order
/// (so tensors may be written, and verified, in any order).
/// </summary>
public sealed class SafetensorsChecksum
{
    /// <summary>Key in <c>__metadata__</c>; the value is 16 hexadecimal digits.</summary>
    public const string Key = "hadal.xxh64";

    internal static ReadOnlySpan<byte> Placeholder => "----------------"u8;

    readonly Checksum64 _total = new();

    /// <summary>Verifies the data of a file against its checksum. False when the file has none.</summary>
    /// <exception cref="CheckpointFormatException">The data are not those that were written.</exception>
    public static bool Verify(SafetensorsFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (!file.Metadata.TryGetValue(Key, out string? text)) return false;
        var total = new SafetensorsChecksum();
        byte[] buffer = new byte[1 << 20];
        foreach (TensorEntry entry in file.Entries)
        {
            var sum = new Checksum64();
            for (long start = 0; start < entry.Length; start += buffer.Length)
            {
                Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, entry.Length - start));
                file.Read(entry, start, part);
                sum.Append(part);
            }
            total.Add(sum.Value);
        }
        if (!ulong.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong expected) || expected != total._total.Value)
            throw new CheckpointFormatException($"the data have the checksum {total._total.Value:x16}; {Text.Shorten(text)} was written.", file.Path, "Bits of the file have changed. Fetch it again, or go back to an earlier checkpoint.");
        return true;
    }

    internal void Add(ulong tensor)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, tensor);
        _total.Append(bytes);
    }

    internal byte[] Format() => Encoding.ASCII.GetBytes(_total.Value.ToString("x16", CultureInfo.InvariantCulture));
}
