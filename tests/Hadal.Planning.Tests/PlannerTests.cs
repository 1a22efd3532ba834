using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning.Tests;

public sealed class PlannerTests
{
    public static LayerCosts Layers() => new()
    {
        Machine = "paper", Model = LayerCosts.ShapeOf(Shapes.Small), Recipe = "fp32", Rows = 2, SequenceLength = 8, Dense = new(1, 2, 1.5), Sparse = new(2, 3, 2.5), EmbeddingForward = 0.25,
        EmbeddingBackward = 0.5, Head = 4, MtpForward = 3, MtpBackward = 5, OptimizerPerParameter = 1e-6,
    };

    /// <summary>Two ranks, two micro-batches of 1F1B with uneven stages, drawn on paper.</summary>
    [Fact]
    public void Two_ranks_by_hand()
    {
        TrainingWork work = Shapes.Work(2);
        TrainingPlan plan = TrainingPlanner.Plan(work, Shapes.Cluster(1, 2), Layers(), new(2, 1, 1), ScheduleKind.OneForwardOneBackward);

        // Stage 0: dense and sparse with the embedding; stage 1: two sparse blocks, head, MTP. A message of 16 · 16 · 4 bytes at 8 GB/s.
        const double f0 = 3.25, b0 = 5.5 + 4, f1 = 4 + 7, b1 = 6 + 5 + 5, message = 16 * 16 * 4 / 8e9;
        Assert.Equal(message, plan.Timed.Costs.Communication, 15);
        Assert.Equal(f0 + message + (2 * (f1 + b1)) + message + b0, plan.Timed.Makespan, 9);
        Assert.Equal(2 * (f0 + b0), plan.Timed.Busy(0), 9);
        Assert.Equal(2 * (f1 + b1), plan.Timed.Busy(1), 9);
        Assert.Equal(1e-6 * plan.Memory.Max(rank => rank.Owned), plan.OptimizerSeconds, 12);
        Assert.Equal(plan.Timed.Makespan + plan.OptimizerSeconds + plan.ReductionSeconds, plan.StepSeconds, 12);
        Assert.Equal(0, plan.Links.Gradients);
        Assert.Equal(work.StepTokens / plan.StepSeconds, plan.TokensPerSecond, 9);
    }

    /// <summary>In a pair the slower of arithmetic and exchange counts; outside, the exchange comes on top.</summary>
    [Theory]
    [InlineData(1e12)]
    [InlineData(50)]
    public void Pairs_hide_the_exchange_behind_their_arithmetic(double bandwidth)
    {
        TrainingWork work = Shapes.Work(32);
        ClusterDescription cluster = Shapes.Cluster(2, 4) with { NodeBandwidth = bandwidth, NetworkBandwidth = bandwidth };
        TrainingPlan plan = TrainingPlanner.Plan(work, cluster, Layers(), new(2, 4, 1), ScheduleKind.DualPipe);
        ExchangeTime exchange = plan.Exchange;
        Assert.Equal(plan.Traffic.LayerSeconds(work.Tokens, cluster), exchange.PerLayer);
        Assert.Equal(exchange.Total, exchange.Hidden + exchange.Exposed, 9);
        Assert.True(exchange.Hidden > 0 && exchange.Exposed > 0);
        var schedule = plan.Timed.Schedule;
        int step = schedule.Steps[0].Select((s, i) => (s, i)).First(entry => entry.s.Kind == StepKind.ForwardBackward).i;
        ScheduleStep pair = schedule.Steps[0][step];
        int forward = schedule.Placement.Stage(0, pair.Phase), backward = schedule.Placement.Stage(0, pair.BackwardPhase);
        StageTimes F(int stage) => Layers().Of(plan.Stages[stage], 2, work, cluster);
        double arithmetic = F(forward).Forward + F(backward).Backward, links = exchange.PerLayer * (Sparse(forward) + Sparse(backward));
        Assert.Equal(Math.Max(arithmetic, links), plan.Timed.Duration(0, step), 9);
        Assert.Equal(bandwidth < 1e3, links > arithmetic);
        int single = schedule.Steps[0].Select((s, i) => (s, i)).First(entry => entry.s.Kind == StepKind.Forward).i;
        int stage = schedule.Placement.Stage(0, schedule.Steps[0][single].Phase);
        Assert.Equal(F(stage).Forward + (exchange.PerLayer * Sparse(stage)), plan.Timed.Duration(0, single), 9);

        int Sparse(int index) => plan.Stages[index].Layers.Count(layer => layer.IsSparse);
    }

