using System.Globalization;
using Hadal.Parallel.Drawing;
using Hadal.Planning.Serving;

namespace Hadal.Cli.Drawing;

/// <summary>How much more than the mean the fullest GPU of a unit has to do, over time, with three placements.</summary>
/// <param name="outcome">What is drawn.</param>
/// <param name="title">Above it.</param>
/// <param name="palette">Colours.</param>
/// <param name="width">Points; narrow ones leave labels out.</param>
sealed class BalanceDrawing(UnitOutcome outcome, string title, ChartPalette palette, double width)
{
    const double Left = 46, Right = 14, Top = 64, PlotHeight = 200;

    /// <summary>Points.</summary>
    public double Width => width;

    /// <summary>Points.</summary>
    public double Height => Top + PlotHeight + 46;

    /// <summary>As an SVG element.</summary>
    public string ToSvg()
    {
        var surface = new SvgSurface(Width, Height, title);
        Draw(surface);
        return surface.ToString();
    }

    /// <summary>Draws it.</summary>
    public void Draw(IDrawingSurface surface)
    {
        IReadOnlyList<UnitSample> samples = outcome.Samples;
        double plot = width - Left - Right, last = Math.Max(1, samples[^1].Time.TotalMinutes), high = Math.Max(1.2, samples.Max(s => Math.Max(s.Plain, s.First)) * 1.04);
        double X(TimeSpan time) => Left + (time.TotalMinutes / last * plot);
        double Y(double balance) => Top + PlotHeight - ((balance - 1) / (high - 1) * PlotHeight);
        surface.Box(0, 0, Width, Height, palette.Paper);
        surface.Text(Left, 16, title, 12, palette.Ink, bold: true);
        bool narrow = width < 500;
        (string Name, string Color, Func<UnitSample, double> Of)[] series =
        [
            (narrow ? "in order" : "in order, no redundant experts", palette.Second, s => s.Plain), (narrow ? "fixed" : "redundant, never rearranged", palette.Faint, s => s.First),
            (narrow ? "kept up to date" : "redundant, rearranged when it pays", palette.First, s => s.Kept),
        ];
        double x = Left;
        foreach ((string name, string color, _) in series)
        {
            surface.Line(x, 34, x + 16, 34, color, 2.4);
            surface.Text(x + 21, 38, name, 11, palette.Faint);
            x += 34 + (name.Length * (narrow ? 6.0 : 6.4));
        }

        surface.Box(Left, Top, plot, PlotHeight, palette.Track, 2);
        foreach (double tick in DivergenceDrawing.Ticks(1, high, 5))
        {
            surface.Line(Left, Y(tick), Left + plot, Y(tick), palette.Rule, 0.6);
            surface.Text(Left - 6, Y(tick) + 4, tick.ToString("0.0#", CultureInfo.InvariantCulture), 10, palette.Faint, TextAnchor.End);
        }

        foreach (UnitLook look in outcome.Looks.Where(l => l.Decision.Pays)) surface.Line(X(look.Time), Top, X(look.Time), Top + PlotHeight, palette.Mark, 0.8);
        foreach ((_, string color, Func<UnitSample, double> of) in series)
            for (int i = 1; i < samples.Count; i++) surface.Line(X(samples[i - 1].Time), Y(of(samples[i - 1])), X(samples[i].Time), Y(of(samples[i])), color, 1.8);
        foreach (double tick in DivergenceDrawing.Ticks(0, last, narrow ? 4 : 8))
            surface.Text(X(TimeSpan.FromMinutes(tick)), Top + PlotHeight + 16, tick.ToString("0", CultureInfo.InvariantCulture), 10, palette.Faint, TextAnchor.Middle);
        surface.Text(Left + plot, Top + PlotHeight + 34, narrow ? "minutes" : "minutes; upright lines: experts move", 10, palette.Faint, TextAnchor.End);
        surface.Text(Left, Top - 8, "fullest GPU over the mean", 10, palette.Faint);
    }
}
