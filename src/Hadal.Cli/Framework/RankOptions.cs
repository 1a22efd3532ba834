using System.Globalization;
using Hadal.Parallel.Schedules;
using Hadal.Training;

namespace Hadal.Cli.Framework;

/// <summary><c>--ranks</c>, <c>--schedule</c> and <c>--transport</c> over what a run.json says.</summary>
static class RankOptions
{
    /// <summary>The layout of a run.</summary>
    /// <param name="parallel">What the file says; its nodes stay.</param>
    /// <param name="ranks"><c>N</c> or <c>PPxEPxDP</c>, as the planner writes it; null for the file's.</param>
    /// <param name="schedule">Name of a schedule; null for the file's.</param>
    /// <param name="transport">Name of a transport; null for the file's.</param>
    /// <exception cref="CommandError">The numbers cannot be read, or the file's nodes do not divide the ranks that share experts.</exception>
    public static ParallelConfiguration Apply(ParallelConfiguration parallel, string? ranks, string? schedule, string? transport)
    {
        if (ranks is not null)
        {
            string[] words = ranks.Split('x', 'X');
            int[] numbers = [.. words.Select(word => int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number > 0 ? number : 0)];
            if (numbers.Length is not (1 or 3) || numbers.Contains(0)) throw CommandError.WrongUse($"--ranks was given \"{ranks}\".", "PPxEPxDP such as 4x2x2 (ranks of a pipeline, ranks that share the experts, copies of every expert), or a number of copies");
            int expert = numbers.Length > 1 ? numbers[1] : 1;
            if (parallel.Nodes < 1 || expert % parallel.Nodes != 0)
            {
                throw CommandError.WrongUse($"--ranks {ranks} lets {expert} {(expert == 1 ? "rank" : "ranks")} share the experts of a layer, and the run says \"nodes\": {parallel.Nodes} for them.",
                    "a number of nodes that divides those ranks", "change --ranks, or \"nodes\" under \"parallel\" in the run.json");
            }

            parallel = parallel with { Pipeline = numbers.Length > 1 ? numbers[0] : 1, Expert = expert, Data = numbers[^1] };
        }

        if (schedule is not null) parallel = parallel with { Schedule = Enum.GetValues<ScheduleKind>().Single(kind => string.Equals(PipelineSchedule.Name(kind), schedule, StringComparison.Ordinal)) };
        return transport is null ? parallel : parallel with { Transport = transport };
    }
}
