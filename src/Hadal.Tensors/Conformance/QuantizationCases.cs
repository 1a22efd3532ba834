using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Conformance;

/// <summary>Stored formats, and products of quantised operands in every granularity and accumulation.</summary>
static class QuantizationCases
{
    static readonly int[] Extents = [1, 5, 31, 64, 128, 129, 200, 257];

    static readonly QuantizationFormat[] Stored =
    [
        QuantizationFormat.F32, QuantizationFormat.BF16, QuantizationFormat.E5M6, QuantizationFormat.Tiles(), QuantizationFormat.Tiles(ScaleKind.PowerOfTwo),
        QuantizationFormat.Blocks(), QuantizationFormat.WholeTensor(),
    ];

    static readonly ProductFormat[] Products =
    [
        new(QuantizationFormat.Tiles(), QuantizationFormat.Blocks(), Accumulation.Promoted),
        new(QuantizationFormat.Tiles(ScaleKind.PowerOfTwo), QuantizationFormat.Blocks(), Accumulation.Promoted),
        new(QuantizationFormat.Blocks(), QuantizationFormat.Blocks(), Accumulation.Promoted),
        new(QuantizationFormat.WholeTensor(), QuantizationFormat.WholeTensor(), Accumulation.Promoted),
        new(QuantizationFormat.WholeTensor(), QuantizationFormat.WholeTensor(), Accumulation.Chain),
        ProductFormat.BF16(NumberFormat.F32),
        ProductFormat.F32,
    ];

    public static IEnumerable<ConformanceCase> All { get; } =
    [
        .. Stored.SelectMany(f => new[] { Encode(f, counted: false), Encode(f, counted: true) }),
        Round(),
        new("Quantization.Refresh", "after the values changed", c =>
        {
            ProductFormat format = Products[0];
            int outputs = c.Pick(Extents), inputs = c.Pick(Extents);
            Operand x = Wide(c, "x", [3, inputs]), weight = Wide(c, "weight", [outputs, inputs]), y = c.Output("y", [3, outputs]);
            c.Run((operations, of) =>
            {
                using PreparedWeight prepared = operations.Quantization.Prepare([of(weight)], ProductUses.Training, format.Right);
                operations.Elementwise.Scale(of(weight), -2, of(weight));
                operations.Quantization.Refresh(prepared);
                operations.Quantization.Forward(of(x), prepared, format, of(y));
            });
            c.Compare(y, 2);
        }),
        new("Quantization.Prepare", "for one product only", c =>
        {
            Operand x = Wide(c, "x", [4, 70]), weight = Wide(c, "weight", [140, 70]), y = c.Output("y", [4, 140]);
            c.Run((operations, of) =>
            {
                using PreparedWeight prepared = operations.Quantization.Prepare([of(weight)], ProductUses.Forward, Products[0].Right);
                operations.Quantization.Forward(of(x), prepared, Products[0], of(y));
            });
            c.Compare(y, 2);
        }),
        .. Products.SelectMany(f => new[]
        {
            Forward(f, false, 0), Forward(f, true, 9), BackwardInput(f, false, 0), BackwardInput(f, true, 9), WeightGradient(f, false, 0), WeightGradient(f, true, 3),
            Grouped(f),
        }),
        .. Products[..3].SelectMany(f => new[] { Joined(f, grouped: false), Joined(f, grouped: true) }),
        .. new[] { Accumulation.Promoted, Accumulation.Chain }.SelectMany(a => new[] { Delayed(a, grouped: false), Delayed(a, grouped: true) }),
        TensorCore(Accumulation.TensorCore),
        TensorCore(Accumulation.TensorCorePromoted),
        RoundedOutput(),
    ];

    static string Name(ProductFormat f) => $"{f.Left} times {f.Right}, {f.Accumulation}";

    /// <summary>Normal values whose rows and columns differ in size by up to 2^8, so that a scale of the wrong tile shows.</summary>
    static Operand Wide(ConformanceContext c, string name, int[] shape, int apart = 0)
    {
        CounterRandom random = c.Random();
        int columns = shape[^1];
        return c.Input(name, shape, i => random.Normal((ulong)i) * Math.Pow(2, random.Below((ulong)(i / columns), 5) + random.Below((1UL << 40) + (ulong)(i % columns / 16), 5) - 4), apart);
    }

