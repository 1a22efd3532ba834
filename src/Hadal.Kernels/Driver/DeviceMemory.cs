using System.Runtime.CompilerServices;

namespace Hadal.Kernels.Driver;

/// <summary>A stretch of device memory. Dispose frees it at once: nothing queued may still use it.</summary>
public sealed unsafe class DeviceMemory : IDisposable
{
    ulong _address;

    internal DeviceMemory(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        ulong address;
        int code = CudaLibrary.cuMemAlloc_v2(&address, (nuint)bytes);
        if (code != 0)
        {
            nuint free = 0, total = 0;
            _ = CudaLibrary.cuMemGetInfo_v2(&free, &total);
            throw CudaCheck.Failure(code, $"Allocating {bytes} bytes of device memory ({free} of {total} are free)");
        }

        (_address, Bytes) = (address, bytes);
    }

    /// <summary>Global address of the first byte.</summary>
    public ulong Address => _address != 0 ? _address : throw new ObjectDisposedException(nameof(DeviceMemory));

    /// <summary>Size in bytes.</summary>
    public long Bytes { get; }

    /// <summary>Copies values to the start of the memory, or further on, and waits.</summary>
    public void Upload<T>(ReadOnlySpan<T> values, long byteOffset = 0)
        where T : unmanaged
    {
        nuint bytes = Within(values.Length, sizeof(T), byteOffset);
        fixed (T* from = values)
            CudaCheck.Ok(CudaLibrary.cuMemcpyHtoD_v2(Address + (ulong)byteOffset, from, bytes), $"Copying {bytes} bytes to the GPU");
    }

    /// <summary>Copies values from the start of the memory, or further on, and waits.</summary>
    public void Download<T>(Span<T> values, long byteOffset = 0)
        where T : unmanaged
    {
        nuint bytes = Within(values.Length, sizeof(T), byteOffset);
        fixed (T* to = values)
            CudaCheck.Ok(CudaLibrary.cuMemcpyDtoH_v2(to, Address + (ulong)byteOffset, bytes), $"Copying {bytes} bytes from the GPU");
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        if (_address == 0) return;
        _ = CudaLibrary.cuMemFree_v2(_address);
        _address = 0;
    }

    nuint Within(int count, int size, long byteOffset, [CallerMemberName] string what = "")
    {
        long bytes = (long)count * size;
        if (byteOffset < 0 || byteOffset + bytes > Bytes)
            throw new ArgumentException($"{what} of {bytes} bytes at {byteOffset}: the memory has {Bytes} bytes.");
        return (nuint)bytes;
    }
}

/// <summary>
/// Device memory whose allocation and release are queued on streams, so that a captured graph may contain them. Released memory stays with the pool: after a
/// warm-up, allocating costs no call into the kernel of the system.
/// </summary>
public sealed unsafe class CudaMemoryPool : IDisposable
{
    nint _handle;

    internal CudaMemoryPool(int device)
    {
        // Pinned device memory, shared with nobody.
        var properties = new CudaLibrary.MemoryPoolProperties { AllocationType = 1, LocationType = 1, LocationId = device };
        nint handle;
        CudaCheck.Ok(CudaLibrary.cuMemPoolCreate(&handle, &properties), "Creating a memory pool");
        _handle = handle;
        ulong keep = ulong.MaxValue;
        CudaCheck.Ok(CudaLibrary.cuMemPoolSetAttribute(handle, 4, &keep), "Telling the memory pool to keep its memory");
    }

    /// <summary>Bytes the pool holds, used or not.</summary>
    public long ReservedBytes => Attribute(5);

    /// <summary>Bytes in use.</summary>
    public long UsedBytes => Attribute(7);

    /// <summary>Queues an allocation; what is queued on the stream later may use the address.</summary>
    public ulong Allocate(long bytes, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ulong address;
        CudaCheck.Ok(CudaLibrary.cuMemAllocFromPoolAsync(&address, (nuint)bytes, _handle, stream.Handle), $"Allocating {bytes} bytes from the memory pool");
        return address;
    }

    /// <summary>Queues the release of an allocation.</summary>
    public void Free(ulong address, CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        CudaCheck.Ok(CudaLibrary.cuMemFreeAsync(address, stream.Handle), "Releasing memory to the pool");
    }

    /// <summary>Gives the memory back to the system.</summary>
    public void Dispose()
    {
        if (_handle == 0) return;
        _ = CudaLibrary.cuMemPoolDestroy(_handle);
        _handle = 0;
    }

    long Attribute(int number)
    {
        ulong value;
        CudaCheck.Ok(CudaLibrary.cuMemPoolGetAttribute(_handle, number, &value), "Asking the memory pool");
        return (long)value;
    }
}
