using System.Globalization;
using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Training.Experiments;

/// <summary>
/// What promotion every 128 is for, on the modelled tensor core [V3 §3.3.2: about 2 % of error at a depth of 4096]: the error of products of growing depth, and of one block of width 4096,
/// forward and backward. Trains nothing.
/// </summary>
public static class PromotionExperiment
{
    /// <summary>What a user types.</summary>
    public const string Name = "promotion";

    /// <summary>What is compared, and what the report found.</summary>
    public const string Question =
        "Adding up FP8 products as the tensor core does, without promotion to FP32 every 128 of the contraction. The report finds errors of nearly 2 % at a depth of 4096 (V3 §3.3.2). The tensor core is the model that equals an "
        + "H100 bit for bit.";

    /// <summary>The question up to its first full stop or colon, for lists.</summary>
    public static string Summary => Experiment.Shorten(Question);

    /// <summary>The sentence on what was computed.</summary>
    public const string Setting =
        "Products: 24 × 24 outputs of E4M3 numbers, normal or their magnitudes, against exact sums of the same numbers; errors are the largest relative one of positive sums, and of signed ones the norm of all errors over the norm "
        + "of all outputs. Block: dense, width 4096, feed-forward 1024, 8 heads, 64 tokens, one scale a tensor; against the same recipe with FP32 sums.";

    const int Outputs = 24, Tokens = 64, Width = 4096;
    static readonly int[] Depths = [128, 256, 512, 1024, 2048, 4096, 8192, 16384];

    /// <summary>Rows and lines.</summary>
    /// <param name="backend">For the block.</param>
    /// <param name="seed">Of operands and weights.</param>
    /// <param name="told">Is told what is computed.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    public static (IReadOnlyList<string[]> Rows, IReadOnlyList<ReportSeries> Lines) Run(IBackend backend, ulong seed, Action<string> told, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(told);
        var rows = new List<string[]> { new[] { "what", "no promotion", "promoted every 128", "FP8 itself, against FP32" } };
        var lines = new List<ReportSeries>();
        foreach (bool positive in (bool[])[true, false])
        {
            double[] depths = [.. Depths.Select(d => (double)d)], plain = new double[Depths.Length], promoted = new double[Depths.Length];
            for (int i = 0; i < Depths.Length; i++)
            {
                cancel.ThrowIfCancellationRequested();
                told($"products of depth {Depths[i]}, {(positive ? "positive" : "signed")}");
                (plain[i], promoted[i]) = Products(Depths[i], positive, seed);
                rows.Add([$"product of depth {Depths[i]}, {(positive ? "positive, largest" : "signed, norm")}", Percent(plain[i]), Percent(promoted[i]), ""]);
            }

            string kind = positive ? "positive operands, largest error" : "signed operands, norm of the error";
            lines.Add(new ReportSeries($"{kind}, no promotion", depths, [.. plain.Select(e => 100 * e)]));
            lines.Add(new ReportSeries($"{kind}, promoted", depths, [.. promoted.Select(e => 100 * e)]));
        }

