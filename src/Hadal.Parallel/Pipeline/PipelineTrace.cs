using System.Collections.Immutable;
using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Pipeline;

/// <summary>When one rank began and ended each step of its list, in ticks of <see cref="System.Diagnostics.Stopwatch"/>. Sends and receives of one batch share their times.</summary>
/// <param name="steps">Steps of the rank's list.</param>
public sealed class PipelineTrace(int steps)
{
    readonly long[] _starts = new long[steps], _ends = new long[steps];

    /// <summary>Notes a step, or a batch of them.</summary>
    internal void Note(int from, int to, long start, long end)
    {
        _starts.AsSpan(from, to - from).Fill(start);
        _ends.AsSpan(from, to - from).Fill(end);
    }

    /// <summary>The traces of all ranks of one process as a schedule with its times, in seconds from the first step of all: what is drawn and compared with the simulated clock.</summary>
    /// <param name="schedule">What ran.</param>
    /// <param name="traces">Of each rank.</param>
    /// <param name="unit">Costs that give the unit of pictures.</param>
    /// <exception cref="ArgumentException">A trace is missing or of another list.</exception>
    public static TimedSchedule Join(PipelineSchedule schedule, IReadOnlyList<PipelineTrace> traces, StepCosts unit)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(traces);
        if (traces.Count != schedule.Ranks || !traces.Select(trace => trace._starts.Length).SequenceEqual(schedule.Steps.Select(steps => steps.Length)))
            throw new ArgumentException($"{traces.Count} traces were given for {schedule.Ranks} ranks; expected one for each, of the same schedule.", nameof(traces));
        long zero = traces.Min(trace => trace._starts[0]);
        double frequency = System.Diagnostics.Stopwatch.Frequency;
        ImmutableArray<ImmutableArray<StepTime>> times =
            [.. traces.Select(trace => Enumerable.Range(0, trace._starts.Length).Select(i => new StepTime((trace._starts[i] - zero) / frequency, (trace._ends[i] - zero) / frequency)).ToImmutableArray())];
        return new(schedule, unit, times, times.Max(rank => rank.Max(time => time.End)))
        {
            Durations = [.. times.Select(rank => rank.Select(time => time.End - time.Start).ToImmutableArray())],
        };
    }
}
