using Hadal.Parallel.Experts;
using Hadal.Parallel.Serving;

namespace Hadal.Parallel.Tests.Experts;

public sealed class ExpertBalancerTests
{
    [Theory]
    [InlineData(new double[] { 90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86 }, new[] { 5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1 })]
    [InlineData(new double[] { 20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27 }, new[] { 7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1 })]
    [Implements("V3 §3.4.1", "Redundant experts are chosen by load and packed onto GPUs, groups staying on their node; the published example is reproduced")]
    public void The_published_example_is_reproduced(double[] load, int[] slots) =>
        Assert.Equal(slots, ExpertBalancer.Plan(load, 16, groups: 4, nodes: 2, gpus: 8).SlotExpert);

    /// <summary>Worked on paper: loads 6, 1, 1 in four slots; the copy goes to expert 0, whose replicas are the heaviest and end on different GPUs.</summary>
    [Fact]
    public void Three_experts_by_hand()
    {
        ReplicaPlan plan = ExpertBalancer.Plan([6, 1, 1], slots: 4, groups: 1, nodes: 2, gpus: 2);
        Assert.Equal([0, 1, 0, 2], plan.SlotExpert);
        Assert.Equal([0, 2], plan.ExpertSlots[0]);
        Assert.Equal([4, 4], plan.LoadPerGpu([6, 1, 1], 2));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Plans_are_whole_and_never_worse_than_a_fixed_order(bool hierarchical)
    {
        var random = new Random(hierarchical ? 5 : 6);
        double before = 0, after = 0;
        for (int trial = 0; trial < 200; trial++)
        {
            int nodes = 1 << random.Next(0, 3), gpus = nodes * (1 << random.Next(0, 3)), groups = hierarchical ? nodes * random.Next(1, 4) : nodes * 2 + 1;
            int experts = groups * gpus * random.Next(1, 3), slots = experts + gpus * random.Next(0, 3);
            double[] load = [.. Enumerable.Range(0, experts).Select(_ => Math.Pow(random.NextDouble(), 4) * 1000)];
            ReplicaPlan plan = ExpertBalancer.Plan(load, slots, groups, nodes, gpus);
            Assert.Equal(slots, plan.SlotExpert.Length);
            Assert.Equal(Enumerable.Range(0, slots), plan.ExpertSlots.SelectMany(s => s).Order());
            for (int expert = 0; expert < experts; expert++)
            {
                Assert.NotEmpty(plan.ExpertSlots[expert]);
                Assert.All(plan.ExpertSlots[expert], slot => Assert.Equal(expert, plan.SlotExpert[slot]));
            }

            if (hierarchical && nodes > 1)
            {
                foreach (IGrouping<int, int> group in Enumerable.Range(0, experts).GroupBy(expert => expert / (experts / groups)))
                    Assert.Single(group.SelectMany(expert => plan.ExpertSlots[expert]).Select(slot => slot / (slots / nodes)).Distinct());
            }

            double mean = load.Sum() / gpus;
            after += plan.LoadPerGpu(load, gpus).Max() / mean;
            before += Enumerable.Range(0, gpus).Max(gpu => load.AsSpan(gpu * (experts / gpus), experts / gpus).ToArray().Sum()) / mean;
        }

        Assert.True(after < before, $"The fullest GPU had {before / 200:F3} times the mean load before and {after / 200:F3} after.");
    }

    /// <summary>Which of the two ways: 8 groups divide over the 4 nodes of prefilling, so groups stay on a node; not over 18 or 40 nodes of decoding, which are balanced as one [the EPLB repository].</summary>
    [Fact]
    public void Prefilling_is_balanced_group_by_group_and_decoding_over_all_GPUs()
    {
        var random = new Random(11);
        double[] load = [.. Enumerable.Range(0, 256).Select(_ => Math.Exp(random.NextDouble() * 2.5))];
        ReplicaPlan Plan(ExpertUnit unit) => ExpertBalancer.Plan(load, unit.Slots, unit.Groups, unit.Nodes, unit.Gpus);
        ReplicaPlan Global(ExpertUnit unit) => ExpertBalancer.Plan(load, unit.Slots, groups: 1, nodes: 1, unit.Gpus);
        int[] NodesOfGroups(ExpertUnit unit) => [.. Enumerable.Range(0, 8).Select(group => Enumerable.Range(32 * group, 32).SelectMany(e => Plan(unit).ExpertSlots[e]).Select(unit.NodeOf).Distinct().Count())];

        Assert.True(ExpertUnit.Prefill is { IsHierarchical: true, RedundantSlots: 32, Gpus: 32 });
        Assert.All(NodesOfGroups(ExpertUnit.Prefill), nodes => Assert.Equal(1, nodes));
        Assert.NotEqual(Global(ExpertUnit.Prefill).SlotExpert, Plan(ExpertUnit.Prefill).SlotExpert);
        foreach (ExpertUnit unit in new[] { ExpertUnit.Decode, ExpertUnit.DecodeOfTheReport })
        {
            Assert.False(unit.IsHierarchical);
            Assert.Equal(Global(unit).SlotExpert, Plan(unit).SlotExpert);
            Assert.All(NodesOfGroups(unit), nodes => Assert.True(nodes > 4, $"a group on {nodes} nodes"));
        }
    }

    /// <summary>A unit of 32 GPUs: 256 experts, 8 + 1 slots a GPU, loads as skewed as in the report's figures.</summary>
    [Fact]
    public void The_prefill_unit_of_32_gpus_is_balanced_by_one_redundant_slot_a_gpu()
    {
        var random = new Random(9);
        double[] load = [.. Enumerable.Range(0, 256).Select(_ => Math.Exp(random.NextDouble() * 2.5))];
        double mean = load.Sum() / 32, before = Enumerable.Range(0, 32).Max(gpu => load.AsSpan(8 * gpu, 8).ToArray().Sum()) / mean;
        ReplicaPlan plan = ExpertBalancer.Plan(load, 288, groups: 8, nodes: 4, gpus: 32);
        double after = plan.LoadPerGpu(load, 32).Max() / mean;
        TestContext.Current.TestOutputHelper!.WriteLine($"fullest GPU over the mean: {before:F3} before, {after:F3} after");
        Assert.InRange(after, 1, 1.15);
        Assert.True(before > 1.25);
    }

    [Theory]
    [InlineData(12, 15, 4, 2, 8, "multiple of the GPUs")]
    [InlineData(12, 8, 4, 2, 8, "at least the experts")]
    [InlineData(12, 16, 5, 2, 8, "groups of one size")]
    [InlineData(12, 16, 4, 3, 8, "as many on each node")]
    public void Numbers_that_do_not_divide_are_refused(int experts, int slots, int groups, int nodes, int gpus, string reason) =>
        Assert.Contains(reason, Assert.Throws<ArgumentException>(() => ExpertBalancer.Plan(new double[experts], slots, groups, nodes, gpus)).Message, StringComparison.Ordinal);

    [Fact]
    public void A_load_that_is_none_is_refused() =>
        Assert.Contains("NaN", Assert.Throws<ArgumentException>(() => ExpertBalancer.Plan([1, double.NaN], 2, 1, 1, 1)).Message, StringComparison.Ordinal);
}
