using Hadal.Tensors;
using Hadal.Tensors.Cpu;

namespace Hadal.Model.Tests;

/// <summary>Scales from the maxima of earlier steps: what is remembered, what saturates, and that neither evaluation nor the order of micro-batches leaves a trace.</summary>
public sealed class DelayedScalingTests
{
    static readonly TransformerShape Shape = TinyModels.Shape("v3") with { Hidden = 136, Vocabulary = 61, ExpertIntermediate = 40, DenseIntermediate = 72 };
    static readonly LossWeights Weights = new(1.0 / 60, 0, 0, 1);

    static Transformer Model(IBackend backend, int steps = 3)
    {
        var model = new Transformer(backend, Shape, Recipe.Fp8PerTensorDelayed with { DelayedSteps = steps });
        Initialization.Normal(model, seed: 5, deviation: 0.1);
        return model;
    }

    static float[] State(Transformer model) => model.Parameters.ScalingHistory!.State.AsSpan<float>().ToArray();

    static void Step(SequenceChunk chunk, ulong seed, Tensor gradients)
    {
        chunk.SetTokens(TinyModels.Tokens(2 * 31, Shape.Vocabulary, seed), 31);
        chunk.ForwardBackward(Weights, gradients);
    }

    [Fact]
    [Implements("V3 §3.3.2", "Delayed scaling per tensor, for comparison")]
    public void The_scale_follows_the_largest_of_the_last_steps_and_forgets_the_ones_before()
    {
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using Transformer model = Model(backend);
        ScalingHistory history = model.Parameters.ScalingHistory!;
        Span<float> maxima = history.State.AsSpan<float>()[..2];
        float[] seen = [3, 8, 5, 2, 1, 0, 0, 0], expected = [3, 8, 8, 8, 5, 2, 1, 0];
        history.State.AsSpan<float>().Clear();
        for (int step = 0; step < seen.Length; step++)
        {
            maxima[1] = seen[step];
            history.Advance();
            Assert.Equal(expected[step], maxima[0]);
            Assert.Equal(0, maxima[1]);
        }
    }

    [Fact]
    [Implements("V3 §3.3.2", "Delayed scaling per tensor, for comparison")]
    public void Every_operand_is_seen_in_training_and_the_order_of_micro_batches_leaves_no_trace()
    {
        using var backend = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        using Transformer one = Model(backend), other = Model(backend);
        using var chunk = new SequenceChunk(one, 2, 30, training: true);
        using var otherChunk = new SequenceChunk(other, 2, 30, training: true);
        Tensor gradients = one.Parameters.CreateBuffer(DType.F32), otherGradients = other.Parameters.CreateBuffer(DType.F32);
        for (int step = 0; step < 3; step++)
        {
            foreach (ulong seed in (ulong[])[1, 2, 3]) Step(chunk, seed, gradients);
            foreach (ulong seed in (ulong[])[2, 1, 3]) Step(otherChunk, seed, otherGradients);
            Assert.Equal(gradients.AsSpan<float>().ToArray(), otherGradients.AsSpan<float>().ToArray());
            Assert.Equal(State(one), State(other));
            ScalingHistory history = one.Parameters.ScalingHistory!;
            for (int operand = 0; operand < history.Operands; operand++) Assert.True(history.State.AsSpan<float>()[(2 * operand) + 1] > 0, $"operand {operand} was not seen");
            history.Advance();
            other.Parameters.ScalingHistory!.Advance();
            one.Refresh();
            other.Refresh();
        }
    }

    [Fact]
    public void Evaluation_uses_the_scales_and_records_nothing()
    {
        using var backend = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        using Transformer model = Model(backend);
        using var chunk = new SequenceChunk(model, 2, 30, training: true);
        using var scoring = new SequenceChunk(model, 2, 30, training: false);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        Step(chunk, 1, gradients);
        model.Parameters.ScalingHistory!.Advance();
        model.Refresh();
        float[] before = State(model);
        scoring.SetTokens(TinyModels.Tokens(2 * 31, Shape.Vocabulary, 9), 31);
        scoring.Forward();
        float[] losses = scoring.Losses[0].AsSpan<float>().ToArray();
        Assert.Equal(before, State(model));

        // With other scales the same weights score differently: the history is in use.
        Span<float> state = model.Parameters.ScalingHistory!.State.AsSpan<float>();
        for (int operand = 0; operand < model.Parameters.ScalingHistory!.Operands; operand++) state[2 * operand] *= 37;
        scoring.Forward();
        Assert.NotEqual(losses, scoring.Losses[0].AsSpan<float>().ToArray());
    }

    [Fact]
    [Implements("V3 §3.3.2", "Delayed scaling per tensor, for comparison")]
    public void What_goes_beyond_the_history_saturates_and_what_is_not_finite_does_not_hide()
    {
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using var arena = new TensorArena(backend);
        var format = new Hadal.Tensors.Operations.ProductFormat(
            Hadal.Tensors.Operations.QuantizationFormat.WholeTensorDelayed(), Hadal.Tensors.Operations.QuantizationFormat.WholeTensor(), Hadal.Tensors.Operations.Accumulation.Promoted);
        Tensor x = arena.Allocate(DType.F32, 1, 2), weight = arena.Allocate(DType.F32, 1, 2), y = arena.Allocate(DType.F32, 1, 1), maxima = arena.Allocate(DType.F32, 2);
        weight.AsSpan<float>().Fill(1);
        x.AsSpan<float>()[0] = 1000;
        x.AsSpan<float>()[1] = 1;
        maxima.AsSpan<float>()[0] = 448;
        maxima.AsSpan<float>()[1] = 0;
        using Hadal.Tensors.Operations.PreparedWeight prepared = backend.Operations.Quantization.Prepare([weight], Hadal.Tensors.Operations.ProductUses.Forward, format.Right);
        backend.Operations.Quantization.Forward(x, prepared, format, y, accumulate: false, maxima);
        Assert.Equal(449f, y.AsSpan<float>()[0], 1e-3f);
        Assert.Equal(1000, maxima.AsSpan<float>()[1]);
        x.AsSpan<float>()[0] = float.PositiveInfinity;
        backend.Operations.Quantization.Forward(x, prepared, format, y, accumulate: false, maxima);
        Assert.Equal(float.NaN, y.AsSpan<float>()[0]);
    }
}
