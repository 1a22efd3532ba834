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

    [Fact]
    public void A_simulation_is_the_same_twice() => Assert.Equal(Queue(UnitRole.Both).Run(Load(), 30, 15), Queue(UnitRole.Both).Run(Load(), 30, 15));

    static ServingQuestion Question(double rate = 30, double next = 0.05) => new()
    {
        Name = "v3-671b", Shape = KnownShapes.V3671B, Load = Load(rate) with { NextTokenSeconds = next }, Routing = new SyntheticRouting(KnownShapes.V3671B.Gate, 0.5, seed: 1), Layers = 1,
        Duration = TimeSpan.FromMinutes(20), QueueSeconds = 10, Nodes = 4,
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
        Assert.Equal([0, 32, 64, 96], plan.Redundancy.Select(r => r.Redundant));
        Assert.True(plan.BestRedundancy.Redundant >= 32 && plan.BestRedundancy.Balance < plan.Redundancy[0].Balance);
        Assert.All(plan.Prefill.Concat(plan.Decode).Concat(plan.Together), c => Assert.InRange(c.Unit.Nodes, 1, 4));
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
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        Assert.Contains("fit in no unit", Assert.Throws<ArgumentException>(() => ServingPlanner.Plan(Question() with { Nodes = 1 })).Message, StringComparison.Ordinal);
        ServingQuestion other = Question() with { Routing = new SyntheticRouting(KnownShapes.Medium.Gate, 0) };
        Assert.Contains("64 experts", Assert.Throws<ArgumentException>(() => ServingPlanner.Plan(other)).Message, StringComparison.Ordinal);
    }
}
