using Hadal.Tensors;

namespace Hadal.Parallel.Experts;

/// <summary>Bytes to one peer or from it. Grows to the largest message asked for and keeps that; pages that no message reaches are never touched.</summary>
sealed unsafe class MessageBuffer : IDisposable
{
    HostMemory? _memory;

    /// <summary>So many buffers.</summary>
    public static MessageBuffer[] Several(int count) => [.. Enumerable.Range(0, count).Select(_ => new MessageBuffer())];

    /// <summary>First byte.</summary>
    public byte* Address => _memory is null ? null : (byte*)_memory.Address;

    /// <summary>Bytes there is room for.</summary>
    public long Capacity => _memory?.Bytes ?? 0;

    /// <summary>Bytes of the message; also how far <see cref="Take"/> has come.</summary>
    public long Length { get; set; }

    /// <summary>Makes room; the content is lost when that needs another block.</summary>
    public void Reserve(long bytes)
    {
        if (bytes <= Capacity && _memory is not null) return;
        _memory?.Dispose();
        _memory = new HostMemory(bytes);
    }

    /// <summary>The next bytes, to write or to read.</summary>
    public byte* Take(long bytes)
    {
        if (Length + bytes > Capacity) throw new InvalidOperationException($"A message of {Length} bytes gets {bytes} more; there is room for {Capacity}.");
        byte* next = Address + Length;
        Length += bytes;
        return next;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory?.Dispose();
        _memory = null;
    }
}
