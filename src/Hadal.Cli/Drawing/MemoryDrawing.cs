using Hadal.Parallel.Drawing;
using Hadal.Planning;
using Hadal.Planning.Layouts;

namespace Hadal.Cli.Drawing;

/// <summary>Memory of the ranks of a pipeline as bars, beside what a GPU has.</summary>
/// <param name="plan">The plan.</param>
/// <param name="width">Points.</param>
sealed class MemoryDrawing(TrainingPlan plan, double width)
{
    const double Left = 62, Right = 64, RowStep = 22, BarHeight = 15, Top = 30;

    /// <summary>As an SVG element of a page with the colours --part1 to --part4.</summary>
    public string ToSvg()
    {
        bool narrow = width < 500;
        double legend = narrow ? 44 : 24, bottom = Top + (RowStep * plan.Memory.Length), plot = width - Left - Right;
        double most = Math.Max(plan.MemoryBytes, plan.Cluster.MemoryBytes);
        if (plan.MemoryBytes < 0.02 * plan.Cluster.MemoryBytes) most = plan.MemoryBytes;
        double X(double bytes) => Left + (bytes / most * plot);
        var surface = new SvgSurface(width, bottom + legend + 12, "Memory of each rank");
        foreach (RankMemory rank in plan.Memory)
        {
            double y = Top + (RowStep * rank.Rank), at = 0;
            surface.Text(Left - 8, y + 12, $"rank {rank.Rank}", 11, "var(--faint)", TextAnchor.End);
            surface.Box(Left, y, plot, BarHeight, "var(--track)", 2);
            foreach ((string name, double bytes, string color) in Parts(rank))
            {
                surface.Box(X(at), y, Math.Max(0.4, X(at + bytes) - X(at) - 0.6), BarHeight, color, 1, $"rank {rank.Rank}: {name} {PlanText.Bytes(bytes)}");
                at += bytes;
            }

            surface.Text(width - Right + 8, y + 12, PlanText.Bytes(rank.Total), 11, "var(--ink)");
        }

        if (most >= plan.Cluster.MemoryBytes)
        {
            Limit(surface, X(plan.Cluster.UsableBytes), bottom, "planned for", right: false);
            Limit(surface, X(plan.Cluster.MemoryBytes), bottom, PlanText.Bytes(plan.Cluster.MemoryBytes), right: true);
        }

        double step = narrow ? plot / 2 : plot / 4;
        int entry = 0;
        foreach ((string name, _, string color) in Parts(plan.Memory[0]))
        {
            double x = Left + (entry % (narrow ? 2 : 4) * step), y = bottom + 18 + (narrow ? 20 * (entry / 2) : 0);
            surface.Box(x, y - 10, 12, 12, color, 2);
            surface.Text(x + 18, y, name, 11, "var(--ink)");
            entry++;
        }

        return surface.ToString();
    }

    static void Limit(SvgSurface surface, double x, double bottom, string text, bool right)
    {
        surface.Line(x, Top - 8, x, bottom - 4, "var(--mark)", 1.2);
        surface.Text(right ? x + 3 : x - 3, Top - 12, text, 10, "var(--mark)", right ? TextAnchor.Start : TextAnchor.End);
    }

    static IEnumerable<(string Name, double Bytes, string Color)> Parts(RankMemory rank) =>
    [
        ("weights", rank.Weights, "var(--part1)"), ("gradients", rank.Gradients, "var(--part2)"), ("optimizer", rank.Optimizer, "var(--part3)"), ("activations", rank.Activations, "var(--part4)"),
    ];
}
