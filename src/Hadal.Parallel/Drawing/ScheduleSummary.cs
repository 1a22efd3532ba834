using System.Globalization;
using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Drawing;

/// <summary>The words above a drawn or listed schedule.</summary>
public static class ScheduleSummary
{
    /// <summary>What it is.</summary>
    public static string Title(PipelineSchedule schedule)
    {
        string ways = schedule.Kind switch
        {
            ScheduleKind.DualPipe => $" ({schedule.Placement.MicroBatchesPerPhase} from each end)",
            ScheduleKind.DualPipeV => $", {schedule.Placement.Stages} stages in a V",
            _ => "",
        };
        return $"{PipelineSchedule.Title(schedule.Kind)}: {Count(schedule.Ranks, "rank")}, {Count(schedule.MicroBatches, "micro-batch")}{ways}";
    }

    /// <summary>How long it takes, what is idle, what is held.</summary>
    public static string Figures(TimedSchedule timed)
    {
        double unit = timed.Costs.Forward, formula = ScheduleFormulas.Bubble(timed.Schedule.Placement, timed.Costs);
        int peak = timed.Schedule.Steps.Max(ScheduleChecker.ActivationPeak);
        return string.Create(CultureInfo.InvariantCulture,
            $"takes {timed.Makespan / unit:0.##} F; a rank is idle for {Range(timed, unit)} F, {100 * timed.Bubble / timed.Makespan:0.#} % (formula {ScheduleFormulas.BubbleText(timed.Schedule.Kind)} = {formula / unit:0.##} F); holds at most {Count(peak, "activation")}");
    }

    /// <summary>The stages of a rank: <c>stages 0, 7</c>.</summary>
    public static string Stages(PipelinePlacement placement, int rank) =>
        placement.Phases == 1 ? $"stage {placement.Stage(rank, 0)}" : $"stages {placement.Stage(rank, 0)}, {placement.Stage(rank, 1)}";

    /// <summary>What dark and light boxes are; null when there is only one shade.</summary>
    public static string? Shades(PipelineSchedule schedule) => schedule.Kind switch
    {
        ScheduleKind.DualPipe => $"dark: micro-batches 0–{schedule.MicroBatches / 2 - 1}, in at rank 0; light: {schedule.MicroBatches / 2}–{schedule.MicroBatches - 1}, in at rank {schedule.Ranks - 1}",
        ScheduleKind.DualPipeV => $"dark: stages 0–{schedule.Ranks - 1}, down the ranks; light: stages {schedule.Ranks}–{schedule.Placement.Stages - 1}, back up",
        _ => null,
    };

    static string Range(TimedSchedule timed, double unit)
    {
        double least = Enumerable.Range(0, timed.Schedule.Ranks).Min(timed.Idle) / unit, most = timed.Bubble / unit;
        return most - least < 0.005 ? most.ToString("0.##", CultureInfo.InvariantCulture) : string.Create(CultureInfo.InvariantCulture, $"{least:0.##} to {most:0.##}");
    }

    static string Count(int number, string noun) => $"{number} {noun}{(number == 1 ? "" : noun.EndsWith("ch", StringComparison.Ordinal) ? "es" : "s")}";
}