    /// <summary>A measured pair counts as measured: so much of its parts, whichever stages it joins.</summary>
    [Fact]
    public void Measured_pairs_take_what_was_measured()
    {
        TrainingWork work = Shapes.Work(8);
        LayerCosts together = Layers(), apart = Layers() with { Dense = new(1, 2, 1.5, 4), Sparse = new(2, 3, 2.5, 6) };
        TrainingPlan Planned(LayerCosts costs) => TrainingPlanner.Plan(work, Shapes.Cluster(1, 2), costs, new(2, 1, 1), ScheduleKind.DualPipe);
        TrainingPlan before = Planned(together), after = Planned(apart);
        var schedule = after.Timed.Schedule;
        int pair = schedule.Steps[0].Select((step, i) => (step, i)).First(entry => entry.step.Kind == StepKind.ForwardBackward).i;

        // Stage 0 is a dense and a sparse block with the embedding, 13 s of arithmetic of which pairs save 2; stage 1 two sparse blocks, head and MTP, 27 s, saving 3.
        double share = (12.75 - 2 + 27 - 3) / (12.75 + 27);
        Assert.Equal(share * before.Timed.Duration(0, pair), after.Timed.Duration(0, pair), 9);
        int single = schedule.Steps[0].Select((step, i) => (step, i)).First(entry => entry.step.Kind == StepKind.Forward).i;
        Assert.Equal(before.Timed.Duration(0, single), after.Timed.Duration(0, single));
        Assert.Contains("F&B of a block without experts takes 0.89 of its F and B, F&B of one with experts takes 0.80", string.Join(' ', apart.Assumptions(work, after.Cluster)), StringComparison.Ordinal);
        Assert.Contains("Pairs were not measured", string.Join(' ', together.Assumptions(work, after.Cluster)), StringComparison.Ordinal);
        Assert.Equal(apart, CostDescription.Parse(apart.ToJson(), "costs"));
    }

    [Fact]
    public void Bytes_on_the_links_by_hand()
    {
        TrainingWork work = Shapes.Work(16);
        TrainingPlan plan = TrainingPlanner.Plan(work, Shapes.Cluster(1, 2), Layers(), new(2, 1, 1), ScheduleKind.OneForwardOneBackward);

        // Rank 0 sends 16 activations, rank 1 as many gradients, each with that of the tokens that the MTP module embedded.
        Assert.Equal(16 * 2 * 16 * 16 * 4, plan.Links.Pipeline);
        plan = TrainingPlanner.Plan(work, Shapes.Cluster(1, 4), Layers(), new(1, 2, 2), ScheduleKind.OneForwardOneBackward);
        double experts = plan.Memory[0].ExpertParameters, dense = plan.Memory[0].DenseParameters;
        Assert.Equal(4 * ((dense * 3 / 4) + (experts / 2)), plan.Links.Gradients, 6);
        Assert.Equal(plan.Links.Gradients, plan.Links.Weights, 6);

        // Four micro-batches a pipeline, four layers that route (one is the MTP's), forward and backward.
        Assert.Equal(4 * 2 * 4 * plan.Traffic.BytesInsideNodes(work.Tokens), plan.Links.ExchangeInsideNodes, 6);
        Assert.Equal(0, plan.Links.ExchangeBetweenNodes);
    }

    [Fact]
    public void Compared_layouts_fit_and_the_fastest_comes_first()
    {
        ClusterDescription cluster = Shapes.Cluster(2, 4);
        PlanComparison comparison = TrainingPlanner.Compare(Shapes.Work(64), cluster, Layers(), Enum.GetValues<ScheduleKind>());
        Assert.True(comparison.Rows.Count > 10);
        Assert.Equal(comparison.Tried, comparison.Rows.Count + comparison.Refused);
        Assert.All(comparison.Rows, row => Assert.Equal(8, row.Layout.Gpus));
        Assert.Equal(comparison.Rows.Where(row => row.Fits).Min(row => row.StepSeconds), comparison.Proposal!.StepSeconds);

        // With memory for half of the layouts the proposal is one of those.
        double median = comparison.Rows.Select(row => row.MemoryBytes).Order().ElementAt(comparison.Rows.Count / 2);
        PlanComparison tight = TrainingPlanner.Compare(Shapes.Work(64), cluster with { MemoryBytes = median }, Layers(), Enum.GetValues<ScheduleKind>());
        Assert.True(tight.Proposal!.MemoryBytes <= median);
        Assert.True(tight.Proposal.StepSeconds >= comparison.Proposal.StepSeconds);
        Assert.Contains(tight.Rows, row => !row.Fits);
        Assert.Null(TrainingPlanner.Compare(Shapes.Work(64), cluster with { MemoryBytes = 1000 }, Layers(), [ScheduleKind.DualPipe]).Proposal);
    }

