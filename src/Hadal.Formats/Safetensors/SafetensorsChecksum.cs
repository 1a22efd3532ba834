using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace Hadal.Formats;

/// <summary>
/// The checksum that Hadal puts into the metadata of the safetensors files it writes: XXH64 over little-endian XXH64 values, first that of the header (with 16 dashes where
/// the checksum will be), then those of the tensors' bytes, in file order (so tensors may be written, and verified, in any order).
/// </summary>
public sealed class SafetensorsChecksum
{
    /// <summary>Key in <c>__metadata__</c>; the value is 16 hexadecimal digits.</summary>
    public const string Key = "hadal.checksum";

    internal static ReadOnlySpan<byte> Placeholder => "----------------"u8;

    readonly Checksum64 _total = new();

    /// <summary>Verifies a file against its checksum. False when the file has none.</summary>
    /// <exception cref="CheckpointFormatException">The bytes are not those that were written.</exception>
    public static bool Verify(SafetensorsFile file)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (!file.Metadata.TryGetValue(Key, out string? text)) return false;
        var total = new SafetensorsChecksum();
        total.Add(OfHeader(file.ReadHeaderBytes()));
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
        if (!string.Equals(text, Encoding.ASCII.GetString(total.Format()), StringComparison.Ordinal))
            throw new CheckpointFormatException($"the file has the checksum {total._total.Value:x16}; {Text.Shorten(text)} was written.", file.Path, "Bits of the file have changed. Fetch it again, or go back to an earlier checkpoint.");
        return true;
    }

    /// <summary>Where the 16 digits are in a header, or −1.</summary>
    internal static int Find(ReadOnlySpan<byte> header)
    {
        ReadOnlySpan<byte> before = "\"hadal.checksum\":\""u8;
        int at = header.IndexOf(before);
        return at < 0 || at + before.Length + Placeholder.Length > header.Length ? -1 : at + before.Length;
    }

    /// <summary>XXH64 of a header, whatever digits are in the checksum's place.</summary>
    internal static ulong OfHeader(ReadOnlySpan<byte> header)
    {
        int at = Find(header);
        if (at < 0) return Checksum64.Compute(header);
        var sum = new Checksum64();
        sum.Append(header[..at]);
        sum.Append(Placeholder);
        sum.Append(header[(at + Placeholder.Length)..]);
        return sum.Value;
    }

    internal void Add(ulong tensor)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, tensor);
        _total.Append(bytes);
    }

    internal byte[] Format() => Encoding.ASCII.GetBytes(_total.Value.ToString("x16", CultureInfo.InvariantCulture));
}
