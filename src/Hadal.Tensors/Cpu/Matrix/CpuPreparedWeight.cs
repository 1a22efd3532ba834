using System.Runtime.InteropServices;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// Weights packed into column panels as wide as two vector registers: for y = x·Wᵀ panels over the outputs, [inputs, panel]; for dx = dy·W panels over the
/// inputs, [outputs, panel]. Values of BF16 stay two bytes wide and are widened by the kernel; F32 and F16 are packed as binary32.
/// </summary>
sealed unsafe class CpuPreparedWeight : PreparedWeight
{
    readonly HostMemory? _forward;
    readonly HostMemory? _backwardInput;
    GCHandle _handle;

    public CpuPreparedWeight(ReadOnlySpan<Tensor> groups, ProductUses uses, InstructionSet set)
        : base(groups, uses)
    {
        DType type = groups[0].DType;
        if (type is not (DType.F32 or DType.BF16 or DType.F16))
            throw new ArgumentException($"The CPU multiplies with weights of F32, BF16 or F16; {groups[0]} was given. Convert it first.", nameof(groups));
        foreach (Tensor group in groups)
            if (!group.IsHost) throw new ArgumentException($"The CPU multiplies weights in host memory; {group} lies on a device.", nameof(groups));
        if ((uses & ProductUses.Training) == 0) throw new ArgumentException("Name at least one product the weight is used in.", nameof(uses));
        _handle = GCHandle.Alloc(this, GCHandleType.Weak);
        Kernels = MatrixKernels.For(set, type == DType.BF16);
        ForwardPanels = Panels(Outputs);
        BackwardInputPanels = Panels(Inputs);
        if (uses.HasFlag(ProductUses.Forward)) _forward = new HostMemory(groups.Length * GroupBytes(ForwardPanels, Inputs));
        if (uses.HasFlag(ProductUses.BackwardInput)) _backwardInput = new HostMemory(groups.Length * GroupBytes(BackwardInputPanels, Outputs));
    }

#pragma warning disable MA0055 // The handle lies outside the garbage-collected heap.
    ~CpuPreparedWeight() => Dispose(disposing: false);
#pragma warning restore MA0055

    /// <summary>A weak handle to this weight: workers find it through a plain pointer.</summary>
    public nint Handle => GCHandle.ToIntPtr(_handle);

    /// <summary>The kernels these panels are packed for.</summary>
    public MatrixKernels* Kernels { get; }

    /// <summary>Panels of one group for y = x·Wᵀ.</summary>
    public int ForwardPanels { get; }

    /// <summary>Panels of one group for dx = dy·W.</summary>
    public int BackwardInputPanels { get; }

    /// <summary>Panels of group <paramref name="group"/> for y = x·Wᵀ.</summary>
    public byte* Forward(int group) => Start(_forward, ProductUses.Forward) + (group * GroupBytes(ForwardPanels, Inputs));

    /// <summary>Panels of group <paramref name="group"/> for dx = dy·W.</summary>
    public byte* BackwardInput(int group) => Start(_backwardInput, ProductUses.BackwardInput) + (group * GroupBytes(BackwardInputPanels, Outputs));

    /// <summary>Panels of all groups and uses: the units <see cref="PackPanel"/> takes.</summary>
    public int PackUnits => checked(Groups.Length * ((_forward != null ? ForwardPanels : 0) + (_backwardInput != null ? BackwardInputPanels : 0)));

    /// <summary>Packs one panel from the values.</summary>
    public void PackPanel(int unit)
    {
        int forwardUnits = _forward != null ? Groups.Length * ForwardPanels : 0;
        if (unit < forwardUnits) PackForward(unit / ForwardPanels, unit % ForwardPanels);
        else PackBackwardInput((unit - forwardUnits) / BackwardInputPanels, (unit - forwardUnits) % BackwardInputPanels);
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (_handle.IsAllocated) _handle.Free();
        if (!disposing) return; // the memory has its own finalizer
        _forward?.Dispose();
        _backwardInput?.Dispose();
    }

    void PackForward(int group, int panel)
    {
        Tensor values = Groups[group];
        int width = Kernels->ColumnsPerPanel, first = panel * width, columns = Math.Min(width, Outputs - first);
        byte* to = Forward(group) + ((long)panel * Inputs * Kernels->StepBytes);
        long from = first * values.RowStride;
        nint stride = (nint)values.RowStride;
        switch (values.DType)
        {
            case DType.BF16:
                MatrixPacking.TransposeBFloat16(values.Pointer<ushort>() + from, stride, columns, Inputs, (ushort*)to, width);
                break;
            case DType.F16:
                MatrixPacking.TransposeHalf(values.Pointer<Half>() + from, stride, columns, Inputs, (float*)to, width);
                break;
            default:
                MatrixPacking.Transpose(values.Pointer<float>() + from, stride, columns, Inputs, (float*)to, width);
                break;
        }
    }

    void PackBackwardInput(int group, int panel)
    {
        Tensor values = Groups[group];
        int width = Kernels->ColumnsPerPanel, first = panel * width, columns = Math.Min(width, Inputs - first);
        byte* to = BackwardInput(group) + ((long)panel * Outputs * Kernels->StepBytes);
        nint stride = (nint)values.RowStride;
        switch (values.DType)
        {
            case DType.BF16:
                MatrixPacking.CopyBFloat16(values.Pointer<ushort>() + first, stride, columns, Outputs, (ushort*)to, width);
                break;
            case DType.F16:
                MatrixPacking.CopyHalf(values.Pointer<Half>() + first, stride, columns, Outputs, (float*)to, width);
                break;
            default:
                MatrixPacking.Copy(values.Pointer<float>() + first, stride, columns, Outputs, (float*)to, width);
                break;
        }
    }

    int Panels(int columns) => (columns + Kernels->ColumnsPerPanel - 1) / Kernels->ColumnsPerPanel;

    long GroupBytes(int panels, int depth) => (long)panels * depth * Kernels->StepBytes;

    byte* Start(HostMemory? memory, ProductUses use) => memory != null
        ? (byte*)memory.Address
        : throw new InvalidOperationException($"This weight was prepared for {Uses}, not for {use}; add {use} where it is prepared.");
}
