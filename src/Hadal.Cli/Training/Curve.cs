using Hadal.Training.Experiments;
using Hadal.Training.Running;
#if PLOTS
using ScottPlot;
using ScottPlot.Plottables;
#endif

namespace Hadal.Cli.Training;

/// <summary>The curve of a run as a PNG: training loss and held-out bits per byte over steps.</summary>
static class Curve
{
    /// <summary>Name of the picture in the output folder.</summary>
    public const string FileName = "curve.png";

    /// <summary>Draws the measurements of a run.</summary>
    /// <param name="history">What was measured.</param>
    /// <param name="title">Above the picture.</param>
    /// <param name="path">The file to write; replaced when it exists.</param>
    /// <returns>False in builds without a drawing library (native ahead-of-time), or when there is nothing to draw.</returns>
    public static bool TryDraw(MetricsHistory history, string title, string path)
    {
        if (history.Losses.Count < 2) return false;
#if PLOTS
        using var plot = new Plot();
        Scatter loss = plot.Add.ScatterLine([.. history.Losses.Select(l => (double)l.Step)], Smooth(history.Losses), Color.FromHex("#9aa5b1"));
        loss.LegendText = "training loss";
        loss.LineWidth = 1.5f;
        string[] colors = ["#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce"];
        int next = 0;
        foreach ((string corpus, IReadOnlyList<(long Step, double BitsPerByte)> points) in history.Scores)
        {
            Scatter scores = plot.Add.Scatter(points.Select(p => (double)p.Step).ToArray(), points.Select(p => p.BitsPerByte).ToArray(), Color.FromHex(colors[next++ % colors.Length]));
            scores.LineWidth = 2;
            scores.MarkerSize = 6;
            scores.Axes.YAxis = plot.Axes.Right;
            scores.LegendText = FormattableString.Invariant($"{corpus}, held out ({points[^1].BitsPerByte:F2})");
        }

        plot.Title(title);
        plot.XLabel("step");
        plot.Axes.Left.Label.Text = "training loss, nats per token";
        plot.Axes.Right.Label.Text = "held-out bits per byte";
        plot.Grid.MajorLineColor = Color.FromHex("#e5e7eb");
        plot.ShowLegend(Alignment.UpperRight);
        plot.SavePng(path, 900, 500);
        return true;
#else
        _ = (title, path);
        return false;
#endif
    }

    /// <summary>Draws the lines of an experiment; false as <see cref="TryDraw(MetricsHistory, string, string)"/>.</summary>
    public static bool TryDraw(ExperimentReport report, string path)
    {
        IReadOnlyList<ReportSeries> series = report.Series;
        if (series.Count == 0 || series[0].Y.Length < 2) return false;
#if PLOTS
        using var plot = new Plot();
        string[] colors = ["#0b6e99", "#c2410c", "#4d7c0f", "#7e22ce", "#9aa5b1", "#b45309", "#be123c", "#0f766e", "#1d4ed8", "#a16207"];
        for (int i = 0; i < series.Count; i++)
        {
            Scatter line = plot.Add.ScatterLine(series[i].X, series[i].Y, Color.FromHex(colors[i % colors.Length]));
            line.LegendText = series[i].Name;
            line.LineWidth = 1.5f;
        }

        plot.Title(report.Results.Count > 0 ? $"{report.Name}: smoothed training loss" : report.Name);
        plot.XLabel(report.Axes.X);
        plot.YLabel(report.Axes.Y);
        plot.Grid.MajorLineColor = Color.FromHex("#e5e7eb");
        plot.ShowLegend(report.Results.Count > 0 ? Alignment.UpperRight : Alignment.UpperLeft);
        plot.SavePng(path, 900, 500);
        return true;
#else
        _ = path;
        return false;
#endif
    }

#if PLOTS
    /// <summary>An exponential mean that forgets a step in about a fiftieth of the run.</summary>
    static double[] Smooth(IReadOnlyList<(long Step, double Loss)> losses)
    {
        double rate = Math.Min(1, 50.0 / losses.Count), mean = losses[0].Loss;
        return [.. losses.Select(l => mean += rate * (l.Loss - mean))];
    }
#endif
}
