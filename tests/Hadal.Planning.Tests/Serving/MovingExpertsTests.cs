using System.Collections.Concurrent;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Numerics;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Serving;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Tests.Serving;

/// <summary>Requests that are being answered do not see that experts move between ranks: every logit has the bits of one rank with all experts.</summary>
public sealed class MovingExpertsTests
{
    const int Steps = 14, Prompt = 9;
    static readonly ExpertUnit Unit = new(16, 4, 2, 2, 5);

    static TransformerShape Shape { get; } = new()
    {
        Vocabulary = 61, Hidden = 32, Layers = 4, DenseLayers = 1, DenseIntermediate = 40, ExpertIntermediate = 24, Heads = 2, QueryLoraRank = 12, KeyValueLoraRank = 16, QkNopeHeadDim = 8,
        QkRopeHeadDim = 4, ValueHeadDim = 8, SharedExperts = 1, Gate = new GateParameters(16, 4, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5),
        GateBias = true, MtpDepth = 0, NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = 64,
    };

    static Transformer Model(CpuBackend backend, Recipe recipe)
    {
        var model = new Transformer(backend, Shape, recipe);
        Initialization.Normal(model, 5, 0.2);
        return model;
    }

    static CpuBackend Backend() => new(new CpuOptions(1, InstructionSets.Best));

    // Each rank answers a request of its own length.
    static int[] Question(int rank)
    {
        var random = new CounterRandom(17, RandomPurpose.TestData, (uint)rank);
        return [.. Enumerable.Range(0, Prompt - (2 * rank)).Select(i => random.Below((ulong)i, Shape.Vocabulary))];
    }

    static List<int[]> Answer(GenerationSession session, int rank, Action<int>? between = null)
    {
        var logits = new List<int[]>();
        int[] next = Question(rank);
        for (int step = 0; step < Steps; step++)
        {
            session.Append(next);
            logits.Add([.. session.Logits.ToArray().Select(BitConverter.SingleToInt32Bits)]);
            next = [Best(session.Logits)];
            between?.Invoke(step);
        }

        return logits;
    }

