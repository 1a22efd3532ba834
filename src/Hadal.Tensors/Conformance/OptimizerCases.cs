using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Conformance;

/// <summary>The update, norms of gradients, moving averages.</summary>
static class OptimizerCases
{
    public static IEnumerable<ConformanceCase> All { get; } =
    [
        new("Optimizer.SumOfSquares", "overwrite", c => SumOfSquares(c, c.Pick(1, 17, 100, 5000), accumulate: false)),
        new("Optimizer.SumOfSquares", "accumulate", c => SumOfSquares(c, c.Pick(1, 17, 100, 5000), accumulate: true)),
        AdamW("BF16 moments", DType.BF16, apply: 1),
        AdamW("FP32 moments", DType.F32, apply: 1),
        AdamW("not applied", DType.BF16, apply: 0),
        new("Optimizer.MovingAverage", "plain", c =>
        {
            int count = c.Pick(1, 17, 100, 1000);
            Operand x = c.Normal("x", [count], type: ElementwiseCases.Statistics(c)), average = c.NormalAccumulator("average", [count], type: ElementwiseCases.Statistics(c));
            c.Run((operations, of) => operations.Optimizer.MovingAverage(of(x), 0.99, of(average)));
            c.Compare(average);
        }),
    ];

    static void SumOfSquares(ConformanceContext c, int count, bool accumulate)
    {
        Operand x = c.Normal("x", [count], type: ElementwiseCases.Statistics(c)), sum = c.NormalAccumulator("sum", [1], type: DType.F64);
        c.Run((operations, of) => operations.Optimizer.SumOfSquares(of(x), of(sum), accumulate));
        c.CompareWithin(sum, 1e-12, 1e-12);
    }

    static ConformanceCase AdamW(string variant, DType moments, double apply) => new("Optimizer.AdamW", variant, c =>
    {
        int count = c.Pick(1, 17, 100, 3000);
        Operand master = c.NormalAccumulator("master", [count], type: ElementwiseCases.Statistics(c)), gradient = c.Normal("gradient", [count], 0.1, type: ElementwiseCases.Statistics(c));
        CounterRandom random = c.Random();
        Operand first = c.Normal("firstMoment", [count], 0.01, type: moments);
        Operand second = c.Input("secondMoment", [count], i => 1e-4 * random.Uniform((ulong)i), type: moments);
        double[] values = [1e-2, 7, 0.6, apply];
        Operand state = c.Input("state", [4], i => values[i], type: DType.F64);
        var parameters = new AdamWParameters(0.9, 0.95, 1e-8, 0.1);
        c.Run((operations, of) => operations.Optimizer.AdamW(of(master), of(first), of(second), of(gradient), parameters, of(state)));
        c.Compare(master);

        // A moment that lies between two BF16 values may fall to either side: half a step apart in some elements, never in all.
        (double total, double element) = moments == DType.BF16 ? (5e-4, 2e-2) : (c.BaseTolerance, 64 * c.BaseTolerance);
        c.CompareWithin(first, total, element);
        c.CompareWithin(second, total, element);
    });
}
