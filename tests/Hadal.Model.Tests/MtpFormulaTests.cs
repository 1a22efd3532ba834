using Hadal.Tensors;

namespace Hadal.Model.Tests;

/// <summary>The MTP modules against the formula of the report in plain loops, written without the module.</summary>
public sealed class MtpFormulaTests
{
    const int Sequences = 2, Length = 7;
    const double MtpWeight = 0.3;

    static readonly LossWeights Weights = new(1.0 / (Sequences * Length), MtpWeight, 0, 0);

    /// <param name="variant">Shape of <see cref="TinyModels"/>.</param>
    /// <param name="dense">The block of the module is dense rather than a mixture of experts.</param>
    /// <param name="width">Tokens that each row of the batch holds.</param>
    [Theory]
    [InlineData("mtp", false, Length)]
    [InlineData("mtp", false, Length + 1)]
    [InlineData("mtp", true, Length + 1)]
    [InlineData("mtp", false, Length + 2)]
    [InlineData("mtp2", false, Length + 1)]
    [Implements("V3 §2.2", "Multi-token prediction: each module joins the next token's embedding with the previous representation, runs one block and predicts one token further")]
    public void Losses_of_every_position_equal_the_formula(string variant, bool dense, int width)
    {
        using Transformer model = TinyModels.Random(Shape(variant, dense), seed: 21);
        int[][] rows = Rows(width, model.Shape.Vocabulary);
        double?[][] expected = new PlainMtp(model, Sequences, Length).Losses(rows);
        using SequenceChunk chunk = Step(model, rows, out _);
        Assert.Equal(model.Shape.MtpDepth + 1, chunk.Losses.Count);
        for (int depth = 0; depth < expected.Length; depth++)
        {
            // Depth k predicts k + 1 tokens ahead: so many positions of each row have a target.
            Assert.Equal(Sequences * Math.Min(Length, width - 1 - depth), expected[depth].Count(loss => loss > 1e-3));
            double[] actual = chunk.Losses[depth].AsSpan<double>().ToArray();
            for (int i = 0; i < actual.Length; i++)
                Assert.True(Math.Abs(actual[i] - (expected[depth][i] ?? 0)) < 1e-9, $"depth {depth}, position {i}: {actual[i]}, by the formula {expected[depth][i]}");
        }
    }

    [Theory]
    [InlineData("mtp")]
    [InlineData("mtp2")]
    [Implements("V3 §2.2", "MTP modules share embedding and head with the main model, values and gradients")]
    public void Gradients_of_embedding_head_and_module_equal_differences_of_the_formula(string variant)
    {
        using Transformer model = TinyModels.Random(Shape(variant, dense: true), seed: 22);
        int[][] rows = Rows(Length + 1, model.Shape.Vocabulary);
        using SequenceChunk chunk = Step(model, rows, out double[] gradients);
        var formula = new PlainMtp(model, Sequences, Length);
        string module = $"model.layers.{model.Shape.Layers}.";
        string[] names = ["model.embed_tokens.weight", "lm_head.weight", module + "enorm.weight", module + "hnorm.weight", module + "eh_proj.weight", module + "shared_head.norm.weight"];
        foreach (string name in names)
        {
            Parameter parameter = model.Parameters.All.Single(p => string.Equals(p.Name, name, StringComparison.Ordinal));
            for (int trial = 0; trial < 4; trial++)
            {
                // For the vocabulary: rows of tokens that the text holds, late and early.
                int row = trial % 2 == 0 ? rows[trial / 2][Length - 1] : rows[trial / 2][2];
                int element = parameter.Shape.Count == 1 ? (5 * trial) % parameter.Length : ((row % parameter.Shape[0]) * parameter.Shape[1]) + ((5 * trial) % parameter.Shape[1]);
                const double Step = 1e-5;
                double kept = parameter.Value.AsSpan<double>()[element];
                double Total(double value)
                {
                    parameter.Value.AsSpan<double>()[element] = value;
                    model.Refresh();
                    double?[][] losses = formula.Losses(rows);
                    double total = 0;
                    for (int depth = 0; depth < losses.Length; depth++) total += (depth == 0 ? 1 : MtpWeight / model.Shape.MtpDepth) * losses[depth].Sum(loss => loss ?? 0);
                    return total / (Sequences * Length);
                }

                double expected = (Total(kept + Step) - Total(kept - Step)) / (2 * Step), actual = gradients[parameter.Offset + element];
                Total(kept);
                Assert.True(Math.Abs(expected - actual) <= 1e-9 + (2e-6 * Math.Abs(expected)), $"{name}[{element}]: {actual}, differences of the formula {expected}");
            }
        }
    }

    static TransformerShape Shape(string variant, bool dense)
    {
        TransformerShape shape = TinyModels.Shape(variant);
        return dense ? shape with { DenseLayers = shape.Layers } : shape;
    }

    static int[][] Rows(int width, int vocabulary) => [.. Enumerable.Range(0, Sequences).Select(s => TinyModels.Tokens(width, vocabulary, 7 + (ulong)s))];

    static SequenceChunk Step(Transformer model, int[][] rows, out double[] gradients)
    {
        var chunk = new SequenceChunk(model, Sequences, Length, training: true);
        chunk.SetTokens([.. rows.SelectMany(row => row)], rows[0].Length);
        Tensor flat = model.Parameters.CreateBuffer(DType.F64);
        chunk.ForwardBackward(Weights, flat);
        gradients = flat.AsSpan<double>().ToArray();
        return chunk;
    }
}
