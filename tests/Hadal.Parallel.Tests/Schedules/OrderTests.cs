using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Tests.Schedules;

/// <summary>The order of steps, written out by hand from the published tables.</summary>
public sealed class OrderTests
{
    static string Compute(PipelineSchedule schedule, int rank) => string.Join(' ', schedule.Steps[rank].Where(step => !step.IsCommunication).Select(step => step.Kind switch
    {
        StepKind.BackwardWeights => "W",
        StepKind.ForwardBackward => $"F{step.Phase}&B{step.BackwardPhase}",
        _ => step.Symbol + step.Phase,
    }));

    [Theory]
    [InlineData(2, 4, 0, "F0 F1 F0 B1 F1&B0 B1 b0 W")]
    [InlineData(2, 4, 1, "F0 F1 F0 B1 F1&B0 B1 b0 W")]
    [InlineData(4, 8, 0, "F0 F0 F0 F1 b1 W F1 F0&B1 F1&B0 B1 F1&B0 B1 b0 W b0 W")]
    [InlineData(4, 8, 1, "F0 F1 F0 F1 F0 B1 F1&B0 F0&B1 F1&B0 B1 B0 b1 b0 W W")]
    [InlineData(4, 8, 2, "F0 F1 F0 F1 F0 B1 F1&B0 F0&B1 F1&B0 B1 B0 b1 b0 W W")]
    [InlineData(4, 8, 3, "F0 F0 F0 F1 b1 W F1 F0&B1 F1&B0 B1 F1&B0 B1 b0 W b0 W")]
    [InlineData(6, 12, 1, "F0 F0 F0 F1 F0 F1 b1 W F1 F0&B1 F1&B0 F0&B1 F1&B0 B1 F1&B0 B1 B0 b1 b0 W b0 W W")]
    [InlineData(6, 12, 2, "F0 F1 F0 F1 F0 F1 F0 B1 F1&B0 F0&B1 F1&B0 F0&B1 F1&B0 B1 B0 B1 b0 b1 b0 W W W")]
    public void DualPipe_runs_the_eight_steps(int ranks, int microBatches, int rank, string expected) =>
        Assert.Equal(expected, Compute(PipelineSchedule.Create(ScheduleKind.DualPipe, ranks, microBatches), rank));

    [Theory]
    [InlineData(1, 2, 0, "F0 F1 F0 B1 F1&B0 B1 b0 W")]
    [InlineData(2, 4, 0, "F0 F0 F0 F1 b1 W F1 F0&B1 F1&B0 B1 F1&B0 B1 b0 W b0 W")]
    [InlineData(2, 4, 1, "F0 F1 F0 F1 F0 B1 F1&B0 F0&B1 F1&B0 B1 B0 b1 b0 W W")]
    public void DualPipeV_runs_the_same_steps_on_half_the_ranks(int ranks, int microBatches, int rank, string expected) =>
        Assert.Equal(expected, Compute(PipelineSchedule.Create(ScheduleKind.DualPipeV, ranks, microBatches), rank));

    [Theory]
    [InlineData(ScheduleKind.OneForwardOneBackward, 0, "F0 F0 F0 F0 B0 F0 B0 B0 B0 B0")]
    [InlineData(ScheduleKind.OneForwardOneBackward, 3, "F0 B0 F0 B0 F0 B0 F0 B0 F0 B0")]
    [InlineData(ScheduleKind.ZeroBubble, 0, "F0 F0 F0 F0 b0 W F0 b0 W b0 W b0 W b0 W")]
    [InlineData(ScheduleKind.ZeroBubble, 3, "F0 b0 F0 b0 F0 b0 F0 b0 W F0 b0 W W W W")]
    public void One_direction_takes_turns(ScheduleKind kind, int rank, string expected) => Assert.Equal(expected, Compute(PipelineSchedule.Create(kind, 4, 5), rank));