    static ConformanceCase Encode(QuantizationFormat format, bool counted) => new("Quantization.Encode", $"{format}{(counted ? ", part of the rows" : "")}", c =>
    {
        int rows = c.Pick(1, 7, 130, 260), columns = c.Pick(Extents);
        Operand x = Wide(c, "x", [rows, columns], apart: 3), y = c.NormalAccumulator("y", [rows, columns], apart: 5);
        Operand? count = counted ? c.Integers("rowCount", [1], [rows / 2]) : null;
        c.Run((operations, of) =>
        {
            // Codes and scales are the backend's own; what they decode to is compared, exactly.
            using var arena = new TensorArena(c.BackendOf(operations));
            (int scaleRows, int scaleColumns) = format.StorageScales(rows, columns);
            Tensor codes = arena.Allocate(format.StorageType, rows, format.StorageColumns(columns)), scales = scaleRows == 0 ? default : arena.Allocate(DType.F32, scaleRows, scaleColumns);
            operations.Quantization.Encode(of(x), format, codes, scales, of(count));
            operations.Quantization.Decode(codes, scales, format, of(y), of(count));
        });
        c.Exact(y);
    });

    static ConformanceCase Round() => new("Quantization.Round", "bf16, rows apart", c =>
    {
        int[] shape = [c.Pick(1, 9, 40), c.Pick(Extents)];
        Operand x = Wide(c, "x", shape, apart: 2), y = c.Output("y", shape, apart: 7);
        c.Run((operations, of) => operations.Quantization.Round(of(x), NumberFormat.BF16, of(y)));
        c.Exact(y);
    });

