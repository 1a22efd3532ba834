using Hadal.Tensors;

namespace Hadal.Model.Tests;

/// <summary>Hand-written backward against central differences in float64.</summary>
public sealed class GradientTests
{
    const int Sequences = 2, Length = 7;

    [Theory]
    [InlineData("v3", 0, 0)]
    [InlineData("v3", 0, 0.3)]
    [InlineData("noqlora", 0, 0)]
    [InlineData("v2", 0, 0.3)]
    [InlineData("noshared", 0, 0)]
    [InlineData("dense", 0, 0)]
    [InlineData("yarn", 0, 0)]
    [InlineData("mtp", 0.3, 0.2)]
    [InlineData("mtp2", 0.5, 0)]
    [Implements("V3 §2.1.1", "Multi-head latent attention: keys and values of all heads come from one compressed latent, queries from another")]
    [Implements("V3 §2.1.2", "DeepSeekMoE: shared experts see every token, routed experts only those sent to them")]
    public void Gradients_equal_central_differences(string variant, double mtpWeight, double balanceAlpha)
    {
        using Transformer model = TinyModels.Random(variant, seed: 42);
        using var chunk = new SequenceChunk(model, Sequences, Length, training: true);
        chunk.SetTokens(TinyModels.Tokens(Sequences * (Length + 1), model.Shape.Vocabulary, 7), Length + 1);
        var weights = new LossWeights(1.0 / (Sequences * Length), mtpWeight, balanceAlpha, 1.0 / Sequences);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F64);
        Tensor probe = model.Parameters.CreateBuffer(DType.F64);
        chunk.ForwardBackward(weights, gradients);
        double[] analytic = gradients.AsSpan<double>().ToArray();

        // The choice of experts is a step function: a probe that flips it measures no gradient, so the choices must stay put.
        int[] choices = Choices(chunk);
        var random = new SplitMix(11);
        int checkedElements = 0;
        foreach (Parameter parameter in model.Parameters.All)
        {
            if (parameter.Kind == ParameterKind.SelectionBias)
            {
                Assert.All(parameter.View(gradients).AsSpan<double>().ToArray(), g => Assert.Equal(0, g));
                continue;
            }

            Span<double> values = parameter.Value.AsSpan<double>();
            for (int trial = 0; trial < 3; trial++)
            {
                int element = (int)(random.Next() % (ulong)values.Length);
                const double Step = 1e-5;
                double kept = values[element];
                double Loss(double value)
                {
                    parameter.Value.AsSpan<double>()[element] = value;
                    model.Refresh();
                    chunk.ForwardBackward(weights, probe);
                    return TotalLoss(chunk, weights);
                }

                double up = Loss(kept + Step);
                bool moved = !choices.AsSpan().SequenceEqual(Choices(chunk));
                double down = Loss(kept - Step);
                moved |= !choices.AsSpan().SequenceEqual(Choices(chunk));
                Loss(kept);
                if (moved) continue;
                double expected = (up - down) / (2 * Step), actual = analytic[parameter.Offset + element];
                Assert.True(Math.Abs(expected - actual) <= 1e-9 + (2e-6 * Math.Abs(expected)), $"{variant} {parameter.Name}[{element}]: analytic {actual}, differences {expected}");
                checkedElements++;
            }
        }

        Assert.True(checkedElements > 2 * model.Parameters.All.Count, $"only {checkedElements} elements could be checked");
    }

    [Fact]
    public void Every_parameter_of_a_model_with_mtp_receives_a_gradient()
    {
        using Transformer model = TinyModels.Random("mtp", seed: 3);
        using var chunk = new SequenceChunk(model, 4, 16, training: true);
        chunk.SetTokens(TinyModels.Tokens(4 * 17, model.Shape.Vocabulary, 5), 17);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F64);
        chunk.ForwardBackward(new LossWeights(1.0 / 64, 0.3, 0, 0), gradients);
        foreach (Parameter parameter in model.Parameters.All.Where(p => p.Kind != ParameterKind.SelectionBias))
            Assert.True(parameter.View(gradients).AsSpan<double>().ToArray().Any(g => g != 0), parameter.Name);
    }

    static int[] Choices(SequenceChunk chunk) =>
        [.. chunk.Saved.Concat(chunk.MtpSaved.Select(m => m.Block)).Where(s => s.Routed is not null).SelectMany(s => s.Routed!.Movement.Experts.AsSpan<int>().ToArray())];

    static double TotalLoss(SequenceChunk chunk, LossWeights weights)
    {
        double total = 0;
        for (int k = 0; k < chunk.Losses.Count; k++)
        {
            double factor = k == 0 ? 1 : weights.MtpWeight / (chunk.Losses.Count - 1);
            if (factor == 0) continue;
            foreach (double loss in chunk.Losses[k].AsSpan<double>()) total += weights.LossWeight * factor * loss;
        }

        if (weights.BalanceAlpha > 0)
            foreach (BlockSaved saved in chunk.Saved.Concat(chunk.MtpSaved.Select(m => m.Block)))
                if (saved.Routed is not null) total += saved.Routed.BalanceLoss.AsSpan<double>()[0];
        return total;
    }
}
