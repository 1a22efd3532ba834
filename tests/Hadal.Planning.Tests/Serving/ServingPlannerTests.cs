using Hadal.Model;
using Hadal.Parallel.Serving;
using Hadal.Planning.Serving;

namespace Hadal.Planning.Tests.Serving;

/// <summary>Queues of requests, and the plan that is made of them.</summary>
public sealed class ServingPlannerTests
{
    static readonly ServingModel V3 = new(KnownShapes.V3671B);

    static ServingLoad Load(double rate = 20) => new() { RequestsPerSecond = rate, Prompt = new(1500, 0.8, 16_384), Answer = new(200, 0.8, 2048), FirstTokenSeconds = 3, NextTokenSeconds = 0.05 };

    static UnitQueue Queue(UnitRole role, int gpus = 32, int chunk = 4096, int slots = 9) => new(new ServingCosts(V3, ServingHardware.H800, slots), gpus, new TrafficPerToken(1.1, 2.6, 5), role, chunk);

    /// <summary>One request on an idle unit, counted by hand from the prices.</summary>
    [Fact]
    public void One_request_takes_the_steps_that_it_needs()
    {
        var costs = new ServingCosts(V3, ServingHardware.H800, 9);
        var load = new ServingLoad { RequestsPerSecond = 0.05, Prompt = new(1024, 0, 1024), Answer = new(11, 0, 11) };
        ServiceOutcome outcome = Queue(UnitRole.Prefill, gpus: 64).Run(load, 0.05, 400);
        double pairs = Math.Ceiling(1024 * 512.5 / 65_536) * 65_536;
        Assert.Equal(costs.StepSeconds(new(1024, pairs, 0, 0, 16), new TrafficPerToken(1.1, 2.6, 5), UnitPath.ThroughNodes), outcome.FirstToken, 6);
        ServiceOutcome decode = Queue(UnitRole.Decode, gpus: 64).Run(load, 0.05, 400);
        Assert.Equal(costs.StepSeconds(new(0, 0, 1, 2048, 1.0 / 64), new TrafficPerToken(1.1, 2.6, 5), UnitPath.Straight), decode.NextToken, 4);
    }

    [Fact]
    public void More_requests_never_wait_less()
    {
        double before = 0;
        foreach (double rate in new[] { 20.0, 100, 300, 900 })
        {
            ServiceOutcome outcome = Queue(UnitRole.Prefill).Run(Load(), rate, 20);
            Assert.True(outcome.FirstToken >= 0.9 * before, $"{rate} requests a second: {outcome.FirstToken} after {before}");
            before = outcome.FirstToken;
        }

        Assert.True(before > 3, $"an overloaded unit answers after {before} s"); // the queue grows without end
    }

    [Fact]
    public void Tokens_out_are_the_requests_in()
    {
        ServingLoad load = Load();
        ServiceOutcome decode = Queue(UnitRole.Decode).Run(load, 40, 60);
        Assert.InRange(decode.AnswerTokensPerSecond / (40 * load.Answer.MeanDrawn()), 0.85, 1.15);
        ServiceOutcome prefill = Queue(UnitRole.Prefill).Run(load, 40, 60);
        Assert.InRange(prefill.PromptTokensPerSecond / (40 * load.Prompt.MeanDrawn()), 0.85, 1.15);
        Assert.InRange(prefill.Busy, 0.01, 1.0001);
    }

    /// <summary>Prompts that are read between an answer's tokens make them come later: what splitting avoids.</summary>
    [Fact]
    public void Answers_are_slower_where_prompts_are_read_in_the_same_steps()
    {
        ServiceOutcome apart = Queue(UnitRole.Decode).Run(Load(), 60, 30), together = Queue(UnitRole.Both).Run(Load(), 60, 30);
        Assert.True(together.NextToken > 1.2 * apart.NextToken, $"{1000 * together.NextToken:F1} ms together, {1000 * apart.NextToken:F1} ms apart");
    }

