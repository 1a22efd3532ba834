using System.Diagnostics.CodeAnalysis;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// Matrix products on the CPU. The contraction is never split between threads or lanes: panels of weights are vectorised over their columns, so every
/// output is one chain of fused multiply-adds in ascending order whatever the rows, threads and vector width. Activations and outputs are F32, weights
/// F32, BF16 or F16. Calls from several threads take turns.
/// </summary>
/// <param name="context">Threads and instruction set.</param>
public sealed unsafe class CpuMatrix(CpuContext context) : IMatrixOperations, IDisposable
{
    readonly Lock _turn = new();
    readonly MatrixPlanner _planner = new(context);
    readonly MatrixKernels* _kernels = MatrixKernels.For(InstructionSets.Require(context.InstructionSet), bfloat16: false);

    /// <inheritdoc/>
    public PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses)
    {
        var weight = new CpuPreparedWeight(groups, uses, context.InstructionSet);
        Refresh(weight);
        return weight;
    }

    /// <inheritdoc/>
    public void Refresh(PreparedWeight weight)
    {
        CpuPreparedWeight prepared = Own(weight);
        lock (_turn) MatrixRefresh.Run(context.Threads, prepared);
    }

    /// <inheritdoc/>
    public void Forward(Tensor x, PreparedWeight weight, Tensor y, bool accumulate = false) =>
        One(x, Own(weight), y, accumulate, forward: true);

    /// <inheritdoc/>
    public void BackwardInput(Tensor dy, PreparedWeight weight, Tensor dx, bool accumulate = false) =>
        One(dy, Own(weight), dx, accumulate, forward: false);

    /// <inheritdoc/>
    public void BackwardWeight(Tensor dy, Tensor x, Tensor dWeight, bool accumulate)
    {
        Check(dy, nameof(dy), x.Rows, dWeight.Rows);
        Check(x, nameof(x), dy.Rows, dWeight.Columns);
        Check(dWeight, nameof(dWeight), dy.Columns, x.Columns);
        lock (_turn)
        {
            _planner.Begin(_kernels);
            AddWeightGradient(dy, x, 0, dy.Rows, dWeight.Pointer<float>(), dWeight.RowStride, accumulate);
            _planner.Finish();
        }
    }

    /// <inheritdoc/>
    public void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, Tensor y) => Grouped(x, offsets, Own(weight), y, forward: true);

    /// <inheritdoc/>
    public void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, Tensor dx) => Grouped(dy, offsets, Own(weight), dx, forward: false);

    /// <inheritdoc/>
    public void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, Tensor dWeight, bool accumulate)
    {
        if (dWeight.Rank != 3) Refuse(nameof(dWeight), dWeight, "F32[groups, outputs, inputs]");
        int groups = dWeight[0], outputs = dWeight[1];
        Check(dy, nameof(dy), x.Rows, outputs);
        Check(x, nameof(x), dy.Rows, dWeight.Columns);
        Check(dWeight, nameof(dWeight), groups * outputs, x.Columns);
        int* starts = Offsets(offsets, groups, x.Rows);
        float* gradient = dWeight.Pointer<float>();
        lock (_turn)
        {
            _planner.Begin(_kernels);
            for (int g = 0; g < groups; g++)
            {
                AddWeightGradient(
                    dy, x, starts[g], starts[g + 1] - starts[g], gradient + (g * outputs * dWeight.RowStride), dWeight.RowStride, accumulate);
            }

            _planner.Finish();
        }
    }

    /// <inheritdoc/>
    public void BatchedForward(Tensor x, PreparedWeight weight, Tensor y) => Batched(x, Own(weight), y, forward: true);

    /// <inheritdoc/>
    public void BatchedBackwardInput(Tensor dy, PreparedWeight weight, Tensor dx) => Batched(dy, Own(weight), dx, forward: false);

    /// <inheritdoc/>
    public void Dispose() => _planner.Dispose();

    void One(Tensor from, CpuPreparedWeight weight, Tensor to, bool accumulate, bool forward)
    {
        if (weight.Groups.Length != 1)
            throw new ArgumentException($"The weight has {weight.Groups.Length} groups; use the grouped or batched product.", nameof(weight));
        Check(from, forward ? "x" : "dy", to.Rows, forward ? weight.Inputs : weight.Outputs);
        Check(to, forward ? "y" : "dx", from.Rows, forward ? weight.Outputs : weight.Inputs);
        lock (_turn)
        {
            _planner.Begin(weight.Kernels);
            Add(weight, 0, from.Pointer<float>(), from.RowStride, to.Pointer<float>(), to.RowStride, from.Rows, accumulate, forward);
            _planner.Finish();
        }
    }

    void Grouped(Tensor from, Tensor offsets, CpuPreparedWeight weight, Tensor to, bool forward)
    {
        Check(from, forward ? "x" : "dy", to.Rows, forward ? weight.Inputs : weight.Outputs);
        Check(to, forward ? "y" : "dx", from.Rows, forward ? weight.Outputs : weight.Inputs);
        int* starts = Offsets(offsets, weight.Groups.Length, from.Rows);
        float* source = from.Pointer<float>(), destination = to.Pointer<float>();
        lock (_turn)
        {
            _planner.Begin(weight.Kernels);
            for (int g = 0; g < weight.Groups.Length; g++)
            {
                long row = starts[g];
                Add(weight, g, source + (row * from.RowStride), from.RowStride, destination + (row * to.RowStride), to.RowStride,
                    starts[g + 1] - starts[g], accumulate: false, forward);
            }

            _planner.Finish();
        }
    }

    void Batched(Tensor from, CpuPreparedWeight weight, Tensor to, bool forward)
    {
        int groups = weight.Groups.Length;
        if (from.Rank != 3 || from[1] != groups) Refuse(forward ? "x" : "dy", from, $"F32[tokens, {groups}, {(forward ? weight.Inputs : weight.Outputs)}]");
        if (to.Rank != 3 || to[1] != groups) Refuse(forward ? "y" : "dx", to, $"F32[tokens, {groups}, {(forward ? weight.Outputs : weight.Inputs)}]");
        Check(from, forward ? "x" : "dy", to.Rows, forward ? weight.Inputs : weight.Outputs);
        Check(to, forward ? "y" : "dx", from.Rows, forward ? weight.Outputs : weight.Inputs);
        float* source = from.Pointer<float>(), destination = to.Pointer<float>();
        lock (_turn)
        {
            _planner.Begin(weight.Kernels);
            for (int g = 0; g < groups; g++)
            {
                Add(weight, g, source + (g * from.RowStride), groups * from.RowStride, destination + (g * to.RowStride), groups * to.RowStride,
                    from[0], accumulate: false, forward);
            }

            _planner.Finish();
        }
    }

    void Add(CpuPreparedWeight weight, int group, float* from, long fromStride, float* to, long toStride, int rows, bool accumulate, bool forward)
    {
        int depth = forward ? weight.Inputs : weight.Outputs;
        _planner.Add(new MatrixTask
        {
            Rows = rows,
            Columns = forward ? weight.Outputs : weight.Inputs,
            Depth = depth,
            A = from,
            ARow = (nint)fromStride,
            AStep = 1,
            B = forward ? weight.Forward(group) : weight.BackwardInput(group),
            PanelBytes = (nint)depth * weight.Kernels->StepBytes,
            BStep = weight.Kernels->StepBytes,
            C = to,
            CStride = (nint)toStride,
            Continues = accumulate,
        });
    }

    void AddWeightGradient(Tensor dy, Tensor x, int firstRow, int rows, float* gradient, long stride, bool accumulate) =>
        _planner.Add(new MatrixTask
        {
            Rows = dy.Columns,
            Columns = x.Columns,
            Depth = rows,
            A = dy.Pointer<float>() + (firstRow * dy.RowStride),
            ARow = 1,
            AStep = (nint)dy.RowStride,
            BSource = x.Pointer<float>() + (firstRow * x.RowStride),
            BStride = (nint)x.RowStride,
            C = gradient,
            CStride = (nint)stride,
            Continues = accumulate,
        });

    static int* Offsets(Tensor offsets, int groups, int capacity)
    {
        if (offsets.DType != DType.I32 || offsets.Length != groups + 1 || !offsets.IsContiguous) Refuse(nameof(offsets), offsets, $"I32[{groups + 1}]");
        int* starts = offsets.Pointer<int>();
        for (int g = 0; g < groups; g++)
        {
            if (starts[g] < 0 || starts[g + 1] < starts[g] || starts[g + 1] > capacity)
            {
                throw new ArgumentException(
                    $"Group {g} covers rows {starts[g]} to {starts[g + 1]}; offsets must ascend and stay inside the {capacity} rows of the buffer.", nameof(offsets));
            }
        }

        return starts;
    }

    CpuPreparedWeight Own(PreparedWeight weight)
    {
        if (weight is not CpuPreparedWeight prepared)
            throw new ArgumentException($"The weight was prepared by another backend ({weight.GetType().Name}); prepare it with this one.", nameof(weight));
        int width = MatrixKernels.For(context.InstructionSet, bfloat16: false)->ColumnsPerPanel;
        if (prepared.Kernels->ColumnsPerPanel != width)
        {
            throw new ArgumentException(
                $"The weight was packed for another instruction set (panels of {prepared.Kernels->ColumnsPerPanel} columns, here {width}); prepare it with this backend.",
                nameof(weight));
        }

        return prepared;
    }

    static void Check(Tensor tensor, string name, int rows, int columns)
    {
        if (tensor.DType != DType.F32 || !tensor.IsHost || tensor.Rows != rows || tensor.Columns != columns) Refuse(name, tensor, $"F32[{rows}, {columns}] in host memory");
    }

    [DoesNotReturn]
    static void Refuse(string name, Tensor given, string expected) =>
        throw new ArgumentException($"{name} is {given}; this product needs {expected}.", name);
}
