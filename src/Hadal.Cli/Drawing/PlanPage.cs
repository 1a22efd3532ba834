using System.Globalization;
using System.Text;
using Hadal.Parallel.Drawing;
using Hadal.Parallel.Schedules;
using Hadal.Planning;

namespace Hadal.Cli.Drawing;

/// <summary>A planned training step as a page that stands alone: where the time goes, the schedule, memory of each rank, layouts side by side, assumptions.</summary>
static class PlanPage
{
    const string Style = """
        <style>
        :root{--part1:#2563a8;--part2:#b7791f;--part3:#7a4a9e;--part4:#2f7d4f;--part5:#8793a0}
        @media (prefers-color-scheme:dark){:root{--part1:#5b9bd8;--part2:#dfa94a;--part3:#ac82cf;--part4:#5fb383;--part5:#78838f}}
        .cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0}
        .card{background:var(--track);border-radius:8px;padding:10px 14px}
        .card b{display:block;font-size:1.35rem;line-height:1.3;font-variant-numeric:tabular-nums}
        .card span{color:var(--faint);font-size:.83rem}
        .sheet{overflow-x:auto;border:1px solid var(--rule);border-radius:8px}
        .sheet svg{max-width:none}
        tr.chosen td{font-weight:600;background:var(--track)}
        tr.out td{color:var(--faint)}
        td .meter{display:inline-block;height:.62em;background:var(--part1);border-radius:2px;vertical-align:baseline;margin-right:6px}
        dl{display:grid;grid-template-columns:minmax(9em,max-content) 1fr;gap:5px 18px;margin:0;font-size:.92rem}
        dt{color:var(--faint)}dd{margin:0}
        ul{padding-left:1.2em;max-width:80ch}li{margin:.25em 0}
        @media (max-width:700px){td .meter{display:none}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}.cards{grid-template-columns:1fr 1fr}}
        </style>
        """;

    static readonly ScheduleSheet Sheet = new("var(--paper)", "var(--track)", "var(--ink)", "var(--faint)", "var(--rule)");

    /// <summary>Writes the page.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="comparison">The layouts that it was chosen from; null when it was asked for.</param>
    /// <param name="published">The published figures, when the plan is that of the report.</param>
    /// <param name="simulation">The step with uneven loads on every rank, when it was run.</param>
    /// <param name="variants">The plan with one thing changed.</param>
    public static string Write(TrainingPlan plan, PlanComparison? comparison, PublishedCheck? published, ClusterSimulation? simulation = null, IReadOnlyList<PlanVariant>? variants = null)
    {
        var page = new HtmlPage($"{plan.Work.Name} on {plan.Cluster.Name}: a planned training step");
        page.Raw(Style);
        page.Paragraph(string.Create(CultureInfo.InvariantCulture,
            $"{plan.Cluster.Gpus:N0} GPUs as {plan.Layout.Pipelines:N0} pipelines of {plan.Layout.Pipeline}, experts shared by {plan.Layout.ExpertParallel}, {plan.Layout.DataParallel} {(plan.Layout.DataParallel == 1 ? "copy" : "copies")} of each. {PipelineSchedule.Title(plan.Schedule)}, {plan.MicroBatches} micro-batches of {plan.Work.Tokens:N0} tokens a pipeline, recipe {plan.Work.Recipe.Name}."), "lead");
        Cards(page, plan);
        page.Heading("Where the time of a step goes");
        page.Drawing(width => TimeBar(plan, width));
        page.Raw("<dl>" + string.Concat(PlanText.Figures(plan).Select(figure => $"<dt>{HtmlPage.Escape(figure.What)}</dt><dd>{HtmlPage.Escape(figure.Value)}</dd>")) + "</dl>");
        if (published is not null) Published(page, published);
        if (simulation is not null)
        {
            page.Heading($"All {simulation.Busy.Count.ToString("N0", CultureInfo.InvariantCulture)} ranks, loads drawn through the gate");
            page.Raw("<ul>" + string.Concat(PlanText.Lines(simulation).Select(text => $"<li>{HtmlPage.Escape(text)}</li>")) + "</ul>");
        }

        page.Heading("Memory of each rank");
        page.Drawing(width => new MemoryDrawing(plan, width).ToSvg());
        page.Raw("<ul>" + string.Concat(MemoryAdvice.Of(plan).Select(advice => $"<li>{HtmlPage.Escape(advice)}</li>")) + "</ul>");
        Memory(page, plan);
        page.Heading("The schedule");
        page.Paragraph("A row is a rank of one pipeline, time runs to the right in units of one forward; what is not covered is waiting. The picture scrolls sideways.", "note");
        page.Raw("<div class=\"sheet\" tabindex=\"0\" role=\"region\" aria-label=\"schedule\">" + new ScheduleDrawing(plan.Timed, Sheet).ToSvg() + "</div>");
        if (comparison is not null) Layouts(page, plan, comparison);
        if (variants is not null) Variants(page, plan, variants);
        page.Heading("What this rests on");
        page.Raw("<ul>" + string.Concat(PlanText.Assumptions(plan).Select(assumption => $"<li>{HtmlPage.Escape(assumption)}</li>")) + "</ul>");
        return page.ToString();
    }

