using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Conformance;

/// <summary>Products with weights: plain, grouped by expert, batched by head.</summary>
static class MatrixCases
{
    static readonly int[] Extents = [1, 5, 16, 31, 64, 70, 96, 130];

    public static IEnumerable<ConformanceCase> All { get; } =
    [
        Forward("overwrite", accumulate: false, 0),
        Forward("accumulate, rows apart", accumulate: true, 9),
        Forward("one row", accumulate: false, 0, rows: 1),
        BackwardInput("overwrite", accumulate: false, 0),
        BackwardInput("accumulate, rows apart", accumulate: true, 9),
        BackwardWeight("overwrite", accumulate: false),
        BackwardWeight("accumulate", accumulate: true),
        new("Matrix.Refresh", "after the values changed", c =>
        {
            int outputs = c.Pick(Extents), inputs = c.Pick(Extents);
            Operand x = c.Normal("x", [3, inputs]), weight = c.Normal("weight", [outputs, inputs]), y = c.Output("y", [3, outputs]);
            c.Run((operations, of) =>
            {
                using PreparedWeight prepared = operations.Matrix.Prepare([of(weight)], ProductUses.Training);
                operations.Elementwise.Scale(of(weight), -2, of(weight));
                operations.Matrix.Refresh(prepared);
                operations.Matrix.Forward(of(x), prepared, of(y));
            });
            c.Compare(y);
        }),
        Grouped("random groups", (c, experts, rows) => Cuts(c.Random(), experts, rows)),
        Grouped("all rows in one group", (c, experts, rows) => [.. Enumerable.Range(0, experts + 1).Select(g => g > experts / 2 ? rows : 0)]),
        Grouped("no rows at all", (c, experts, rows) => new int[experts + 1]),
        Grouped("rows outside every group", (c, experts, rows) => [.. Enumerable.Range(0, experts + 1).Select(g => 1 + (g * (rows - 2) / experts))]),
        Batched("forward", forward: true),
        Batched("backward", forward: false),
    ];

    static ConformanceCase Forward(string variant, bool accumulate, int apart, int rows = 0) => new("Matrix.Forward", variant, c =>
    {
        int m = rows > 0 ? rows : c.Pick(2, 7, 33, 65), outputs = c.Pick(Extents), inputs = c.Pick(Extents);
        Operand x = c.Normal("x", [m, inputs], apart: apart), weight = c.Normal("weight", [outputs, inputs]), y = c.NormalAccumulator("y", [m, outputs], apart);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Matrix.Prepare([of(weight)], ProductUses.Forward);
            operations.Matrix.Forward(of(x), prepared, of(y), accumulate);
        });
        c.Compare(y);
    });

    static ConformanceCase BackwardInput(string variant, bool accumulate, int apart) => new("Matrix.BackwardInput", variant, c =>
    {
        int m = c.Pick(1, 7, 33, 65), outputs = c.Pick(Extents), inputs = c.Pick(Extents);
        Operand dy = c.Normal("dy", [m, outputs], apart: apart), weight = c.Normal("weight", [outputs, inputs]), dx = c.NormalAccumulator("dx", [m, inputs], apart);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Matrix.Prepare([of(weight)], ProductUses.BackwardInput);
            operations.Matrix.BackwardInput(of(dy), prepared, of(dx), accumulate);
        });
        c.Compare(dx);
    });

    static ConformanceCase BackwardWeight(string variant, bool accumulate) => new("Matrix.BackwardWeight", variant, c =>
    {
        int m = c.Pick(1, 7, 33, 130), outputs = c.Pick(Extents), inputs = c.Pick(Extents);
        Operand dy = c.Normal("dy", [m, outputs], apart: 3), x = c.Normal("x", [m, inputs], apart: 1);
        Operand dWeight = c.NormalAccumulator("dWeight", [outputs, inputs], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Matrix.BackwardWeight(of(dy), of(x), of(dWeight), accumulate));
        c.Compare(dWeight);
    });

    static ConformanceCase Grouped(string variant, Func<ConformanceContext, int, int, int[]> cut) => new("Matrix.Grouped", variant, c =>
    {
        int experts = c.Pick(1, 2, 5, 8), capacity = c.Pick(2, 9, 40), outputs = c.Pick(5, 16, 31, 64), inputs = c.Pick(5, 16, 31, 64);
        Operand offsets = c.Integers("offsets", [experts + 1], cut(c, experts, capacity));
        Operand x = c.Normal("x", [capacity, inputs]), dy = c.Normal("dy", [capacity, outputs]);
        Operand[] weights = new Operand[experts];
        for (int g = 0; g < experts; g++) weights[g] = c.Normal("weight", [outputs, inputs]);
        Operand y = c.NormalAccumulator("y", [capacity, outputs]), dx = c.NormalAccumulator("dx", [capacity, inputs]);
        Operand dWeight = c.NormalAccumulator("dWeight", [experts, outputs, inputs], type: ElementwiseCases.Statistics(c));
        Operand added = c.NormalAccumulator("dWeight accumulated", [experts, outputs, inputs], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Matrix.Prepare(Array.ConvertAll(weights, w => of(w)), ProductUses.Training);
            operations.Matrix.GroupedForward(of(x), of(offsets), prepared, of(y));
            operations.Matrix.GroupedBackwardInput(of(dy), of(offsets), prepared, of(dx));
            operations.Matrix.GroupedBackwardWeight(of(dy), of(x), of(offsets), of(dWeight), accumulate: false);
            operations.Matrix.GroupedBackwardWeight(of(dy), of(x), of(offsets), of(added), accumulate: true);
        });
        c.Compare(y);
        c.Compare(dx);
        c.Compare(dWeight);
        c.Compare(added);
    });

    static ConformanceCase Batched(string variant, bool forward) => new("Matrix.Batched", variant, c =>
    {
        int tokens = c.Pick(1, 5, 34), heads = c.Pick(1, 3, 4), outputs = c.Pick(5, 16, 32), inputs = c.Pick(8, 17, 48);
        Operand[] weights = new Operand[heads];
        for (int h = 0; h < heads; h++) weights[h] = c.Normal("weight", [outputs, inputs]);
        Operand x = c.Normal("x", [tokens, heads, forward ? inputs : outputs], apart: 8), y = c.Output("y", [tokens, heads, forward ? outputs : inputs], apart: 8);
        c.Run((operations, of) =>
        {
            using PreparedWeight prepared = operations.Matrix.Prepare(Array.ConvertAll(weights, w => of(w)), ProductUses.Training);
            if (forward) operations.Matrix.BatchedForward(of(x), prepared, of(y));
            else operations.Matrix.BatchedBackwardInput(of(x), prepared, of(y));
        });
        c.Compare(y);
    });

    static int[] Cuts(CounterRandom random, int experts, int rows)
    {
        int[] offsets = new int[experts + 1];
        for (int g = 1; g <= experts; g++) offsets[g] = random.Below((ulong)g, rows + 1);
        Array.Sort(offsets);
        return offsets;
    }
}
