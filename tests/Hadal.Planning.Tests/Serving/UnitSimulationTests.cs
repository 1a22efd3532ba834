using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Serving;
using Hadal.Planning.Serving;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Tests.Serving;

/// <summary>Units on a simulated clock: routing, placement and prices together.</summary>
public sealed class UnitSimulationTests
{
    static readonly ServingModel V3 = new(KnownShapes.V3671B);

    static GateParameters Gate => KnownShapes.V3671B.Gate;

    static UnitOutcome Prefill(IRoutingSource routing, int slots = 9, TimeSpan? interval = null, int minutes = 40)
    {
        ExpertUnit unit = ExpertUnit.Prefill with { SlotsPerGpu = slots };
        return UnitSimulation.Run(new()
        {
            Unit = unit, Path = UnitPath.ThroughNodes, Work = new(16_384, 16_384 * 2048.0, 0, 0), Layers = 2, TokensPerGpu = 96, Duration = TimeSpan.FromMinutes(minutes), Tick = TimeSpan.FromMinutes(4),
            Policy = new PlacementPolicy { Interval = interval ?? TimeSpan.FromMinutes(10), LeastCountsPerExpert = 20 },
        }, routing, new ServingCosts(V3, ServingHardware.H800, slots));
    }

    /// <summary>The unit of the report: 4 nodes of 8 GPUs, 8 experts and a redundant one each, looked at every ten minutes.</summary>
    [Fact]
    [Implements("V3 §3.4.1", "Prefilling on units of 32 GPUs with redundant experts, rearranged every ten minutes from online statistics")]
    public void A_skewed_load_is_balanced_at_the_first_look_and_the_step_gets_shorter()
    {
        UnitOutcome outcome = Prefill(new SyntheticRouting(Gate, 0.5, seed: 3));
        Assert.Equal(32, outcome.Options.Unit.Gpus);
        Assert.Equal(288, outcome.Options.Unit.Slots);
        Assert.Equal([12.0, 24, 36], outcome.Looks.Select(l => l.Time.TotalMinutes)); // the first ticks after ten minutes
        Assert.True(outcome.Looks[0].Decision.Pays);
        Assert.True(outcome.Looks[0].MovedBytes > 0 && outcome.Looks[0].MoveSeconds is > 0 and < 60);
        var mean = outcome.Mean;
        Assert.True(mean.Kept < 0.75 * mean.Plain, $"fullest over mean {mean.Plain:F3} in order, {mean.Kept:F3} kept up to date");
        Assert.True(mean.Kept < mean.First && mean.KeptSeconds < mean.PlainSeconds);
        Assert.InRange(mean.Kept, 1, 1.25);
    }

    [Fact]
    public void Hot_experts_that_drift_are_followed_only_when_the_placement_is_looked_at()
    {
        var routing = new SyntheticRouting(Gate, 0.5, TimeSpan.FromMinutes(60), seed: 4);
        UnitOutcome followed = Prefill(routing, minutes: 80), left = Prefill(routing, interval: TimeSpan.FromHours(10), minutes: 80);
        Assert.Empty(left.Looks);
        Assert.True(followed.Looks.Count(l => l.Decision.Pays) > 2);
        double kept = followed.Settled.Average(s => s.Kept), unmoved = left.Samples.Where(s => s.Time.TotalMinutes > 12).Average(s => s.Kept);
        Assert.True(kept < 0.92 * unmoved, $"{kept:F3} followed, {unmoved:F3} left alone");
        Assert.Equal(left.Samples.Select(s => s.First), left.Samples.Select(s => s.Kept));
    }

    [Fact]
    public void More_redundant_experts_do_not_balance_worse_on_the_same_tokens()
    {
        double[] kept = [.. new[] { 8, 9, 11 }.Select(slots => Prefill(new SyntheticRouting(Gate, 0.8, seed: 5), slots, minutes: 24).Mean.Kept)];
        Assert.True(kept[1] <= kept[0] && kept[2] <= kept[1] * 1.01, string.Join(", ", kept));
        Assert.True(kept[2] < 0.9 * kept[0], string.Join(", ", kept));
    }

    [Fact]
    public void Even_routing_gives_nothing_to_move()
    {
        UnitOutcome outcome = Prefill(new SyntheticRouting(Gate, 0, seed: 6), minutes: 24);
        Assert.All(outcome.Samples, s => Assert.InRange(s.Plain, 1, 1.2));
        Assert.True(outcome.Mean.Kept < 1.2);
    }

