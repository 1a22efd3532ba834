using System.Text.Json;

namespace Hadal.Formats;

/// <summary>
/// The header of a safetensors file: 8 bytes little-endian length N, N bytes of JSON (<c>{"name":{"dtype","shape","data_offsets":[begin,end]},"__metadata__":{…}}</c>),
/// then the data, which the tensors cover without holes or overlap. Nothing in it is trusted: memory used is bounded by the bytes that are really there.
/// </summary>
static class SafetensorsHeader
{
    /// <summary>Longest header accepted, as in the format's reference implementation.</summary>
    internal const long MaximumLength = 100_000_000;

    const int MaximumRank = 32;
    const string Again = "Fetch or write the file again.";

    internal sealed record Parsed(TensorEntry[] Entries, Dictionary<string, string> Metadata);

    /// <summary>Checks the length field. <paramref name="fileLength"/> is at least 8.</summary>
    internal static int CheckLength(ulong headerLength, long fileLength, string file)
    {
        if (headerLength <= MaximumLength && (long)headerLength <= fileLength - 8) return (int)headerLength;
        ulong swapped = System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(headerLength);
        string hint = swapped <= MaximumLength && (long)swapped <= fileLength - 8 ? " Read in the other byte order it would fit: the writer used the wrong one." : "";
        if (headerLength > MaximumLength)
            throw new CheckpointFormatException($"the header claims {headerLength} bytes, more than the {MaximumLength} a safetensors header may have.{hint}", file, $"This is not a safetensors file, or it is damaged. {Again}", offset: 0);
        throw new CheckpointFormatException($"the header claims {headerLength} bytes, but only {fileLength - 8} follow in the file of {fileLength} bytes.{hint}", file, $"The file is truncated or damaged. {Again}", offset: 0);
    }