    /// <summary>The queue that counts steps for answers against the one that counts answers, light and overloaded, with chunks that end in the middle of prompts and a cache that is too small.</summary>
    [Theory]
    [InlineData(UnitRole.Prefill, 3, 9, 4096)]
    [InlineData(UnitRole.Prefill, 200, 9, 512)]
    [InlineData(UnitRole.Decode, 3, 9, 0)]
    [InlineData(UnitRole.Decode, 250, 9, 0)]
    [InlineData(UnitRole.Decode, 40, 20, 0)]
    [InlineData(UnitRole.Both, 5, 9, 256)]
    [InlineData(UnitRole.Both, 60, 20, 300)]
    public void A_queue_is_that_of_its_slow_twin(UnitRole role, double rate, int slots, int chunk)
    {
        var costs = new ServingCosts(V3, ServingHardware.H800, slots);
        var traffic = new TrafficPerToken(1.1, 2.6, 5);
        ServingLoad load = Load() with { Prompt = new(900, 1.2, 8192), Answer = new(80, 1, 1024), CachedPart = 0.25 };
        ServiceOutcome fast = new UnitQueue(costs, 16, traffic, role, chunk).Run(load, rate, 12), slow = new SlowUnitQueue(costs, 16, traffic, role, chunk).Run(load, rate, 12);
        Assert.Equal(slow with { CacheUsed = 0, StepSeconds = 0 }, fast with { CacheUsed = 0, StepSeconds = 0 }); // the cache is looked at when a request comes, not after each step
        Assert.Equal(slow.StepSeconds, fast.StepSeconds, 9);
    }

    [Fact]
    public void The_least_number_is_found_as_by_looking_at_all()
    {
        foreach (int count in new[] { 1, 2, 3, 7, 16, 33 })
        {
            var least = new LeastIndex(count);
            double[] values = new double[count];
            var random = new Random(count);
            for (int i = 0; i < 300; i++)
            {
                Assert.Equal(Array.IndexOf(values, values.Min()), least.Index);
                int at = random.Next(count);
                least[at] = values[at] = random.Next(6);
            }
        }
    }

    static readonly (UnitRole Role, int Chunk)[] Roles = [(UnitRole.Prefill, 4096), (UnitRole.Decode, 0), (UnitRole.Both, 256)];

    static UnitChoice Find(UnitRole role, int chunk, ServingLoad load) =>
        new UnitSearch(load, 900, 80, 8).Find(role, new ExpertUnit(256, 8, 2, 8, 17), chunk, new ServingCosts(V3, ServingHardware.H800, 17), new TrafficPerToken(1.1, 2.6, 5), TestContext.Current.CancellationToken);

    static ServingLoad Short(double rate) => Load(rate) with { Prompt = new(900, 0.8, 8192), Answer = new(80, 0.8, 1024) };

    [Fact]
    public void More_load_never_needs_fewer_units()
    {
        foreach ((UnitRole role, int chunk) in Roles)
        {
            UnitChoice[] choices = [.. new[] { 0.001, 1, 70, 3e4, 1e6 }.Select(rate => Find(role, chunk, Short(rate)))];
            Assert.All(choices, c => Assert.Equal(choices[0].RequestsPerSecond, c.RequestsPerSecond)); // what a unit carries is its own
            Assert.Equal(choices.Select(c => c.Units).Order(), choices.Select(c => c.Units));
            Assert.Equal(1, choices[0].Units);
            Assert.True(choices[^1].Units * choices[^1].RequestsPerSecond >= 1e6 * (1 - 1e-6));
            Assert.True((choices[^1].Units - 1) * choices[^1].RequestsPerSecond < 1e6);
            Assert.All(choices, c => Assert.True(double.IsFinite(c.Outcome.FirstToken + c.Outcome.NextToken), $"{c.Outcome}")); // also where hardly anybody asks
        }
    }

    [Fact]
    public void An_easier_goal_never_makes_a_unit_carry_less()
    {
        foreach ((UnitRole role, int chunk) in Roles)
        {
            double before = 0;
            foreach ((double first, double next) in new[] { (0.001, 0.001), (0.1, 0.03), (0.4, 0.03), (0.4, 0.08), (3, 0.08), (3000, 100) })
            {
                UnitChoice choice = Find(role, chunk, Short(5) with { FirstTokenSeconds = first, NextTokenSeconds = next });
                Assert.True(choice.RequestsPerSecond >= before, $"{role}, {first} s and {next} s: {choice.RequestsPerSecond} after {before}");
                Assert.Equal(choice.RequestsPerSecond > 0, choice.IsPossible);
                before = choice.RequestsPerSecond;
            }

            Assert.True(before > 20, $"{role} carries {before} with hardly any goal");
            Assert.False(Find(role, chunk, Short(5) with { FirstTokenSeconds = 0.001, NextTokenSeconds = 0.001 }).IsPossible);
        }
    }

