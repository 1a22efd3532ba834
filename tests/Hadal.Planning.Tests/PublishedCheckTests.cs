using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;

namespace Hadal.Planning.Tests;

/// <summary>The planner against the published training of V3 on 2,048 H800; no constant is fitted.</summary>
public sealed class PublishedCheckTests
{
    static readonly PublishedCheck Check = PublishedCheck.Run();

    [Fact]
    [Implements("V3 §3.2.1", "In the published step of 2,048 GPUs the schedule's own waiting follows from the published chunk times, the utilisation from its length; no constant is fitted")]
    public void The_schedules_own_waiting_is_about_a_second()
    {
        foreach (CheckLine line in Check.Lines())
            TestContext.Current.TestOutputHelper!.WriteLine($"{line.What}: published {line.Published}, planned {line.Planned:0.###} {line.Unit} {line.Note}");
        Assert.InRange(Check.ScheduleIdle, 0.9, 1.1);
        Assert.InRange(ScheduleFormulas.Bubble(Check.Plan.Timed.Schedule.Placement, Check.Alone.Costs), 1.0, 1.15);
        Assert.True(Check.IdleWithMessages >= Check.ScheduleIdle);

        // The rest of the published bubble is there and is not explained.
        Assert.InRange(Check.Unexplained, 0.5, 1.2);
    }

    /// <summary>Published parts and planned waiting add up to the published step, but for what the schedule does not explain.</summary>
    [Fact]
    public void The_step_lacks_exactly_what_is_not_explained()
    {
        StepTotals published = StepTotals.Published;
        double parts = published.Forward + published.Backward + published.Weights + published.Pairs + published.OptimizerSeconds;
        Assert.Equal(parts + Check.IdleWithMessages, Check.Plan.StepSeconds, 6);
        Assert.Equal(published.Step, parts + published.Bubble, 0.03 * 1);
        Assert.Equal(published.Step - Check.Unexplained, Check.Plan.StepSeconds, 0.03 * 1);
    }

    [Theory]
    [InlineData(false, 43.73)]
    [InlineData(true, 38.94)]
    [Implements("V3 §3.2.1", "In the published step of 2,048 GPUs the schedule's own waiting follows from the published chunk times, the utilisation from its length; no constant is fitted")]
    public void Utilisation_of_the_measured_step_is_as_published(bool causal, double percent) =>
        Assert.InRange(100 * PublishedCheck.MeasuredUtilisation(causal), 0.98 * percent, 1.02 * percent);

    [Fact]
    public void Chunks_are_the_totals_divided_by_the_steps_of_rank_0()
    {
        StageTimes chunk = StepTotals.Published.Chunks();

        // Rank 0 of 16: 14 F0, then one of each phase; 7 b with W at once; 90 pairs of the main part and 7 after it.
        Assert.Equal(1.13, chunk.Forward * Check.Alone.Schedule.Steps[0].Count(step => step.Kind == StepKind.Forward), 9);
        Assert.Equal(97, Check.Alone.Schedule.Steps[0].Count(step => step.Kind == StepKind.ForwardBackward));
        Assert.Equal(13.95 / 97, chunk.Pair!.Value, 9);
        Assert.InRange(chunk.Backward / chunk.Forward, 1, 3);
        Assert.InRange(RateCosts.Published.Efficiency, 0.4, 0.5);
    }

    /// <summary>Parameters and activations of a rank, in the memory that an H800 has.</summary>
    [Fact]
    public void Memory_of_every_rank_fits_an_H800()
    {
        TrainingPlan plan = Check.Plan;
        Assert.Equal(17, plan.Memory.Max(rank => rank.ActivationPeak));
        Assert.True(plan.Fits, $"{plan.MemoryBytes / 1e9} GB");

        // 671 billion and one MTP module, each expert four times (two copies, two directions), over 2,048 GPUs.
        double experts = plan.Work.Size.Layers.Concat(plan.Work.Size.Mtp).Sum(layer => layer.Experts);
        Assert.Equal(4 * experts / 2048, plan.Memory.Average(rank => rank.ExpertParameters), 0);

        // By hand, in millions: a block with experts is attention 187.1, 4 of 256 experts and the shared one 5 · 44.04, gate 1.8; a dense one 187.1 + 396.4; embedding and head 926.7 each;
        // the MTP module is a block and a projection of 102.8. Rank 0 holds the first stage (3 dense, 1 with experts) and the last (3 with experts, MTP); a middle rank 7 or 8 with experts.
        double block = 187.1 + (5 * 44.04) + 1.8;
        Assert.Equal((3 * (187.1 + 396.4)) + block + (3 * block) + (2 * 926.7) + block + 102.8, plan.Memory[0].Parameters / 1e6, 3.0);
        Assert.Equal(plan.Memory[0].Parameters, plan.Memory.Max(rank => rank.Parameters));
        Assert.Equal(7 * block, plan.Memory.Min(rank => rank.Parameters) / 1e6, 3.0);
        Assert.All(plan.Memory, rank => Assert.True(rank.Activations > rank.Weights));
    }
}
