using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning.Tests;

public sealed class PlanVariantsTests
{
    static TrainingPlan Published(ClusterDescription? cluster = null) =>
        TrainingPlanner.Plan(TrainingWork.PublishedV3, cluster ?? ClusterDescription.Published, StepTotals.Published, TrainingLayout.Published, ScheduleKind.DualPipe);

    /// <summary>Measured chunks have their links in them: half of the network adds to F what the exchange takes longer, and nothing to a pair that still hides it.</summary>
    [Fact]
    public void Measured_chunks_feel_another_network()
    {
        TrainingPlan plan = Published(), half = Published(ClusterDescription.Published with { NetworkBandwidth = 25e9 });
        int Step(StepKind kind) => plan.Timed.Schedule.Steps[4].Select((step, i) => (step, i)).First(entry => entry.step.Kind == kind).i;
        double longer = half.Exchange.PerLayer - plan.Exchange.PerLayer;
        Assert.True(longer > 0);
        int layers = plan.Stages[4].Layers.Count(layer => layer.IsSparse);
        Assert.Equal(plan.Timed.Duration(4, Step(StepKind.Forward)) + (layers * longer), half.Timed.Duration(4, Step(StepKind.Forward)), 9);
        Assert.Equal(plan.Timed.Duration(4, Step(StepKind.ForwardBackward)), half.Timed.Duration(4, Step(StepKind.ForwardBackward)));

        // Below the bandwidth that is named pairs wait for the links, above they do not.
        double least = PlanVariants.LeastBandwidth(plan)!.Value;
        Assert.InRange(least, 10e9, 25e9);
        double Pair(double bandwidth) => Published(ClusterDescription.Published with { NetworkBandwidth = bandwidth }) is { } other ? other.Timed.Duration(4, Step(StepKind.ForwardBackward)) : 0;
        double hidden = plan.Timed.Duration(4, Step(StepKind.ForwardBackward));
        Assert.Equal(hidden, Pair(1.01 * least));
        Assert.True(Pair(0.5 * least) > 1.5 * hidden);
    }

    [Fact]
    public void Variants_change_one_thing_and_say_what_cannot_be_run()
    {
        TrainingPlan plan = Published();
        IReadOnlyList<PlanVariant> variants = PlanVariants.Of(plan);
        TrainingPlan At(string what, string to) => variants.Single(variant => variant.What.Equals(what, StringComparison.Ordinal) && variant.To.StartsWith(to, StringComparison.Ordinal)).Plan!;
        Assert.True(At("network between nodes", "25.0 GB/s").StepSeconds > plan.StepSeconds);
        Assert.True(At("network between nodes", "100.0 GB/s").StepSeconds < plan.StepSeconds);
        TrainingPlan more = At("micro-batches of a pipeline", "240");
        Assert.True(more.TokensPerSecond > plan.TokensPerSecond && more.IdleSeconds / more.StepSeconds < plan.IdleSeconds / plan.StepSeconds);
        Assert.Equal((16, 32, 4), (At("ranks that share experts", "32").Layout.Pipeline, At("ranks that share experts", "32").Layout.ExpertParallel, At("ranks that share experts", "32").Layout.DataParallel));
        Assert.True(At("ranks that share experts", "128").MemoryBytes < plan.MemoryBytes);
        Assert.All(variants, variant => Assert.Equal(variant.Plan is null, variant.Refusal is not null));

        TrainingPlan odd = TrainingPlanner.Plan(Shapes.Work(4), Shapes.Cluster(1, 2), PlannerTests.Layers(), new(2, 1, 1), ScheduleKind.DualPipe);
        Assert.Contains("at least twice the ranks", PlanVariants.Of(odd).First(variant => variant.What.StartsWith("micro-batches", StringComparison.Ordinal)).Refusal, StringComparison.Ordinal);
        Assert.Null(PlanVariants.LeastBandwidth(odd));
        Assert.Contains("if one thing were different", PlanText.Write(plan, null, variants), StringComparison.Ordinal);
    }

    [Fact]
    public void A_plan_that_does_not_fit_says_what_fills_it_and_what_would_fit()
    {
        TrainingPlan fits = Published();
        Assert.Contains("69.6 GB of 74.0 GB", Assert.Single(MemoryAdvice.Of(fits)), StringComparison.Ordinal);
        TrainingPlan full = Published(ClusterDescription.Published with { MemoryBytes = 74e9 });
        string[] advice = [.. MemoryAdvice.Of(full)];
        Assert.Contains("rank 7 needs 69.6 GB, 1.6 GB more than the 68.0 GB", advice[0], StringComparison.Ordinal);
        Assert.Contains("activations of 17 held micro-batches 50.4 GB, gradients 13.1 GB", advice[0], StringComparison.Ordinal);
        Assert.Contains("at least 131 GPUs", advice[1], StringComparison.Ordinal);
        Assert.Contains(advice, line => line.StartsWith("ranks that share experts 128 instead of 64", StringComparison.Ordinal) && line.EndsWith("fits", StringComparison.Ordinal));
        Assert.All(MemoryAdvice.Remedies(full).Where(remedy => remedy.Plan is not null), remedy => Assert.True(remedy.Plan!.Layout != full.Layout || remedy.Plan.Schedule != full.Schedule || remedy.Plan.Work != full.Work));
        Assert.Contains("no single change is enough", string.Join('\n', MemoryAdvice.Of(Published(ClusterDescription.Published with { MemoryBytes = 8e9 }))), StringComparison.Ordinal);
    }
}
