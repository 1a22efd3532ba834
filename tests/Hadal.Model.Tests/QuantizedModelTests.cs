using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Model.Tests;

/// <summary>Forward and backward under the recipes: near float32, the same bits everywhere, nothing allocated.</summary>
public sealed class QuantizedModelTests
{
    static readonly TransformerShape Shape = TinyModels.Shape("mtp") with
    {
        Hidden = 160, Vocabulary = 77, Heads = 3, QkNopeHeadDim = 20, QkRopeHeadDim = 6, ValueHeadDim = 50, KeyValueLoraRank = 41, QueryLoraRank = 65,
        DenseIntermediate = 150, ExpertIntermediate = 72, MaxPositions = 128,
        Gate = new GateParameters(8, 3, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5),
    };

    static readonly LossWeights Weights = new(1.0 / 200, 0.3, 0.001, 0.5);

    static (float[] Gradients, float[] Losses) Run(Recipe recipe, CpuOptions options, TransformerShape? shape = null, int length = 100)
    {
        using var backend = new CpuBackend(options);
        using var model = new Transformer(backend, shape ?? Shape, recipe);
        Initialization.Normal(model, seed: 9, deviation: 0.08);
        using var chunk = new SequenceChunk(model, 2, length, training: true);
        chunk.SetTokens(TinyModels.Tokens(2 * (length + 1), Shape.Vocabulary, 4), length + 1);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        chunk.ForwardBackward(Weights, gradients);
        return (gradients.AsSpan<float>().ToArray(), [.. chunk.Losses.SelectMany(l => l.AsSpan<float>().ToArray())]);
    }

    [Theory]
    [InlineData("bf16", 0.03)]
    [InlineData("fp8", 0.25)]
    [InlineData("fp8-block-gradients", 0.25)]
    [InlineData("fp8-per-tensor", 0.3)]
    [InlineData("fp8-per-tensor-delayed", 0.3)]
    [Implements("V3 §3.3.1", "The products of projections run in FP8 in forward, input gradient and weight gradient, near the result of FP32")]
    public void Losses_and_gradients_stay_near_those_of_float32(string name, double limit)
    {
        // Dense, so that no token changes its expert by a rounding.
        TransformerShape dense = Shape with { DenseLayers = 2 };
        var options = new CpuOptions(2, InstructionSets.Best);
        (float[] gradients, float[] losses) = Run(Recipe.Find(name), options, dense);
        (float[] exactGradients, float[] exactLosses) = Run(Recipe.Fp32, options, dense);
        Assert.InRange(RelativeDifference.Frobenius<float>(losses, exactLosses), 1e-6, limit / 10);
        Assert.InRange(RelativeDifference.Frobenius<float>(gradients, exactGradients), 1e-4, limit);

        // Of every parameter by itself: a scale lost in a small layer would vanish in the whole.
        foreach (Parameter parameter in Transformer.Declare(dense))
        {
            ReadOnlySpan<float> own = gradients.AsSpan((int)parameter.Offset, parameter.Length), exact = exactGradients.AsSpan((int)parameter.Offset, parameter.Length);
            double difference = RelativeDifference.Frobenius(own, exact);
            Assert.True(difference < 1.5 * limit, $"{name} {parameter.Name}: {difference}");
        }
    }

    [Theory]
    [InlineData("bf16")]
    [InlineData("fp8")]
    [InlineData("fp8-per-tensor")]
    [InlineData("fp8-per-tensor-delayed")]
    [Implements("architecture §8", "A run under fp32 or fp8 has the same bits for any number of threads and vector width")]
    public void Gradients_and_losses_have_the_same_bits_on_every_instruction_set_and_any_number_of_threads(string name)
    {
        Recipe recipe = Recipe.Find(name);
        (float[] gradients, float[] losses) = Run(recipe, new CpuOptions(1, InstructionSet.Scalar));
        Assert.Contains(gradients, g => g != 0);
        Assert.DoesNotContain(gradients, float.IsNaN);
        foreach (InstructionSet set in InstructionSets.Available)
        {
            foreach (int threads in (int[])[1, 3])
            {
                (float[] other, float[] otherLosses) = Run(recipe, new CpuOptions(threads, set));
                Same(losses, otherLosses, $"{set}, {threads} threads: loss");
                Same(gradients, other, $"{set}, {threads} threads: gradient");
            }
        }
    }

