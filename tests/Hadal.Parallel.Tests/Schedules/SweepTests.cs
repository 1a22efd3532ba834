using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Tests.Schedules;

/// <summary>Every admissible pair up to 16 ranks and 64 micro-batches.</summary>
public sealed class SweepTests
{
    const int MostRanks = 16, MostMicroBatches = 64;

    public static TheoryData<ScheduleKind> Kinds => [.. Enum.GetValues<ScheduleKind>()];

    // W ≤ F ≤ b: W far below F and as long, b as long as F and longer.
    static readonly StepCosts[] Bounded = [new(1, 1, 1), new(1, 1, 0.1), new(1, 3, 1), new(1, 3, 0.1), new(1, 1.25, 0.75)];

    static IEnumerable<PipelineSchedule> Admissible(ScheduleKind kind)
    {
        for (int ranks = 1; ranks <= MostRanks; ranks++)
            for (int microBatches = 1; microBatches <= MostMicroBatches; microBatches++)
                if (PipelineSchedule.Refusal(kind, ranks, microBatches) is null)
                    yield return PipelineSchedule.Create(kind, ranks, microBatches);
    }

    static string Name(PipelineSchedule schedule) => $"{PipelineSchedule.Title(schedule.Kind)}, {schedule.Ranks} ranks, {schedule.MicroBatches} micro-batches";

    [Theory]
    [MemberData(nameof(Kinds))]
    [Implements("V3 §3.2.1", "DualPipe's micro-batches enter at both ends in eight steps, and need to be a multiple of two only, not of the stages")]
    public void Complete_in_order_without_deadlock(ScheduleKind kind)
    {
        foreach (PipelineSchedule schedule in Admissible(kind))
        {
            IReadOnlyList<string> problems = ScheduleChecker.Check(schedule);
            Assert.True(problems.Count == 0, $"{Name(schedule)}: {string.Join(" ", problems)}");
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    [Implements("V3 §3.2.1", "DualPipe holds at most PP+1 activations a rank, 1F1B and ZB1P at most PP, however many micro-batches there are")]
    public void The_activation_peak_is_the_published_one(ScheduleKind kind)
    {
        foreach (PipelineSchedule schedule in Admissible(kind))
        {
            int[] peaks = [.. schedule.Steps.Select(ScheduleChecker.ActivationPeak)];
            int published = ScheduleFormulas.ActivationPeak(schedule.Placement);
            Assert.True(peaks.Max() == published, $"{Name(schedule)}: peaks {string.Join(' ', peaks)}, published {published}");
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    [Implements("V3 §3.2.1", "DualPipe's bubble is (PP/2-1)(F&B+B-3W), 1F1B's (PP-1)(F+B), ZB1P's (PP-1)(F+B-2W), at unit costs on every rank")]
    public void The_bubble_at_unit_costs_is_the_formula(ScheduleKind kind)
    {
        foreach (PipelineSchedule schedule in Admissible(kind))
        {
            TimedSchedule timed = ScheduleClock.Run(schedule, StepCosts.Unit);
            double formula = ScheduleFormulas.Bubble(schedule.Placement, StepCosts.Unit);
            for (int rank = 0; rank < schedule.Ranks; rank++)
                Assert.True(timed.Idle(rank) == formula, $"{Name(schedule)}: rank {rank} is idle for {timed.Idle(rank)}, the formula says {formula}");
        }
    }

    /// <summary>Where <see cref="StepCosts.FormulaBounds"/> says so, no rank waits longer than the formula. <see cref="ClockTests"/> draws costs at random beside these.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void The_formula_bounds_the_bubble_at_fixed_costs(ScheduleKind kind)
    {
        // Pairs as long as their parts, and 15 % faster.
        double[] pairs = kind is ScheduleKind.DualPipe or ScheduleKind.DualPipeV ? [0.85, 1] : [1];
        StepCosts[] all = [.. Bounded.SelectMany(costs => pairs.Select(pair => costs with { Overlapped = pair * (costs.Forward + costs.Backward) }))];
        Assert.All(all, costs => Assert.True(costs.FormulaBounds));
        foreach (PipelineSchedule schedule in Admissible(kind))
        {
            foreach (StepCosts costs in all)
            {
                TimedSchedule timed = ScheduleClock.Run(schedule, costs);
                double formula = ScheduleFormulas.Bubble(schedule.Placement, costs);
                Assert.True(timed.Bubble <= formula + (1e-9 * timed.Makespan), $"{Name(schedule)}, {costs}: {timed.Bubble} idle, formula {formula}");
            }
        }
    }
}
