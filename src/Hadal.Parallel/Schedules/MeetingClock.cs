using System.Collections.Immutable;

namespace Hadal.Parallel.Schedules;

/// <summary>
/// The simulated clock where sends wait, as on a transport without buffers: a batch of sends and receives ends when every peer has come to its part of it, and a message takes no time beside. The published
/// formulas, and <see cref="ScheduleClock"/>, have a rank go on as soon as it has sent.
/// </summary>
public static class MeetingClock
{
    /// <summary>Runs a schedule.</summary>
    /// <param name="schedule">The schedule.</param>
    /// <param name="costs">Costs of steps; what a message costs is not used.</param>
    /// <param name="timeOf">As in <see cref="ScheduleClock.Run"/>.</param>
    /// <exception cref="InvalidOperationException">The schedule does not end.</exception>
    public static TimedSchedule Run(PipelineSchedule schedule, StepCosts costs, Func<int, int, double>? timeOf = null)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(costs);
        costs.Validate();
        int ranks = schedule.Ranks;
        var times = new StepTime[ranks][];
        var durations = new double[ranks][];
        for (int rank = 0; rank < ranks; rank++) (times[rank], durations[rank]) = (new StepTime[schedule.Steps[rank].Length], new double[schedule.Steps[rank].Length]);
        var next = new int[ranks];
        var now = new double[ranks];
        var batches = new (int End, List<(Queue<double> Others, (int, int, bool) Key)> Parts)?[ranks];
        var reached = new Dictionary<(int From, int To, bool Send), Queue<double>>();
        bool moved = true;
        while (moved)
        {
            moved = false;
            for (int rank = 0; rank < ranks; rank++)
                while (next[rank] < schedule.Steps[rank].Length && Advance(rank)) moved = true;
        }

        for (int rank = 0; rank < ranks; rank++)
            if (next[rank] < schedule.Steps[rank].Length) throw new InvalidOperationException($"Rank {rank} waits for ever at its step {next[rank]}, {schedule.Steps[rank][next[rank]]}: check the schedule with ScheduleChecker.");
        return new(schedule, costs, [.. times.Select(rank => rank.ToImmutableArray())], now.Max()) { Durations = [.. durations.Select(rank => rank.ToImmutableArray())] };

        bool Advance(int rank)
        {
            ImmutableArray<ScheduleStep> steps = schedule.Steps[rank];
            int at = next[rank];
            if (!steps[at].IsCommunication)
            {
                durations[rank][at] = timeOf?.Invoke(rank, at) ?? costs.Of(steps[at].Kind);
                times[rank][at] = new(now[rank], now[rank] + durations[rank][at]);
                now[rank] = times[rank][at].End;
                next[rank]++;
                return true;
            }

            bool begun = batches[rank] is not null;
            if (!begun)
            {
                var parts = new List<(Queue<double>, (int, int, bool))>();
                int end = at;
                for (; end < steps.Length && steps[end].IsCommunication; end++)
                {
                    bool send = steps[end].Kind == StepKind.Send;
                    (int from, int to) = send ? (rank, steps[end].Peer) : (steps[end].Peer, rank);
                    Reached((from, to, send)).Enqueue(now[rank]);
                    parts.Add((Reached((from, to, !send)), (from, to, !send)));
                }

                batches[rank] = (end, parts);
            }

            // The k-th send of a pair meets the k-th receive: of each pair as many as the batch has, or none.
            (int until, List<(Queue<double> Others, (int, int, bool) Key)> all) = batches[rank]!.Value;
            if (all.GroupBy(part => part.Key).Any(pair => pair.First().Others.Count < pair.Count())) return !begun;
            double last = now[rank];
            foreach ((Queue<double> others, _) in all) last = Math.Max(last, others.Dequeue());
            times[rank].AsSpan(at, until - at).Fill(new(now[rank], last));
            (now[rank], next[rank], batches[rank]) = (last, until, null);
            return true;
        }

        Queue<double> Reached((int, int, bool) key)
        {
            if (!reached.TryGetValue(key, out Queue<double>? there)) reached.Add(key, there = new());
            return there;
        }
    }
}