    static ConformanceCase Forward(ProductFormat format, bool accumulate, int apart) => new("Quantization.Forward", $"{Name(format)}{(accumulate ? ", accumulate, rows apart" : "")}", c =>
    {
        int rows = c.Pick(1, 4, 13, 140), outputs = c.Pick(Extents), inputs = c.Pick(Extents);
        Operand x = Wide(c, "x", [rows, inputs], apart), weight = Wide(c, "weight", [outputs, inputs], apart), y = c.NormalAccumulator("y", [rows, outputs], apart);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Quantization.Prepare([of(weight)], ProductUses.Training, format.Right);
            operations.Quantization.Forward(of(x), prepared, format, of(y), accumulate);
        });
        c.Compare(y, 2);
    });

    static ConformanceCase BackwardInput(ProductFormat format, bool accumulate, int apart) => new("Quantization.BackwardInput", $"{Name(format)}{(accumulate ? ", accumulate, rows apart" : "")}", c =>
    {
        int rows = c.Pick(1, 4, 13, 140), outputs = c.Pick(Extents), inputs = c.Pick(Extents);
        Operand dy = Wide(c, "dy", [rows, outputs], apart), weight = Wide(c, "weight", [outputs, inputs], apart), dx = c.NormalAccumulator("dx", [rows, inputs], apart);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Quantization.Prepare([of(weight)], ProductUses.Training, format.Right);
            operations.Quantization.BackwardInput(of(dy), prepared, format, of(dx), accumulate);
        });
        c.Compare(dx, 2);
    });

    static ConformanceCase WeightGradient(ProductFormat format, bool accumulate, int apart) => new("Quantization.BackwardWeight", $"{Name(format)}{(accumulate ? ", accumulate, rows apart" : "")}", c =>
    {
        int rows = c.Pick(1, 127, 129, 200), outputs = c.Pick(Extents), inputs = c.Pick(Extents);
        Operand dy = Wide(c, "dy", [rows, outputs], apart), x = Wide(c, "x", [rows, inputs], apart);
        Operand dWeight = c.NormalAccumulator("dWeight", [outputs, inputs], apart, ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Quantization.BackwardWeight(of(dy), of(x), format, of(dWeight), accumulate));
        c.Compare(dWeight, 2);
    });

    static ConformanceCase Grouped(ProductFormat format) => new("Quantization.Grouped", Name(format), c =>
    {
        int experts = c.Pick(1, 3, 5), capacity = c.Pick(5, 140, 200), outputs = c.Pick(5, 64, 130), inputs = c.Pick(16, 100, 200);
        CounterRandom random = c.Random();
        int[] cuts = [.. Enumerable.Range(0, experts + 1).Select(g => random.Below((ulong)g, capacity + 1)).Order()];
        Operand offsets = c.Integers("offsets", [experts + 1], cuts), x = Wide(c, "x", [capacity, inputs]), dy = Wide(c, "dy", [capacity, outputs]);
        Operand[] weights = [.. Enumerable.Range(0, experts).Select(_ => Wide(c, "weight", [outputs, inputs]))];
        Operand y = c.NormalAccumulator("y", [capacity, outputs]), dx = c.NormalAccumulator("dx", [capacity, inputs]);
        Operand dWeight = c.NormalAccumulator("dWeight", [experts, outputs, inputs], type: ElementwiseCases.Statistics(c));
        Operand added = c.NormalAccumulator("dWeight accumulated", [experts, outputs, inputs], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Quantization.Prepare(Array.ConvertAll(weights, w => of(w)), ProductUses.Training, format.Right);
            operations.Quantization.GroupedForward(of(x), of(offsets), prepared, format, of(y));
            operations.Quantization.GroupedBackwardInput(of(dy), of(offsets), prepared, format, of(dx));
            operations.Quantization.GroupedBackwardWeight(of(dy), of(x), of(offsets), format, of(dWeight), accumulate: false);
            operations.Quantization.GroupedBackwardWeight(of(dy), of(x), of(offsets), format, of(added), accumulate: true);
        });
        c.Compare(y, 2);
        c.Compare(dx, 2);
        c.Compare(dWeight, 2);
        c.Compare(added, 2);
    });

    /// <summary>Weights joined of matrices whose rows need not be a multiple of 128: blocks begin anew at each.</summary>
    static ConformanceCase Joined(ProductFormat format, bool grouped) => new(grouped ? "Quantization.Grouped" : "Quantization.Forward", $"{Name(format)}, joined matrices", c =>
    {
        int matrix = c.Pick(5, 33, 96, 128, 130, 144, 257), matrices = c.Pick(2, 3), outputs = matrix * matrices, inputs = c.Pick(16, 130, 200), experts = grouped ? 2 : 1, rows = c.Pick(5, 40);
        Operand offsets = c.Integers("offsets", [experts + 1], grouped ? [0, rows / 2, rows] : [0, rows]), x = Wide(c, "x", [rows, inputs]), dy = Wide(c, "dy", [rows, outputs]);
        Operand[] weights = [.. Enumerable.Range(0, experts).Select(_ => Wide(c, "weight", [outputs, inputs]))];
        Operand y = c.NormalAccumulator("y", [rows, outputs]), dx = c.NormalAccumulator("dx", [rows, inputs]);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Quantization.Prepare(Array.ConvertAll(weights, w => of(w)), ProductUses.Training, format.Right, matrix);
            if (grouped)
            {
                operations.Quantization.GroupedForward(of(x), of(offsets), prepared, format, of(y));
                operations.Quantization.GroupedBackwardInput(of(dy), of(offsets), prepared, format, of(dx));
                return;
            }

            operations.Quantization.Forward(of(x), prepared, format, of(y));
            operations.Quantization.BackwardInput(of(dy), prepared, format, of(dx));
        });
        c.Compare(y, 2);
        c.Compare(dx, 2);
    });

    /// <summary>Scales of earlier maxima: too small ones (values saturate), large ones, none; and what was seen.</summary>
    static ConformanceCase Delayed(Accumulation accumulation, bool grouped) => new(grouped ? "Quantization.Grouped" : "Quantization.Forward", $"delayed scales, {accumulation}", c =>
    {
        QuantizationFormat delayed = QuantizationFormat.WholeTensorDelayed();
        var format = new ProductFormat(delayed, delayed, accumulation);
        int outputs = c.Pick(5, 64, 130), inputs = c.Pick(16, 130, 200), experts = grouped ? 3 : 1, rows = c.Pick(5, 140);
        float before = c.Pick(0, 1, 50);
        Operand offsets = c.Integers("offsets", [experts + 1], grouped ? [0, rows / 3, rows / 3, rows] : [0, rows]), x = Wide(c, "x", [rows, inputs]), dy = Wide(c, "dy", [rows, outputs]);
        Operand[] weights = [.. Enumerable.Range(0, experts).Select(_ => Wide(c, "weight", [outputs, inputs]))];
        Operand y = c.NormalAccumulator("y", [rows, outputs]), dx = c.NormalAccumulator("dx", [rows, inputs]), seen = c.Output("maxima", [experts + 3, 2], type: DType.F32);
        Operand dWeight = c.NormalAccumulator("dWeight", [experts, outputs, inputs], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) =>
        {
            // Maxima are F32 on both sides; the reference's output, which is wider, receives them at the end.
            using var arena = new TensorArena(c.BackendOf(operations));
            Tensor maxima = arena.Allocate(DType.F32, experts + 3, 2);
            operations.Elementwise.Fill(maxima, 0);
            operations.Elementwise.Fill(maxima.SliceColumns(0, 1), before);
            Tensor ofX = maxima.Select(experts), ofGradient = maxima.Select(experts + 1);
            IQuantizationOperations quantization = operations.Quantization;
            using PreparedWeight prepared = quantization.Prepare(Array.ConvertAll(weights, w => of(w)), ProductUses.Training, delayed, 0, maxima.Slice(0, experts));
            if (grouped)
            {
                quantization.GroupedForward(of(x), of(offsets), prepared, format, of(y), ofX);
                quantization.GroupedBackwardInput(of(dy), of(offsets), prepared, format, of(dx), ofGradient.Slice(0, 1));
                quantization.GroupedBackwardWeight(of(dy), of(x), of(offsets), format, of(dWeight), accumulate: false, ofGradient, ofX.Slice(0, 1));
            }
            else
            {
                quantization.Forward(of(x), prepared, format, of(y), accumulate: false, ofX);
                quantization.BackwardInput(of(dy), prepared, format, of(dx), accumulate: false, ofGradient.Slice(0, 1));
                quantization.BackwardWeight(of(dy), of(x), format, of(dWeight).Select(0), accumulate: true, ofGradient, ofX.Slice(0, 1));
            }

            operations.Elementwise.Copy(maxima, of(seen));
        });
        c.Compare(y, 2);
        c.Compare(dx, 2);
        c.Compare(dWeight, 2);
        c.Exact(seen);
    });

    static ConformanceCase TensorCore(Accumulation accumulation) => new("Quantization.Forward", $"{accumulation}", c =>
    {
        var format = new ProductFormat(QuantizationFormat.WholeTensor(), QuantizationFormat.WholeTensor(), accumulation);
        int rows = c.Pick(1, 5), outputs = c.Pick(3, 17), inputs = c.Pick(30, 200);
        Operand x = c.Normal("x", [rows, inputs]), weight = c.Normal("weight", [outputs, inputs]), y = c.Output("y", [rows, outputs]);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Quantization.Prepare([of(weight)], ProductUses.Forward, format.Right);
            operations.Quantization.Forward(of(x), prepared, format, of(y));
        });
        c.Compare(y, 2);
    });

    static ConformanceCase RoundedOutput() => new("Quantization.Forward", "output rounded to bf16", c =>
    {
        ProductFormat format = Products[0] with { Output = NumberFormat.BF16 };
        Operand x = Wide(c, "x", [20, 150]), weight = Wide(c, "weight", [70, 150]), y = c.Output("y", [20, 70]);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Quantization.Prepare([of(weight)], ProductUses.Training, format.Right);
            operations.Quantization.Forward(of(x), prepared, format, of(y));
        });

        // A sum near the middle of two bfloat16 values may fall on either side of it.
        c.CompareWithin(y, 1e-3, 0.1);
    });
}
