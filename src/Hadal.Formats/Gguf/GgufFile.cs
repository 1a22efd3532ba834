using System.Buffers.Binary;

namespace Hadal.Formats.Gguf;

/// <summary>Element types of GGUF that Hadal writes; the values are the format's.</summary>
public enum GgufElementType
{
    /// <summary>binary32.</summary>
    F32 = 0,
    /// <summary>binary16.</summary>
    F16 = 1,
    /// <summary>bfloat16.</summary>
    BF16 = 30,
}

/// <summary>A tensor of a GGUF file.</summary>
/// <param name="Name">Its name, at most 63 bytes.</param>
/// <param name="Type">Its elements.</param>
/// <param name="Shape">Outermost dimension first, at most four; the file has them the other way round.</param>
public sealed record GgufTensor(string Name, GgufElementType Type, IReadOnlyList<long> Shape)
{
    /// <summary>Elements.</summary>
    public long ElementCount => Shape.Aggregate(1L, (product, n) => checked(product * n));

    /// <summary>Bytes of the data, without padding.</summary>
    public long Length => checked(ElementCount * (Type == GgufElementType.F32 ? 4 : 2));
}

/// <summary>Writes GGUF version 3, little endian: header, metadata, tensor list, data aligned to 32 bytes [ggml, docs/gguf.md].</summary>
public static class GgufFile
{
    /// <summary>Every tensor's data begins at a multiple of this many bytes after the header.</summary>
    public const int Alignment = 32;

    const int MaximumNameLength = 63, MaximumDimensions = 4, Version = 3;

    /// <summary>Writes a file; it appears whole or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="metadata">Keys and values.</param>
    /// <param name="tensors">All tensors in the order of their data.</param>
    /// <param name="write">Called once for each tensor in order: writes exactly <see cref="GgufTensor.Length"/> bytes.</param>
    /// <exception cref="ArgumentException">A tensor cannot be in such a file, or two share a name.</exception>
    /// <exception cref="InvalidOperationException">A tensor's data has another length than declared.</exception>
    /// <exception cref="IOException">The file cannot be written.</exception>
    public static void Write(string path, GgufMetadata metadata, IReadOnlyList<GgufTensor> tensors, Action<GgufTensor, Stream> write)
    {
        ArgumentNullException.ThrowIfNull(metadata);
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentNullException.ThrowIfNull(write);
        Check(tensors);
        AtomicFile.Write(path, stream =>
        {
            WriteHeader(stream, metadata, tensors);
            foreach (GgufTensor tensor in tensors)
            {
                long start = stream.Position;
                write(tensor, stream);
                if (stream.Position - start != tensor.Length)
                    throw new InvalidOperationException($"{stream.Position - start:N0} bytes were written for {tensor.Name}; declared are {tensor.Length:N0}.");
                Pad(stream);
            }
        });
    }

    static void Check(IReadOnlyList<GgufTensor> tensors)
    {
        var names = new HashSet<string>(StringComparer.Ordinal);
        foreach (GgufTensor tensor in tensors)
        {
            if (!names.Add(tensor.Name)) throw new ArgumentException($"Two tensors are named {tensor.Name}.", nameof(tensors));
            int length = System.Text.Encoding.UTF8.GetByteCount(tensor.Name);
            if (length is 0 or > MaximumNameLength) throw new ArgumentException($"The name '{tensor.Name}' has {length} bytes; GGUF takes 1 to {MaximumNameLength}.", nameof(tensors));
            if (tensor.Shape.Count is 0 or > MaximumDimensions || tensor.Shape.Any(n => n < 1))
                throw new ArgumentException($"{tensor.Name} has the shape [{string.Join(", ", tensor.Shape)}]; GGUF takes 1 to {MaximumDimensions} dimensions of at least 1.", nameof(tensors));
        }
    }

    static void WriteHeader(Stream stream, GgufMetadata metadata, IReadOnlyList<GgufTensor> tensors)
    {
        stream.Write("GGUF"u8);
        WriteInteger(stream, Version, 4);
        WriteInteger(stream, tensors.Count, 8);
        WriteInteger(stream, metadata.Count, 8);
        metadata.WriteTo(stream);
        long offset = 0;
        foreach (GgufTensor tensor in tensors)
        {
            WriteText(stream, tensor.Name);
            WriteInteger(stream, tensor.Shape.Count, 4);
            for (int axis = tensor.Shape.Count - 1; axis >= 0; axis--) WriteInteger(stream, tensor.Shape[axis], 8);
            WriteInteger(stream, (int)tensor.Type, 4);
            WriteInteger(stream, offset, 8);
            offset = checked(offset + ((tensor.Length + Alignment - 1) / Alignment * Alignment));
        }

        Pad(stream);
    }

    static void Pad(Stream stream)
    {
        Span<byte> zero = stackalloc byte[Alignment];
        zero.Clear();
        int over = (int)(stream.Position % Alignment);
        if (over > 0) stream.Write(zero[over..]);
    }

    internal static void WriteInteger(Stream stream, long value, int bytes)
    {
        Span<byte> buffer = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(buffer, value);
        stream.Write(buffer[..bytes]);
    }

    internal static void WriteText(Stream stream, string text)
    {
        byte[] bytes = System.Text.Encoding.UTF8.GetBytes(text);
        WriteInteger(stream, bytes.Length, 8);
        stream.Write(bytes);
    }
}