    [Fact]
    [Trait("tier", "full")]
    public void The_modelled_tensor_core_runs_a_step_and_errs_more_without_promotion()
    {
        TransformerShape dense = Shape with { DenseLayers = 2, MtpDepth = 0, Layers = 1 };
        var options = new CpuOptions(2, InstructionSets.Best);
        float[] exact = Run(Recipe.Fp32, options, dense, 20).Gradients;
        double promoted = RelativeDifference.Frobenius<float>(Run(Recipe.Fp8TensorCore, options, dense, 20).Gradients, exact);
        double unpromoted = RelativeDifference.Frobenius<float>(Run(Recipe.Fp8NoPromotion, options, dense, 20).Gradients, exact);
        Assert.InRange(promoted, 1e-4, 0.24);
        Assert.InRange(unpromoted, promoted * 1.01, 0.24);
    }

    [Theory]
    [InlineData("bf16")]
    [InlineData("fp8")]
    [InlineData("fp8-per-tensor-delayed")]
    public void A_step_allocates_nothing_after_warm_up(string name)
    {
        using var backend = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        using var model = new Transformer(backend, Shape, Recipe.Find(name));
        Initialization.Normal(model, seed: 9, deviation: 0.2);
        using var chunk = new SequenceChunk(model, 2, 100, training: true);
        int[] tokens = TinyModels.Tokens(2 * 101, Shape.Vocabulary, 4);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        for (int warm = 0; warm < 3; warm++)
        {
            chunk.SetTokens(tokens, 101);
            chunk.ForwardBackward(Weights, gradients);
            model.Parameters.ScalingHistory?.Advance();
            model.Refresh();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        chunk.SetTokens(tokens, 101);
        chunk.ForwardBackward(Weights, gradients);
        model.Parameters.ScalingHistory?.Advance();
        model.Refresh();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    [Implements("V3 §3.3.3", "The attention output is kept in a 12-bit E5M6 with power-of-two scales")]
    [Implements("V3 §3.3.3", "The inputs of SwiGLU are kept in FP8 and its output is computed again")]
    [Implements("V3 §3.3.3", "Inputs of the experts are kept and dispatched in FP8 with power-of-two scales")]
    [Implements("V3 §3.2.3", "RMSNorm and the up-projections of attention are computed again in the backward")]
    public void Records_hold_what_the_recipe_says()
    {
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var model = new Transformer(backend, Shape, Recipe.Fp8);
        using var chunk = new SequenceChunk(model, 1, 64, training: true);
        RecordEntry[] entries = [.. chunk.Saved[1].Entries()];
        RecordEntry Entry(string name) => entries.Single(e => string.Equals(e.Name, name, StringComparison.Ordinal));
        Assert.Equal(QuantizationFormat.E5M6, Entry("Attention.Output").Format);
        Assert.Equal(64L * (Shape.Heads * Shape.ValueHeadDim / 2 * 3), Entry("Attention.Output").Bytes);
        Assert.Equal(DType.E4M3, Entry("Routed.GateUp").Tensor.DType);
        Assert.Equal(DType.E4M3, Entry("Routed.Rows").Tensor.DType);
        Assert.Equal(DType.BF16, Entry("Attention.Input").Tensor.DType);

        // And nothing else: no norm, no up-projection, no output of SwiGLU.
        string[] kept =
        [
            "Attention.Input bf16", "Attention.InputInverseRms f32", "Attention.QueryLatent bf16", "Attention.QueryLatentInverseRms f32", "Attention.KeyValueLatent bf16",
            "Attention.KeyValueLatentInverseRms f32", "Attention.Output e5m6 tile", "Attention.Output.Scales f32", "Attention.LogSumExp f32", "Middle bf16", "MiddleInverseRms f32",
            "FeedForward.GateUp e4m3 tile", "FeedForward.GateUp.Scales f32", "Routed.Experts i32", "Routed.Counts i32", "Routed.Offsets i32", "Routed.RowToken i32", "Routed.TokenRow i32",
            "Routed.Scores f32", "Routed.Weights f32", "Routed.BalanceGradient f32", "Routed.BalanceLoss f32", "Routed.Rows e4m3 tile power-of-two", "Routed.Rows.Scales f32",
            "Routed.RowWeights f32", "Routed.GateUp e4m3 tile", "Routed.GateUp.Scales f32",
        ];
        Assert.Equal(kept, entries.Where(e => !e.Tensor.IsEmpty).Select(e => $"{e.Name} {(e.Tensor.DType == DType.I32 ? "i32" : e.Format.ToString())}"), StringComparer.Ordinal);
    }

    static void Same(float[] expected, float[] actual, string what)
    {
        for (int i = 0; i < expected.Length; i++)
            if (BitConverter.SingleToInt32Bits(expected[i]) != BitConverter.SingleToInt32Bits(actual[i])) Assert.Fail($"{what} {i} is {actual[i]:R}, expected {expected[i]:R}");
    }
}
