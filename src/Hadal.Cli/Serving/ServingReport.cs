using System.Globalization;
using System.Text.Json;
using Hadal.Cli.Drawing;
using Hadal.Planning.Serving;

namespace Hadal.Cli.Serving;

/// <summary>A serving plan for people and for programs.</summary>
static class ServingReport
{
    /// <summary>Lines for a terminal.</summary>
    public static IEnumerable<string> Text(ServingPlan plan)
    {
        foreach (string line in Answers(plan)) yield return line;
        foreach ((string heading, IReadOnlyList<string[]> rows, string note) in Tables(plan))
        {
            yield return "";
            yield return heading;
            int[] widths = [.. Enumerable.Range(0, rows[0].Length).Select(c => rows.Max(r => r[c].Length))];
            foreach (string[] row in rows) yield return "  " + string.Join("  ", row.Select((cell, c) => c == 0 ? cell.PadRight(widths[c]) : cell.PadLeft(widths[c]))).TrimEnd();
            if (note.Length > 0) yield return "  " + note;
        }

        yield return "";
        yield return "Assumptions";
        foreach (string assumption in plan.Assumptions) yield return "  - " + assumption;
    }

    /// <summary>A page that stands alone.</summary>
    public static string Html(ServingPlan plan)
    {
        var page = new HtmlPage($"Serving {plan.Model}");
        foreach ((string answer, int at) in Answers(plan).Select((a, i) => (a, i))) page.Paragraph(answer, at == 0 ? "note" : "lead");
        page.Heading("Balance over time");
        page.Drawing(width => new BalanceDrawing(plan.PrefillUnit, Title(plan.PrefillUnit, "Prefilling unit", width), ChartPalette.Page, width).ToSvg());
        page.Drawing(width => new BalanceDrawing(plan.DecodeUnit, Title(plan.DecodeUnit, "Decoding unit", width), ChartPalette.Page, width).ToSvg());
        foreach ((string heading, IReadOnlyList<string[]> rows, string note) in Tables(plan))
        {
            page.Heading(heading).Table(rows, 1);
            if (note.Length > 0) page.Paragraph(note, "note");
        }

        page.Heading("What was decided about the prefilling unit's placement").Table(
            [["minute", "decision"], .. plan.PrefillUnit.Looks.Select(l => (IReadOnlyList<string>)[F($"{l.Time.TotalMinutes:0}"), l.Decision.Reason])], 2);
        page.Heading("Assumptions");
        foreach (string assumption in plan.Assumptions) page.Paragraph(assumption);
        return page.ToString();
    }

