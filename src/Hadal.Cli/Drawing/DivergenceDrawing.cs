using System.Globalization;
using Hadal.Parallel.Drawing;
using Hadal.Training.Recording;

namespace Hadal.Cli.Drawing;

/// <summary>Two runs side by side: their losses over the steps, and below how far each layer is apart in each recorded step.</summary>
/// <param name="divergence">What is drawn.</param>
/// <param name="nameA">Of run A.</param>
/// <param name="nameB">Of run B.</param>
/// <param name="palette">Colours.</param>
/// <param name="width">Points; narrow ones leave labels out.</param>
sealed class DivergenceDrawing(Divergence divergence, string nameA, string nameB, ChartPalette palette, double width)
{
    const double Left = 74, Right = 14, Top = 40, LossHeight = 190, Gap = 66, RowHeight = 20, LeastDecade = -7;

    double PlotWidth => width - Left - Right;

    double HeatTop => Top + LossHeight + Gap;

    long FirstStep => Math.Min(divergence.Steps[0], divergence.LossesA.Count > 0 ? divergence.LossesA[0].Step : divergence.Steps[0]);

    long LastStep => Math.Max(FirstStep + 1, Math.Max(divergence.Steps[^1], divergence.LossesA.Count > 0 ? divergence.LossesA[^1].Step : divergence.Steps[^1]));

    /// <summary>Points.</summary>
    public double Width => width;

    /// <summary>Points.</summary>
    public double Height => HeatTop + (RowHeight * divergence.Layers.Count) + 74;

    /// <summary>As an SVG element.</summary>
    public string ToSvg()
    {
        var surface = new SvgSurface(Width, Height, $"{nameA} and {nameB}: loss, and difference by layer");
        Draw(surface);
        return surface.ToString();
    }

    /// <summary>Draws it.</summary>
    public void Draw(IDrawingSurface surface)
    {
        surface.Box(0, 0, Width, Height, palette.Paper);
        Losses(surface);
        Layers(surface);
        if (divergence.Step is long step)
        {
            double x = X(step);
            surface.Line(x, Top, x, HeatTop + (RowHeight * divergence.Layers.Count), palette.Mark, 1.2);
            bool right = x > Left + (PlotWidth * 0.6);
            surface.Text(x + (right ? -5 : 5), Top + 12, $"step {step}", 11, palette.Mark, right ? TextAnchor.End : TextAnchor.Start, bold: true);
        }
    }

    double X(double step) => Left + ((step - FirstStep) / (LastStep - FirstStep) * PlotWidth);

    void Losses(IDrawingSurface surface)
    {
        double[] all = [.. divergence.LossesA.Concat(divergence.LossesB).Select(l => l.Loss).Where(double.IsFinite)];
        surface.Text(Left, 16, "loss, nats per token", 12, palette.Ink, bold: true);
        double end = Legend(surface, Left, 32, nameA, palette.First);
        Legend(surface, end + 16, 32, nameB, palette.Second);
        surface.Box(Left, Top, PlotWidth, LossHeight, palette.Track, 2);
        if (all.Length == 0) return;
        double low = all.Min(), high = Math.Max(all.Max(), low + 1e-9), span = high - low;
        double Y(double loss) => Top + 8 + ((high - loss) / span * (LossHeight - 16));
        foreach (double tick in Ticks(low, high, 5))
        {
            surface.Line(Left, Y(tick), Left + PlotWidth, Y(tick), palette.Rule, 0.6);
            surface.Text(Left - 6, Y(tick) + 4, tick.ToString("0.###", CultureInfo.InvariantCulture), 10, palette.Faint, TextAnchor.End);
        }

        Curve(surface, divergence.LossesA, palette.First, 2.4, Y);
        Curve(surface, divergence.LossesB, palette.Second, 1.2, Y);
    }

    void Curve(IDrawingSurface surface, IReadOnlyList<(long Step, double Loss)> losses, string color, double weight, Func<double, double> y)
    {
        // A point for every pixel or two is as much as one can see.
        int every = Math.Max(1, (int)(losses.Count / PlotWidth));
        (long Step, double Loss)? before = null;
        for (int i = 0; i < losses.Count; i += every)
        {
            if (!double.IsFinite(losses[i].Loss)) continue;
            if (before is { } from) surface.Line(X(from.Step), y(from.Loss), X(losses[i].Step), y(losses[i].Loss), color, weight);
            before = losses[i];
        }
    }