    static int Best(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int v = 1; v < logits.Length; v++)
            if (logits[v] > logits[best]) best = v;
        return best;
    }

    static ReplicaPlan?[] Plans(ulong seed) => [null, .. Enumerable.Range(1, 3).Select(layer => (ReplicaPlan?)Plan(seed + (ulong)layer))];

    static ReplicaPlan Plan(ulong seed)
    {
        var random = new CounterRandom(seed, RandomPurpose.TestData, 9);
        double[] load = [.. Enumerable.Range(0, 16).Select(e => Math.Exp(3 * random.Uniform((ulong)e)))];
        return ExpertBalancer.Plan(load, Unit.Slots, Unit.Groups, Unit.Nodes, Unit.Gpus);
    }

    static void Forget(Transformer model)
    {
        foreach (Block block in model.Blocks)
            foreach (Parameter parameter in block.Routed?.ExpertParameters ?? [])
                parameter.Value.AsSpan<float>().Fill(float.NaN);
        model.Refresh();
    }

    [Theory]
    [InlineData("fp32", UnitPath.Straight)]
    [InlineData("bf16", UnitPath.Straight)]
    [InlineData("fp8", UnitPath.Straight)]
    [InlineData("bf16", UnitPath.ThroughNodes)]
    [InlineData("fp8", UnitPath.ThroughNodes)]
    [Implements("V3 §3.4.1", "Prefilling on units of 32 GPUs with redundant experts, rearranged every ten minutes from online statistics")]
    public void Texts_have_the_same_bits_before_during_and_after_experts_move(string recipeName, UnitPath path)
    {
        Recipe recipe = Recipe.Find(recipeName);
        var expected = new List<int[]>[Unit.Gpus];
        using (CpuBackend backend = Backend())
        using (Transformer model = Model(backend, recipe))
        {
            for (int rank = 0; rank < Unit.Gpus; rank++)
            {
                using var session = new GenerationSession(model, 40);
                expected[rank] = Answer(session, rank);
            }
        }

        var outcomes = new ConcurrentDictionary<int, (List<int[]> Logits, int Switched, int StepsMoving, long Moved, int[] Counts)>();
        PlacementChange[] changes = [Change(100, 200), Change(200, 300)];
        InProcessRanks.Run(Unit.Gpus, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, recipe);
            using var slots = new ExpertSlots(model, Unit, Plans(100), group.Rank);
            Forget(model); // what is not in a slot is nowhere
            using var exchange = new ReplicaExchange(group, Unit, Plans(100), Prompt, path);
            var mover = new PlacementMover(group, slots, exchange, layer => layer + 1);
            using var session = new GenerationSession(model, 40, exchange, slots);
            int switched = 0, moving = 0;
            List<int[]> logits = Answer(session, group.Rank, step =>
            {
                if (step is 2 or 9) mover.Begin(changes[step / 9]);
                if (!mover.IsMoving) return;
                moving++;
                mover.Advance(rounds: step < 9 ? 3 : 100, _ => switched++);
            });
            outcomes[group.Rank] = (logits, switched, moving, mover.SentBytes, exchange.Counts(2).ToArray());
        }, TimeSpan.FromSeconds(60));

        Assert.True(outcomes[0].StepsMoving >= 4, $"experts moved during {outcomes[0].StepsMoving} steps");
        for (int rank = 0; rank < Unit.Gpus; rank++)
        {
            Assert.Equal(6, outcomes[rank].Switched);
            for (int step = 0; step < Steps; step++) Assert.True(expected[rank][step].AsSpan().SequenceEqual(outcomes[rank].Logits[step]), $"rank {rank}, step {step}");
            Assert.Equal((Question(rank).Length + Steps - 1) * 4, outcomes[rank].Counts.Sum());
        }

        Assert.True(expected[0].Select(l => l[0]).Distinct().Count() > 3); // the model says something
        Assert.Equal(changes.Sum(c => (long)c.Moved) * changes[0].ExpertBytes, outcomes.Values.Sum(o => o.Moved));
    }

    static PlacementChange Change(ulong from, ulong to)
    {
        ReplicaPlan?[] now = Plans(from), next = Plans(to);
        long bytes = ((2 * Shape.ExpertIntermediate * Shape.Hidden) + (Shape.Hidden * Shape.ExpertIntermediate)) * sizeof(float);
        return new(Unit, [.. Enumerable.Range(0, 3).Select(layer => LayerChange.Plan(Unit, layer, now[layer + 1]!, next[layer + 1]!))], bytes);
    }

    /// <summary>The whole loop on real ranks: counts of real choices, a look every ten simulated minutes, a change because it pays, moved one round after each step.</summary>
    [Fact]
    [Implements("V3 §3.4.1", "Prefilling on units of 32 GPUs with redundant experts, rearranged every ten minutes from online statistics")]
    public void A_unit_rearranges_itself_from_its_own_statistics_while_it_answers()
    {
        var expected = new List<int[]>[Unit.Gpus];
        using (CpuBackend backend = Backend())
        using (Transformer model = Model(backend, Recipe.Fp32))
        {
            for (int rank = 0; rank < Unit.Gpus; rank++)
            {
                using var session = new GenerationSession(model, 40);
                expected[rank] = Answer(session, rank);
            }
        }

        var clock = new SimulatedClock();
        ReplicaPlan first = Unit.FirstPlan();
        ReplicaPlan?[] plans = [null, first, first, first];
        var outcomes = new ConcurrentDictionary<int, (List<int[]> Logits, int Moving, PlacementDecision? Decision, int[][] Slots, long Sent)>();
        InProcessRanks.Run(Unit.Gpus, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, Recipe.Fp32);
            using var slots = new ExpertSlots(model, Unit, plans, group.Rank);
            Forget(model);
            using var exchange = new ReplicaExchange(group, Unit, plans, Prompt);
            PlacementKeeper? keeper = group.Rank == 0
                ? new PlacementKeeper(Unit, [first, first, first], slots.ExpertBytes, LinkSpeeds.H800, new PlacementPolicy { LeastCountsPerExpert = 1 }, clock)
                : null;
            using var loop = new PlacementLoop(group, backend, exchange, slots, keeper, [1, 2, 3]);
            using var session = new GenerationSession(model, 40, exchange, slots);
            int moving = 0;
            List<int[]> logits = Answer(session, group.Rank, _ =>
            {
                if (group.Rank == 0) clock.Advance(TimeSpan.FromMinutes(2.5));
                loop.BetweenSteps(new WaitingPrices(1e-3, 10));
                if (loop.IsMoving) moving++;
            });
            outcomes[group.Rank] = (logits, moving, loop.Decision, [.. Enumerable.Range(1, 3).Select(layer => exchange.Plan(layer).SlotExpert)], loop.SentBytes);
        }, TimeSpan.FromSeconds(60));

        Assert.NotNull(outcomes[0].Decision);
        Assert.True(outcomes[0].Moving >= 3, $"experts moved during {outcomes[0].Moving} steps");
        Assert.NotEqual(first.SlotExpert, outcomes[0].Slots[0]);
        Assert.True(outcomes.Values.Sum(o => o.Sent) > 0);
        for (int rank = 0; rank < Unit.Gpus; rank++)
        {
            Assert.Equal(outcomes[0].Slots, outcomes[rank].Slots);
            for (int step = 0; step < Steps; step++) Assert.True(expected[rank][step].AsSpan().SequenceEqual(outcomes[rank].Logits[step]), $"rank {rank}, step {step}");
        }
    }

    [Fact]
    public void A_rank_that_switched_at_another_step_is_named()
    {
        RankLostException lost = Assert.Throws<RankLostException>(() => InProcessRanks.Run(Unit.Gpus, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, Recipe.Fp32);
            using var slots = new ExpertSlots(model, Unit, Plans(100), group.Rank);
            using var exchange = new ReplicaExchange(group, Unit, Plans(100), Prompt);
            if (group.Rank == 2) exchange.Switch(1, Plan(101));
            using var session = new GenerationSession(model, 40, exchange, slots);
            session.Append([1, 2, 3]);
        }, TimeSpan.FromSeconds(60)));
        Assert.Contains("did not switch before the same step", lost.InnerException!.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Steps_that_are_too_large_and_plans_of_another_unit_are_refused()
    {
        RankLostException lost = Assert.Throws<RankLostException>(() => InProcessRanks.Run(Unit.Gpus, group =>
        {
            using CpuBackend backend = Backend();
            using Transformer model = Model(backend, Recipe.Fp32);
            using var slots = new ExpertSlots(model, Unit, Plans(100), group.Rank);
            using var exchange = new ReplicaExchange(group, Unit, Plans(100), 2);
            using var session = new GenerationSession(model, 40, exchange, slots);
            session.Append([1, 2, 3]);
        }, TimeSpan.FromSeconds(60)));
        Assert.Contains("at most 2", lost.InnerException!.Message, StringComparison.Ordinal);
        InProcessRanks.Run(1, group => Assert.Contains("the group 1 ranks", Assert.Throws<ArgumentException>(() => new ReplicaExchange(group, Unit, Plans(1), 4)).Message, StringComparison.Ordinal));
    }
}
