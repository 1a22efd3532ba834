using System.Collections.Immutable;

namespace Hadal.Parallel.Schedules;

/// <summary>When a step begins and ends.</summary>
/// <param name="Start">Begin, in the unit of the costs. A receive begins when its rank asks for the tensor.</param>
/// <param name="End">End. A receive ends when the tensor is there; a send takes no time.</param>
public readonly record struct StepTime(double Start, double End);

/// <summary>A schedule on a simulated clock.</summary>
/// <param name="Schedule">What ran.</param>
/// <param name="Costs">What it cost.</param>
/// <param name="Times">Of each rank and step, in the order of the schedule.</param>
/// <param name="Makespan">End of the last step of all ranks.</param>
public sealed record TimedSchedule(PipelineSchedule Schedule, StepCosts Costs, ImmutableArray<ImmutableArray<StepTime>> Times, double Makespan)
{
    /// <summary>Time in which a rank computes.</summary>
    public double Busy(int rank)
    {
        double busy = 0;
        for (int i = 0; i < Schedule.Steps[rank].Length; i++)
            if (!Schedule.Steps[rank][i].IsCommunication) busy += Duration(rank, i);
        return busy;
    }

    /// <summary>How long steps took where stages differ, [rank][step]; null when all stages cost the same, <see cref="Costs"/>.</summary>
    public ImmutableArray<ImmutableArray<double>>? Durations { get; init; }

    /// <summary>How long a step takes that computes.</summary>
    public double Duration(int rank, int step) => Durations is { } uneven ? uneven[rank][step] : Costs.Of(Schedule.Steps[rank][step].Kind);

    /// <summary>Time in which a rank waits, from the first step of the pipeline to the last: what the formulas call the bubble.</summary>
    public double Idle(int rank) => Makespan - Busy(rank);

    /// <summary>The longest <see cref="Idle"/> of a rank.</summary>
    public double Bubble => Enumerable.Range(0, Schedule.Ranks).Max(Idle);
}

/// <summary>
/// The simulated clock: a rank runs its list in order; a send leaves when the steps before it are done, and arrives after the cost of a message; a
/// receive ends when its tensor is there. Messages between two ranks arrive in the order in which they were sent.
/// </summary>
public static class ScheduleClock
{
    /// <summary>Runs a schedule.</summary>
    /// <param name="schedule">The schedule.</param>
    /// <param name="costs">Costs of steps, and the unit of the result.</param>
    /// <param name="timeOf">Time of a step that computes, by its rank and its index in that rank's list, where stages differ; <paramref name="costs"/> then give the unit and what formulas use. Null: all stages cost the same.</param>
    /// <exception cref="InvalidOperationException">The schedule does not end: ranks wait for messages that nobody sends.</exception>
    public static TimedSchedule Run(PipelineSchedule schedule, StepCosts costs, Func<int, int, double>? timeOf = null)
    {
        costs.Validate();
        int ranks = schedule.Ranks;
        double[][]? durations = timeOf is null ? null : [.. schedule.Steps.Select((steps, rank) => steps.Select((step, i) => step.IsCommunication ? 0 : timeOf(rank, i)).ToArray())];
        var times = new StepTime[ranks][];
        for (int rank = 0; rank < ranks; rank++) times[rank] = new StepTime[schedule.Steps[rank].Length];
        var next = new int[ranks];
        var now = new double[ranks];
        var wires = new Dictionary<(int From, int To), Queue<double>>();
        var ready = new Queue<int>(Enumerable.Range(0, ranks));
        var waitsFor = new int[ranks];
        Array.Fill(waitsFor, -1);
        while (ready.TryDequeue(out int rank))
        {
            waitsFor[rank] = -1;
            ImmutableArray<ScheduleStep> steps = schedule.Steps[rank];
            for (; next[rank] < steps.Length; next[rank]++)
            {
                ScheduleStep step = steps[next[rank]];
                double start = now[rank];
                switch (step.Kind)
                {
                    case StepKind.Send:
                        Wire(wires, rank, step.Peer).Enqueue(start + costs.Communication);
                        if (waitsFor[step.Peer] == rank)
                        {
                            waitsFor[step.Peer] = -1;
                            ready.Enqueue(step.Peer);
                        }

                        break;
                    case StepKind.Receive:
                        if (!Wire(wires, step.Peer, rank).TryDequeue(out double arrival))
                        {
                            waitsFor[rank] = step.Peer;
                            break;
                        }

                        now[rank] = Math.Max(start, arrival);
                        break;
                    default:
                        now[rank] = start + (durations is null ? costs.Of(step.Kind) : durations[rank][next[rank]]);
                        break;
                }

                if (waitsFor[rank] >= 0) break;
                times[rank][next[rank]] = new(start, now[rank]);
            }
        }

        for (int rank = 0; rank < ranks; rank++)
        {
            if (next[rank] < schedule.Steps[rank].Length)
                throw new InvalidOperationException($"Rank {rank} waits for ever at its step {next[rank]}, {schedule.Steps[rank][next[rank]]}: check the schedule with ScheduleChecker.");
        }

        return new(schedule, costs, [.. times.Select(t => t.ToImmutableArray())], now.Max())
        {
            Durations = durations is null ? null : [.. durations.Select(d => d.ToImmutableArray())],
        };
    }

    static Queue<double> Wire(Dictionary<(int From, int To), Queue<double>> wires, int from, int to)
    {
        if (!wires.TryGetValue((from, to), out Queue<double>? wire)) wires.Add((from, to), wire = new());
        return wire;
    }
}
