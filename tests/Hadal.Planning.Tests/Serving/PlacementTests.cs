using Hadal.Numerics;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Serving;

namespace Hadal.Planning.Tests.Serving;

/// <summary>Statistics, the decision whether a new placement pays, and what must move for it.</summary>
public sealed class PlacementTests
{
    static readonly ExpertUnit Small = new(16, 4, 2, 2, 5);

    static double[] Load(ulong seed, int experts, double skew = 3)
    {
        var random = new CounterRandom(seed, RandomPurpose.TestData);
        return [.. Enumerable.Range(0, experts).Select(e => Math.Exp(skew * random.Uniform((ulong)e)))];
    }

    static ReplicaPlan Balanced(ExpertUnit unit, double[] load) => ExpertBalancer.Plan(load, unit.Slots, unit.Groups, unit.Nodes, unit.Gpus);

    [Fact]
    public void Counts_lose_half_of_their_weight_in_a_half_life()
    {
        var clock = new SimulatedClock();
        var statistics = new ExpertLoadStatistics(2, 3, TimeSpan.FromMinutes(5), clock);
        statistics.Add(0, [8, 0, 4]);
        clock.Advance(TimeSpan.FromMinutes(5));
        statistics.Add(0, [0, 2, 0]);
        double[] load = new double[3];
        Assert.Equal(8, statistics.Read(0, load), 12);
        Assert.Equal([4, 2, 2], load.Select(x => Math.Round(x, 12)));
        clock.Advance(TimeSpan.FromMinutes(10));
        Assert.Equal(2, statistics.Read(0, load), 12);
        Assert.Equal(0, statistics.Read(1, load));
        Assert.Contains("one for each of 3", Assert.Throws<ArgumentException>(() => statistics.Add(0, [1, 2])).Message, StringComparison.Ordinal);
        Assert.Contains("-1", Assert.Throws<ArgumentException>(() => statistics.Add(0, [1, 2, -1])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Statistics_may_be_fed_from_several_threads()
    {
        var statistics = new ExpertLoadStatistics(1, 4, TimeSpan.FromHours(1), new SimulatedClock());
        System.Threading.Tasks.Parallel.For(0, 8, _ =>
        {
            for (int i = 0; i < 500; i++) statistics.Add(0, [1, 2, 3, 4]);
        });
        double[] load = new double[4];
        Assert.Equal(40_000, statistics.Read(0, load));
        Assert.Equal([4000, 8000, 12000, 16000], load);
    }

    /// <summary>A plan whose GPUs and nodes are only numbered otherwise moves nothing.</summary>
    [Fact]
    public void A_plan_with_other_numbers_moves_nothing()
    {
        ReplicaPlan plan = Balanced(Small, Load(1, 16));
        int[] turned = [.. Enumerable.Range(0, 20).Select(slot => plan.SlotExpert[(slot + 10) % 20])]; // the nodes exchanged
        (turned[0], turned[3]) = (turned[3], turned[0]); // and two slots of a GPU
        ReplicaPlan matched = PlacementMatching.Match(Small, plan, PlacementMatching.FromSlots(turned, 16));
        Assert.Equal(plan.SlotExpert, matched.SlotExpert);
        Assert.Equal(0, LayerChange.Plan(Small, 0, plan, matched).Moved);
    }

    [Fact]
    public void Matching_keeps_loads_and_nodes_and_moves_less()
    {
        int plain = 0, matched = 0;
        for (ulong seed = 0; seed < 40; seed++)
        {
            ExpertUnit unit = ExpertUnit.Prefill;
            double[] before = Load(seed, 256), after = [.. before.Zip(Load(seed + 100, 256, 1), (a, b) => a * b)];
            ReplicaPlan now = Balanced(unit, before), wanted = Balanced(unit, after), next = PlacementMatching.Match(unit, now, wanted);
            Assert.Equal(wanted.LoadPerGpu(after, unit.Gpus).Order().Select(x => Math.Round(x, 6)), next.LoadPerGpu(after, unit.Gpus).Order().Select(x => Math.Round(x, 6)));
            foreach (IGrouping<int, int> group in Enumerable.Range(0, 256).GroupBy(e => e / 32))
                Assert.Single(group.SelectMany(e => next.ExpertSlots[e]).Select(unit.NodeOf).Distinct());
            plain += LayerChange.Plan(unit, 0, now, wanted).Moved;
            matched += LayerChange.Plan(unit, 0, now, next).Moved;
        }

        Assert.True(matched < 0.9 * plain, $"{matched} experts travel with matching and {plain} without");
    }

    /// <summary>Replays changes slot by slot: what is sent is there, what serves is whole at every moment, rounds overload no GPU, and the end is the plan.</summary>
    [Fact]
    public void In_a_change_every_expert_has_a_live_replica_at_every_moment()
    {
        for (ulong seed = 0; seed < 60; seed++)
        {
            var random = new CounterRandom(seed, RandomPurpose.TestData, 1);
            int nodes = 1 << random.Below(0, 3), gpus = 1 << random.Below(1, 3), groups = random.Below(2, 2) == 0 ? nodes * 2 : (nodes * 2) + 1;
            int experts = groups * nodes * gpus * (1 + random.Below(3, 2)), slots = (experts / (nodes * gpus)) + random.Below(4, 3);
            var unit = new ExpertUnit(experts, groups, nodes, gpus, slots);
            unit.Validate();
            ReplicaPlan now = Balanced(unit, Load(seed, experts)), next = PlacementMatching.Match(unit, now, Balanced(unit, Load(seed + 7, experts)));
            LayerChange change = LayerChange.Plan(unit, 0, now, next);
            int[] serving = [.. now.SlotExpert], spare = new int[unit.Slots];
            Array.Fill(spare, -1);
            foreach (IReadOnlyList<ExpertMove> round in change.Rounds)
            {
                Assert.Equal(round.Count, round.Select(m => unit.GpuOf(m.FromSlot)).Distinct().Count());
                Assert.Equal(round.Count, round.Select(m => unit.GpuOf(m.ToSlot)).Distinct().Count());
                foreach (ExpertMove move in round) Put(move, local: false);
                Assert.Equal(now.SlotExpert, serving); // the present placement serves untouched
            }

            foreach (ExpertMove move in change.Local) Put(move, local: true);
            Assert.Equal(next.SlotExpert, spare);
            Assert.Equal(Enumerable.Range(0, experts), spare.Distinct().Order());
            Assert.Equal(unit.Slots, change.Moved + change.Local.Count);

            void Put(ExpertMove move, bool local)
            {
                Assert.Equal(move.Expert, serving[move.FromSlot]);
                Assert.Equal(-1, spare[move.ToSlot]);
                Assert.Equal(local, unit.GpuOf(move.FromSlot) == unit.GpuOf(move.ToSlot));
                Assert.Equal(move.Path == MovePath.BetweenNodes, unit.NodeOf(move.FromSlot) != unit.NodeOf(move.ToSlot));
                spare[move.ToSlot] = move.Expert;
            }
        }
    }

    [Fact]
    public void Bytes_and_seconds_of_a_change_by_hand()
    {
        // Two nodes of one GPU with two slots: 0 1 | 2 3 becomes 0 2 | 3 1. Experts 1 and 2 cross, in one round.
        var unit = new ExpertUnit(4, 1, 2, 1, 2);
        LayerChange layer = LayerChange.Plan(unit, 5, PlacementMatching.FromSlots([0, 1, 2, 3], 4), PlacementMatching.FromSlots([0, 2, 3, 1], 4));
        var change = new PlacementChange(unit, [layer], 100);
        Assert.Equal(2, change.Moved);
        Assert.Equal(1, change.Rounds);
        Assert.Equal(200, change.BytesBetweenNodes);
        Assert.Equal(0, change.BytesInsideNodes);
        Assert.Equal([100, 100], change.BytesSent(MovePath.BetweenNodes));
        Assert.Equal(2, change.Seconds(new LinkSpeeds(400, 50)), 12);
    }

    static PlacementKeeper Keeper(SimulatedClock clock, double[] load, int counts, PlacementPolicy? policy = null)
    {
        var keeper = new PlacementKeeper(Small, [Small.FirstPlan(), Small.FirstPlan()], 1_000_000, LinkSpeeds.H800, policy, clock);
        double sum = load.Sum();
        for (int layer = 0; layer < 2; layer++) keeper.Statistics.Add(layer, [.. load.Select(l => (int)(l / sum * counts))]);
        return keeper;
    }

    [Fact]
    public void A_new_placement_is_made_when_it_pays_and_the_decision_says_why()
    {
        var clock = new SimulatedClock();
        double[] load = Load(3, 16);
        PlacementKeeper keeper = Keeper(clock, load, 100_000);
        Assert.False(keeper.IsDue);
        clock.Advance(TimeSpan.FromMinutes(10));
        Assert.True(keeper.IsDue);
        PlacementDecision decision = keeper.Consider(new WaitingPrices(1e-3, 10));
        Assert.False(keeper.IsDue);
        Assert.True(decision.Pays);
        Assert.StartsWith("yes: 2 of 2 layers go from ", decision.Reason, StringComparison.Ordinal);
        Assert.True(decision.After < decision.Before);
        foreach (LayerDecision layer in decision.Layers)
            Assert.Equal(1e-3 * (layer.Before - layer.After) * 6000, layer.GainSeconds, 9);

        // Looking changed nothing; once adopted, the same load pays no second time.
        Assert.Equal(Small.FirstPlan().SlotExpert, keeper.Plans[0].SlotExpert);
        foreach (LayerChange change in decision.Change!.Layers) keeper.Adopt(change);
        PlacementDecision again = keeper.Consider(new WaitingPrices(1e-3, 10));
        Assert.False(again.Pays);
        Assert.StartsWith("no: the best layer", again.Reason, StringComparison.Ordinal);
        Assert.Equal(decision.After, again.Before, 6);
    }

    [Theory]
    [InlineData(1e-9, 100_000, "link time; expected at least 2 times that")] // a step that hardly waits gains nothing
    [InlineData(1e-3, 100, "counts an expert, expected at least 50")] // nobody asked anything
    public void What_does_not_pay_is_left_alone(double layerSeconds, int counts, string reason)
    {
        PlacementDecision decision = Keeper(new SimulatedClock(), Load(3, 16), counts).Consider(new WaitingPrices(layerSeconds, 10));
        Assert.False(decision.Pays);
        Assert.Null(decision.Change);
        Assert.Contains(reason, decision.Reason, StringComparison.Ordinal);
    }

    /// <summary>Only what a layer itself saves pays for moving it.</summary>
    [Fact]
    public void A_layer_that_is_balanced_stays_while_another_moves()
    {
        PlacementKeeper keeper = Keeper(new SimulatedClock(), Load(3, 16), 0, new PlacementPolicy { LeastCountsPerExpert = 1 });
        keeper.Statistics.Add(0, [.. Enumerable.Repeat(1000, 16)]);
        keeper.Statistics.Add(1, [.. Load(3, 16).Select(l => (int)(1000 * l))]);
        ReplicaPlan first = keeper.Plans[0];
        PlacementDecision decision = keeper.Consider(new WaitingPrices(1e-3, 10));
        Assert.Equal([false, true], decision.Layers.Select(l => l.Pays));
        Assert.Equal([1], decision.Change!.Layers.Select(l => l.Layer));
        Assert.Same(first, keeper.Plans[0]);
    }

    /// <summary>Skewed as Zipf's law: each further slot a GPU makes the fullest one less full, until the nodes' shares are what is left, which packing whole groups decides.</summary>
    [Fact]
    public void More_redundant_slots_balance_better()
    {
        double before = double.MaxValue, first = 0;
        for (int slots = 8; slots <= 12; slots++)
        {
            var unit = new ExpertUnit(256, 8, 4, 8, slots);
            double sum = 0;
            for (ulong seed = 0; seed < 20; seed++)
            {
                int[] order = new CounterRandom(seed, RandomPurpose.TestData).Permutation(256);
                double[] load = new double[256];
                for (int place = 0; place < 256; place++) load[order[place]] = 1 / Math.Pow(place + 1, 0.8);
                double[] gpus = Balanced(unit, load).LoadPerGpu(load, unit.Gpus);
                sum += gpus.Max() / gpus.Average() / 20;
            }

            TestContext.Current.TestOutputHelper!.WriteLine($"{slots} slots a GPU: {sum:F3}");
            Assert.True(sum <= before * 1.001, $"{slots} slots a GPU: {sum} after {before}");
            if (slots == 8) first = sum;
            before = sum;
        }

        Assert.True(before < 0.7 * first, $"{before} with four redundant slots a GPU, {first} with none");
    }
}
