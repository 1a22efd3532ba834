using System.Globalization;
using Hadal.Parallel.Schedules;
using static Hadal.Parallel.Drawing.SchedulePalette;

namespace Hadal.Parallel.Drawing;

/// <summary>
/// A schedule as a picture: a row for each rank, time to the right, a box for each step with its micro-batch. A pair is a box of two halves, the forward
/// above. What is not covered is idle.
/// </summary>
public sealed class ScheduleDrawing
{
    const double Left = 92, Right = 76, Top = 108, Bottom = 40, RowHeight = 30, RowStep = 36, Padding = 20;
    const double PointsPerForward = 21, LeastPointsPerForward = 7, UsualWidth = 2600;

    readonly TimedSchedule _timed;
    readonly ScheduleSheet _sheet;
    readonly double _scale;

    /// <summary>Lays the picture out.</summary>
    /// <param name="timed">What is drawn.</param>
    /// <param name="sheet">What it is drawn on; white paper when null.</param>
    public ScheduleDrawing(TimedSchedule timed, ScheduleSheet? sheet = null)
    {
        _timed = timed;
        _sheet = sheet ?? ScheduleSheet.White;
        double forwards = timed.Makespan / timed.Costs.Forward;
        _scale = Math.Clamp(UsualWidth / forwards, LeastPointsPerForward, PointsPerForward) / timed.Costs.Forward;

        // Few steps make a narrow chart; the lines above need their room.
        Width = Math.Max(Left + timed.Makespan * _scale + Right, 760);
        Height = Top + timed.Schedule.Ranks * RowStep + Bottom;
    }

    /// <summary>Points.</summary>
    public double Width { get; }

    /// <summary>Points.</summary>
    public double Height { get; }

    /// <summary>The picture as an SVG document.</summary>
    public string ToSvg()
    {
        var surface = new SvgSurface(Width, Height, ScheduleSummary.Title(_timed.Schedule));
        Draw(surface);
        return surface.ToString();
    }

    /// <summary>Draws onto a surface of <see cref="Width"/> × <see cref="Height"/> points.</summary>
    public void Draw(IDrawingSurface surface)
    {
        surface.Box(0, 0, Width, Height, _sheet.Paper);
        surface.Text(Padding, 32, ScheduleSummary.Title(_timed.Schedule), 17, _sheet.Ink, bold: true);
        surface.Text(Padding, 52, ScheduleSummary.Figures(_timed), 12, _sheet.Faint);
        Legend(surface);
        Axis(surface);
        for (int rank = 0; rank < _timed.Schedule.Ranks; rank++) Row(surface, rank);
    }

    void Row(IDrawingSurface surface, int rank)
    {
        PipelinePlacement placement = _timed.Schedule.Placement;
        double y = Top + rank * RowStep;
        surface.Text(Padding, y + 14, $"rank {rank}", 12, _sheet.Ink, bold: true);
        surface.Text(Padding, y + 26, ScheduleSummary.Stages(placement, rank), 9, _sheet.Faint);
        surface.Box(Left, y, _timed.Makespan * _scale, RowHeight, _sheet.Track, 2);
        for (int i = 0; i < _timed.Schedule.Steps[rank].Length; i++)
        {
            ScheduleStep step = _timed.Schedule.Steps[rank][i];
            if (step.IsCommunication) continue;
            StepTime time = _timed.Times[rank][i];
            double x = Left + time.Start * _scale, width = Math.Max((time.End - time.Start) * _scale - 1, 1);
            string note = $"rank {rank}, {Number(time.Start)} to {Number(time.End)}: {step}";
            if (step.Kind == StepKind.ForwardBackward)
            {
                Part(surface, rank, StepKind.Forward, step.Phase, step.MicroBatch, x, y, width, RowHeight / 2 - 0.5, note);
                Part(surface, rank, StepKind.Backward, step.BackwardPhase, step.BackwardMicroBatch, x, y + RowHeight / 2 + 0.5, width, RowHeight / 2 - 0.5, note);
            }
            else
            {
                Part(surface, rank, step.Kind, step.Phase, step.MicroBatch, x, y, width, RowHeight, note);
            }
        }

        double end = Left + _timed.Makespan * _scale;
        surface.Text(end + 8, y + 14, Number(_timed.Idle(rank) / _timed.Costs.Forward) + " F", 11, _sheet.Ink);
        surface.Text(end + 8, y + 26, $"idle, {(100 * _timed.Idle(rank) / _timed.Makespan).ToString("0.#", CultureInfo.InvariantCulture)} %", 9, _sheet.Faint);
    }

    void Part(IDrawingSurface surface, int rank, StepKind kind, int phase, int microBatch, double x, double y, double width, double height, string note)
    {
        PipelinePlacement placement = _timed.Schedule.Placement;
        (string fill, string ink) = Of(kind, placement.Direction(rank, phase) == 1);
        surface.Box(x, y, width, height, fill, 2, note);
        string label = placement.GlobalMicroBatch(rank, phase, microBatch).ToString(CultureInfo.InvariantCulture);
        double size = height > 20 ? 11 : 10;
        if (width >= 0.64 * size * label.Length + 2) surface.Text(x + width / 2, y + height / 2 + 0.36 * size, label, size, ink, TextAnchor.Middle);
    }

    void Legend(IDrawingSurface surface)
    {
        PipelineSchedule schedule = _timed.Schedule;
        bool Has(StepKind kind) => schedule.Steps.Any(steps => steps.Any(step => step.Kind == kind));
        double x = Padding, y = 68;
        if (Has(StepKind.Forward) || Has(StepKind.ForwardBackward)) Entry(StepKind.Forward, "F forward");
        if (Has(StepKind.Backward) || Has(StepKind.ForwardBackward)) Entry(StepKind.Backward, "B backward");
        if (Has(StepKind.BackwardInput)) Entry(StepKind.BackwardInput, "b for the input");
        if (Has(StepKind.BackwardWeights)) Entry(StepKind.BackwardWeights, "W for the weights");
        surface.Box(x, y, 14, 14, _sheet.Track, 2);
        surface.Text(x + 20, y + 11, "idle", 11, _sheet.Ink);
        if (ScheduleSummary.Shades(schedule) is { } shades) surface.Text(x + 62, y + 11, shades, 11, _sheet.Faint);

        void Entry(StepKind kind, string text)
        {
            surface.Box(x, y, 14, 14, Of(kind, second: false).Fill, 2);
            if (schedule.Placement.Phases == 2) surface.Box(x + 15, y, 14, 14, Of(kind, second: true).Fill, 2);
            double after = schedule.Placement.Phases == 2 ? 35 : 20;
            surface.Text(x + after, y + 11, text, 11, _sheet.Ink);
            x += after + 6.3 * text.Length + 18;
        }
    }

    void Axis(IDrawingSurface surface)
    {
        double unit = _timed.Costs.Forward, bottom = Top + _timed.Schedule.Ranks * RowStep - (RowStep - RowHeight);
        int every = new[] { 1, 2, 5, 10, 20, 50, 100, 200, 500 }.First(step => step * unit * _scale >= 50 || step == 500);
        for (int tick = 0; tick * unit <= _timed.Makespan + 1e-9; tick += every)
        {
            double x = Left + tick * unit * _scale;
            surface.Line(x, Top - 6, x, bottom + 5, _sheet.Rule, 1);
            surface.Text(x, bottom + 18, tick.ToString(CultureInfo.InvariantCulture), 10, _sheet.Faint, TextAnchor.Middle);
        }

        surface.Text(Padding, bottom + 18, "time in F", 10, _sheet.Faint);
    }

    static string Number(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);
}