    /// <summary>What the published description says of eight ranks and twenty micro-batches.</summary>
    [Fact]
    public void DualPipe_of_eight_ranks_splits_as_many_backwards_as_published()
    {
        PipelineSchedule schedule = PipelineSchedule.Create(ScheduleKind.DualPipe, 8, 20);
        Assert.Equal([7, 6, 5, 4, 4, 5, 6, 7], schedule.Steps.Select(rank => rank.Count(step => step.Kind == StepKind.BackwardInput)));
        Assert.Equal([7, 6, 5, 4, 4, 5, 6, 7], schedule.Steps.Select(rank => rank.Count(step => step.Kind == StepKind.BackwardWeights)));
        Assert.All(schedule.Steps, rank => Assert.All([0, 1], phase => Assert.Equal(10, rank.Count(step => step.HasForward && step.Phase == phase))));
        Assert.Equal(6, ScheduleClock.Run(schedule, StepCosts.Unit).Bubble);
        Assert.Equal(14, ScheduleClock.Run(PipelineSchedule.Create(ScheduleKind.DualPipe, 16, 120), StepCosts.Unit).Bubble);
    }

    /// <summary>Where messages stand is part of the published order.</summary>
    [Fact]
    public void Messages_of_DualPipe_stand_where_they_overlap()
    {
        string[] outer = Listing(ScheduleKind.DualPipe, 4, 8, 0), middle = Listing(ScheduleKind.DualPipe, 4, 8, 1);
        // Steps 1 to 3 on rank 0, the first stage of phase 0 and the last of phase 1: no input is received there, and B1 needs no gradient.
        Assert.Equal(["F0", "send a0>1", "F0", "send a0>1", "F0", "recv a1<1", "F1", "send a0>1"], outer[..8]);
        Assert.Equal(["b1", "send g1>1", "recv a1<1", "W", "F1"], outer[8..13]);
        Assert.Equal(["recv a0<0", "F0", "send a0>2", "recv a0<0", "recv a1<2", "F1", "send a1>0"], middle[..7]);

        // Step 4 on a middle rank: F0, then the output of F1 that was kept back, then B1, then both results.
        int b1 = Array.IndexOf(middle, "B1");
        Assert.Equal(["F1", "F0", "send a1>0", "recv g1<0", "B1", "send a0>2", "send g1>2"], middle[(b1 - 4)..(b1 + 3)]);
    }

    static string[] Listing(ScheduleKind kind, int ranks, int microBatches, int rank) => [.. PipelineSchedule.Create(kind, ranks, microBatches).Steps[rank].Select(step => step.Kind switch
    {
        StepKind.Send => $"send {(step.Cargo == Cargo.Activation ? 'a' : 'g')}{step.Phase}>{step.Peer}",
        StepKind.Receive => $"recv {(step.Cargo == Cargo.Activation ? 'a' : 'g')}{step.Phase}<{step.Peer}",
        StepKind.BackwardWeights => "W",
        StepKind.ForwardBackward => $"F{step.Phase}&B{step.BackwardPhase}",
        _ => step.Symbol + step.Phase,
    })];

    [Theory]
    [InlineData(ScheduleKind.DualPipe, 7, 20, "even number")]
    [InlineData(ScheduleKind.DualPipe, 8, 21, "even number")]
    [InlineData(ScheduleKind.DualPipe, 8, 14, "at least twice the ranks, 16")]
    [InlineData(ScheduleKind.DualPipeV, 8, 15, "at least twice the ranks, 16")]
    [InlineData(ScheduleKind.ZeroBubble, 8, 7, "at least as many as ranks")]
    [InlineData(ScheduleKind.OneForwardOneBackward, 0, 7, "1 to 4096")]
    [InlineData(ScheduleKind.OneForwardOneBackward, 4, 0, "1 to 65536")]
    public void What_is_not_admissible_is_refused_with_the_reason(ScheduleKind kind, int ranks, int microBatches, string reason)
    {
        string message = Assert.Throws<ArgumentException>(() => PipelineSchedule.Create(kind, ranks, microBatches)).Message;
        Assert.Contains(reason, message, StringComparison.Ordinal);
        Assert.Contains($"given {(ranks is < 1 or 7 ? ranks : microBatches)} ", message, StringComparison.Ordinal);
    }
}
