namespace Hadal.Cli.Training;

/// <summary>A curve in one line of text.</summary>
static class Sparkline
{
    const string Levels = "▁▂▃▄▅▆▇█";

    /// <summary>Draws values as means of <paramref name="width"/> equal stretches, the least lowest.</summary>
    public static string Draw(IReadOnlyList<double> values, int width)
    {
        if (values.Count == 0) return "";
        width = Math.Min(width, values.Count);
        var means = new double[width];
        for (int i = 0; i < width; i++)
        {
            int from = (int)((long)i * values.Count / width), to = (int)((i + 1L) * values.Count / width);
            for (int j = from; j < to; j++) means[i] += values[j] / (to - from);
        }

        double least = means.Min(), span = means.Max() - least;
        return string.Concat(means.Select(m => Levels[span > 0 ? (int)Math.Min(Levels.Length - 1, (m - least) / span * Levels.Length) : 0]));
    }
}
