using System.Globalization;
using Hadal.Parallel.Schedules;
using Hadal.Training;

namespace Hadal.Cli.Framework;

/// <summary><c>--ranks</c>, <c>--schedule</c> and <c>--transport</c> over what a run.json says.</summary>
static class RankOptions
{
    /// <summary>The layout of a run.</summary>
    /// <param name="parallel">What the file says.</param>
    /// <param name="ranks"><c>N</c> or <c>PPxEPxDP</c>, as the planner writes it; null for the file's.</param>
    /// <param name="schedule">Name of a schedule; null for the file's.</param>
    /// <param name="transport">Name of a transport; null for the file's.</param>
    public static ParallelConfiguration Apply(ParallelConfiguration parallel, string? ranks, string? schedule, string? transport)
    {
        if (ranks is not null)
        {
            string[] words = ranks.Split('x', 'X');
            int[] numbers = [.. words.Select(word => int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 0 ? number : 0)];
            if (numbers.Length is not (1 or 3) || numbers.Contains(0)) throw CommandError.WrongUse($"--ranks was given \"{ranks}\".", "PPxEPxDP such as 4x2x2 (ranks of a pipeline, ranks that share the experts, copies of every expert), or a number of copies");
            parallel = parallel with { Pipeline = numbers.Length > 1 ? numbers[0] : 1, Expert = numbers.Length > 1 ? numbers[1] : 1, Data = numbers[^1], Nodes = 1 };
        }

        if (schedule is not null) parallel = parallel with { Schedule = Enum.GetValues<ScheduleKind>().Single(kind => string.Equals(PipelineSchedule.Name(kind), schedule, StringComparison.Ordinal)) };
        return transport is null ? parallel : parallel with { Transport = transport };
    }
}
