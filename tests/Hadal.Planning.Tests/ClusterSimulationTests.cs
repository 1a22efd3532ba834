using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;
using Hadal.Tensors.Cpu;

namespace Hadal.Planning.Tests;

/// <summary>Clusters of 64 and 2,048 ranks: the real schedule, gate and placement on every rank.</summary>
public sealed class ClusterSimulationTests
{
    static CpuBackend Backend() => new(new CpuOptions(1, InstructionSets.Best));

    /// <summary>64 ranks of a small model: what each does and waits adds up, uneven loads take longer, and more uneven ones longer still.</summary>
    [Fact]
    public void Uneven_loads_make_64_ranks_slower()
    {
        var work = new TrainingWork("small", ModelSize.Of(Shapes.Small), Recipe.Fp32, SequenceLength: 64, Rows: 2, MicroBatches: 128);
        TrainingPlan plan = TrainingPlanner.Plan(work, Shapes.Cluster(8, 8), new RateCosts { Efficiency = 0.5 }, new(4, 8, 2), ScheduleKind.DualPipe);
        using CpuBackend backend = Backend();
        ClusterSimulation even = ClusterSimulation.Run(plan, backend, draws: 4), skewed = ClusterSimulation.Run(plan, backend, draws: 4, skew: 2);
        Assert.Equal(64, even.Busy.Count);
        Assert.Equal(2, even.Groups.Count);
        Assert.All(even.Draws, draw => Assert.Equal(8, draw.Loads.Sum(), 9));
        Assert.True(plan.Timed.Makespan < even.PipelineSeconds && even.PipelineSeconds < skewed.PipelineSeconds);
        Assert.All(even.Busy, busy => Assert.InRange(busy, 0, even.PipelineSeconds));

        // The heaviest rank of every group does at most what the clock waited for; the mean of a group does what was planned.
        double planned = Enumerable.Range(0, 4).Sum(plan.Timed.Busy) * 16;
        Assert.Equal(planned, even.Busy.Sum(), planned * 1e-9);
        Assert.Equal(even.MeanIdle, even.PipelineSeconds - (planned / 64), 9);
        Assert.Equal(even.StepSeconds - even.PipelineSeconds, plan.StepSeconds - plan.Timed.Makespan, 9);
    }

    [Fact]
    public void One_rank_to_an_expert_group_is_the_plan_itself()
    {
        TrainingPlan plan = TrainingPlanner.Plan(Shapes.Work(16), Shapes.Cluster(1, 4), PlannerTests.Layers(), new(4, 1, 1), ScheduleKind.OneForwardOneBackward);
        using CpuBackend backend = Backend();
        ClusterSimulation simulation = ClusterSimulation.Run(plan, backend, draws: 1);
        Assert.Equal(plan.Timed.Makespan, simulation.PipelineSeconds, 9);
        Assert.Equal(plan.IdleSeconds, simulation.MostIdle, 9);
    }

    /// <summary>All ranks of the published cluster. A sample of each micro-batch's tokens is routed, so loads are more uneven here than those of whole micro-batches.</summary>
    [Fact]
    public void The_published_cluster_runs_all_2048_ranks()
    {
        using CpuBackend backend = Backend();
        TrainingPlan plan = PublishedCheck.Run().Plan;
        ClusterSimulation simulation = ClusterSimulation.Run(plan, backend, draws: 2, tokens: 128), again = ClusterSimulation.Run(plan, backend, draws: 2, tokens: 128);
        Assert.Equal(2048, simulation.Busy.Count);
        Assert.Equal(simulation.Busy, again.Busy);
        Assert.True(simulation.PipelineSeconds > plan.Timed.Makespan);
        Assert.All(simulation.Draws, draw =>
        {
            Assert.Equal(64, draw.Loads.Length);
            Assert.InRange(draw.Heaviest, 1.01, 1.3);
            Assert.InRange(draw.RowsBetweenNodes, 2.5, 4);
        });
        TestContext.Current.TestOutputHelper!.WriteLine(PlanText.Write(simulation));
    }
}
