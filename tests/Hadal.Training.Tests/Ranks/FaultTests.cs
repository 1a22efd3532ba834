using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Ranks;

/// <summary>Faults of ranks and messages are found and named, and the run goes on from its checkpoint with the same bits.</summary>
public sealed class FaultTests
{
    const int Steps = 6, Rank = 2;

    [Theory]
    [Trait("tier", "full")]
    [InlineData(MessageFault.Delayed, 40)]
    [InlineData(MessageFault.Duplicated, 60)]
    [InlineData(MessageFault.Duplicated, 401)]
    [InlineData(MessageFault.Truncated, 400)]
    [InlineData(MessageFault.Changed, 500)]
    [InlineData(MessageFault.Killed, 450)]
    public void A_fault_is_named_and_the_run_goes_on_from_its_checkpoint_with_the_same_bits(MessageFault fault, int message)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, Steps, "fp8") with { Checkpoint = new CheckpointConfiguration { Every = 1, Keep = 2 } };
        PreparedRun data = TinyRuns.Prepare(run);
        RankRuns.Train(run, data, TestContext.Current.CancellationToken);
        string[] expected = [.. RankRuns.State(run, Steps)];

        RunConfiguration split = run with { Parallel = RankRuns.Layout(1, 2, 2, schedule: ScheduleKind.DualPipe) with { Checked = true }, Output = folder.File("split") };
        var plan = new FaultyGroup.Plan(fault, Rank, message);
        TrainingOutcome? Go() => TrainingRun.OnRanks(split, data, RankRuns.Backend, new Recorder(), TestContext.Current.CancellationToken, group => new FaultyGroup(group, plan));
        if (fault == MessageFault.Delayed)
        {
            Assert.Equal(TrainingStatus.Completed, Go()!.Status);
        }
        else
        {
            RankLostException lost = Assert.Throws<RankLostException>(Go);
            Assert.True(lost.Rank == Rank, lost.Message);
            Assert.Contains($"ank {Rank}", lost.Message, StringComparison.Ordinal);
            Assert.Equal(TrainingStatus.Completed, Go()!.Status); // the fault happens once
        }

        Assert.True(plan.Happened);
        string[] actual = [.. RankRuns.State(split, Steps)];
        Assert.True(expected.AsSpan().SequenceEqual(actual), RankRuns.Difference($"{fault}", expected, actual));
    }

    /// <summary>Weights that grow a hundredfold in every step: some number becomes none, somewhere.</summary>
    [Fact]
    public void A_numerical_fault_is_named_by_several_ranks_as_by_one()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, 40) with
        {
            LearningRate = new Hadal.Training.Optimization.LearningRateSchedule { Peak = 10, WarmupSteps = 0 }, Optimizer = new OptimizerConfiguration { WeightDecay = 10 },
        };
        PreparedRun data = TinyRuns.Prepare(run);
        string one = Assert.Throws<NonFiniteTrainingException>(() => RankRuns.Train(run, data, TestContext.Current.CancellationToken)).Message;
        Assert.Contains("; first in layer ", one, StringComparison.Ordinal);
        Assert.Contains(" of row ", one, StringComparison.Ordinal);
        foreach (ParallelConfiguration layout in (ParallelConfiguration[])[RankRuns.Layout(2, 1, 1), RankRuns.Layout(1, 2, 2, schedule: ScheduleKind.DualPipe)])
        {
            RunConfiguration split = run with { Parallel = layout, Output = folder.File($"{layout.Pipeline}") };
            Assert.Equal(one, Assert.Throws<NonFiniteTrainingException>(() => RankRuns.Train(split, data, TestContext.Current.CancellationToken)).Message);
        }
    }
}
