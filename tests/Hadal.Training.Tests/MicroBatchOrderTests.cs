using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Training.Data;
using Hadal.Training.Optimization;
using Hadal.Training.Recording;

namespace Hadal.Training.Tests;

/// <summary>docs/architecture.md §8: the order in which the micro-batches of a step are processed changes no bit.</summary>
public sealed class MicroBatchOrderTests
{
    const int MicroBatches = 5;

    static readonly Dictionary<string, Func<int, IReadOnlyList<int>>> s_orders = new(StringComparer.Ordinal)
    {
        ["backwards"] = n => [.. Enumerable.Range(0, n).Reverse()],
        ["from both ends"] = n => [.. Enumerable.Range(0, n).Select(i => i % 2 == 0 ? i / 2 : n - 1 - (i / 2))], // as DualPipe takes them in
        ["odd ones first"] = n => [.. Enumerable.Range(0, n).OrderBy(i => (i + 1) % 2)],
    };

    /// <summary>What three steps give: results, weights with selection biases, moments, and the history of delayed scales.</summary>
    static (StepResult[] Results, float[] Weights, BF16[] Moments, float[] History) Run(RunConfiguration run, PreparedRun data, Func<int, IReadOnlyList<int>>? order, int threads)
    {
        using IBackend backend = TinyRuns.Backend("cpu", threads);
        using Transformer model = ModelFiles.Create(run, data.Tokenizer, backend);
        var optimizer = new AdamWOptimizer(backend, model.Parameters, new AdamWParameters(0.9, 0.95, 1e-8, 0.1), 1);
        using var step = new TrainingStep(run, model, new PackedDataLoader(data.Rows, run.Seed), optimizer, order);
        StepResult[] results = [.. Enumerable.Range(1, 3).Select(s => step.Run(new StepSettings(s, MicroBatches, 4e-3, 0.3, 0.01), (s - 1) * MicroBatches))];
        return (results, model.Parameters.Values.AsSpan<float>().ToArray(), optimizer.SecondMoment.AsSpan<BF16>().ToArray(), model.Parameters.ScalingHistory?.State.AsSpan<float>().ToArray() ?? []);
    }

    [Theory]
    [InlineData("fp32")]
    [InlineData("bf16")]
    [InlineData("fp8")]
    [InlineData("fp8-per-tensor-delayed")]
    [Implements("architecture §8", "The order in which micro-batches are processed changes no bit")]
    public void Any_order_of_micro_batches_gives_the_same_bits(string recipe)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 3) with { Recipe = recipe, Batch = new BatchConfiguration { Rows = 2, MicroBatches = MicroBatches, FirstMicroBatches = MicroBatches } };
        PreparedRun data = TinyRuns.Prepare(run);
        var expected = Run(run, data, null, threads: 2);
        Assert.Contains(expected.Results, r => r.Loss > 0 && r.GradientNorm > 0);
        int threads = 1;
        foreach ((string name, Func<int, IReadOnlyList<int>> order) in s_orders)
        {
            var actual = Run(run, data, order, threads++);
            Assert.True(expected.Results.AsSpan().SequenceEqual(actual.Results), $"{name}: {string.Join(", ", actual.Results)}, expected {string.Join(", ", expected.Results)}");
            Assert.Equal(expected.Weights, actual.Weights);
            Assert.Equal(expected.Moments, actual.Moments);
            Assert.Equal(expected.History, actual.History);
        }
    }

    [Fact]
    [Implements("architecture §8", "Gradients of micro-batches add along one fixed tree")]
    public void The_tree_is_the_same_whatever_the_order_and_says_when_a_micro_batch_is_missing()
    {
        using IBackend backend = TinyRuns.Backend("cpu");
        using var model = new Transformer(backend, ModelLoader.Shape(ModelPresets.Find("tiny", 64)), Recipe.Fp32);
        var random = new CounterRandom(3, RandomPurpose.TestData);
        for (int count = 1; count <= 13; count++)
        {
            float[] leaves = [.. Enumerable.Range(0, count).Select(i => (float)random.Normal((ulong)i))];
            float expected = FixedTree.Sum<float>(leaves);
            var tree = new GradientTree(model.Parameters, count, anyOrder: true);
            for (int trial = 0; trial < 4; trial++)
            {
                tree.Reset();
                foreach (int i in Enumerable.Range(0, count).OrderBy(i => random.UInt64((ulong)((trial * 100) + i))))
                {
                    backend.Operations.Elementwise.Fill(tree.Next(), leaves[i]);
                    tree.Push(backend.Operations, i);
                }

                Assert.Equal(expected, tree.Total(backend.Operations).AsSpan<float>()[17]);
            }
        }

        var incomplete = new GradientTree(model.Parameters, 4, anyOrder: true);
        foreach (int i in (int[])[0, 2, 3])
        {
            incomplete.Next();
            incomplete.Push(backend.Operations, i);
        }

        incomplete.Reset();
        foreach (int i in (int[])[0, 3])
        {
            incomplete.Next();
            incomplete.Push(backend.Operations, i);
        }

        Assert.Throws<InvalidOperationException>(() => incomplete.Total(backend.Operations));
    }

    [Fact]
    public void A_scaled_loss_changes_no_bit_of_float32_and_lifts_gradients_above_the_floor_of_fp8_scales()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 3) with { Batch = new BatchConfiguration { Rows = 2, MicroBatches = MicroBatches, FirstMicroBatches = MicroBatches } };
        PreparedRun data = TinyRuns.Prepare(run);
        foreach (string recipe in (string[])["fp32", "bf16"])
        {
            RunConfiguration own = run with { Recipe = recipe };
            var plain = Run(own, data, null, 2);
            var scaled = Run(own with { LossScale = 1024 }, data, null, 2);
            Assert.Equal(plain.Results, scaled.Results);
            Assert.Equal(plain.Weights, scaled.Weights);
        }

        double Underflow(double scale)
        {
            using IBackend backend = TinyRuns.Backend("cpu");
            RunConfiguration own = run with { Recipe = "fp8", LossScale = scale };
            using Transformer model = ModelFiles.Create(own, data.Tokenizer, backend);
            var optimizer = new AdamWOptimizer(backend, model.Parameters, new AdamWParameters(0.9, 0.95, 1e-8, 0.1), 1);
            var recorder = new FlightRecorder(model, 1);
            using var step = new TrainingStep(own, model, new PackedDataLoader(data.Rows, own.Seed), optimizer) { Recorder = recorder };
            step.Run(new StepSettings(1, MicroBatches, 4e-3, 0.3, 0.01), 0);
            return recorder.Summary.Tensors.Where(t => t.Tensor.Kind == TensorKind.ActivationGradient).Max(t => t.WorstUnderflow.Value);
        }

        (double small, double lifted) = (Underflow(1), Underflow(4096));
        Assert.True(small > 0 && lifted < small, $"of the worst gradient {small:P1} became zero, {lifted:P1} with a scaled loss");
        Assert.Throws<RunConfigurationException>(() => (run with { LossScale = 3 }).Validate());
    }
}
