using System.Collections.Immutable;
using Hadal.Parallel.Schedules;

namespace Hadal.Training.Measurement;

/// <summary>One schedule, run several times with the real layers.</summary>
/// <param name="Schedule">The schedule.</param>
/// <param name="Rounds">Each traced step, in seconds.</param>
public sealed record ScheduleRuns(PipelineSchedule Schedule, ImmutableArray<TimedSchedule> Rounds)
{
    /// <summary>Median seconds of a step, from the first step of all ranks to the last.</summary>
    public double Seconds => Median(Rounds.Select(round => round.Makespan));

    /// <summary>Median part of the step in which a rank waited.</summary>
    public double IdleShare(int rank) => Median(Rounds.Select(round => round.Idle(rank) / round.Makespan));

    /// <summary>Median seconds in which a rank waited.</summary>
    public double Idle(int rank) => Median(Rounds.Select(round => round.Idle(rank)));

    /// <summary>What steps cost here, medians over ranks and rounds: what the formula is given. A schedule without b and W has the half of B for each.</summary>
    public StepCosts Costs
    {
        get
        {
            double f = Of(StepKind.Forward), full = Of(StepKind.Backward), b = Of(StepKind.BackwardInput), w = Of(StepKind.BackwardWeights), pair = Of(StepKind.ForwardBackward);
            if (f == 0) f = pair / 3;
            if (b == 0 || w == 0) (b, w) = (full / 2, full / 2);
            return new(f, b, w, FullBackward: full > 0 ? full : null, Overlapped: pair > 0 ? pair : null);
        }
    }

    /// <summary>The schedule on the simulated clock, where each step takes what steps of its kind took on its rank and in its stages, medians over the rounds: what a rank waits by the order of the steps, the machine's unrest left out.</summary>
    /// <param name="sendsWait">A send ends when its receiver has come, as on the transports of this project; else at once, as in the formulas.</param>
    public TimedSchedule OnTheClock(bool sendsWait = false)
    {
        var times = new Dictionary<(int Rank, StepKind Kind, int Phase, int BackwardPhase), double>();
        for (int rank = 0; rank < Schedule.Ranks; rank++)
        {
            foreach (IGrouping<(StepKind, int, int), int> same in Enumerable.Range(0, Schedule.Steps[rank].Length).Where(i => !Schedule.Steps[rank][i].IsCommunication)
                .GroupBy(i => (Schedule.Steps[rank][i].Kind, Schedule.Steps[rank][i].Phase, Schedule.Steps[rank][i].BackwardPhase)))
                times.Add((rank, same.Key.Item1, same.Key.Item2, same.Key.Item3), Median(same.SelectMany(i => Rounds.Select(round => round.Duration(rank, i)))));
        }

        return sendsWait ? MeetingClock.Run(Schedule, Costs, Time) : ScheduleClock.Run(Schedule, Costs, Time);

        double Time(int rank, int i)
        {
            ScheduleStep step = Schedule.Steps[rank][i];
            return times[(rank, step.Kind, step.Phase, step.BackwardPhase)];
        }
    }

    /// <summary>Median seconds of a kind of step over ranks and rounds; 0 where the schedule has none.</summary>
    public double Of(StepKind kind) => Median(Enumerable.Range(0, Schedule.Ranks).SelectMany(rank => Enumerable.Range(0, Schedule.Steps[rank].Length)
        .Where(i => Schedule.Steps[rank][i].Kind == kind).SelectMany(i => Rounds.Select(round => round.Duration(rank, i)))));

    /// <summary>The upper middle of some numbers; 0 of none.</summary>
    public static double Median(IEnumerable<double> values)
    {
        double[] all = [.. values];
        Array.Sort(all);
        return all.Length == 0 ? 0 : all[all.Length / 2];
    }
}
