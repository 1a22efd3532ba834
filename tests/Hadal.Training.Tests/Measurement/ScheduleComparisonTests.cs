using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Tensors.Cpu;
using Hadal.Training.Measurement;

namespace Hadal.Training.Tests.Measurement;

public sealed class ScheduleComparisonTests
{
    static readonly ScheduleKind[] Kinds = Enum.GetValues<ScheduleKind>();

    static TransformerShape Shape(int ranks) => PipelineBenchmark.Balanced(ModelLoader.Shape(ModelPresets.Find("tiny", 300)), 2 * ranks, 1);

    static CpuBackend Backend() => new(new CpuOptions(1, InstructionSets.Best));

    /// <summary>The real layers run, messages travel, each step is charged its unit cost: every rank waits exactly as long as its formula says, DualPipe least.</summary>
    [Fact]
    public void Executed_schedules_wait_as_their_formulas_say_in_rank_time()
    {
        const int ranks = 4, microBatches = 8;
        foreach (ScheduleKind kind in Kinds)
        {
            var schedule = PipelineSchedule.Create(kind, ranks, microBatches);
            (var idle, double makespan) = ScheduleComparison.RankTime(schedule, StepCosts.Unit, Backend, Shape(ranks), Recipe.Fp32, rows: 1, length: 4);
            Assert.All(idle, one => Assert.Equal(ScheduleFormulas.Bubble(schedule.Placement, StepCosts.Unit), one));
            Assert.Equal((3 * microBatches * schedule.Placement.Phases / (kind == ScheduleKind.DualPipe ? 2 : 1)) + idle[0], makespan);
        }

        // Costs of their own and messages that take time: the clock that plans and the ranks that run agree.
        var costs = new StepCosts(1, 1.5, 0.75, Communication: 0.25, Overlapped: 3);
        var dual = PipelineSchedule.Create(ScheduleKind.DualPipe, ranks, microBatches);
        (var executed, double step) = ScheduleComparison.RankTime(dual, costs, Backend, Shape(ranks), Recipe.Fp32, rows: 1, length: 4);
        TimedSchedule planned = ScheduleClock.Run(dual, costs);
        Assert.Equal(planned.Makespan, step, 9);
        for (int rank = 0; rank < ranks; rank++) Assert.Equal(planned.Idle(rank), executed[rank], 9);
    }

    [Fact]
    public void Schedules_run_in_turns_and_every_round_is_kept()
    {
        const int rounds = 3;
        PipelineSchedule[] schedules = [.. Kinds.Select(kind => PipelineSchedule.Create(kind, 2, 4))];
        ScheduleComparison found = ScheduleComparison.Measure(schedules, Backend, Shape(2), Recipe.Fp32, rows: 1, length: 8, warmUp: 1, rounds);
        Assert.Equal((rounds, rounds, Kinds.Length), (found.Alone.Length, found.Dealt.Length, found.Schedules.Length));
        Assert.All(found.Alone.Concat(found.Dealt), seconds => Assert.True(seconds > 0));
        Assert.Null(found.Layers.Dense);
        Assert.True(found.Layers.Sparse is { Forward: > 0, BackwardInput: > 0, BackwardWeights: > 0, Pair: > 0 });
        foreach (ScheduleRuns runs in found.Schedules)
        {
            Assert.Equal(rounds, runs.Rounds.Length);
            Assert.Contains(runs.Seconds, runs.Rounds.Select(round => round.Makespan));
            Assert.InRange(runs.IdleShare(0), 0, 1);

            // On the clock a rank computes what its median steps take, and no message takes time.
            TimedSchedule clock = runs.OnTheClock();
            Assert.Equal(clock.Makespan, clock.Busy(1) + clock.Idle(1), 9);
            Assert.Equal(0, clock.Costs.Communication);
            Assert.Equal(runs.Schedule.Steps[0].Any(step => step.Kind == StepKind.ForwardBackward), runs.Of(StepKind.ForwardBackward) > 0);
        }

        Assert.Contains("cannot be dealt to 2 ranks", Assert.Throws<ArgumentException>(() => ScheduleComparison.Measure(
            [PipelineSchedule.Create(ScheduleKind.DualPipeV, 2, 5)], Backend, Shape(2), Recipe.Fp32, 1, 8, 0, 1)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_balanced_shape_has_chunks_of_one_cost()
    {
        TransformerShape shape = Shape(2);
        Assert.Equal((4, 0, 0, 64), (shape.Layers, shape.DenseLayers, shape.MtpDepth, shape.Vocabulary));
        Assert.All(Enumerable.Range(0, shape.Layers), layer => Assert.True(shape.IsSparse(layer)));
    }
}