    static void Cards(HtmlPage page, TrainingPlan plan)
    {
        (string Value, string Word)[] cards =
        [
            (PlanText.Seconds(plan.StepSeconds), "a step"),
            (plan.TokensPerSecond.ToString(plan.TokensPerSecond >= 1e7 ? "0.00e+0" : "N0", CultureInfo.InvariantCulture), "tokens a second"),
            (PlanText.Percent(plan.IdleSeconds / plan.StepSeconds), "of the step a rank waits, at most"),
            (PlanText.Percent(plan.Utilisation(causal: true)), "of the peak, visible positions"),
            (PlanText.Bytes(plan.MemoryBytes), plan.Fits ? $"on the fullest of {PlanText.Bytes(plan.Cluster.MemoryBytes)}" : $"on the fullest: more than {PlanText.Bytes(plan.Cluster.UsableBytes)}"),
            (PlanText.Seconds(plan.Exchange.Exposed), "of exchange that nothing hides"),
        ];
        page.Raw("<div class=\"cards\">" + string.Concat(cards.Select(card => $"<div class=\"card\"><b>{HtmlPage.Escape(card.Value)}</b><span>{HtmlPage.Escape(card.Word)}</span></div>")) + "</div>");
    }

    static string TimeBar(TrainingPlan plan, double width)
    {
        int rank = Enumerable.Range(0, plan.Timed.Schedule.Ranks).MinBy(r => plan.Timed.Idle(r));
        double busy = plan.Timed.Busy(rank), exposed = plan.Costs.IncludesExchange ? 0 : plan.Exchange.Exposed;
        (string Name, double Seconds, string Color)[] parts =
        [
            (plan.Costs.IncludesExchange ? "computing, exchange inside" : "computing", busy - exposed, "var(--part1)"), ("exchange in the open", exposed, "var(--part2)"),
            ("waiting for other ranks", plan.Timed.Idle(rank), "var(--part5)"), ("optimizer", plan.OptimizerSeconds, "var(--part3)"),
            ("gradients and weights between copies", plan.CountsReduction ? plan.ReductionSeconds : 0, "var(--part4)"),
        ];
        (string Name, double Seconds, string Color)[] shown = [.. parts.Where(part => part.Seconds > 0)];
        bool narrow = width < 500;
        double perLine = narrow ? 1 : 3, height = 44 + (20 * Math.Ceiling(shown.Length / perLine));
        var surface = new SvgSurface(width, height, "Where the time of a step goes");
        double x = 0;
        for (int i = 0; i < shown.Length; i++)
        {
            double part = shown[i].Seconds / plan.StepSeconds * width;
            surface.Box(x, 4, Math.Max(part - 1, 0.6), 26, shown[i].Color, 2, $"{shown[i].Name}: {PlanText.Seconds(shown[i].Seconds)}");
            x += part;
            double left = i % perLine * (width / perLine), y = 50 + (20 * Math.Floor(i / perLine));
            surface.Box(left, y - 10, 12, 12, shown[i].Color, 2);
            surface.Text(left + 18, y, $"{shown[i].Name}  {PlanText.Seconds(shown[i].Seconds)}, {PlanText.Percent(shown[i].Seconds / plan.StepSeconds)}", 12, "var(--ink)");
        }

        return surface.ToString();
    }

