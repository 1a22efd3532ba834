using System.Diagnostics.CodeAnalysis;
using Hadal.Numerics;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Quantized;

/// <summary>
/// Products of quantised operands on the CPU. Operands are decoded into the packed panels of binary32 that the float32 kernels multiply; after each chunk of the
/// contraction the epilogue applies the scales. Calls from several threads take turns.
/// </summary>
/// <param name="context">Threads and instruction set.</param>
sealed unsafe partial class CpuQuantization(CpuContext context) : IQuantizationOperations, IDisposable
{
    const int Tile = TileQuantizer.Tile;
    readonly Lock _turn = new();
    readonly ScaledPlanner _planner = new(context);

    public PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format, int matrixRows = 0, Tensor maxima = default)
    {
        QuantizationChecks.Prepared(groups, format, matrixRows, maxima);
        var weight = new ScaledWeight(groups, uses, format, matrixRows, maxima, context.InstructionSet);
        weight.Refresh(context.Threads);
        return weight;
    }

    public void Refresh(PreparedWeight weight)
    {
        ScaledWeight prepared = Own(weight);
        lock (_turn) prepared.Refresh(context.Threads);
    }

    public void Forward(Tensor x, PreparedWeight weight, ProductFormat format, Tensor y, bool accumulate = false, Tensor maxima = default)
    {
        MatrixChecks.Forward(x, weight, y);
        One(x, Own(weight), format, y, accumulate, forward: true, maxima);
    }

    public void BackwardInput(Tensor dy, PreparedWeight weight, ProductFormat format, Tensor dx, bool accumulate = false, Tensor maxima = default)
    {
        MatrixChecks.BackwardInput(dy, weight, dx);
        One(dy, Own(weight), format, dx, accumulate, forward: false, maxima);
    }

    public void BackwardWeight(Tensor dy, Tensor x, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default)
    {
        MatrixChecks.BackwardWeight(dy, x, dWeight);
        int* offsets = stackalloc int[2] { 0, dy.Rows };
        WeightGradients(dy, x, offsets, 1, format, dWeight, accumulate, dyMaxima, xMaxima);
    }

    public void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor y, Tensor maxima = default)
    {
        MatrixChecks.GroupedForward(x, offsets, weight, y);
        Grouped(x, offsets, Own(weight), format, y, forward: true, maxima);
    }

    public void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor dx, Tensor maxima = default)
    {
        MatrixChecks.GroupedBackwardInput(dy, offsets, weight, dx);
        Grouped(dy, offsets, Own(weight), format, dx, forward: false, maxima);
    }

    public void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default)
    {
        MatrixChecks.GroupedBackwardWeight(dy, x, offsets, dWeight);
        WeightGradients(dy, x, Offsets(offsets, dWeight[0], x.Rows), dWeight[0], format, dWeight, accumulate, dyMaxima, xMaxima);
    }

    public void Dispose() => _planner.Dispose();

    void One(Tensor from, ScaledWeight weight, ProductFormat format, Tensor to, bool accumulate, bool forward, Tensor maxima)
    {
        int* offsets = stackalloc int[2] { 0, from.Rows };
        Products(from, weight, offsets, format, to, accumulate, forward, maxima);
    }

    void Grouped(Tensor from, Tensor offsets, ScaledWeight weight, ProductFormat format, Tensor to, bool forward, Tensor maxima) =>
        Products(from, weight, Offsets(offsets, weight.Groups.Length, from.Rows), format, to, accumulate: false, forward, maxima);

    void Products(Tensor from, ScaledWeight weight, int* offsets, ProductFormat format, Tensor to, bool accumulate, bool forward, Tensor maxima)
    {
        QuantizationChecks.Weight(weight, weight.Format, format);
        QuantizationChecks.Maxima(maxima);
        int groups = weight.Groups.Length, depth = from.Columns, columns = to.Columns, used = offsets[groups] - offsets[0];
        Sections contraction = forward ? Sections.Of(depth, 0) : weight.OutputTiles;
        int chunks = contraction.Count;
        float* source = F32(from), destination = F32(to);
        bool scaled = format.Left.Number == NumberFormat.E4M3;
        long blocks = 0;
        for (int g = 0; g < groups; g++) blocks += TileQuantizer.TileCount(offsets[g + 1] - offsets[g]);
        lock (_turn)
        {
            long floats = ((long)used * depth) + (32L * groups) + (scaled ? ScaledPlanner.Rounded((long)chunks * from.Rows) + ((blocks * chunks) + (32L * groups)) + 32 : 0);
            _planner.Begin(floats + 64);
            float* rowScales = scaled ? _planner.Take((long)chunks * from.Rows) : null, whole = null;
            if (scaled && format.Left.Granularity == Granularity.Tensor)
            {
                whole = _planner.Take(1);
                *whole = OperandScales.Whole(context.Threads, source + (offsets[0] * from.RowStride), from.RowStride, used, depth, format.Left, DelayedScale.Of(format.Left, maxima));
            }

            for (int g = 0; g < groups; g++)
            {
                int rows = offsets[g + 1] - offsets[g];
                if (rows == 0) continue;
                float* a = source + (offsets[g] * from.RowStride), given = whole;
                if (scaled && format.Left.Granularity == Granularity.Block)
                {
                    given = _planner.Take((long)TileQuantizer.TileCount(rows) * chunks);
                    OperandScales.Blocks(context.Threads, a, from.RowStride, rows, contraction, format.Left.Scale, given);
                }

                bool blocked = weight.Format.Granularity == Granularity.Block;
                float* columnScales = forward ? weight.ColumnScales(g) : null;
                _planner.Add(new ScaledTask
                {
                    Rows = rows, Columns = columns, Depth = depth, Promotes = Promotes(format), Contraction = contraction, A = a, AStride = (nint)from.RowStride, Left = format.Left,
                    GivenScales = given, RowScales = scaled ? rowScales + offsets[g] : null, RowScaleStride = from.Rows, B = weight.Panels(g, forward),
                    ColumnScales = columnScales, ColumnScaleStride = columns, BlockScales = columnScales == null ? weight.Scales(g) : null,
                    ColumnTiles = forward ? weight.OutputTiles : Sections.Of(columns, 0),
                    BlockChunkStride = !blocked ? 0 : forward ? 1 : weight.BlockColumns, BlockColumnStride = !blocked ? 0 : forward ? weight.BlockColumns : 1,
                    C = destination + (offsets[g] * to.RowStride), CStride = (nint)to.RowStride, Continues = accumulate, Rounds = format.Output == NumberFormat.BF16,
                    TensorCore = IsTensorCore(format),
                });
            }

            _planner.Run();
        }
    }

    void WeightGradients(Tensor dy, Tensor x, int* offsets, int groups, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima, Tensor xMaxima)
    {
        QuantizationChecks.Product(format);
        QuantizationChecks.Maxima(dyMaxima);
        QuantizationChecks.Maxima(xMaxima);
        int outputs = dy.Columns, inputs = x.Columns, used = offsets[groups] - offsets[0];
        float* gradient = F32(dy), source = F32(x), destination = F32(dWeight);
        bool scaled = format.Left.Number == NumberFormat.E4M3;
        int paddedInputs = (inputs + _planner.Width - 1) / _planner.Width * _planner.Width;
        long chunks = 0;
        for (int g = 0; g < groups; g++) chunks += TileQuantizer.TileCount(offsets[g + 1] - offsets[g]);
        lock (_turn)
        {
            _planner.Begin(((long)used * ((2L * outputs) + inputs + paddedInputs)) + (chunks * (outputs + inputs)) + (6L * 32 * groups) + 64);
            float wholeGradient = 0, wholeSource = 0;
            if (format.Left.Granularity == Granularity.Tensor)
                wholeGradient = OperandScales.Whole(context.Threads, gradient + (offsets[0] * dy.RowStride), dy.RowStride, used, outputs, format.Left, DelayedScale.Of(format.Left, dyMaxima));
            if (format.Right.Granularity == Granularity.Tensor)
                wholeSource = OperandScales.Whole(context.Threads, source + (offsets[0] * x.RowStride), x.RowStride, used, inputs, format.Right, DelayedScale.Of(format.Right, xMaxima));
            for (int g = 0; g < groups; g++)
            {
                int rows = offsets[g + 1] - offsets[g], tiles = TileQuantizer.TileCount(rows);
                float* a = _planner.Take((long)rows * outputs), b = _planner.Take((long)rows * inputs);
                float* scalesOfA = scaled ? _planner.Take((long)tiles * outputs) : null, scalesOfB = scaled ? _planner.Take((long)tiles * inputs) : null;
                OperandScales.DownColumns(context.Threads, gradient + (offsets[g] * dy.RowStride), dy.RowStride, rows, outputs, format.Left, wholeGradient, a, scalesOfA);
                OperandScales.DownColumns(context.Threads, source + (offsets[g] * x.RowStride), x.RowStride, rows, inputs, format.Right, wholeSource, b, scalesOfB);
                _planner.Add(new ScaledTask
                {
                    Rows = outputs, Columns = inputs, Depth = rows, Promotes = Promotes(format), Contraction = Sections.Of(rows, 0), ColumnTiles = Sections.Of(inputs, 0),
                    A = a, AStride = outputs, DepthMajor = true, Left = format.Left,
                    RowScales = scalesOfA, RowScaleStride = outputs, BSource = b, BStride = inputs, ColumnScales = scalesOfB, ColumnScaleStride = inputs,
                    C = destination + (g * outputs * dWeight.RowStride), CStride = (nint)dWeight.RowStride, Continues = accumulate, Rounds = format.Output == NumberFormat.BF16,
                    TensorCore = IsTensorCore(format),
                });
            }

            _planner.Run();
        }
    }

    static bool Promotes(ProductFormat format) => format.Accumulation is Accumulation.Promoted or Accumulation.TensorCorePromoted;

    static bool IsTensorCore(ProductFormat format) => format.Accumulation is Accumulation.TensorCore or Accumulation.TensorCorePromoted;

    static float* F32(Tensor x)
    {
        Require.That(x.DType == DType.F32 && x.IsHost, $"The cpu backend computes this operation on F32 in host memory; {x} was given.");
        return x.Pointer<float>();
    }

    static int* Offsets(Tensor offsets, int groups, int capacity)
    {
        int* starts = offsets.Pointer<int>();
        for (int g = 0; g < groups; g++)
            Require.That(starts[g] >= 0 && starts[g + 1] >= starts[g] && starts[g + 1] <= capacity,
                $"Group {g} covers rows {starts[g]} to {starts[g + 1]}; offsets must ascend and stay inside the {capacity} rows of the buffer.");
        return starts;
    }

    ScaledWeight Own(PreparedWeight weight)
    {
        if (weight is not ScaledWeight prepared) ThrowForeign(weight);
        else return prepared;
        return null!;
    }

    [DoesNotReturn]
    static void ThrowForeign(PreparedWeight weight) =>
        throw new ArgumentException($"The weight was not quantised by this backend ({weight.GetType().Name}); prepare it with {nameof(IQuantizationOperations)}.{nameof(Prepare)}.", nameof(weight));
}