        Block(backend, seed, told, rows, cancel);
        return (rows, lines);
    }

    /// <summary>Errors of products on the modelled tensor core.</summary>
    internal static (double Plain, double Promoted) Products(int depth, bool positive, ulong seed)
    {
        E4M3[] a = Codes(seed, 0, depth, positive), b = Codes(seed, 1, depth, positive);
        double largest = 0, largestPromoted = 0, squares = 0, squaresPromoted = 0, norm = 0;
        for (int m = 0; m < Outputs; m++)
        {
            for (int n = 0; n < Outputs; n++)
            {
                ReadOnlySpan<E4M3> left = a.AsSpan(m * depth, depth), right = b.AsSpan(n * depth, depth);
                float sum = 0, promoted = 0;
                double exact = 0;
                for (int k = 0; k < depth; k += TileQuantizer.Tile)
                {
                    float partial = 0;
                    for (int i = k; i < k + TileQuantizer.Tile; i += 32)
                    {
                        sum = TensorCoreAccumulation.Hopper.Accumulate(sum, left.Slice(i, 32), right.Slice(i, 32));
                        partial = TensorCoreAccumulation.Hopper.Accumulate(partial, left.Slice(i, 32), right.Slice(i, 32));
                    }

                    promoted += partial;
                    for (int i = k; i < k + TileQuantizer.Tile; i++) exact += (double)left[i].ToSingle() * right[i].ToSingle();
                }

                double error = Math.Abs(sum - exact), errorPromoted = Math.Abs(promoted - exact);
                largest = Math.Max(largest, error / Math.Abs(exact));
                largestPromoted = Math.Max(largestPromoted, errorPromoted / Math.Abs(exact));
                squares += error * error;
                squaresPromoted += errorPromoted * errorPromoted;
                norm += exact * exact;
            }
        }

        return positive ? (largest, largestPromoted) : (Math.Sqrt(squares / norm), Math.Sqrt(squaresPromoted / norm));
    }

    /// <summary>As one scale a tensor makes them: the largest is 448.</summary>
    static E4M3[] Codes(ulong seed, uint stream, int depth, bool positive)
    {
        var random = new CounterRandom(seed, RandomPurpose.TestData, stream);
        float[] values = new float[Outputs * depth];
        for (int i = 0; i < values.Length; i++)
        {
            double value = random.Normal((ulong)i);
            values[i] = (float)(positive ? Math.Abs(value) : value);
        }

        var codes = new E4M3[values.Length];
        TileQuantizer.EncodeScaled(values, TileScale.ForE4M3(TileScale.LargestMagnitude(values), ScaleKind.Plain), codes);
        return codes;
    }

    static void Block(IBackend backend, ulong seed, Action<string> told, List<string[]> rows, CancellationToken cancel)
    {
        Recipe exact = Recipe.Fp8PerTensor;
        Recipe promoted = exact with
        {
            Forward = exact.Forward with { Accumulation = Accumulation.TensorCorePromoted }, InputGradient = exact.InputGradient with { Accumulation = Accumulation.TensorCorePromoted },
            WeightGradient = exact.WeightGradient with { Accumulation = Accumulation.TensorCorePromoted },
        };
        told("block of width 4096, FP32");
        float[][] single = Step(backend, Recipe.Fp32, seed);
        cancel.ThrowIfCancellationRequested();
        told("block, FP8 with FP32 sums");
        float[][] wide = Step(backend, exact, seed);
        cancel.ThrowIfCancellationRequested();
        told("block, promoted on the tensor core");
        float[][] withPromotion = Step(backend, promoted, seed);
        cancel.ThrowIfCancellationRequested();
        told("block, not promoted");
        float[][] without = Step(backend, Recipe.Fp8NoPromotion, seed);
        string[] names = ["block, output after the final norm", "block, gradient of its input", "block, gradients of its weights"];
        for (int i = 0; i < names.Length; i++)
        {
            rows.Add([names[i], Percent(RelativeDifference.Frobenius<float>(without[i], wide[i])), Percent(RelativeDifference.Frobenius<float>(withPromotion[i], wide[i])),
                Percent(RelativeDifference.Frobenius<float>(wide[i], single[i]))]);
        }
    }

    /// <summary>Output, gradient of the embedding (the block's input), gradients of the block's projections.</summary>
    static float[][] Step(IBackend backend, Recipe recipe, ulong seed)
    {
        var shape = new TransformerShape
        {
            Vocabulary = 512, Hidden = Width, Layers = 1, DenseLayers = 1, DenseIntermediate = 1024, ExpertIntermediate = 128, Heads = 8, QueryLoraRank = 512, KeyValueLoraRank = 256,
            QkNopeHeadDim = 64, QkRopeHeadDim = 32, ValueHeadDim = 64, SharedExperts = 0, Gate = new GateParameters(0, 0, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 1),
            GateBias = false, MtpDepth = 0, NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = Tokens,
        };
        using var model = new Transformer(backend, shape, recipe);
        Initialization.Normal(model, seed, 0.02);
        using var chunk = new SequenceChunk(model, 1, Tokens, training: true);
        var random = new CounterRandom(seed, RandomPurpose.TestData, 2);
        chunk.SetTokens([.. Enumerable.Range(0, Tokens + 1).Select(i => random.Below((ulong)i, shape.Vocabulary))], Tokens + 1);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        chunk.ForwardBackward(new LossWeights(1.0 / Tokens, 0, 0, 1), gradients);
        return
        [
            chunk.Normed.AsSpan<float>().ToArray(), model.Parameters.All[0].View(gradients).AsSpan<float>().ToArray(),
            [.. model.Parameters.All.Where(p => p.Kind == ParameterKind.Projection).SelectMany(p => p.View(gradients).AsSpan<float>().ToArray())],
        ];
    }

    static string Percent(double error) => (100 * error).ToString(error < 1e-3 ? "0.0000" : "0.00", CultureInfo.InvariantCulture) + " %";
}