    void Layers(IDrawingSurface surface)
    {
        surface.Text(Left, HeatTop - 14, width < 500 ? "relative difference by layer" : "largest relative difference of weights and activations, by layer and recorded step", 12, palette.Ink, bold: true);
        double cell = PlotWidth / Math.Max(1, divergence.Steps.Count);
        int every = Math.Max(1, (int)Math.Ceiling(1.5 / cell));
        for (int l = 0; l < divergence.Layers.Count; l++)
        {
            double y = HeatTop + (l * RowHeight);
            string name = divergence.Layers[l] < 0 ? "outside" : FormattableString.Invariant($"layer {divergence.Layers[l]}");
            surface.Text(Left - 6, y + 14, name, 10, palette.Faint, TextAnchor.End);
            surface.Box(Left, y + 1, PlotWidth, RowHeight - 2, palette.Track, 2);
            for (int s = 0; s < divergence.Steps.Count; s += every)
            {
                double worst = 0;
                for (int i = s; i < Math.Min(s + every, divergence.Steps.Count); i++) worst = Math.Max(worst, divergence.ByLayer[i][l]);
                if (worst == 0) continue;
                double from = X(divergence.Steps[s]), to = s + every < divergence.Steps.Count ? X(divergence.Steps[s + every]) : Math.Min(Left + PlotWidth, from + cell);
                surface.Box(from, y + 1, Math.Max(1.2, to - from), RowHeight - 2, Color(worst), 0,
                    string.Create(CultureInfo.InvariantCulture, $"{name}, step {divergence.Steps[s]}: {worst:0.##E0}"));
            }
        }

        double below = HeatTop + (RowHeight * divergence.Layers.Count);
        foreach (double tick in Ticks(FirstStep, LastStep, width < 500 ? 3 : 8).Where(t => t == Math.Floor(t)))
            surface.Text(X(tick), below + 16, tick.ToString("0", CultureInfo.InvariantCulture), 10, palette.Faint, TextAnchor.Middle);
        surface.Text(Left + PlotWidth, below + 32, "step", 10, palette.Faint, TextAnchor.End);
        double box = Math.Min(34, PlotWidth / 12), x = Left;
        surface.Box(x, below + 40, box, 10, palette.Track);
        surface.Text(x + (box / 2), below + 64, "equal", 9, palette.Faint, TextAnchor.Middle);
        for (int h = 0; h < palette.Heat.Count; h++)
        {
            surface.Box(x + ((h + 2) * box), below + 40, box, 10, palette.Heat[h]);
            if (h % 2 == 0) surface.Text(x + ((h + 2) * box), below + 64, FormattableString.Invariant($"1e{LeastDecade + h:0}"), 9, palette.Faint, TextAnchor.Middle);
        }
    }

    string Color(double difference)
    {
        double decade = double.IsFinite(difference) ? Math.Floor(Math.Log10(Math.Max(difference, 1e-30))) : palette.Heat.Count;
        return palette.Heat[(int)Math.Clamp(decade - LeastDecade, 0, palette.Heat.Count - 1)];
    }

    double Legend(IDrawingSurface surface, double x, double y, string name, string color)
    {
        string shown = name.Length > 34 ? "…" + name[^33..] : name;
        surface.Line(x, y - 4, x + 18, y - 4, color, 2.4);
        surface.Text(x + 24, y, shown, 11, palette.Faint);
        return x + 24 + (shown.Length * 6.2);
    }

    /// <summary>Round numbers inside a range.</summary>
    internal static IEnumerable<double> Ticks(double low, double high, int about)
    {
        double raw = (high - low) / Math.Max(1, about), power = Math.Pow(10, Math.Floor(Math.Log10(Math.Max(raw, 1e-12)))), lead = raw / power;
        double step = power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
        for (double tick = Math.Ceiling(low / step) * step; tick <= high + (step * 1e-9); tick += step) yield return tick;
    }
}
