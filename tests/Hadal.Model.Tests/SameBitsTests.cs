using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Model.Tests;

/// <summary>docs/architecture.md §8 on a whole forward and backward: the same bits for any threads and vectors, and nothing allocated once warm.</summary>
public sealed class SameBitsTests
{
    static readonly TransformerShape Shape = TinyModels.Shape("mtp") with
    {
        Hidden = 48, Vocabulary = 77, Heads = 3, QkNopeHeadDim = 20, QkRopeHeadDim = 6, ValueHeadDim = 18, KeyValueLoraRank = 21, QueryLoraRank = 25,
        DenseIntermediate = 70, ExpertIntermediate = 33, MaxPositions = 128,
        Gate = new GateParameters(8, 3, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5),
    };

    static readonly LossWeights Weights = new(1.0 / 200, 0.3, 0.001, 0.5);

    static float[] Gradients(InstructionSet set, int threads)
    {
        using var backend = new CpuBackend(new CpuOptions(threads, set));
        using var model = new Transformer(backend, Shape, Recipe.Fp32);
        Initialization.Normal(model, seed: 9, deviation: 0.2);
        using var chunk = new SequenceChunk(model, 2, 100, training: true);
        chunk.SetTokens(TinyModels.Tokens(2 * 101, Shape.Vocabulary, 4), 101);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        chunk.ForwardBackward(Weights, gradients);
        return [.. gradients.AsSpan<float>().ToArray(), .. chunk.Losses.SelectMany(l => l.AsSpan<float>().ToArray())];
    }

    [Fact]
    [Implements("architecture §8", "A run under fp32 or fp8 has the same bits for any number of threads and vector width")]
    public void Gradients_and_losses_have_the_same_bits_on_every_instruction_set_and_any_number_of_threads()
    {
        float[] expected = Gradients(InstructionSet.Scalar, 1);
        Assert.Contains(expected, g => g != 0);
        Assert.DoesNotContain(expected, float.IsNaN);
        foreach (InstructionSet set in InstructionSets.Available)
        {
            foreach (int threads in (int[])[1, 2, 5])
            {
                float[] actual = Gradients(set, threads);
                for (int i = 0; i < expected.Length; i++)
                    if (BitConverter.SingleToInt32Bits(expected[i]) != BitConverter.SingleToInt32Bits(actual[i]))
                        Assert.Fail($"{set}, {threads} threads: element {i} is {actual[i]:R}, expected {expected[i]:R}");
            }
        }
    }

    [Fact]
    public void A_step_allocates_nothing_after_warm_up()
    {
        using var backend = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        using var model = new Transformer(backend, Shape, Recipe.Fp32);
        Initialization.Normal(model, seed: 9, deviation: 0.2);
        using var chunk = new SequenceChunk(model, 2, 100, training: true);
        int[] tokens = TinyModels.Tokens(2 * 101, Shape.Vocabulary, 4);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        for (int warm = 0; warm < 3; warm++)
        {
            chunk.SetTokens(tokens, 101);
            chunk.ForwardBackward(Weights, gradients);
            model.Refresh();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        chunk.SetTokens(tokens, 101);
        chunk.ForwardBackward(Weights, gradients);
        model.Refresh();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
