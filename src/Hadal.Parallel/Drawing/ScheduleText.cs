using System.Globalization;
using System.Text;
using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Drawing;

/// <summary>A schedule in letters: a line for each rank, time to the right, cut into bands that fit a page.</summary>
public static class ScheduleText
{
    /// <summary>Draws it.</summary>
    /// <param name="timed">The schedule with its times.</param>
    /// <param name="width">Characters of a line.</param>
    public static string Draw(TimedSchedule timed, int width)
    {
        PipelineSchedule schedule = timed.Schedule;
        var text = new StringBuilder();
        text.Append(ScheduleSummary.Title(schedule)).Append('\n').Append(ScheduleSummary.Figures(timed)).Append('\n');
        text.Append("F forward, B backward, b for the input, W for the weights, F&B both at once; the number is the micro-batch\n");
        if (schedule.Kind == ScheduleKind.DualPipe) text.Append($"micro-batches from {schedule.MicroBatches / 2} on enter at rank {schedule.Ranks - 1}\n");
        if (schedule.Kind == ScheduleKind.DualPipeV) text.Append($"' marks the second half of the stages, {schedule.Ranks} to {schedule.Placement.Stages - 1}\n");

        int column = Longest(schedule) + 1, margin = $"rank {schedule.Ranks - 1}  ".Length;
        double perUnit = column / Shortest(timed.Costs);
        int total = Column(timed.Makespan, perUnit), band = Math.Max(column * 4, (width - margin) / column * column);
        char[][] lines = [.. Enumerable.Range(0, schedule.Ranks).Select(rank => Line(timed, rank, perUnit, column, total))];
        for (int from = 0; from < total; from += band)
        {
            int length = Math.Min(band, total - from);
            text.Append('\n').Append(Ruler(timed, perUnit, margin, from, length)).Append('\n');
            for (int rank = 0; rank < schedule.Ranks; rank++)
                text.Append($"rank {rank}".PadRight(margin)).Append(new string(lines[rank], from, length).TrimEnd()).Append('\n');
        }

        return text.ToString();
    }

    /// <summary>The steps of every rank, one a line, sends and receives among them.</summary>
    public static string List(TimedSchedule timed)
    {
        var text = new StringBuilder();
        text.Append(ScheduleSummary.Title(timed.Schedule)).Append('\n').Append(ScheduleSummary.Figures(timed)).Append('\n');
        double unit = timed.Costs.Forward;
        for (int rank = 0; rank < timed.Schedule.Ranks; rank++)
        {
            text.Append($"\nrank {rank} ({ScheduleSummary.Stages(timed.Schedule.Placement, rank)})\n");
            foreach ((ScheduleStep step, StepTime time) in timed.Schedule.Steps[rank].Zip(timed.Times[rank]))
                text.Append(CultureInfo.InvariantCulture, $"{time.Start / unit,9:0.##} {time.End / unit,9:0.##}  {step}\n");
        }

        return text.ToString();
    }

    static char[] Line(TimedSchedule timed, int rank, double perUnit, int column, int total)
    {
        var line = new char[total];
        Array.Fill(line, '·');
        PipelinePlacement placement = timed.Schedule.Placement;
        foreach ((ScheduleStep step, StepTime time) in timed.Schedule.Steps[rank].Zip(timed.Times[rank]))
        {
            if (step.IsCommunication) continue;
            int from = Column(time.Start, perUnit), length = Column(time.End, perUnit) - from;
            string label = Label(placement, rank, step);

            // A long step shows how far it reaches, and a blank parts it from the next.
            char rest = length > column ? '-' : ' ';
            for (int i = 0; i < length; i++) line[from + i] = i == length - 1 ? ' ' : i < label.Length ? label[i] : rest;
        }

        return line;
    }

    static string Label(PipelinePlacement placement, int rank, ScheduleStep step) => step.Kind == StepKind.ForwardBackward
        ? Part(placement, rank, "F", step.Phase, step.MicroBatch) + "&" + Part(placement, rank, "B", step.BackwardPhase, step.BackwardMicroBatch)
        : Part(placement, rank, step.Symbol, step.Phase, step.MicroBatch);

    static string Part(PipelinePlacement placement, int rank, string symbol, int phase, int microBatch) =>
        symbol + placement.GlobalMicroBatch(rank, phase, microBatch).ToString(CultureInfo.InvariantCulture) + (placement.Kind == ScheduleKind.DualPipeV && phase == 1 ? "'" : "");

    static int Longest(PipelineSchedule schedule)
    {
        int longest = 1 + (schedule.MicroBatches - 1).ToString(CultureInfo.InvariantCulture).Length;
        return schedule.Kind == ScheduleKind.DualPipeV ? longest + 1 : longest;
    }

    // A step much shorter than F would make lines endless; its label is cut instead.
    static double Shortest(StepCosts costs) => Math.Max(costs.Forward / 2, Math.Min(costs.Forward, Math.Min(costs.BackwardInput, costs.BackwardWeights)));

    static int Column(double time, double perUnit) => (int)Math.Round(time * perUnit);

    static string Ruler(TimedSchedule timed, double perUnit, int margin, int from, int length)
    {
        double unit = timed.Costs.Forward;
        char[] ruler = new string(' ', margin + length).ToCharArray();
        "time".CopyTo(0, ruler, 0, 4);
        for (int tick = 0; ; tick += 5)
        {
            int at = Column(tick * unit, perUnit) - from;
            if (at >= length) break;
            string label = tick.ToString(CultureInfo.InvariantCulture);
            if (at >= 0 && margin + at + label.Length <= ruler.Length) label.CopyTo(0, ruler, margin + at, label.Length);
        }

        return new string(ruler).TrimEnd();
    }
}
