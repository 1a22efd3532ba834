using System.Collections.Concurrent;
using Hadal.Model;
using Hadal.Parallel.Pipeline;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Tests.Pipeline;

/// <summary>A schedule run with the real layers leaves the bits of the plain loop.</summary>
public sealed class PipelineExecutorTests
{
    const int Sequences = 2, Length = 6, Width = Length + 3;

    static readonly TransformerShape Shape = new()
    {
        Vocabulary = 29, Hidden = 20, Layers = 5, DenseLayers = 1, DenseIntermediate = 26, ExpertIntermediate = 10, Heads = 2, QueryLoraRank = 8,
        KeyValueLoraRank = 7, QkNopeHeadDim = 6, QkRopeHeadDim = 2, ValueHeadDim = 5, SharedExperts = 1,
        Gate = new GateParameters(8, 3, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5), GateBias = true,
        MtpDepth = 2, NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = 32,
    };

    static readonly LossWeights Weights = new(1.0 / 96, 0.3, 0.001, 1.0 / 16);

    static Recipe Named(string name) => name.StartsWith("fp8", StringComparison.Ordinal) ? Recipe.Fp8 : Recipe.Fp32;

    static int[] Tokens(int microBatch)
    {
        var random = new Random(100 + microBatch);
        return [.. Enumerable.Range(0, Sequences * Width).Select(_ => random.Next(Shape.Vocabulary))];
    }

    // "fp32, tied": the head is the embedding.
    static Transformer Model(IBackend backend, string recipe)
    {
        var model = new Transformer(backend, Shape with { TiedEmbeddings = recipe.EndsWith("tied", StringComparison.Ordinal) }, Named(recipe));
        Initialization.Normal(model, seed: 9, deviation: 0.2);
        model.Refresh();
        return model;
    }

    static CpuBackend Backend() => new(new CpuOptions(1, InstructionSets.Best));

    // Loss and gradients of each micro-batch by the plain loop.
    static (int[][] Losses, int[] Gradients)[] Plain(string recipe, int microBatches)
    {
        using CpuBackend backend = Backend();
        using Transformer model = Model(backend, recipe);
        using var chunk = new SequenceChunk(model, Sequences, Length, training: true);
        Tensor gradients = model.Parameters.CreateBuffer(DType.F32);
        return [.. Enumerable.Range(0, microBatches).Select(microBatch =>
        {
            chunk.SetTokens(Tokens(microBatch), Width);
            chunk.ForwardBackward(Weights, gradients);
            return (chunk.Losses.Select(Bits).ToArray(), Bits(gradients));
        })];
    }

    static int[] Bits(Tensor tensor) => [.. tensor.AsSpan<float>().ToArray().Select(BitConverter.SingleToInt32Bits)];

