using System.Collections.Immutable;
using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Tests.Schedules;

/// <summary>A checker that finds nothing proves nothing: broken schedules must be named.</summary>
public sealed class CheckerTests
{
    public static TheoryData<ScheduleKind> Kinds => [.. Enum.GetValues<ScheduleKind>()];

    static PipelineSchedule Sound(ScheduleKind kind) => PipelineSchedule.Create(kind, 4, 8);

    static PipelineSchedule With(PipelineSchedule schedule, int rank, Func<ImmutableArray<ScheduleStep>, ImmutableArray<ScheduleStep>> change) =>
        schedule with { Steps = schedule.Steps.SetItem(rank, change(schedule.Steps[rank])) };

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_missing_step_is_found_wherever_it_is(ScheduleKind kind)
    {
        PipelineSchedule sound = Sound(kind);
        Assert.Empty(ScheduleChecker.Check(sound));
        for (int rank = 0; rank < sound.Ranks; rank++)
            for (int at = 0; at < sound.Steps[rank].Length; at++)
                Assert.NotEmpty(ScheduleChecker.Check(With(sound, rank, steps => steps.RemoveAt(at))));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_step_done_twice_is_found(ScheduleKind kind)
    {
        PipelineSchedule sound = Sound(kind);
        for (int rank = 0; rank < sound.Ranks; rank++)
            for (int at = 0; at < sound.Steps[rank].Length; at++)
                Assert.NotEmpty(ScheduleChecker.Check(With(sound, rank, steps => steps.Insert(at, steps[at]))));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_wrong_number_is_found(ScheduleKind kind)
    {
        PipelineSchedule sound = Sound(kind);
        for (int rank = 0; rank < sound.Ranks; rank++)
        {
            for (int at = 0; at < sound.Steps[rank].Length; at++)
            {
                ScheduleStep step = sound.Steps[rank][at];
                Assert.NotEmpty(ScheduleChecker.Check(With(sound, rank, steps => steps.SetItem(at, step with { MicroBatch = step.MicroBatch ^ 1 }))));
                Assert.NotEmpty(ScheduleChecker.Check(With(sound, rank, steps => steps.SetItem(at, step with { MicroBatch = 99 }))));
                Assert.NotEmpty(ScheduleChecker.Check(With(sound, rank, steps => steps.SetItem(at, step with { Phase = step.Phase ^ 1 }))));
                if (step.IsCommunication)
                    Assert.NotEmpty(ScheduleChecker.Check(With(sound, rank, steps => steps.SetItem(at, step with { Peer = (step.Peer + 1) % sound.Ranks }))));
            }
        }
    }

    [Fact]
    public void Messages_in_another_order_are_found()
    {
        // Rank 1 of DualPipe sends an activation and a gradient to rank 2 in one batch; the other way round they meet the wrong receives.
        PipelineSchedule sound = Sound(ScheduleKind.DualPipe);
        int at = Enumerable.Range(0, sound.Steps[1].Length - 1).First(i =>
            sound.Steps[1][i] is { Kind: StepKind.Send, Peer: 2 } && sound.Steps[1][i + 1] is { Kind: StepKind.Send, Peer: 2 } next && next.Cargo != sound.Steps[1][i].Cargo);
        PipelineSchedule swapped = With(sound, 1, steps => steps.SetItem(at, steps[at + 1]).SetItem(at + 1, steps[at]));
        Assert.Contains(ScheduleChecker.Check(swapped), problem => problem.Contains("from rank 1 to rank 2", StringComparison.Ordinal) && problem.Contains("meets", StringComparison.Ordinal));
    }

    [Fact]
    public void A_deadlock_names_who_waits_on_what()
    {
        // Each step is fine on its own rank, and every message has its partner, but rank 0 wants its gradient before it sends the activation.
        var placement = new PipelinePlacement(ScheduleKind.OneForwardOneBackward, 2, 2);
        PipelineSchedule sound = PipelineSchedule.Create(placement.Kind, 2, 2);
        ImmutableArray<ScheduleStep> first = sound.Steps[0];
        int send = first.IndexOf(new(StepKind.Send, 0, 1, Cargo: Cargo.Activation, Peer: 1));
        int backward = first.IndexOf(new(StepKind.Backward, 0, 1));
        PipelineSchedule stuck = With(sound, 0, steps => steps.RemoveAt(send).Insert(backward, first[send]));
        IReadOnlyList<string> problems = ScheduleChecker.Check(stuck);
        Assert.Contains(problems, problem => problem.StartsWith("Deadlock: rank 0 waits at its step", StringComparison.Ordinal));
        Assert.Contains(problems, problem => problem.StartsWith("Deadlock: rank 1 waits at its step", StringComparison.Ordinal) && problem.Contains("from rank 0", StringComparison.Ordinal));
        Assert.Contains("for ever", Assert.Throws<InvalidOperationException>(() => ScheduleClock.Run(stuck, StepCosts.Unit)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_activation_peak_counts_what_waits_for_its_weight_gradients()
    {
        ImmutableArray<ScheduleStep> steps =
        [
            new(StepKind.Forward, 0, 0), new(StepKind.BackwardInput, 0, 0), new(StepKind.Forward, 0, 1), new(StepKind.BackwardWeights, 0, 0),
            new(StepKind.Backward, 0, 1),
        ];
        Assert.Equal(2, ScheduleChecker.ActivationPeak(steps));
        Assert.Equal(2, ScheduleChecker.ActivationPeak([new(StepKind.Forward, 0, 0), new(StepKind.ForwardBackward, 0, 1, 0, 0)]));
        Assert.Equal(1, ScheduleChecker.ActivationPeak([new(StepKind.Forward, 0, 0), new(StepKind.Backward, 0, 0), new(StepKind.Forward, 0, 1)]));
    }
}
