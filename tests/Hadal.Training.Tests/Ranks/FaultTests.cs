using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Ranks;

/// <summary>Faults of ranks and messages are found and named, and the run goes on from its checkpoint with the same bits.</summary>
public sealed class FaultTests
{
    const int Steps = 6;
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);

    [Theory]
    [Trait("tier", "full")]
    [InlineData(MessageFault.Delayed, 2, 40)]
    [InlineData(MessageFault.Duplicated, 2, 60)]
    [InlineData(MessageFault.Duplicated, 2, 401)]
    [InlineData(MessageFault.Truncated, 2, 400)]
    [InlineData(MessageFault.Changed, 2, 500)]
    [InlineData(MessageFault.Killed, 2, 450)]
    [InlineData(MessageFault.Killed, 0, 450)]
    [InlineData(MessageFault.Changed, 0, 500)]
    public void A_fault_is_named_and_the_run_goes_on_from_its_checkpoint_with_the_same_bits(MessageFault fault, int rank, int message)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, Steps, "fp8") with { Checkpoint = new CheckpointConfiguration { Every = 1, Keep = 2 } };
        PreparedRun data = TinyRuns.Prepare(run);
        RankRuns.Train(run, data, TestContext.Current.CancellationToken);
        string[] expected = [.. RankRuns.State(run, Steps)];

        RunConfiguration split = run with { Parallel = RankRuns.Layout(1, 2, 2, schedule: ScheduleKind.DualPipe) with { Checked = true }, Output = folder.File("split") };
        var plan = new FaultyGroup.Plan(fault, rank, message);
        TrainingOutcome? Go() => InTime(() => TrainingRun.OnRanks(split, data, RankRuns.Backend, new Recorder(), TestContext.Current.CancellationToken, group => new FaultyGroup(group, plan)));
        if (fault == MessageFault.Delayed)
        {
            Assert.Equal(TrainingStatus.Completed, Go()!.Status);
        }
        else
        {
            RankLostException lost = Assert.Throws<RankLostException>(Go);
            Assert.True(lost.Rank == rank, lost.Message);
            Assert.Contains($"ank {rank}", lost.Message, StringComparison.Ordinal);
            Assert.Equal(TrainingStatus.Completed, Go()!.Status); // the fault happens once
        }

        Assert.True(plan.Happened);
        string[] actual = [.. RankRuns.State(split, Steps)];
        Assert.True(expected.AsSpan().SequenceEqual(actual), RankRuns.Difference($"{fault}", expected, actual));
    }

    /// <summary>Rank 0 gives the orders: it must not end the others by an order while they are in the midst of a step with it, whether it dies itself or finds the fault of another.</summary>
    [Theory]
    [InlineData(MessageFault.Killed, 0)]
    [InlineData(MessageFault.Changed, 1)]
    public void A_fault_that_rank_0_sees_in_mid_step_ends_all(MessageFault fault, int rank)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, 3) with { Parallel = RankRuns.Layout(1, 2, 1) with { Checked = true } };
        PreparedRun data = TinyRuns.Prepare(run);

        // Of the pipeline's own messages, between orders; rank 1's all go to rank 0.
        var plan = new FaultyGroup.Plan(fault, rank, message: 9);
        RankLostException lost = Assert.Throws<RankLostException>(() => InTime(() =>
            TrainingRun.OnRanks(run, data, RankRuns.Backend, new Recorder(), TestContext.Current.CancellationToken, group => new FaultyGroup(group, plan))));
        Assert.True(plan.Happened);
        Assert.True(lost.Rank == rank, lost.Message);
    }

    // A hang is a failure of the test, not of the whole run.
    static T InTime<T>(Func<T> work)
    {
        Task<T> running = Task.Factory.StartNew(work, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Assert.True(Task.WaitAny([running], Limit) == 0, $"The ranks were still there after {Limit}.");
        return running.GetAwaiter().GetResult();
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
