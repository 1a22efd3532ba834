using System.Runtime.InteropServices;
using System.Text;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;

namespace Hadal.Kernels.Driver;

/// <summary>A kernel on the GPU, ready to be launched.</summary>
public sealed unsafe class LoadedKernel
{
    readonly nint _module;

    LoadedKernel(Kernel kernel, CompiledModule compiled, nint module, nint function)
    {
        (Kernel, Compiled, _module, Function) = (kernel, compiled, module, function);
        Registers = Attribute(4);
        LocalBytes = Attribute(3);
        if (kernel.SharedBytes > 48 * 1024) SetAttribute(8, kernel.SharedBytes, "dynamic shared memory");
    }

    /// <summary>What was loaded.</summary>
    public Kernel Kernel { get; }

    /// <summary>How long compiling took, and what the compiler said.</summary>
    public CompiledModule Compiled { get; }

    /// <summary>Registers per thread at launch.</summary>
    public int Registers { get; }

    /// <summary>Local memory per thread in bytes; more than zero means that registers were spilled.</summary>
    public int LocalBytes { get; }

    internal nint Function { get; }

    internal static LoadedKernel Load(Kernel kernel, string ptx)
    {
        nint function;
        CompiledModule compiled = ModuleCache.Load(kernel.Name, ptx, out nint module);
        fixed (byte* name = Encoding.ASCII.GetBytes(kernel.Name + "\0")) CudaCheck.Ok(CudaLibrary.cuModuleGetFunction(&function, module, name), $"Finding kernel {kernel.Name} in its module");
        return new LoadedKernel(kernel, compiled, module, function);
    }

    internal void Unload() => _ = CudaLibrary.cuModuleUnload(_module);

    /// <summary>Checks the arguments and makes the tensor maps: what is left to do at each launch allocates nothing.</summary>
    /// <param name="blocks">Blocks of the grid, a multiple of the cluster.</param>
    /// <param name="arguments">One for each parameter of the kernel.</param>
    /// <param name="dependent">Programmatic dependent launch: the grid may start before the one ahead of it has ended; the kernel itself waits.</param>
    public PreparedLaunch Prepare(int blocks, IReadOnlyList<LaunchArgument> arguments, bool dependent = false)
    {
        LaunchCheck.Arguments(Kernel, arguments);
        if (blocks < 1 || blocks % Kernel.ClusterSize != 0)
            throw new ArgumentException($"Kernel {Kernel.Name}: {blocks} blocks given, expected a positive multiple of its cluster of {Kernel.ClusterSize}.");
        return new PreparedLaunch(this, blocks, arguments, dependent);
    }

    int Attribute(int number)
    {
        int value;
        CudaCheck.Ok(CudaLibrary.cuFuncGetAttribute(&value, number, Function), $"Attribute {number} of kernel {Kernel.Name}");
        return value;
    }

    void SetAttribute(int number, int value, string what) => CudaCheck.Ok(CudaLibrary.cuFuncSetAttribute(Function, number, value), $"Kernel {Kernel.Name}, {what} of {value}");
}

/// <summary>One launch with its arguments, to be queued as often as wanted.</summary>
public sealed unsafe class PreparedLaunch : IDisposable
{
    const int SlotBytes = 128;
    readonly LoadedKernel _kernel;
    readonly uint _blocks;
    readonly bool _dependent;
    readonly string _what;
    byte* _slots;
    void** _pointers;

    internal PreparedLaunch(LoadedKernel kernel, int blocks, IReadOnlyList<LaunchArgument> arguments, bool dependent)
    {
        (_kernel, _blocks, _dependent) = (kernel, (uint)blocks, dependent);
        _what = $"Launching kernel {kernel.Kernel.Name} with {blocks} blocks of {kernel.Kernel.ThreadsPerBlock} threads";

        // A slot each: the tensor map (64-byte aligned) or the bits of a scalar.
        _slots = (byte*)NativeMemory.AlignedAlloc((nuint)(SlotBytes * Math.Max(1, arguments.Count)), 64);
        _pointers = (void**)NativeMemory.Alloc((nuint)Math.Max(1, arguments.Count), (nuint)sizeof(void*));
        for (int i = 0; i < arguments.Count; i++)
        {
            byte* slot = _slots + SlotBytes * i;
            _pointers[i] = slot;
            if (arguments[i] is LaunchArgument.Bits bits) *(ulong*)slot = bits.Value;
            else if (arguments[i] is LaunchArgument.Tensor tensor) TensorMapEncoder.Encode(slot, kernel.Kernel, (TensorMapParameter)kernel.Kernel.Parameters[i], tensor.Description);
        }
    }

    /// <summary>Queues the launch.</summary>
    public void Launch(CudaStream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ObjectDisposedException.ThrowIf(_slots == null, this);
        Kernel kernel = _kernel.Kernel;

        // 6: programmatic stream serialization.
        var attribute = new CudaLibrary.LaunchAttribute { Id = 6, Value = 1 };
        var configuration = new CudaLibrary.LaunchConfiguration
        {
            GridX = _blocks, GridY = 1, GridZ = 1,
            BlockX = (uint)kernel.ThreadsPerBlock, BlockY = 1, BlockZ = 1,
            SharedBytes = (uint)kernel.SharedBytes,
            Stream = stream.Handle,
            Attributes = &attribute,
            AttributeCount = _dependent ? 1u : 0u,
        };
        int code = CudaLibrary.cuLaunchKernelEx(&configuration, _kernel.Function, _pointers, null);
        if (code != 0) throw CudaCheck.Failure(code, _what);
    }

    /// <summary>Frees the arguments.</summary>
    public void Dispose()
    {
        if (_slots == null) return;
        NativeMemory.AlignedFree(_slots);
        NativeMemory.Free(_pointers);
        _slots = null;
        _pointers = null;
    }
}

/// <summary>Makes tensor maps as the kernels' parameters declare them.</summary>
static unsafe class TensorMapEncoder
{
    public static void Encode(byte* map, Kernel kernel, TensorMapParameter parameter, TensorDescription tensor)
    {
        ulong* sizes = stackalloc ulong[] { (ulong)tensor.Columns, (ulong)tensor.Rows };
        ulong* strides = stackalloc ulong[] { (ulong)tensor.RowStrideBytes };
        uint* box = stackalloc uint[] { (uint)parameter.BoxColumns, (uint)parameter.BoxRows };
        uint* elementStrides = stackalloc uint[] { 1, 1 };
        int code = CudaLibrary.cuTensorMapEncodeTiled(
            map, TypeOf(parameter.Element), 2, tensor.Address, sizes, strides, box, elementStrides, interleave: 0, parameter.Swizzle == Swizzle.Bytes128 ? 3 : 0, promotion: 3, fill: 0);
        CudaCheck.Ok(code, $"Kernel {kernel.Name}, map of {parameter.Name}: {tensor.Rows} rows by {tensor.Columns} {tensor.Element}, {tensor.RowStrideBytes} bytes a row, in boxes of {parameter.BoxRows} by {parameter.BoxColumns}");
    }

    // CUtensorMapDataType; E4M3 is moved as bytes.
    static int TypeOf(ElementType element) => element switch
    {
        ElementType.E4M3 => 0,
        ElementType.BF16 => 9,
        ElementType.F32 => 7,
        _ => throw new CudaException($"No tensor map holds {element}."),
    };
}