    /// <summary>Reads the JSON. Entries come sorted by offset.</summary>
    /// <param name="json">The header's bytes.</param>
    /// <param name="file">Path for messages and entries.</param>
    /// <param name="dataLength">Bytes after the header.</param>
    internal static Parsed Parse(ReadOnlySpan<byte> json, string file, long dataLength)
    {
        var entries = new List<TensorEntry>();
        var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
        var names = new HashSet<string>(StringComparer.Ordinal);
        long dataStart = 8 + json.Length;
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = 8 });
        try
        {
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject) throw Bad("the header is not a JSON object.", file, ref reader);
            while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
            {
                string name = reader.GetString()!;
                if (!names.Add(name)) throw Bad("the name appears twice in the header.", file, ref reader, name);
                reader.Read();
                if (string.Equals(name, "__metadata__", StringComparison.Ordinal)) ReadMetadata(ref reader, metadata, file);
                else entries.Add(ReadEntry(ref reader, name, file, dataStart, dataLength));
            }
            if (reader.TokenType != JsonTokenType.EndObject || reader.Read()) throw Bad("the header is not one JSON object.", file, ref reader);
        }
        catch (JsonException error)
        {
            throw new CheckpointFormatException("the header is not valid JSON.", file, $"The file is damaged or not a safetensors file. {Again}", offset: 8 + reader.BytesConsumed, inner: error);
        }
        catch (InvalidOperationException error) // a string that is not valid UTF-8 or has half a surrogate pair
        {
            throw new CheckpointFormatException("the header contains text that is not valid Unicode.", file, $"The file is damaged. {Again}", offset: 8 + reader.BytesConsumed, inner: error);
        }
        TensorEntry[] sorted = [.. entries.OrderBy(e => e.Offset).ThenBy(e => e.Length).ThenBy(e => e.Name, StringComparer.Ordinal)];
        CheckCoverage(sorted, file, dataStart, dataLength);
        return new Parsed(sorted, metadata);
    }

    static void ReadMetadata(ref Utf8JsonReader reader, Dictionary<string, string> metadata, string file)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Bad("__metadata__ is not an object.", file, ref reader);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            string key = reader.GetString()!;
            reader.Read();
            if (reader.TokenType != JsonTokenType.String) throw Bad($"__metadata__ '{Text.Shorten(key)}' is not a string.", file, ref reader);
            if (!metadata.TryAdd(key, reader.GetString()!)) throw Bad($"__metadata__ '{Text.Shorten(key)}' appears twice.", file, ref reader);
        }
    }

    static TensorEntry ReadEntry(ref Utf8JsonReader reader, string name, string file, long dataStart, long dataLength)
    {
        if (reader.TokenType != JsonTokenType.StartObject) throw Bad("the entry is not an object.", file, ref reader, name);
        string? typeName = null;
        List<long>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType != JsonTokenType.EndObject)
        {
            string key = reader.GetString()!;
            reader.Read();
            switch (key)
            {
                case "dtype":
                    if (typeName is not null) throw Bad("'dtype' appears twice.", file, ref reader, name);
                    if (reader.TokenType != JsonTokenType.String) throw Bad("'dtype' is not a string.", file, ref reader, name);
                    typeName = reader.GetString()!;
                    break;
                case "shape":
                    if (shape is not null) throw Bad("'shape' appears twice.", file, ref reader, name);
                    shape = ReadNumbers(ref reader, "shape", MaximumRank, file, name);
                    break;
                case "data_offsets":
                    if (offsets is not null) throw Bad("'data_offsets' appears twice.", file, ref reader, name);
                    offsets = ReadNumbers(ref reader, "data_offsets", 2, file, name);
                    break;
                default:
                    reader.Skip();
                    break;
            }
        }
        if (typeName is null) throw Bad("'dtype' is missing.", file, ref reader, name);
        if (shape is null) throw Bad("'shape' is missing.", file, ref reader, name);
        if (offsets is null) throw Bad("'data_offsets' is missing.", file, ref reader, name);
        if (offsets.Count != 2) throw Bad($"'data_offsets' has {offsets.Count} numbers; two were expected.", file, ref reader, name);
        (long begin, long end) = (offsets[0], offsets[1]);
        if (begin > end) throw Bad($"'data_offsets' [{begin}, {end}] end before they begin.", file, ref reader, name);
        if (end > dataLength)
            throw new CheckpointFormatException($"its data end at byte {end} of the data section, which has {dataLength} bytes.", file, $"The file is truncated or damaged. {Again}", name, dataStart + begin);
        ElementType type = ElementTypes.FromName(typeName);
        CheckSize(type, shape, end - begin, file, name, dataStart + begin);
        return new TensorEntry(name, type, typeName, [.. shape], file, dataStart + begin, end - begin);
    }

    static void CheckSize(ElementType type, List<long> shape, long length, string file, string name, long offset)
    {
        // Zero dimensions first: [0, 2^40, 2^40] is empty, not too large.
        long count = shape.Contains(0) ? 0 : 1;
        foreach (long dimension in shape)
        {
            if (count == 0) break;
            if (dimension > long.MaxValue / 8 / count)
                throw new CheckpointFormatException($"the shape [{string.Join(", ", shape)}] has more elements than a file can hold.", file, $"The file is damaged. {Again}", name, offset);
            count *= dimension;
        }
        if (type == ElementType.Unknown) return; // listed, refused when read
        if (count * type.Size() != length)
            throw new CheckpointFormatException($"the shape [{string.Join(", ", shape)}] of {type.Name()} needs {count * type.Size()} bytes, but the offsets give it {length}.", file, $"The file is damaged. {Again}", name, offset);
    }

    static List<long> ReadNumbers(ref Utf8JsonReader reader, string key, int limit, string file, string name)
    {
        if (reader.TokenType != JsonTokenType.StartArray) throw Bad($"'{key}' is not a list.", file, ref reader, name);
        var numbers = new List<long>(4);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out long number) || number < 0)
                throw Bad($"'{key}' holds something that is not a whole number from 0 to 2^63−1.", file, ref reader, name);
            if (numbers.Count == limit) throw Bad($"'{key}' has more than {limit} numbers.", file, ref reader, name);
            numbers.Add(number);
        }
        return numbers;
    }

    static void CheckCoverage(TensorEntry[] sorted, string file, long dataStart, long dataLength)
    {
        long covered = dataStart;
        string? previous = null;
        foreach (TensorEntry entry in sorted)
        {
            if (entry.Offset < covered)
                throw new CheckpointFormatException($"its data overlap those of tensor '{Text.Shorten(previous!)}', which end at byte {covered}.", file, $"The file is damaged. {Again}", entry.Name, entry.Offset);
            if (entry.Offset > covered)
                throw new CheckpointFormatException($"{entry.Offset - covered} bytes before its data belong to no tensor.", file, $"The file is damaged or was written by something else than a safetensors writer. {Again}", entry.Name, covered);
            covered = entry.Offset + entry.Length;
            previous = entry.Name;
        }
        if (covered != dataStart + dataLength)
            throw new CheckpointFormatException($"the file goes on for {dataStart + dataLength - covered} bytes after the last tensor.", file, $"The file is damaged, or another file was appended to it. {Again}", offset: covered);
    }

    static CheckpointFormatException Bad(string what, string file, ref Utf8JsonReader reader, string? tensor = null) =>
        new(what, file, $"The file is damaged or not a safetensors file. {Again}", tensor, 8 + reader.TokenStartIndex);
}
