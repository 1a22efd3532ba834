using System.Collections.Concurrent;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Driver;

/// <summary>
/// A GPU in use: the device's primary context, current on the thread that opened it (<see cref="MakeCurrent"/> on others), its modules and its memory pool.
/// </summary>
public sealed unsafe class CudaContext : IDisposable
{
    readonly int _device;
    readonly nint _handle;
    readonly ConcurrentDictionary<string, Lazy<LoadedKernel>> _loaded = new(StringComparer.Ordinal);
    CudaMemoryPool? _pool;
    bool _disposed;

    CudaContext(CudaDeviceInfo info, int driverVersion, int ordinal, int device, nint handle)
    {
        (Info, DriverVersion, Ordinal, _device, _handle) = (info, driverVersion, ordinal, device, handle);
    }

    /// <summary>The GPU.</summary>
    public CudaDeviceInfo Info { get; }

    /// <summary>Its number, from 0.</summary>
    public int Ordinal { get; }

    /// <summary>The CUDA version its driver implements, such as 13000.</summary>
    public int DriverVersion { get; }

    /// <summary>Opens a GPU, or says why it cannot be used.</summary>
    /// <param name="ordinal">Its number, from 0.</param>
    public static CudaContext Open(int ordinal = 0)
    {
        CudaState state = CudaDriver.Look();
        if (state.Devices.Count == 0) throw new CudaException(state.Refusal ?? "No GPU.");
        if (ordinal < 0 || ordinal >= state.Devices.Count) throw new CudaException($"GPU {ordinal} was asked for; this machine has {state.Devices.Count}, counted from 0.");
        CudaDeviceInfo info = state.Devices[ordinal];
        if (info.Refusal is { } refusal) throw new CudaException(refusal);
        int device;
        CudaCheck.Ok(CudaLibrary.cuDeviceGet(&device, ordinal), $"GPU {ordinal}");
        nint handle;
        CudaCheck.Ok(CudaLibrary.cuDevicePrimaryCtxRetain(&handle, device), $"Context on GPU {ordinal} ({info.Name})");
        var context = new CudaContext(info, state.DriverVersion, ordinal, device, handle);
        context.MakeCurrent();
        return context;
    }

    /// <summary>Makes the context current on the calling thread; every thread that uses it does so once.</summary>
    public void MakeCurrent()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CudaCheck.Ok(CudaLibrary.cuCtxSetCurrent(_handle), "Making the context current");
    }

    /// <summary>True when an address is one of device memory, false for the memory of the host.</summary>
    public static bool IsDevice(nint address)
    {
        const int MemoryType = 2, Device = 2;
        uint type = 0;
        return CudaLibrary.cuPointerGetAttribute(&type, MemoryType, (ulong)address) == 0 && type == Device;
    }

    /// <summary>Copies values to an address of device memory and waits.</summary>
    public static void Upload<T>(ulong to, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        fixed (T* first = values) CudaCheck.Ok(CudaLibrary.cuMemcpyHtoD_v2(to, first, (nuint)(values.Length * (long)sizeof(T))), "Copying to the GPU");
    }

    /// <summary>Copies values from an address of device memory and waits.</summary>
    public static void Download<T>(ulong from, Span<T> values)
        where T : unmanaged
    {
        fixed (T* first = values) CudaCheck.Ok(CudaLibrary.cuMemcpyDtoH_v2(first, from, (nuint)(values.Length * (long)sizeof(T))), "Copying from the GPU");
    }

    /// <summary>Waits for everything queued on the GPU.</summary>
    public void Synchronize() => CudaCheck.Ok(CudaLibrary.cuCtxSynchronize(), "Waiting for the GPU");

    /// <summary>Free and total device memory, in bytes.</summary>
    public (long Free, long Total) Memory()
    {
        nuint free, total;
        CudaCheck.Ok(CudaLibrary.cuMemGetInfo_v2(&free, &total), "Free memory of the GPU");
        return ((long)free, (long)total);
    }

    /// <summary>Device memory of its own; aligned to 256 bytes.</summary>
    public DeviceMemory Allocate(long bytes) => new(bytes);

    /// <summary>The pool that queued allocations come from. It keeps what it once had.</summary>
    public CudaMemoryPool Pool => _pool ??= new CudaMemoryPool(_device);

    /// <summary>A stream: work queued on it runs in order, beside other streams.</summary>
    public CudaStream CreateStream()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return new CudaStream();
    }

    /// <summary>Compiles a kernel, or takes it from the cache, and loads it. The same kernel is loaded once.</summary>
    public LoadedKernel Load(Kernel kernel)
    {
        ArgumentNullException.ThrowIfNull(kernel);
        return Load(new PrintedKernel(kernel, Ptx.PtxPrinter.Print(kernel)));
    }

    /// <summary>The same with PTX that was printed before.</summary>
    public LoadedKernel Load(PrintedKernel printed)
    {
        ArgumentNullException.ThrowIfNull(printed);
        ObjectDisposedException.ThrowIf(_disposed, this);
        Kernel kernel = printed.Kernel;
        if (kernel.SharedBytes > Info.SharedBytesPerBlock)
            throw new CudaException($"Kernel {kernel.Name} wants {kernel.SharedBytes} bytes of shared memory a block, {Info.Name} has {Info.SharedBytesPerBlock}: fewer stages or a smaller tile fit.");

        // Different kernels may be loaded by several threads at once.
        return _loaded.GetOrAdd(printed.Text, text => new Lazy<LoadedKernel>(() => LoadedKernel.Load(kernel, text))).Value;
    }

    /// <summary>Unloads the modules and gives the context back. Memory, streams and events of it must be gone.</summary>
    public void Dispose()
    {
        if (_disposed) return;
        _disposed = true;
        foreach (Lazy<LoadedKernel> kernel in _loaded.Values)
            if (kernel.IsValueCreated) kernel.Value.Unload();
        _pool?.Dispose();
        _ = CudaLibrary.cuDevicePrimaryCtxRelease_v2(_device);
    }
}