    /// <summary>The object's properties.</summary>
    public static void Json(Utf8JsonWriter json, ServingPlan plan)
    {
        json.WriteString("model", plan.Model);
        json.WriteString("hardware", plan.Hardware.Name);
        json.WriteString("routing", plan.Routing);
        json.WriteStartObject("load");
        json.WriteNumber("requests_per_second", plan.Load.RequestsPerSecond);
        json.WriteNumber("prompt_tokens", plan.Load.Prompt.Mean);
        json.WriteNumber("answer_tokens", plan.Load.Answer.Mean);
        json.WriteNumber("cached_part", plan.Load.CachedPart);
        json.WriteNumber("first_token_seconds", plan.Load.FirstTokenSeconds);
        json.WriteNumber("next_token_seconds", plan.Load.NextTokenSeconds);
        json.WriteEndObject();
        json.WriteStartObject("answer");
        json.WriteNumber("slots_per_gpu", plan.BestRedundancy.SlotsPerGpu);
        json.WriteNumber("redundant_experts", plan.BestRedundancy.Redundant);
        Optional(json, "nodes_apart", plan.NodesApart);
        Optional(json, "nodes_together", plan.NodesTogether);
        if (plan.SplittingPays is bool pays) json.WriteBoolean("splitting_pays", pays);
        else json.WriteNull("splitting_pays");
        json.WriteEndObject();
        json.WriteStartArray("redundancy");
        foreach (RedundancyChoice choice in plan.Redundancy)
        {
            json.WriteStartObject();
            json.WriteNumber("slots_per_gpu", choice.SlotsPerGpu);
            json.WriteNumber("redundant_experts", choice.Redundant);
            json.WriteNumber("balance", choice.Balance);
            json.WriteNumber("step_seconds", choice.StepSeconds);
            json.WriteNumber("tokens_per_second_per_node", choice.TokensPerSecondPerNode);
            json.WriteNumber("cache_positions", choice.CachePositions);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        Units(json, "prefill_units", plan.Prefill);
        Units(json, "decode_units", plan.Decode);
        Units(json, "units_for_both", plan.Together);
        Unit(json, "prefill_unit", plan.PrefillUnit);
        Unit(json, "decode_unit", plan.DecodeUnit);
        json.WriteStartArray("published");
        foreach (ServingCheck check in plan.Checks)
        {
            json.WriteStartObject();
            json.WriteString("what", check.What);
            json.WriteNumber("published_tokens_per_second_per_node", check.Published);
            json.WriteNumber("limit_tokens_per_second_per_node", check.Limit);
            json.WriteNumber("part", check.Part);
            json.WriteString("note", check.Note);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("assumptions");
        foreach (string assumption in plan.Assumptions) json.WriteStringValue(assumption);
        json.WriteEndArray();
    }

    static string Title(UnitOutcome outcome, string what, double width) => width < 500
        ? F($"{what}: {outcome.Options.Unit.Nodes} nodes")
        : F($"{what}: {outcome.Options.Unit.Nodes} nodes × {outcome.Options.Unit.GpusPerNode} GPUs, {outcome.Options.Unit.SlotsPerGpu} experts a GPU and layer");

    static IEnumerable<string> Answers(ServingPlan plan)
    {
        RedundancyChoice none = plan.Redundancy[0], best = plan.BestRedundancy;
        yield return F($"{plan.Load.RequestsPerSecond:0.##} requests a second, {plan.Load.Prompt.Mean:0} prompt tokens of which {100 * plan.Load.CachedPart:0} % are cached, {plan.Load.Answer.Mean:0} answer tokens; first token within {plan.Load.FirstTokenSeconds:0.##} s, each further one within {1000 * plan.Load.NextTokenSeconds:0.#} ms; {plan.Routing}.");
        yield return best.SlotsPerGpu == none.SlotsPerGpu
            ? F($"Redundant experts: {best.Redundant}; more would not make the prefilling unit faster.")
            : F($"Redundant experts: {best.Redundant}, {best.SlotsPerGpu} experts a GPU instead of {none.SlotsPerGpu}: the fullest GPU has {best.Balance:0.000} times the mean instead of {none.Balance:0.000}, and a node reads {best.TokensPerSecondPerNode:N0} tokens a second instead of {none.TokensPerSecondPerNode:N0}.");
        yield return (plan.BestPrefill, plan.BestDecode) switch
        {
            ({ } prefill, { } decode) => F($"Units, prefilling apart from decoding: {prefill.Units} of {prefill.Unit.Nodes} nodes for prefilling and {decode.Units} of {decode.Unit.Nodes} nodes for decoding, {plan.NodesApart} nodes."),
            (null, { }) => "Units, prefilling apart from decoding: no prefilling unit that was tried keeps the goal for the first token.",
            ({ }, null) => "Units, prefilling apart from decoding: no decoding unit that was tried keeps the goal for further tokens.",
            _ => "Units, prefilling apart from decoding: no unit that was tried keeps either goal.",
        };
        yield return plan.BestTogether is { } both
            ? F($"Units that do both: {both.Units} of {both.Unit.Nodes} nodes, chunks of {both.Chunk} prompt tokens a GPU, {both.Nodes} nodes.")
            : "Units that do both: none that was tried keeps both goals.";
        yield return plan.SplittingPays switch
        {
            null => "Splitting: neither way keeps the goals at this load.",
            true when plan.NodesTogether is null => "Splitting pays: only so can the goals be kept.",
            true => F($"Splitting pays: {plan.NodesApart} nodes instead of {plan.NodesTogether}."),
            false when plan.NodesApart is null => "Splitting does not pay: apart, a goal cannot be kept.",
            false when plan.NodesApart == plan.NodesTogether => F($"Splitting does not pay: {plan.NodesApart} nodes either way."),
            false => F($"Splitting does not pay: {plan.NodesTogether} nodes do both, {plan.NodesApart} would be needed apart."),
        };
        if (plan.NodesThere is int there && Math.Min(plan.NodesApart ?? int.MaxValue, plan.NodesTogether ?? int.MaxValue) is var needed && needed > there)
            yield return needed == int.MaxValue ? F($"The cluster's {there} nodes are not enough.") : F($"The cluster has {there} nodes; {needed} are needed.");
    }

    static IEnumerable<(string Heading, IReadOnlyList<string[]> Rows, string Note)> Tables(ServingPlan plan)
    {
        yield return (F($"Redundant experts of a prefilling unit of {plan.PrefillUnit.Options.Unit.Nodes} nodes"),
            [["experts a GPU", "redundant", "fullest/mean", "step, ms", "tokens/s a node", "cache, tokens a GPU"],
             .. plan.Redundancy.Select(r => new[] { F($"{r.SlotsPerGpu}"), F($"{r.Redundant}"), F($"{r.Balance:0.000}"), F($"{1000 * r.StepSeconds:0.0}"), F($"{r.TokensPerSecondPerNode:N0}"), r.CachePositions > 0 ? F($"{r.CachePositions:N0}") : "does not fit" })],
            "Placed by one lot of tokens, measured on another.");
        foreach ((string heading, IReadOnlyList<UnitChoice> choices) in new[] { ("Prefilling units", plan.Prefill), ("Decoding units", plan.Decode), ("Units for both", plan.Together) })
        {
            yield return (heading, Filled(
                [["unit", "experts a GPU", "chunk", "requests/s of a unit", "units", "nodes", "first token, s", "next token, ms", "answers a GPU", "busy"],
                 .. choices.Select(c => new[]
                 {
                     F($"{c.Unit.Nodes}\u00a0×\u00a0{c.Unit.GpusPerNode}"), F($"{c.Unit.SlotsPerGpu}"), c.Chunk == 0 ? "" : F($"{c.Chunk}"), c.IsPossible ? F($"{c.RequestsPerSecond:0.##}") : "goal missed", c.IsPossible ? F($"{c.Units}") : "", c.IsPossible ? F($"{c.Nodes}") : "",
                     c.Role == UnitRole.Decode ? "" : Shown(c.Outcome.FirstToken, "0.00"), c.Role == UnitRole.Prefill ? "" : Shown(1000 * c.Outcome.NextToken, "0.0"), c.Role == UnitRole.Prefill ? "" : F($"{c.Outcome.Running:0.0}"), F($"{100 * c.Outcome.Busy:0} %"),
                 })]),
                "What a unit carries within the goals; times are those of nine of ten requests when the units share the load.");
        }

        foreach ((string name, UnitOutcome unit) in new[] { ("prefilling", plan.PrefillUnit), ("decoding", plan.DecodeUnit) })
        {
            var mean = unit.Mean;
            yield return (F($"A {name} unit of {unit.Options.Unit.Gpus} GPUs over {unit.Options.Duration.TotalMinutes:0} minutes"),
                [["placement", "fullest/mean", "step, ms"],
                 ["in order, no redundant experts", F($"{mean.Plain:0.000}"), F($"{1000 * mean.PlainSeconds:0.00}")],
                 ["redundant, never rearranged", F($"{mean.First:0.000}"), ""],
                 ["redundant, rearranged when it pays", F($"{mean.Kept:0.000}"), F($"{1000 * mean.KeptSeconds:0.00}")]],
                F($"{unit.Looks.Count(l => l.Decision.Pays)} of {unit.Looks.Count} looks moved experts: {unit.Looks.Sum(l => l.MovedBytes) / 1e9:0.0} GB over links, {unit.Looks.Sum(l => l.MoveSeconds):0.00} s of link time. First: {(unit.Looks.Count > 0 ? unit.Looks[0].Decision.Reason : "no look")}."));
        }

        if (plan.Checks.Count > 0)
        {
            yield return ("Beside published figures, at the limits of the hardware",
                [["figure", "published, tokens/s a node", "limit", "published/limit"],
                 .. plan.Checks.Select(c => new[] { c.What, F($"{c.Published:N0}"), F($"{c.Limit:N0}"), F($"{100 * c.Part:0} %") })],
                string.Join(" ", plan.Checks.Select(c => char.ToUpperInvariant(c.Note[0]) + c.Note[1..] + ".")));
        }
    }

    // Columns in which something stands.
    static string[][] Filled(string[][] rows)
    {
        int[] columns = [.. Enumerable.Range(0, rows[0].Length).Where(c => rows.Skip(1).Any(r => r[c].Length > 0))];
        return [.. rows.Select(r => columns.Select(c => r[c]).ToArray())];
    }

    static void Units(Utf8JsonWriter json, string name, IReadOnlyList<UnitChoice> choices)
    {
        json.WriteStartArray(name);
        foreach (UnitChoice choice in choices)
        {
            json.WriteStartObject();
            json.WriteNumber("nodes_of_a_unit", choice.Unit.Nodes);
            json.WriteNumber("gpus_of_a_unit", choice.Unit.Gpus);
            json.WriteNumber("slots_per_gpu", choice.Unit.SlotsPerGpu);
            json.WriteNumber("chunk", choice.Chunk);
            json.WriteBoolean("possible", choice.IsPossible);
            json.WriteNumber("requests_per_second", choice.RequestsPerSecond);
            json.WriteNumber("units", choice.Units);
            json.WriteNumber("nodes", choice.Nodes);
            Finite(json, "first_token_seconds", choice.Outcome.FirstToken);
            Finite(json, "next_token_seconds", choice.Outcome.NextToken);
            json.WriteNumber("step_seconds", choice.Outcome.StepSeconds);
            json.WriteNumber("prompt_tokens_per_second", choice.Outcome.PromptTokensPerSecond);
            json.WriteNumber("answer_tokens_per_second", choice.Outcome.AnswerTokensPerSecond);
            json.WriteNumber("answers_per_gpu", choice.Outcome.Running);
            json.WriteNumber("busy", choice.Outcome.Busy);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static void Unit(Utf8JsonWriter json, string name, UnitOutcome unit)
    {
        json.WriteStartObject(name);
        json.WriteNumber("gpus", unit.Options.Unit.Gpus);
        var mean = unit.Mean;
        json.WriteNumber("balance_in_order", mean.Plain);
        json.WriteNumber("balance_never_rearranged", mean.First);
        json.WriteNumber("balance_kept", mean.Kept);
        json.WriteNumber("step_seconds_in_order", mean.PlainSeconds);
        json.WriteNumber("step_seconds_kept", mean.KeptSeconds);
        json.WriteNumber("moved_bytes", unit.Looks.Sum(l => l.MovedBytes));
        json.WriteNumber("move_seconds", unit.Looks.Sum(l => l.MoveSeconds));
        json.WriteStartArray("samples");
        foreach (UnitSample sample in unit.Samples)
        {
            json.WriteStartObject();
            json.WriteNumber("minute", sample.Time.TotalMinutes);
            json.WriteNumber("in_order", sample.Plain);
            json.WriteNumber("never_rearranged", sample.First);
            json.WriteNumber("kept", sample.Kept);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("looks");
        foreach (UnitLook look in unit.Looks)
        {
            json.WriteStartObject();
            json.WriteNumber("minute", look.Time.TotalMinutes);
            json.WriteBoolean("pays", look.Decision.Pays);
            json.WriteString("reason", look.Decision.Reason);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void Optional(Utf8JsonWriter json, string name, int? value)
    {
        if (value is int number) json.WriteNumber(name, number);
        else json.WriteNull(name);
    }

    static void Finite(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value)) json.WriteNumber(name, value);
        else json.WriteNull(name);
    }

    static string Shown(double value, string format) => double.IsFinite(value) ? value.ToString(format, CultureInfo.InvariantCulture) : "";

    static string F(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
