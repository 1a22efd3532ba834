using System.Runtime.InteropServices;

namespace Hadal.Tensors;

/// <summary>A block of memory that tensors view. Owned by whoever allocated it; a <see cref="Tensor"/> keeps it reachable, not undisposed.</summary>
public abstract class TensorMemory : IDisposable
{
    /// <summary>Address of the first byte: a host pointer on the CPU, a device pointer on a GPU. Aligned to at least 64 bytes.</summary>
    public abstract nint Address { get; }

    /// <summary>Length in bytes.</summary>
    public abstract long Bytes { get; }

    /// <summary>True when <see cref="Address"/> may be read by the CPU.</summary>
    public abstract bool IsHost { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(disposing: true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the block; called once.</summary>
    protected abstract void Dispose(bool disposing);
}

/// <summary>
/// Zeroed host memory outside the garbage-collected heap, aligned to 64 bytes (one cache line, one 512-bit vector). Large blocks come as zeroed pages from the
/// operating system, which gives a page only when it is touched: buffers may be worst case, or have one layout on ranks that each use a part.
/// </summary>
public sealed unsafe class HostMemory : TensorMemory
{
    const int Alignment = 64;
    void* _block, _pointer;

    /// <summary>Allocates <paramref name="bytes"/> zeroed bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The length is negative.</exception>
    /// <exception cref="OutOfMemoryException">The operating system refused.</exception>
    public HostMemory(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Bytes = bytes;
        _block = NativeMemory.AllocZeroed((nuint)checked(Math.Max(bytes, Alignment) + Alignment));
        _pointer = (void*)(((nint)_block + Alignment - 1) & -Alignment);
        GC.AddMemoryPressure(Math.Max(bytes, 1));
    }

#pragma warning disable MA0055 // The block lies outside the garbage-collected heap: without a finalizer a forgotten Dispose would leak it.
    /// <summary>Frees the block when nobody disposed it.</summary>
    ~HostMemory() => Dispose(disposing: false);
#pragma warning restore MA0055

    /// <inheritdoc/>
    public override nint Address => _pointer != null ? (nint)_pointer : throw new ObjectDisposedException(nameof(HostMemory));

    /// <inheritdoc/>
    public override long Bytes { get; }

    /// <inheritdoc/>
    public override bool IsHost => true;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_pointer == null) return;
        NativeMemory.Free(_block);
        _block = _pointer = null;
        GC.RemoveMemoryPressure(Math.Max(Bytes, 1));
    }
}