    [Theory]
    [InlineData("2x2x1", "takes 4 GPUs and the cluster has 8")]
    [InlineData("1x8x1", null)]
    [InlineData("8x1x1", "4 layers cannot be cut into 8 stages")]
    [InlineData("4x2x1", null)]
    public void Layouts_are_refused_in_words(string layout, string? because)
    {
        string? refusal = TrainingLayout.Parse(layout).Refusal(Shapes.Work(64), Shapes.Cluster(2, 4), ScheduleKind.OneForwardOneBackward);
        if (because is null) Assert.Null(refusal);
        else Assert.Contains(because, refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void Batches_that_cannot_be_dealt_are_refused()
    {
        Assert.Contains("cannot be dealt to 8 pipelines", Refused(Shapes.Work(12), new(1, 8, 1), Shapes.Cluster(2, 4)), StringComparison.Ordinal);
        Assert.Contains("expected at least twice the ranks", Refused(Shapes.Work(8), new(4, 2, 1), Shapes.Cluster(2, 4), ScheduleKind.DualPipe), StringComparison.Ordinal);
        Assert.Contains("do not fill nodes of 6 evenly", Refused(Shapes.Work(24), new(3, 4, 1), Shapes.Cluster(2, 6)), StringComparison.Ordinal);
        Assert.Contains("experts cannot be shared by 3 ranks", Refused(Shapes.Work(24), new(4, 3, 1), Shapes.Cluster(2, 6)), StringComparison.Ordinal);

        static string Refused(TrainingWork work, TrainingLayout layout, ClusterDescription cluster, ScheduleKind kind = ScheduleKind.OneForwardOneBackward) =>
            Assert.Throws<PlanException>(() => TrainingPlanner.Plan(work, cluster, Layers(), layout, kind)).Message;
    }

    [Fact]
    public void Times_of_another_model_are_refused()
    {
        TrainingWork work = Shapes.Work(16);
        ClusterDescription cluster = Shapes.Cluster(1, 2);
        Assert.Contains("expected the same shape", Refused(work with { Size = ModelSize.Of(Shapes.Small with { Hidden = 32 }) }, Layers()), StringComparison.Ordinal);
        Assert.Contains("hadal bench layer --recipe bf16", Refused(work with { Recipe = Recipe.Bf16 }, Layers()), StringComparison.Ordinal);
        Assert.Contains("--sequence-length 4", Refused(work with { SequenceLength = 4 }, Layers()), StringComparison.Ordinal);
        Assert.Contains("61 layers and this one has 4", Refused(work, StepTotals.Published), StringComparison.Ordinal);

        string Refused(TrainingWork other, CostDescription costs) => Assert.Throws<PlanException>(() => TrainingPlanner.Plan(other, cluster, costs, new(2, 1, 1), ScheduleKind.OneForwardOneBackward)).Message;
    }

    /// <summary>Operations over speed: a plan of one rank takes what its operations take, gradients and recomputation of attention counted as in the published formula.</summary>
    [Fact]
    public void A_rate_divides_operations_by_speed()
    {
        TrainingWork work = Shapes.Work(4) with { Size = ModelSize.Of(Shapes.Small with { MtpDepth = 0 }) };
        ClusterDescription cluster = Shapes.Cluster(1, 1);
        TrainingPlan plan = TrainingPlanner.Plan(work, cluster, new RateCosts { Efficiency = 0.25 }, new(1, 1, 1), ScheduleKind.OneForwardOneBackward);
        Assert.Equal(work.StepTokens * work.Size.FlopsPerToken(8, causal: true) / 0.25e12, plan.Timed.Makespan, 12);
    }

    [Fact]
    public void Text_and_json_say_what_was_planned()
    {
        TrainingPlan plan = TrainingPlanner.Plan(Shapes.Work(64), Shapes.Cluster(2, 4), Layers(), new(2, 4, 1), ScheduleKind.DualPipe);
        PlanComparison comparison = TrainingPlanner.Compare(Shapes.Work(64), Shapes.Cluster(2, 4), Layers(), [ScheduleKind.DualPipe]);
        string text = PlanText.Write(plan, comparison);
        Assert.StartsWith("small on test: PP2 × EP4 × DP1, DualPipe, 16 micro-batches a pipeline", text, StringComparison.Ordinal);
        Assert.Contains("assumptions", text, StringComparison.Ordinal);
        using var memory = new MemoryStream();
        using (var json = new System.Text.Json.Utf8JsonWriter(memory))
        {
            json.WriteStartObject();
            PlanJson.Write(json, plan, comparison);
            json.WriteEndObject();
        }

        System.Text.Json.JsonElement root = System.Text.Json.JsonDocument.Parse(memory.ToArray()).RootElement;
        Assert.Equal(plan.StepSeconds, root.GetProperty("step_seconds").GetDouble());
        Assert.Equal(2, root.GetProperty("ranks").GetArrayLength());
        Assert.Equal(comparison.Rows.Count, root.GetProperty("layouts").GetArrayLength());
    }
}