    [Fact]
    public void A_simulation_is_the_same_twice() => Assert.Equal(Queue(UnitRole.Both).Run(Load(), 30, 15), Queue(UnitRole.Both).Run(Load(), 30, 15));

    static ServingQuestion Question(double rate = 30, double next = 0.05) => new()
    {
        Name = "v3-671b", Shape = KnownShapes.V3671B, Load = Load(rate) with { NextTokenSeconds = next }, Routing = new SyntheticRouting(KnownShapes.V3671B.Gate, 0.5, seed: 1), Layers = 1,
        Duration = TimeSpan.FromMinutes(20), QueueSeconds = 5, Nodes = 4,
    };

    [Fact]
    public void A_plan_answers_its_three_questions()
    {
        var said = new List<string>();
        ServingPlan plan = ServingPlanner.Plan(Question(), (what, part) =>
        {
            said.Add(what);
            Assert.InRange(part, 0, 1);
        });
        foreach ((IReadOnlyList<RedundancyChoice> tried, UnitChoice? best) in new[] { (plan.Redundancy, plan.BestPrefill), (plan.DecodeRedundancy, plan.BestDecode) })
        {
            // The slots that are recommended are those of the recommended unit.
            RedundancyChoice chosen = RedundancyChoice.Best(tried);
            Assert.Equal(4, tried.Count);
            Assert.Equal(Enumerable.Range(tried[0].SlotsPerGpu, 4), tried.Select(r => r.SlotsPerGpu));
            Assert.Equal(best!.Unit, chosen.Unit);
            Assert.All(tried, r => Assert.True(r.TokensPerSecondPerNode <= 1.011 * chosen.TokensPerSecondPerNode || r.CachePositions <= 0, $"{r.SlotsPerGpu}: {r.TokensPerSecondPerNode}"));
            Assert.All(tried.TakeWhile(r => r != chosen), r => Assert.True(r.Balance > chosen.Balance));
        }

        // The report's prefilling unit of 32 GPUs gets the report's one redundant expert a GPU.
        Assert.All(plan.Prefill.Where(c => c.Unit.Nodes == 4), c => Assert.Equal(ExpertUnit.Prefill, c.Unit));
        Assert.Equal(ExpertUnit.Prefill, plan.PrefillUnit.Options.Unit);
        Assert.All(plan.Prefill.Concat(plan.Decode).Concat(plan.Together), c => Assert.InRange(c.Unit.Nodes, 1, 4));
        Assert.True(plan.CarriedApart(4) > 0 && plan.CarriedTogether(4) > 0 && plan.CarriedApart(3) == 0 && plan.CarriedTogether(8) >= 2 * plan.CarriedTogether(4));
        Assert.NotNull(plan.SplittingPays);
        Assert.True(plan.NodesApart > 0 && plan.NodesTogether > 0);
        Assert.All(plan.Prefill.Where(c => c.IsPossible), c => Assert.True(c.RequestsPerSecond * c.Units >= 29.99));
        Assert.NotEmpty(plan.Assumptions);
        Assert.True(said.Count > 6);

        // The limits of the hardware lie above what was published, and not by so much that they say nothing.
        Assert.Equal(2, plan.Checks.Count);
        Assert.All(plan.Checks, c => Assert.InRange(c.Part, 0.1, 1));
    }

    [Fact]
    public void A_goal_that_nothing_keeps_is_said()
    {
        ServingPlan plan = ServingPlanner.Plan(Question(next: 0.0005));
        Assert.Null(plan.BestDecode);
        Assert.Null(plan.BestTogether);
        Assert.Null(plan.SplittingPays);
        Assert.Equal(0, plan.CarriedApart(1000) + plan.CarriedTogether(1000));
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        Assert.Contains("fits in no unit", Assert.Throws<ArgumentException>(() => ServingPlanner.Plan(Question() with { Nodes = 1 })).Message, StringComparison.Ordinal);
        ServingQuestion other = Question() with { Routing = new SyntheticRouting(KnownShapes.Medium.Gate, 0) };
        Assert.Contains("64 experts", Assert.Throws<ArgumentException>(() => ServingPlanner.Plan(other)).Message, StringComparison.Ordinal);
    }
}
