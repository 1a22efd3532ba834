using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Reference;

namespace Hadal.Model.Tests;

/// <summary>Several samples in a row: what the model computes, and what it learns, is what the samples alone would give.</summary>
public sealed class SampleBorderTests
{
    /// <summary>Two rows of 14 tokens of which 11 are inputs; samples of several lengths, one that ends among the targets, one of a single token, one of targets alone.</summary>
    const int Rows = 2, Length = 11, Width = 14;

    static readonly int[] Starts = [0, 4, 5, 9, 14, 17, 25];

    static readonly LossWeights Weights = new(1.0 / 17, 0.4, 0.2, 1.0 / 7);

    static int[] Tokens(Transformer model, ulong seed = 7) => TinyModels.Tokens(Rows * Width, model.Shape.Vocabulary, seed);

    /// <summary>First and last token + 1 of each sample, by row.</summary>
    static IEnumerable<(int Row, int Start, int End)> Samples()
    {
        for (int i = 0; i < Starts.Length; i++)
        {
            int row = Starts[i] / Width, end = i + 1 < Starts.Length && Starts[i + 1] / Width == row ? Starts[i + 1] % Width : Width;
            if (Starts[i] % Width < Length) yield return (row, Starts[i] % Width, end);
        }
    }

    [Theory]
    [InlineData("mtp2")]
    [InlineData("mtp")]
    [InlineData("v2")]
    [InlineData("yarn")]
    [InlineData("noqlora")]
    [Implements("V3 §5.1", "Several samples share a sequence without seeing each other: losses and gradients are those of the samples alone")]
    public void Losses_and_gradients_are_those_of_the_samples_alone(string variant)
    {
        using Transformer model = TinyModels.Random(variant, seed: 42);
        int[] tokens = Tokens(model);
        using var packed = new SequenceChunk(model, Rows, Length, training: true);
        packed.SetTokens(tokens, Width, Starts);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F64), own = model.Parameters.CreateBuffer(DType.F64);
        packed.ForwardBackward(Weights, gradients);
        double[] sum = new double[gradients.Length];
        int targets = 0;
        foreach ((int row, int start, int end) in Samples())
        {
            int inputs = Math.Min(end, Length) - start;
            using var alone = new SequenceChunk(model, 1, inputs, training: true);
            alone.SetTokens(tokens.AsSpan((row * Width) + start, end - start), end - start);
            alone.ForwardBackward(Weights, own);
            for (int i = 0; i < sum.Length; i++) sum[i] += own.AsSpan<double>()[i];
            for (int k = 0; k < alone.Losses.Count; k++)
            {
                double[] expected = alone.Losses[k].AsSpan<double>().ToArray(), actual = packed.Losses[k].AsSpan<double>().Slice((row * Length) + start, inputs).ToArray();
                Assert.Equal(expected, actual);
                targets += expected.Count(loss => loss > 0);
            }
        }

        Assert.True(targets > 14, $"only {targets} targets");
        double largest = sum.Max(Math.Abs);
        for (int i = 0; i < sum.Length; i++)
            Assert.True(Math.Abs(sum[i] - gradients.AsSpan<double>()[i]) <= 1e-13 * largest, $"{variant}, element {i}: alone {sum[i]}, packed {gradients.AsSpan<double>()[i]}");
        Assert.True(largest > 1e-3, $"gradients of {largest}");
    }

    [Fact]
    [Implements("V3 §5.1", "Several samples share a sequence without seeing each other: losses and gradients are those of the samples alone")]
    public void In_single_precision_the_losses_have_the_bits_of_the_samples_alone()
    {
        foreach (int threads in (int[])[1, 3])
        {
            using Transformer model = TinyModels.Random("mtp2", seed: 4, new CpuBackend(new CpuOptions(threads, InstructionSets.Best)), DType.F32);
            int[] tokens = Tokens(model);
            using var packed = new SequenceChunk(model, Rows, Length, training: true);
            Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
            packed.SetTokens(tokens, Width, Starts);
            packed.ForwardBackward(Weights, gradients);
            foreach ((int row, int start, int end) in Samples())
            {
                int inputs = Math.Min(end, Length) - start;
                using var alone = new SequenceChunk(model, 1, inputs, training: true);
                alone.SetTokens(tokens.AsSpan((row * Width) + start, end - start), end - start);
                alone.ForwardBackward(Weights, gradients);
                for (int k = 0; k < alone.Losses.Count; k++)
                    Assert.Equal(alone.Losses[k].AsSpan<float>().ToArray(), packed.Losses[k].AsSpan<float>().Slice((row * Length) + start, inputs).ToArray());
            }
        }
    }

    [Fact]
    public void A_sample_does_not_notice_what_its_neighbours_say()
    {
        using Transformer model = TinyModels.Random("mtp", seed: 9);
        using var chunk = new SequenceChunk(model, Rows, Length, training: true);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F64);
        double[] Run(int[] tokens, int[] starts)
        {
            chunk.SetTokens(tokens, Width, starts);
            chunk.ForwardBackward(Weights, gradients);
            return [.. chunk.Losses[0].AsSpan<double>()[5..8], .. chunk.Losses[1].AsSpan<double>()[5..8]];
        }

        int[] one = Tokens(model), other = Tokens(model, 8);
        one.AsSpan(5, 4).CopyTo(other.AsSpan(5));
        double[] expected = Run(one, Starts);
        Assert.Equal(expected, Run(other, Starts));

        // Without the borders it does: the comparison can fail.
        Assert.NotEqual(expected, Run(other, []));
    }

    [Fact]
    public void Rows_without_borders_are_plain_rows_before_and_after()
    {
        using Transformer model = TinyModels.Random("mtp2", seed: 5);
        using var chunk = new SequenceChunk(model, Rows, Length, training: true);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F64);
        double[] Run(Action set)
        {
            set();
            chunk.ForwardBackward(Weights, gradients);
            return gradients.AsSpan<double>().ToArray();
        }

        int[] tokens = Tokens(model);
        double[] plain = Run(() => chunk.SetTokens(tokens, Width));
        Assert.Equal(plain, Run(() => chunk.SetTokens(tokens, Width, [])));
        Assert.NotEqual(plain, Run(() => chunk.SetTokens(tokens, Width, Starts)));
        Assert.Equal(plain, Run(() => chunk.SetTokens(tokens, Width)));
    }

    [Fact]
    public void Starts_that_do_not_ascend_inside_the_rows_are_refused()
    {
        using Transformer model = TinyModels.Random("v3", seed: 1, new ReferenceBackend());
        using var chunk = new SequenceChunk(model, Rows, Length, training: false);
        int[] tokens = Tokens(model);
        foreach (int[] starts in (int[][])[[-1], [0, 0], [5, 4], [Rows * Width]])
            Assert.Contains("ascending", Assert.Throws<ArgumentException>(() => chunk.SetTokens(tokens, Width, starts)).Message, StringComparison.Ordinal);
    }
}
