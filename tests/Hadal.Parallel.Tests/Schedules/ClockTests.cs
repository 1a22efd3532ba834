using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Tests.Schedules;

public sealed class ClockTests
{
    /// <summary>Two ranks, two micro-batches of 1F1B, drawn on paper.</summary>
    [Fact]
    public void Two_ranks_by_hand()
    {
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(ScheduleKind.OneForwardOneBackward, 2, 2), new StepCosts(1, 1.5, 0.5, Communication: 0.25));
        Assert.Equal([(0.0, 1.0), (1, 2), (4.5, 6.5), (7.5, 9.5)], Compute(timed, 0));
        Assert.Equal([(1.25, 2.25), (2.25, 4.25), (4.25, 5.25), (5.25, 7.25)], Compute(timed, 1));
        Assert.Equal(10, ScheduleClock.Run(timed.Schedule, timed.Costs with { Communication = 0.5 }).Makespan);
        Assert.Equal(9.5, timed.Makespan);
        Assert.Equal([3.5, 3.5], [timed.Idle(0), timed.Idle(1)]);

        static IEnumerable<(double, double)> Compute(TimedSchedule timed, int rank) =>
            timed.Schedule.Steps[rank].Zip(timed.Times[rank]).Where(pair => !pair.First.IsCommunication).Select(pair => (pair.Second.Start, pair.Second.End));
    }

    /// <summary>Stages may differ: with the times of an even pipeline the clock says the same, with a slow rank all others wait for it.</summary>
    [Fact]
    public void Stages_may_take_different_times()
    {
        PipelineSchedule schedule = PipelineSchedule.Create(ScheduleKind.DualPipe, 4, 10);
        var costs = new StepCosts(1, 1.25, 0.75, 0.125, Overlapped: 2.75);
        TimedSchedule even = ScheduleClock.Run(schedule, costs), told = ScheduleClock.Run(schedule, costs, (rank, i) => costs.Of(schedule.Steps[rank][i].Kind));
        Assert.Equal(even.Times.SelectMany(times => times), told.Times.SelectMany(times => times));
        Assert.Equal(even.Busy(2), told.Busy(2));
        TimedSchedule slow = ScheduleClock.Run(schedule, costs, (rank, i) => costs.Of(schedule.Steps[rank][i].Kind) * (rank == 2 ? 2 : 1));
        Assert.Equal(2 * even.Busy(2), slow.Busy(2), 9);
        Assert.Equal(even.Busy(1), slow.Busy(1), 9);
        Assert.True(slow.Makespan > 2 * even.Busy(2) && slow.Idle(1) > slow.Idle(2));
    }

    /// <summary>Where sends wait for their receivers, DualPipe on two ranks still waits for nothing, ZB1P for the W that stands between a send and its receive.</summary>
    [Fact]
    public void Sends_that_wait_make_ZB1P_wait()
    {
        TimedSchedule Meet(ScheduleKind kind) => MeetingClock.Run(PipelineSchedule.Create(kind, 2, 4), StepCosts.Unit);
        Assert.Equal(0, Meet(ScheduleKind.DualPipe).Bubble);
        Assert.Equal(ScheduleClock.Run(PipelineSchedule.Create(ScheduleKind.OneForwardOneBackward, 2, 4), StepCosts.Unit).Times[0][^1], Meet(ScheduleKind.OneForwardOneBackward).Times[0][^1]);

        // By hand, rank 0: F 0–1, F 1–2, waits until 3 for b of rank 1, b 3–4, W 4–5, F 5–6; rank 1 sent its first gradient at 3 and its second at 6, where rank 0 comes with its third activation.
        TimedSchedule zero = Meet(ScheduleKind.ZeroBubble);
        double[] starts = [.. zero.Schedule.Steps[0].Zip(zero.Times[0]).Where(step => !step.First.IsCommunication).Take(5).Select(step => step.Second.Start)];
        Assert.Equal([0, 1, 3, 4, 5], starts);
        Assert.True(zero.Bubble > ScheduleFormulas.Bubble(zero.Schedule.Placement, StepCosts.Unit));
        foreach (ScheduleKind kind in Enum.GetValues<ScheduleKind>())
        {
            PipelineSchedule schedule = PipelineSchedule.Create(kind, 6, 14);
            Assert.True(MeetingClock.Run(schedule, StepCosts.Unit).Makespan >= ScheduleClock.Run(schedule, StepCosts.Unit).Makespan);
        }
    }

    [Fact]
    public void A_receive_ends_when_its_tensor_is_there()
    {
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(ScheduleKind.OneForwardOneBackward, 2, 1), StepCosts.Unit with { Communication = 3 });
        Assert.Equal(StepKind.Receive, timed.Schedule.Steps[1][0].Kind);
        Assert.Equal(new StepTime(0, 4), timed.Times[1][0]);
        Assert.Equal(new StepTime(1, 1), timed.Times[0][1]);
    }

    /// <summary>Steps of a rank never overlap, and nothing starts before what it needs has ended.</summary>
    [Theory]
    [InlineData(ScheduleKind.OneForwardOneBackward)]
    [InlineData(ScheduleKind.ZeroBubble)]
    [InlineData(ScheduleKind.DualPipe)]
    [InlineData(ScheduleKind.DualPipeV)]
    public void Time_respects_order_and_dependencies(ScheduleKind kind)
    {
        var costs = new StepCosts(1, 1.25, 0.75, 0.125, Overlapped: 2.75);
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(kind, 6, 14), costs);
        PipelinePlacement placement = timed.Schedule.Placement;
        var forward = new Dictionary<(int Stage, int MicroBatch), StepTime>();
        var backward = new Dictionary<(int Stage, int MicroBatch), StepTime>();
        for (int rank = 0; rank < 6; rank++)
        {
            double last = 0;
            foreach ((ScheduleStep step, StepTime time) in timed.Schedule.Steps[rank].Zip(timed.Times[rank]))
            {
                Assert.True(time.Start >= last && time.End >= time.Start);
                last = time.End;
                if (!step.IsCommunication) Assert.Equal(costs.Of(step.Kind), time.End - time.Start, 9);
                if (step.HasForward) forward.Add((placement.Stage(rank, step.Phase), placement.GlobalMicroBatch(rank, step.Phase, step.MicroBatch)), time);
                (int phase, int microBatch) = step.BackwardPart;
                if (step.HasBackward) backward.Add((placement.Stage(rank, phase), placement.GlobalMicroBatch(rank, phase, microBatch)), time);
            }
        }

        Assert.Equal(placement.Stages * 14, forward.Count);
        Assert.Equal(placement.Stages * 14, backward.Count);
        foreach (((int stage, int microBatch), StepTime time) in forward)
        {
            if (stage > 0) Assert.True(time.Start >= forward[(stage - 1, microBatch)].End);
            Assert.True(backward[(stage, microBatch)].Start >= time.End);
            if (stage + 1 < placement.Stages) Assert.True(backward[(stage, microBatch)].Start >= backward[(stage + 1, microBatch)].End);
        }
    }

    /// <summary>Costs with W ≤ F ≤ b and pairs at most 15 % faster than their parts: the formula bounds what ranks wait.</summary>
    [Theory]
    [InlineData(ScheduleKind.OneForwardOneBackward)]
    [InlineData(ScheduleKind.ZeroBubble)]
    [InlineData(ScheduleKind.DualPipe)]
    [InlineData(ScheduleKind.DualPipeV)]
    public void The_bubble_is_at_most_the_formula_where_it_is_said_to_be(ScheduleKind kind)
    {
        var random = new Random(20260);
        for (int trial = 0; trial < 400; trial++)
        {
            (TimedSchedule timed, double formula) = Try(kind, random, pair: 0.85 + 0.15 * random.NextDouble());
            Assert.True(timed.Costs.FormulaBounds);
            Assert.True(timed.Bubble <= formula + 1e-9 * timed.Makespan, $"{kind}, {timed.Schedule.Placement}, {timed.Costs}: {timed.Bubble} idle, formula {formula}");
        }
    }

    /// <summary>Beside that region the formula is no bound, and <see cref="StepCosts.FormulaBounds"/> must not say so. Prints the figures of docs/log.md.</summary>
    [Theory]
    [InlineData(0.70, 0.85)]
    [InlineData(1.0001, 1.05)]
    [InlineData(1.0001, 1.15)]
    public void Beyond_that_region_ranks_may_wait_longer(double least, double most)
    {
        var random = new Random(20261);
        const int trials = 1000;
        int longer = 0;
        double worst = 1;
        for (int trial = 0; trial < trials; trial++)
        {
            (TimedSchedule timed, double formula) = Try(ScheduleKind.DualPipe, random, pair: least + (most - least) * 0.999 * random.NextDouble());
            Assert.False(timed.Costs.FormulaBounds);
            if (timed.Bubble <= formula + 1e-9 * timed.Makespan) continue;
            longer++;
            worst = Math.Max(worst, timed.Bubble / formula);
        }

        TestContext.Current.TestOutputHelper!.WriteLine($"F&B from {least} to {most} of its parts: longer in {longer} of {trials}, at most {worst:F3} times the formula");
        Assert.InRange(longer, 1, trials - 1);
    }

    static (TimedSchedule Timed, double Formula) Try(ScheduleKind kind, Random random, double pair)
    {
        int ranks = random.Next(1, 9) * (kind == ScheduleKind.DualPipe ? 2 : 1), microBatches = 2 * ranks + 2 * random.Next(0, 12);
        double w = 0.1 + 0.9 * random.NextDouble(), f = w + random.NextDouble() * (1 - w), b = f + random.NextDouble();
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(kind, ranks, microBatches), new(f, b, w, Overlapped: pair * (f + b + w)));
        return (timed, ScheduleFormulas.Bubble(timed.Schedule.Placement, timed.Costs));
    }

    /// <summary>
    /// The published step of V3 on 2,048 H800: 16 stages, 120 micro-batches, and from the hardware paper's Table 4 the seconds that a rank spent in forwards
    /// alone (1.13), backwards alone (1.99), weight gradients (0.48) and pairs (13.95). Divided by how often rank 0 does each, they give the costs of the
    /// steps; nothing is fitted. The schedule's own waiting is about half of the published bubble of 2.06 s; it does not explain the rest.
    /// </summary>
    [Fact]
    public void The_published_step_of_V3_waits_for_about_a_second_by_its_schedule()
    {
        PipelineSchedule schedule = PipelineSchedule.Create(ScheduleKind.DualPipe, 16, 120);
        int Count(StepKind kind) => schedule.Steps[0].Count(step => step.Kind == kind);
        double f = 1.13 / Count(StepKind.Forward), w = 0.48 / Count(StepKind.BackwardWeights), pair = 13.95 / Count(StepKind.ForwardBackward);
        double b = (1.99 - Count(StepKind.Backward) * w) / (Count(StepKind.Backward) + Count(StepKind.BackwardInput));
        var costs = new StepCosts(f, b, w, Overlapped: pair);
        Assert.True(costs.FormulaBounds);
        TimedSchedule timed = ScheduleClock.Run(schedule, costs);
        double formula = ScheduleFormulas.Bubble(schedule.Placement, costs);
        TestContext.Current.TestOutputHelper!.WriteLine($"F {1000 * f:F1} ms, b {1000 * b:F1}, W {1000 * w:F1}, F&B {1000 * pair:F1}; rank 0 works {timed.Busy(0):F3} s and waits {timed.Idle(0):F3} s, the longest waits {timed.Bubble:F3} s, formula {formula:F3} s, published 2.06 s");
        Assert.Equal(1.13 + 1.99 + 0.48 + 13.95, timed.Busy(0), 9);
        Assert.InRange(timed.Idle(0), 0.9, 1.1);
        Assert.True(timed.Bubble <= formula);
    }

    [Theory]
    [InlineData(0, 1, 1)]
    [InlineData(1, double.NaN, 1)]
    [InlineData(1, 1, -1)]
    public void Costs_that_are_none_are_refused(double f, double b, double w) =>
        Assert.Contains("expected a positive number", Assert.Throws<ArgumentException>(() => new StepCosts(f, b, w).Validate()).Message, StringComparison.Ordinal);

    [Fact]
    public void A_negative_message_is_refused() =>
        Assert.Throws<ArgumentException>(() => ScheduleClock.Run(PipelineSchedule.Create(ScheduleKind.DualPipe, 2, 4), new StepCosts(Communication: -1)));
}