    [Fact]
    public void A_simulation_is_the_same_twice()
    {
        UnitOutcome one = Prefill(new SyntheticRouting(Gate, 0.7, TimeSpan.FromMinutes(30), 7), minutes: 24), two = Prefill(new SyntheticRouting(Gate, 0.7, TimeSpan.FromMinutes(30), 7), minutes: 24);
        Assert.Equal(one.Samples, two.Samples);
        Assert.Equal(one.Looks.Select(l => l.Decision.Reason), two.Looks.Select(l => l.Decision.Reason), StringComparer.Ordinal);
    }

    /// <summary>The decoding unit as it ran: 18 nodes, 144 GPUs with two routed experts, 32 of 288 redundant.</summary>
    [Fact]
    public void The_decoding_unit_is_balanced_over_all_of_its_gpus()
    {
        ExpertUnit unit = ExpertUnit.Decode;
        Assert.Equal(32, unit.RedundantSlots);
        Assert.False(unit.IsHierarchical);
        UnitOutcome outcome = UnitSimulation.Run(new()
        {
            Unit = unit, Path = UnitPath.Straight, Work = new(0, 0, 128, 128 * 4989.0), Layers = 1, TokensPerGpu = 64, Duration = TimeSpan.FromMinutes(24), Tick = TimeSpan.FromMinutes(4),
            Policy = new PlacementPolicy { LeastCountsPerExpert = 20 },
        }, new SyntheticRouting(Gate, 0.4, seed: 8), new ServingCosts(V3, ServingHardware.H800, unit.SlotsPerGpu));
        Assert.True(outcome.Mean.Kept < 0.8 * outcome.Mean.Plain, $"{outcome.Mean.Plain:F3} in order, {outcome.Mean.Kept:F3} kept");
    }

    [Fact]
    public void Synthetic_tokens_obey_the_gates_limits_and_the_wanted_skew()
    {
        var routing = new SyntheticRouting(Gate, 1, seed: 9);
        int[] choices = new int[4000 * 8], again = new int[4000 * 8], counts = new int[256];
        routing.Choose(TimeSpan.Zero, 2, 5, choices);
        routing.Choose(TimeSpan.Zero, 2, 5, again);
        Assert.Equal(choices, again);
        routing.Choose(TimeSpan.Zero, 2, 6, again);
        Assert.NotEqual(choices, again);
        for (int t = 0; t < 4000; t++)
        {
            int[] token = choices[(8 * t)..((8 * t) + 8)];
            Assert.Equal(token.Order().Distinct(), token);
            Assert.InRange(token.Select(e => e / 32).Distinct().Count(), 2, 4);
            foreach (int expert in token) counts[expert]++;
        }

        Assert.True(counts.Max() > 4 * counts.Average());
    }

    /// <summary>The choice in one pass against the gate's rule in words: groups by the sum of their two best, then the best expert again and again.</summary>
    [Fact]
    public void Synthetic_tokens_choose_as_the_gate_does()
    {
        var routing = new SyntheticRouting(Gate, 0.7, TimeSpan.FromMinutes(30), 12);
        TimeSpan time = TimeSpan.FromMinutes(17);
        int[] choices = new int[300 * 8];
        float[] logits = new float[300 * 256];
        routing.Choose(time, 1, 3, choices);
        routing.Logits(time, 1, 3, logits);
        for (int t = 0; t < 300; t++)
        {
            float[] scores = logits[(256 * t)..((256 * t) + 256)];
            int[] groups = [.. Enumerable.Range(0, 8).OrderByDescending(g => scores[(32 * g)..((32 * g) + 32)].OrderDescending().Take(2).Sum()).Take(4)];
            Assert.Equal(Enumerable.Range(0, 256).Where(e => groups.Contains(e / 32)).OrderByDescending(e => scores[e]).Take(8).Order(), choices[(8 * t)..((8 * t) + 8)]);
        }
    }

