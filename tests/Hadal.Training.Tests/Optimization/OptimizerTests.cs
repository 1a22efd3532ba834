using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Training.Data;
using Hadal.Training.Optimization;

namespace Hadal.Training.Tests.Optimization;

public sealed class OptimizerTests
{
    static Transformer Model(IBackend backend)
    {
        var configuration = ModelPresets.Find("tiny", 64);
        var model = new Transformer(backend, ModelLoader.Shape(configuration), Recipe.Fp32);
        Initialization.Normal(model, 3, 0.05);
        return model;
    }

    public static MatrixTheoryData<string, int> Trees() => new(["reference", "cpu"], [1, 2, 5, 8, 13]);

    [Theory]
    [MemberData(nameof(Trees))]
    [Implements("architecture §8", "Gradients of micro-batches add along one fixed tree")]
    public void Gradients_add_along_the_fixed_tree(string backendName, int microBatches)
    {
        using IBackend backend = TinyRuns.Backend(backendName);
        using Transformer model = Model(backend);
        var tree = new GradientTree(model.Parameters, microBatches);
        var random = new CounterRandom(1, RandomPurpose.TestData);
        for (int round = 0; round < 2; round++)
        {
            tree.Reset();
            float[] leaves = new float[microBatches];
            for (int i = 0; i < microBatches; i++)
            {
                leaves[i] = (float)random.Normal((ulong)i);
                backend.Operations.Elementwise.Fill(tree.Next(), leaves[i]);
                tree.Push(backend.Operations, i);
            }

            Assert.Equal(FixedTree.Sum<float>(leaves), tree.Total(backend.Operations).AsSpan<float>()[17]);
        }
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    [Implements("V3 §4.2", "AdamW with decoupled decay")]
    public void Norms_are_not_decayed_and_selection_biases_are_not_touched(string backendName)
    {
        using IBackend backend = TinyRuns.Backend(backendName);
        using Transformer model = Model(backend);
        Parameter bias = model.Parameters.All.First(p => p.Kind == ParameterKind.SelectionBias);
        backend.Operations.Elementwise.Fill(bias.Value, 0.25);
        float[] before = model.Parameters.Values.AsSpan<float>().ToArray();
        var optimizer = new AdamWOptimizer(backend, model.Parameters, new AdamWParameters(0.9, 0.95, 1e-8, 0.1), 1);
        Tensor gradient = model.Parameters.CreateBuffer(DType.F32);
        optimizer.Update(backend.Operations, gradient, 0, 0.5, 1);
        ReadOnlySpan<float> after = model.Parameters.Values.AsSpan<float>();
        foreach (Parameter parameter in model.Parameters.All)
        {
            int at = (int)parameter.Offset;
            float expected = parameter.Kind is ParameterKind.Norm or ParameterKind.SelectionBias ? before[at] : before[at] - (0.5f * 0.1f * before[at]);
            Assert.Equal(expected, after[at], 1e-7f);
        }
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    [Implements("V3 §4.2", "The global norm of the gradient is clipped to one")]
    [Implements("V3 §3.3.3", "First and second moments are kept in BF16, master weights in FP32")]
    public void A_long_gradient_is_clipped_to_norm_one(string backendName)
    {
        using IBackend backend = TinyRuns.Backend(backendName);
        using Transformer model = Model(backend);
        var optimizer = new AdamWOptimizer(backend, model.Parameters, new AdamWParameters(0.9, 0.95, 1e-8, 0), 1);
        Tensor gradient = model.Parameters.CreateBuffer(DType.F32);
        gradient.AsSpan<float>()[0] = 3;
        gradient.AsSpan<float>()[1] = 4;
        Assert.Equal((DType.BF16, DType.BF16, DType.F32), (optimizer.FirstMoment.DType, optimizer.SecondMoment.DType, model.Parameters.Values.DType));
        double norm = optimizer.GradientNorm(backend.Operations, gradient);
        Assert.Equal(5, norm, 12);
        optimizer.Update(backend.Operations, gradient, norm, 0, 1);
        Assert.Equal(0.06f, optimizer.FirstMoment.AsSpan<BF16>()[0].ToSingle(), 3e-4f); // (1 − β1)·3/5
        gradient.AsSpan<float>()[(int)model.Parameters.All[3].Offset] = float.NaN;
        Assert.True(double.IsNaN(optimizer.GradientNorm(backend.Operations, gradient)));
        Assert.Equal(model.Parameters.All[3].Name, optimizer.FindNonFinite(backend.Operations, gradient));
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    [Implements("V3 §3.2.3", "A moving average of the weights is kept in CPU memory and updated beside the steps, without changing its result")]
    public void The_average_is_the_same_however_fast_the_step_is(string backendName)
    {
        const int Length = 100_003, Updates = 20;
        using IBackend backend = TinyRuns.Backend(backendName);
        using var memory = new HostMemory(Length * sizeof(float));
        Tensor weights = Tensor.View(memory, 0, DType.F32, Length);
        float[] Run(bool wait)
        {
            using var average = new WeightAverage(Length, 0.9);
            for (int u = 1; u <= Updates; u++)
            {
                weights.AsSpan<float>().Fill(u);
                average.Update(backend.Operations, weights);
                if (wait) average.Average();
            }

            Assert.Equal(Updates, average.Updates);
            return average.Average().AsSpan<float>().ToArray();
        }

        float[] slow = Run(wait: true);
        Assert.Equal(slow, Run(wait: false));
        double expected = 1;
        for (int u = 2; u <= Updates; u++) expected = (0.9 * expected) + (0.1 * u);
        Assert.Equal(expected, slow[^1], 1e-4);
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    public void Unfilled_places_are_never_targets(string backendName)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 1);
        PreparedRun data = TinyRuns.Prepare(run);
        using IBackend backend = TinyRuns.Backend(backendName);
        using Transformer model = ModelFiles.Create(run, data.Tokenizer, backend);
        using var chunk = new SequenceChunk(model, 2, 4, training: false);
        int[] rows = [5, 6, 7, -1, -1, -1, 5, 6, 7, 8, 9, 10];
        Assert.Equal(6, ModelRows.Set(chunk, rows, 6));
        Assert.Equal([6, 7, -1, -1, 6, 7, 8, 9], chunk.Targets[0].AsSpan<int>().ToArray());
        Assert.Equal([7, -1, -1, -1, 7, 8, 9, 10], chunk.Targets[1].AsSpan<int>().ToArray());
    }
}