    [Theory]
    [InlineData(ScheduleKind.OneForwardOneBackward, 1, 2, "fp32")]
    [InlineData(ScheduleKind.OneForwardOneBackward, 3, 5, "fp32")]
    [InlineData(ScheduleKind.ZeroBubble, 3, 5, "fp32")]
    [InlineData(ScheduleKind.ZeroBubble, 7, 8, "fp32")]
    [InlineData(ScheduleKind.DualPipe, 2, 4, "fp32")]
    [InlineData(ScheduleKind.DualPipe, 4, 8, "fp32")]
    [InlineData(ScheduleKind.DualPipe, 4, 10, "fp8")]
    [InlineData(ScheduleKind.DualPipeV, 1, 2, "fp32")]
    [InlineData(ScheduleKind.DualPipeV, 2, 5, "fp32")]
    [InlineData(ScheduleKind.DualPipeV, 2, 4, "fp8")]
    [InlineData(ScheduleKind.DualPipeV, 3, 6, "fp32")]
    [InlineData(ScheduleKind.OneForwardOneBackward, 1, 2, "fp32, tied")]
    [InlineData(ScheduleKind.ZeroBubble, 3, 4, "fp32, tied")]
    [InlineData(ScheduleKind.DualPipe, 4, 8, "fp8, tied")]
    [InlineData(ScheduleKind.DualPipeV, 2, 4, "fp32, tied")]
    [Implements("V3 §3.2.1", "Under DualPipe and the other schedules losses and gradients have the bits of the plain loop")]
    public void Losses_and_gradients_have_the_bits_of_the_plain_loop(ScheduleKind kind, int ranks, int microBatches, string recipe)
    {
        (int[][] Losses, int[] Gradients)[] expected = Plain(recipe, microBatches);
        PipelineSchedule schedule = PipelineSchedule.Create(kind, ranks, microBatches);
        var losses = new ConcurrentDictionary<int, int[]>();
        var gradients = new ConcurrentDictionary<(int MicroBatch, int Rank), int[]>();
        InProcessRanks.Run(ranks, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, recipe);
            using var executor = new PipelineExecutor(model, schedule, group, Sequences, Length);
            var step = new Step(model, group.Rank, losses, gradients);
            executor.Run(step, Weights);
            Assert.Empty(step.Open);
            Assert.InRange(executor.Chunks, 1, ScheduleChecker.ActivationPeak(schedule.Steps[group.Rank]) + 2);
        }, TimeSpan.FromSeconds(60));

        using CpuBackend declared = Backend();
        using Transformer names = Model(declared, recipe);
        for (int microBatch = 0; microBatch < microBatches; microBatch++)
        {
            for (int depth = 0; depth <= 2; depth++)
                Assert.True(expected[microBatch].Losses[depth].AsSpan().SequenceEqual(losses[microBatch + (100 * depth)]), $"losses of micro-batch {microBatch}, depth {depth}");
            var found = new HashSet<string>(StringComparer.Ordinal);
            foreach (((int index, int rank), int[] bits) in gradients)
            {
                if (index != microBatch) continue;
                foreach (Parameter parameter in names.Parameters.All)
                {
                    // A rank leaves zero where a parameter is not its own, the value of the plain loop where it is.
                    ReadOnlySpan<int> mine = bits.AsSpan((int)parameter.Offset, parameter.Length), plain = expected[microBatch].Gradients.AsSpan((int)parameter.Offset, parameter.Length);
                    if (mine.IndexOfAnyExcept(0) < 0 && plain.IndexOfAnyExcept(0) >= 0) continue;
                    Assert.True(mine.SequenceEqual(plain), $"gradient of {parameter.Name}, micro-batch {microBatch}, on rank {rank}");
                    found.Add(parameter.Name);
                }
            }

            Assert.Equal(names.Parameters.All.Select(p => p.Name).Order(StringComparer.Ordinal), found.Order(StringComparer.Ordinal));
        }
    }

    /// <summary>The first layers with the embedding and the last layers with the head belong to one rank, at either end of the pipeline.</summary>
    [Fact]
    [Implements("V3 §3.2.1", "The first and the last layers share a pipeline rank, so that MTP shares embedding and head")]
    public void Under_DualPipe_embedding_and_head_are_on_one_rank()
    {
        var gradients = new ConcurrentDictionary<(int MicroBatch, int Rank), int[]>();
        var schedule = PipelineSchedule.Create(ScheduleKind.DualPipe, 4, 8);
        InProcessRanks.Run(4, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, "fp32");
            using var executor = new PipelineExecutor(model, schedule, group, Sequences, Length);
            executor.Run(new Step(model, group.Rank, new ConcurrentDictionary<int, int[]>(), gradients), Weights);
        }, TimeSpan.FromSeconds(60));
        using CpuBackend declared = Backend();
        using Transformer names = Model(declared, "fp32");
        foreach (string name in (string[])["model.embed_tokens.weight", "lm_head.weight"])
        {
            Parameter parameter = names.Parameters.All.Single(p => p.Name.Equals(name, StringComparison.Ordinal));
            int[] ranks = [.. gradients.Where(entry => entry.Value.AsSpan((int)parameter.Offset, parameter.Length).IndexOfAnyExcept(0) >= 0).Select(entry => entry.Key.Rank).Distinct().Order()];
            Assert.Equal([0, 3], ranks);
        }
    }

    /// <summary>Between two chunks, one layer of each: the order of the report, the exchanges of one beside the arithmetic of the other.</summary>
    [Fact]
    [Implements("V3 §3.2.1", "Inside a pair the phases of two chunks take turns in the order of the report, with the bits of the plain loop")]
    public void Pairs_take_turns_phase_by_phase()
    {
        var schedule = PipelineSchedule.Create(ScheduleKind.DualPipe, 2, 4);
        InProcessRanks.Run(2, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, "fp32");
            using var executor = new PipelineExecutor(model, schedule, group, Sequences, Length) { Phases = [] };
            executor.Run(new Silent(model), Weights);
            if (group.Rank == 1) return;
            string[] layer = ["DISPATCH(F)", "MLP(B)", "MLP(W)", "DISPATCH(B)", "MLP(F)", "COMBINE(F)", "ATTN(B)", "ATTN(W)", "COMBINE(B)", "ATTN(F)"];
            string[] found = [.. executor.Phases.Select(phase => phase.Phase)];
            Assert.Equal(["ATTN(F)", "COMBINE(B)"], found[..2]);
            Assert.Equal(layer, found[2..12]);
        }, TimeSpan.FromSeconds(60));
    }

    /// <summary>The trace of a step is the schedule with times: a rank's steps follow each other, and nothing ends on one rank before what it needs has begun on another.</summary>
    [Fact]
    public void A_traced_step_has_the_order_of_its_schedule()
    {
        var schedule = PipelineSchedule.Create(ScheduleKind.DualPipe, 2, 4);
        var traces = new PipelineTrace[2];
        InProcessRanks.Run(2, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, "fp32");
            using var executor = new PipelineExecutor(model, schedule, group, Sequences, Length);
            executor.Trace = traces[group.Rank] = new PipelineTrace(executor.Steps);
            executor.Run(new Silent(model), Weights);
        }, TimeSpan.FromSeconds(60));
        TimedSchedule traced = PipelineTrace.Join(schedule, traces, StepCosts.Unit);
        Assert.Equal(0, traced.Times.Min(rank => rank[0].Start));
        for (int rank = 0; rank < 2; rank++)
        {
            for (int i = 0; i < schedule.Steps[rank].Length; i++)
            {
                StepTime time = traced.Times[rank][i];
                Assert.True(time.End >= time.Start && time.End <= traced.Makespan);
                ScheduleStep step = schedule.Steps[rank][i];
                if (i > 0 && !(step.IsCommunication && schedule.Steps[rank][i - 1].IsCommunication)) Assert.True(time.Start >= traced.Times[rank][i - 1].End);
                if (step.Kind != StepKind.Receive) continue;
                int sent = schedule.Steps[1 - rank].Select((s, at) => (s, at)).First(e => e.s.Kind == StepKind.Send && e.s.Cargo == step.Cargo
                    && schedule.Placement.GlobalMicroBatch(1 - rank, e.s.Phase, e.s.MicroBatch) == schedule.Placement.GlobalMicroBatch(rank, step.Phase, step.MicroBatch)).at;
                Assert.True(time.End >= traced.Times[1 - rank][sent].Start);
            }

            Assert.Equal(traced.Makespan, traced.Busy(rank) + traced.Idle(rank), 9);
        }

        Assert.Throws<ArgumentException>(() => PipelineTrace.Join(schedule, [traces[0]], StepCosts.Unit));
    }

    [Fact]
    public void A_second_step_allocates_nothing_and_has_the_same_bits()
    {
        var schedule = PipelineSchedule.Create(ScheduleKind.ZeroBubble, 1, 4);
        InProcessRanks.Run(1, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, "fp32");
            using var executor = new PipelineExecutor(model, schedule, group, Sequences, Length);
            var step = new Silent(model);
            for (int warm = 0; warm < 3; warm++) executor.Run(step, Weights);
            float[] first = step.Gradients.AsSpan<float>().ToArray();
            long before = GC.GetAllocatedBytesForCurrentThread();
            executor.Run(step, Weights);
            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
            Assert.True(first.AsSpan().SequenceEqual(step.Gradients.AsSpan<float>()));
        });
    }

    [Fact]
    public void Models_that_cannot_be_cut_are_refused() => InProcessRanks.Run(1, group =>
    {
        using CpuBackend backend = Backend();
        var schedule = PipelineSchedule.Create(ScheduleKind.OneForwardOneBackward, 1, 1);
        using Transformer model = Model(backend, "fp32");
        using var executor = new PipelineExecutor(model, schedule, group, 1, 4);
        Assert.Contains("expected 1f1b of 1", Assert.Throws<ArgumentException>(() => executor.Use(PipelineSchedule.Create(ScheduleKind.ZeroBubble, 1, 1))).Message, StringComparison.Ordinal);
        Assert.Contains("2 ranks and the group 1", Assert.Throws<ArgumentException>(() => new PipelineExecutor(model, PipelineSchedule.Create(ScheduleKind.DualPipe, 2, 4), group, 1, 4)).Message, StringComparison.Ordinal);
    });

    [Theory]
    [InlineData(5, 2, new[] { 3, 2 })]
    [InlineData(61, 16, new[] { 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3 })]
    [InlineData(2, 4, new[] { 1, 1, 0, 0 })]
    public void Layers_are_spread_evenly(int layers, int stages, int[] counts)
    {
        var cut = new StageLayers(layers, stages);
        Assert.Equal(counts, Enumerable.Range(0, stages).Select(cut.Count));
        for (int stage = 0; stage < stages; stage++) Assert.Equal(counts[..stage].Sum(), cut.First(stage));
    }

    sealed class Step(Transformer model, int rank, ConcurrentDictionary<int, int[]> losses, ConcurrentDictionary<(int, int), int[]> gradients) : IPipelineStep
    {
        public Dictionary<int, Tensor> Open { get; } = [];

        public int Width => PipelineExecutorTests.Width;

        public ReadOnlySpan<int> Rows(int microBatch) => Tokens(microBatch);

        public Tensor OpenGradients(int microBatch)
        {
            Tensor buffer = model.Parameters.CreateBuffer(DType.F32);
            Open.Add(microBatch, buffer);
            return buffer;
        }

        public void CloseGradients(int microBatch)
        {
            Assert.True(gradients.TryAdd((microBatch, rank), Bits(Open[microBatch])));
            Open.Remove(microBatch);
        }

        public void Losses(int microBatch, int depth, Tensor values) => Assert.True(losses.TryAdd(microBatch + (100 * depth), Bits(values)));
    }

    sealed class Silent(Transformer model) : IPipelineStep
    {
        readonly int[] _rows = Tokens(0);

        public Tensor Gradients { get; } = model.Parameters.CreateBuffer(DType.F32);

        public int Width => PipelineExecutorTests.Width;

        public ReadOnlySpan<int> Rows(int microBatch) => _rows;

        public Tensor OpenGradients(int microBatch)
        {
            Gradients.AsSpan<float>().Clear();
            return Gradients;
        }

        public void CloseGradients(int microBatch)
        {
        }

        public void Losses(int microBatch, int depth, Tensor losses)
        {
        }
    }
}