    static void Published(HtmlPage page, PublishedCheck check)
    {
        page.Heading("Published and planned");
        page.Paragraph("Times of chunks are input, from the published table of one measured step. No constant is fitted.", "note");
        var table = new StringBuilder("<div class=\"scroll\"><table><tr><th></th><th class=\"n\">published</th><th class=\"n\">planned</th><th></th><th></th></tr>\n");
        foreach (CheckLine line in check.Lines())
        {
            table.Append(CultureInfo.InvariantCulture,
                $"<tr><td>{HtmlPage.Escape(line.What)}</td><td class=\"n\">{line.Published?.ToString("0.###", CultureInfo.InvariantCulture) ?? "–"}</td><td class=\"n\">{line.Planned:0.###}</td><td>{line.Unit}</td><td>{HtmlPage.Escape(line.Note)}</td></tr>\n");
        }

        page.Raw(table.Append("</table></div>").ToString());
    }

    static void Memory(HtmlPage page, TrainingPlan plan)
    {
        page.Table(plan.Memory.Select(rank => (IReadOnlyList<string>)
            [$"{rank.Rank}", PlanText.StagesOf(plan, rank.Rank), PlanText.Count(rank.Parameters), PlanText.Bytes(rank.Weights), PlanText.Bytes(rank.Gradients),
                PlanText.Bytes(rank.Optimizer), PlanText.Bytes(rank.Activations), $"{rank.ActivationPeak}", PlanText.Bytes(rank.Total)])
            .Prepend(["rank", "stages", "parameters", "weights", "gradients", "optimizer", "activations", "held", "all"]), 2);
    }

    static void Variants(HtmlPage page, TrainingPlan plan, IReadOnlyList<PlanVariant> variants)
    {
        page.Heading("If one thing were different");
        var table = new StringBuilder("<div class=\"scroll\"><table><tr><th>what</th><th>instead of</th><th>then</th><th class=\"n\">step</th><th class=\"n\">tokens/s</th><th class=\"n\">waiting</th><th class=\"n\">exchange in the open</th><th class=\"n\">memory</th></tr>\n");
        foreach (PlanVariant variant in variants)
        {
            table.Append(CultureInfo.InvariantCulture, $"<tr{(variant.Plan is { Fits: true } ? "" : " class=\"out\"")}><td>{HtmlPage.Escape(variant.What)}</td><td>{HtmlPage.Escape(variant.From)}</td><td>{HtmlPage.Escape(variant.To)}</td>");
            if (variant.Plan is { } other)
                table.Append(CultureInfo.InvariantCulture, $"<td class=\"n\">{PlanText.Seconds(other.StepSeconds)}</td><td class=\"n\">{PlanText.Change(plan, other)}</td><td class=\"n\">{PlanText.Percent(other.IdleSeconds / other.StepSeconds)}</td><td class=\"n\">{PlanText.Seconds(other.Exchange.Exposed)}</td><td class=\"n\">{PlanText.Bytes(other.MemoryBytes)}{(other.Fits ? "" : ", too much")}</td></tr>\n");
            else table.Append(CultureInfo.InvariantCulture, $"<td colspan=\"5\">cannot be run: {HtmlPage.Escape(variant.Refusal!)}</td></tr>\n");
        }

        page.Raw(table.Append("</table></div>").ToString());
    }

    static void Layouts(HtmlPage page, TrainingPlan plan, PlanComparison comparison)
    {
        page.Heading("Layouts side by side");
        page.Paragraph(string.Create(CultureInfo.InvariantCulture, $"{comparison.Tried} layouts and schedules were looked at, {comparison.Refused} cannot be run: numbers that do not divide, too few micro-batches. Those that do not fit into memory are grey."), "note");
        var table = new StringBuilder("<div class=\"scroll\"><table><tr><th>PP×EP×DP</th><th>schedule</th><th class=\"n\">micro-batches</th><th>step</th><th class=\"n\">waiting</th><th class=\"n\">exchange in the open</th><th class=\"n\">memory</th></tr>\n");
        PlanRow[] rows = [.. comparison.Rows.Where(row => row.Fits).Take(16), .. comparison.Rows.Where(row => !row.Fits).Take(6)];
        double longest = rows.Max(row => row.StepSeconds);
        foreach (PlanRow row in rows)
        {
            bool chosen = row.Layout == plan.Layout && row.Schedule == plan.Schedule;
            table.Append(CultureInfo.InvariantCulture,
                $"<tr{(chosen ? " class=\"chosen\"" : row.Fits ? "" : " class=\"out\"")}><td>{row.Layout.ToString().Replace('x', '×')}</td><td>{PipelineSchedule.Title(row.Schedule)}</td><td class=\"n\">{row.MicroBatches}</td><td style=\"white-space:nowrap\"><i class=\"meter\" style=\"width:{90 * row.StepSeconds / longest:0}px\"></i>{PlanText.Seconds(row.StepSeconds)}</td><td class=\"n\">{PlanText.Percent(row.IdleShare)}</td><td class=\"n\">{PlanText.Seconds(row.ExposedSeconds)}</td><td class=\"n\">{PlanText.Bytes(row.MemoryBytes)}</td></tr>\n");
        }

        page.Raw(table.Append("</table></div>").ToString());
    }
}
