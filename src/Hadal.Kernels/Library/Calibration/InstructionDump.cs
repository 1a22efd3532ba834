using System.IO.Compression;
using System.Text;
using Hadal.Kernels.Library.Cases;

namespace Hadal.Kernels.Library.Calibration;

/// <summary>
/// What a GPU made of <see cref="InstructionCases"/>: a line of text (format name, version, the card and driver), then a Brotli stream of entries: name and bytes, each
/// with a 7-bit-coded length.
/// </summary>
public sealed record InstructionDump(string Device, IReadOnlyDictionary<string, byte[]> Results)
{
    const string Format = "hadal-instruction-calibration 1";
    const int MostEntries = 4096, MostBytes = 1 << 24;

    /// <summary>Runs all cases.</summary>
    /// <param name="device">Card and driver, one line.</param>
    /// <param name="check">Runs a case and calls its check.</param>
    public static InstructionDump Make(string device, Func<KernelCase, CaseResult> check)
    {
        ArgumentNullException.ThrowIfNull(check);
        var results = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        foreach (KernelCase one in InstructionCases.All())
        {
            check(one with
            {
                Check = read =>
                {
                    results[one.Name] = read("d");
                    return one.Check(read);
                },
            });
        }

        return new InstructionDump(device, results);
    }

    /// <summary>Writes the file.</summary>
    public void Write(Stream stream)
    {
        stream.Write(Encoding.UTF8.GetBytes($"{Format}; {Device.ReplaceLineEndings(" ")}\n"));
        using var packed = new BrotliStream(stream, CompressionLevel.SmallestSize, leaveOpen: true);
        using var writer = new BinaryWriter(packed, Encoding.UTF8, leaveOpen: true);
        writer.Write7BitEncodedInt(Results.Count);
        foreach ((string name, byte[] bytes) in Results)
        {
            writer.Write(name);
            writer.Write7BitEncodedInt(bytes.Length);
            writer.Write(bytes);
        }
    }

    /// <summary>Reads a file.</summary>
    /// <exception cref="InvalidDataException">The file is not one of these, or is damaged.</exception>
    public static InstructionDump Read(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        var line = new List<byte>();
        for (int next = stream.ReadByte(); next is not (-1 or '\n') && line.Count < 1024; next = stream.ReadByte()) line.Add((byte)next);
        string text = Encoding.UTF8.GetString([.. line]);
        if (!text.StartsWith(Format + "; ", StringComparison.Ordinal)) throw new InvalidDataException($"An instruction dump begins with '{Format}; ', this file with '{text[..Math.Min(text.Length, 40)]}': make it anew with the device harness.");
        var results = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        try
        {
            using var packed = new BrotliStream(stream, CompressionMode.Decompress, leaveOpen: true);
            using var reader = new BinaryReader(packed, Encoding.UTF8, leaveOpen: true);
            int count = reader.Read7BitEncodedInt();
            if (count is < 0 or > MostEntries) throw new InvalidDataException($"An instruction dump of {count} entries; at most {MostEntries} are read.");
            for (int i = 0; i < count; i++)
            {
                string name = reader.ReadString();
                int bytes = reader.Read7BitEncodedInt();
                if (bytes is < 0 or > MostBytes) throw new InvalidDataException($"Entry '{name}' of an instruction dump has {bytes} bytes; at most {MostBytes} are read.");
                byte[] data = reader.ReadBytes(bytes);
                if (data.Length != bytes) throw new InvalidDataException($"Entry '{name}' of an instruction dump ends after {data.Length} of {bytes} bytes: the file is cut short.");
                results[name] = data;
            }
        }
        catch (Exception error) when (error is EndOfStreamException or InvalidOperationException or FormatException)
        {
            throw new InvalidDataException($"The instruction dump is damaged: {error.Message}", error);
        }

        return new InstructionDump(text[(Format.Length + 2)..], results);
    }
}