    /// <summary>Counted by hand: two nodes of two GPUs, one expert each; GPU 0's token for experts 1, 2 and 3.</summary>
    [Fact]
    public void Rows_of_one_token_by_hand()
    {
        var unit = new ExpertUnit(4, 2, 2, 2, 1);
        ReplicaPlan plan = PlacementMatching.FromSlots([0, 1, 2, 3], 4);
        var nodes = new UnitTraffic(unit, UnitPath.ThroughNodes);
        nodes.Add(plan, 0, [1, 2, 3], 3);
        Assert.Equal([0, 1, 1, 1], nodes.Pairs);
        Assert.Equal([1, 0, 0, 0], nodes.BetweenOut); // once to node 1, to its first GPU
        Assert.Equal([0, 0, 1, 0], nodes.BetweenIn);
        Assert.Equal([1, 0, 1, 0], nodes.InsideOut); // to GPU 1, and from GPU 2 to GPU 3
        Assert.Equal([0, 1, 0, 1], nodes.InsideIn);
        var straight = new UnitTraffic(unit, UnitPath.Straight);
        straight.Add(plan, 0, [1, 2, 3], 3);
        Assert.Equal([2, 0, 0, 0], straight.BetweenOut);
        Assert.Equal([1, 0, 0, 0], straight.InsideOut);
        Assert.Equal(4.0 / 3, straight.Balance, 12);
    }

    [Fact]
    public void The_plain_layout_counts_as_the_training_exchange_does()
    {
        var unit = new ExpertUnit(256, 8, 4, 8, 8);
        ReplicaPlan plan = PlacementMatching.FromSlots([.. Enumerable.Range(0, 256)], 256);
        var routing = new SyntheticRouting(Gate, 0.5, seed: 10);
        int[] choices = new int[64 * 8];
        var traffic = new UnitTraffic(unit, UnitPath.ThroughNodes);
        long between = 0, inside = 0;
        for (int gpu = 0; gpu < 32; gpu++)
        {
            routing.Choose(TimeSpan.Zero, 0, gpu, choices);
            traffic.Add(plan, gpu, choices, 8);
            var load = new DispatchLoad(new ExpertLayout(256, 4, 8), gpu);
            for (int t = 0; t < 64; t++) load.Add(choices.AsSpan(8 * t, 8));
            (between, inside) = (between + load.RowsBetweenNodes, inside + load.RowsInsideNodes);
        }

        Assert.Equal(between, traffic.BetweenOut.Sum());
        Assert.Equal(between, traffic.BetweenIn.Sum());
        Assert.Equal(inside, traffic.InsideOut.Sum());
    }

    /// <summary>ISCA 2025 §2.3.2: 32 tokens a device, nine experts, one and two bytes an element, 50 GB/s: 120.96 µs for dispatch and combine of a layer with rows of 7,000 elements.</summary>
    [Fact]
    public void Exchange_at_the_published_limit_takes_what_was_published()
    {
        var model = new ServingModel(KnownShapes.V3671B);
        var costs = new ServingCosts(model, ServingHardware.H800 with { NetworkLatency = 0 }, 1);
        LayerParts parts = costs.Parts(new StepWork(0, 0, 64, 0), new TrafficPerToken(1, 9, 0), UnitPath.Straight);

        // Hidden 7168 with scales and heads against 7,000 plain elements: the ratio of the bytes is the ratio of the times.
        double bytes = (model.OutBytes + model.BackBytes) / (3 * 7000.0);
        Assert.Equal(120.96e-6 * bytes, parts.Dispatch + parts.Combine, 9);
    }

    [Fact]
    public void What_a_model_weighs_is_what_is_published()
    {
        Assert.InRange(V3.WeightBytes(256) / 1e9, 650, 690); // 671 billion parameters, embedding and head in BF16
        Assert.Equal(70_272, V3.CacheBytes);
        Assert.Equal(58, V3.SparseLayers);
        Assert.InRange(V3.AttentionWeights / 1e6, 180, 195);
    }

    [Theory]
    [InlineData(0.02, 0.01)]
    [InlineData(0.5, 1.5)]
    public void Stages_hide_what_they_can(double exchange, double compute)
    {
        var parts = new LayerParts(compute, compute, compute, compute, exchange, exchange);
        double work = 8 * compute, moved = 4 * exchange;
        Assert.InRange(parts.Prefilling, Math.Max(work, moved) - 1e-12, parts.Unhidden);
        Assert.InRange(parts.Decoding, work - 1e-12, parts.Unhidden);
        Assert.Equal(work + moved, parts.Unhidden, 12);
    }
}
