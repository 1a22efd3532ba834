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
        json.WriteNumber("decode_slots_per_gpu", plan.BestDecodeRedundancy.SlotsPerGpu);
        json.WriteNumber("decode_redundant_experts", plan.BestDecodeRedundancy.Redundant);
        Proposed(json, "prefill", plan.BestPrefill);
        Proposed(json, "decode", plan.BestDecode);
        Proposed(json, "both", plan.BestTogether);
        Optional(json, "nodes_apart", plan.NodesApart);
        Optional(json, "nodes_together", plan.NodesTogether);
        if (plan.SplittingPays is bool pays) json.WriteBoolean("splitting_pays", pays);
        else json.WriteNull("splitting_pays");
        if (plan.NodesThere is int there)
        {
            json.WriteNumber("nodes_there", there);
            json.WriteNumber("requests_per_second_of_those_apart", plan.CarriedApart(there));
            json.WriteNumber("requests_per_second_of_those_together", plan.CarriedTogether(there));
        }

        json.WriteEndObject();
        Redundancy(json, "redundancy", plan.Redundancy);
        Redundancy(json, "decode_redundancy", plan.DecodeRedundancy);
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
        ServingLoad load = plan.Load;
        yield return F($"{Number(load.RequestsPerSecond)} requests a second, {load.Prompt.Mean:0} prompt tokens of which {100 * load.CachedPart:0} % are cached, {load.Answer.Mean:0} answer tokens; first token within {load.FirstTokenSeconds:0.###} s, each further one within {1000 * load.NextTokenSeconds:0.#} ms; {plan.Routing}.");
        yield return Redundant("prefilling", "reads", plan.Redundancy);
        yield return Redundant("decoding", "writes", plan.DecodeRedundancy);
        yield return (plan.BestPrefill, plan.BestDecode) switch
        {
            ({ } prefill, { } decode) => F($"Apart: {Units(prefill)} for prefilling and {Units(decode)} for decoding, {plan.NodesApart:N0} nodes."),
            (null, { }) => F($"Apart: no prefilling unit that was tried keeps the goal for the first token; of requests that are nearly alone nine of ten get it within {Least(plan.Prefill, o => o.FirstToken)} s at best."),
            ({ }, null) => F($"Apart: no decoding unit that was tried keeps the goal for further tokens; of requests that are nearly alone nine of ten get one every {Least(plan.Decode, o => 1000 * o.NextToken)} ms at best."),
            _ => F($"Apart: no unit that was tried keeps either goal; of requests that are nearly alone nine of ten get the first token within {Least(plan.Prefill, o => o.FirstToken)} s and each further one within {Least(plan.Decode, o => 1000 * o.NextToken)} ms at best."),
        };
        yield return plan.BestTogether is { } both
            ? F($"Together: {Units(both)} that do both, chunks of {both.Chunk} prompt tokens a GPU, {both.Nodes:N0} nodes.")
            : "Together: no unit for both that was tried keeps both goals.";
        yield return plan.SplittingPays switch
        {
            null => "Splitting: neither way keeps the goals, at any load.",
            true when plan.NodesTogether is null => "Splitting pays: only so can the goals be kept.",
            true => F($"Splitting pays: {plan.NodesApart:N0} nodes instead of {plan.NodesTogether:N0}."),
            false when plan.NodesApart is null => "Splitting does not pay: apart, a goal cannot be kept.",
            false when plan.NodesApart == plan.NodesTogether => F($"Splitting does not pay: {plan.NodesApart:N0} nodes either way."),
            false => F($"Splitting does not pay: {plan.NodesTogether:N0} nodes do both, {plan.NodesApart:N0} would be needed apart."),
        };
        if (plan.NodesThere is not int there) yield break;
        double apart = plan.CarriedApart(there), together = plan.CarriedTogether(there);
        string carries = Math.Max(apart, together) > 0
            ? F($"within the goals its {Nodes(there)} carry {Number(together)} requests a second doing both, {Number(apart)} apart")
            : "its nodes keep the goals at no load";
        yield return Needed(plan) is not long needed ? F($"The cluster has {Nodes(there)}; {carries}.")
            : needed > there ? F($"The cluster has {Nodes(there)}, {needed:N0} are needed: {carries}.")
            : F($"The cluster has {Nodes(there)}, {needed:N0} are needed; {carries}.");
    }

    static long? Needed(ServingPlan plan) => (plan.NodesApart, plan.NodesTogether) switch
    {
        (long apart, long together) => Math.Min(apart, together),
        var (apart, together) => apart ?? together,
    };

    static string Redundant(string unit, string does, IReadOnlyList<RedundancyChoice> tried)
    {
        RedundancyChoice none = tried[0], best = RedundancyChoice.Best(tried);
        return best.SlotsPerGpu == none.SlotsPerGpu
            ? F($"Redundant experts, {unit} on {Nodes(best.Unit.Nodes)}: {best.Redundant} in all, what {best.SlotsPerGpu} experts a GPU leave beside {best.Unit.Experts}; more would not make it faster.")
            : F($"Redundant experts, {unit} on {Nodes(best.Unit.Nodes)}: {best.Redundant} in all, so {best.SlotsPerGpu} experts a GPU instead of {none.SlotsPerGpu}: the fullest GPU has {best.Balance:0.000} times the mean instead of {none.Balance:0.000}, and a node {does} at most {best.TokensPerSecondPerNode:N0} tokens a second instead of {none.TokensPerSecondPerNode:N0}.");
    }

    static string Least(IReadOnlyList<UnitChoice> choices, Func<ServiceOutcome, double> of) => Number(choices.Min(c => of(c.Outcome)));

    static string Units(UnitChoice choice) => F($"{choice.Units:N0} {(choice.Units == 1 ? "unit" : "units")} of {Nodes(choice.Unit.Nodes)}");

    static string Nodes(int nodes) => F($"{nodes:N0} {(nodes == 1 ? "node" : "nodes")}");

    static string Number(double value) => value >= 100 ? F($"{value:N0}") : F($"{value:0.###}");

    static IEnumerable<(string Heading, IReadOnlyList<string[]> Rows, string Note)> Tables(ServingPlan plan)
    {
        foreach ((string unit, IReadOnlyList<RedundancyChoice> tried) in new[] { ("prefilling", plan.Redundancy), ("decoding", plan.DecodeRedundancy) })
        {
            yield return (F($"Redundant experts of a {unit} unit of {Nodes(tried[0].Unit.Nodes)}"),
                [["experts a GPU", "redundant", "fullest/mean", "full step, ms", "tokens/s a node", "cache, tokens a GPU", ""],
                 .. tried.Select(r => new[] { F($"{r.SlotsPerGpu}"), F($"{r.Redundant}"), F($"{r.Balance:0.000}"), F($"{1000 * r.StepSeconds:0.0}"), F($"{r.TokensPerSecondPerNode:N0}"), r.CachePositions > 0 ? F($"{r.CachePositions:N0}") : "does not fit", r == RedundancyChoice.Best(tried) ? "proposed" : "" })],
                "Placed by one lot of tokens, measured on another. Proposed are the fewest within a hundredth of the fastest.");
        }

        foreach ((string heading, UnitRole role, IReadOnlyList<UnitChoice> choices, UnitChoice? best) in new[]
                 {
                     ("Prefilling units", UnitRole.Prefill, plan.Prefill, plan.BestPrefill), ("Decoding units", UnitRole.Decode, plan.Decode, plan.BestDecode), ("Units for both", UnitRole.Both, plan.Together, plan.BestTogether),
                 })
        {
            // Of each size the chunk that carries most.
            UnitChoice[] shown = [.. choices.GroupBy(c => c.Unit.Nodes).Select(size => size.OrderBy(c => c.Nodes == 0 ? long.MaxValue : c.Nodes).ThenByDescending(c => c.RequestsPerSecond).First())];
            yield return (heading, Filled(
                [["unit", "experts a GPU", "redundant", "chunk", "requests/s of a unit", "units", "nodes", "used", "first token, s", "next token, ms", "answers a GPU", ""],
                 .. shown.Select(c => new[]
                 {
                     F($"{c.Unit.Nodes}\u00a0×\u00a0{c.Unit.GpusPerNode}"), F($"{c.Unit.SlotsPerGpu}"), F($"{c.Unit.RedundantSlots}"), c.Chunk == 0 ? "" : F($"{c.Chunk}"), c.IsPossible ? Number(c.RequestsPerSecond) : "goal missed", c.IsPossible ? F($"{c.Units:N0}") : "", c.IsPossible ? F($"{c.Nodes:N0}") : "",
                     c.IsPossible ? F($"{100 * plan.Load.RequestsPerSecond / c.Units / c.RequestsPerSecond:0} %") : "", role == UnitRole.Decode ? "" : Shown(c.Outcome.FirstToken, "0.000"), role == UnitRole.Prefill ? "" : Shown(1000 * c.Outcome.NextToken, "0.0"), role == UnitRole.Prefill ? "" : F($"{c.Outcome.Running:0.0}"),
                     c == best ? "proposed" : "",
                 })]),
                "What a unit carries within the goals, and how much of it is used when the units share the load; times are those of nine of ten requests then."
                + (role == UnitRole.Decode ? "" : F($" Of the chunks tried ({string.Join(", ", choices.Select(c => c.Chunk).Distinct())}) the one that needs the fewest nodes; --json has all.")));
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

    static void Redundancy(Utf8JsonWriter json, string name, IReadOnlyList<RedundancyChoice> tried)
    {
        json.WriteStartArray(name);
        foreach (RedundancyChoice choice in tried)
        {
            json.WriteStartObject();
            json.WriteNumber("nodes_of_a_unit", choice.Unit.Nodes);
            json.WriteNumber("slots_per_gpu", choice.SlotsPerGpu);
            json.WriteNumber("redundant_experts", choice.Redundant);
            json.WriteNumber("balance", choice.Balance);
            json.WriteNumber("step_seconds", choice.StepSeconds);
            json.WriteNumber("tokens_per_second_per_node", choice.TokensPerSecondPerNode);
            json.WriteNumber("cache_positions", choice.CachePositions);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    static void Proposed(Utf8JsonWriter json, string name, UnitChoice? choice)
    {
        if (choice is null)
        {
            json.WriteNull(name);
            return;
        }

        json.WriteStartObject(name);
        json.WriteNumber("units", choice.Units);
        json.WriteNumber("nodes_of_a_unit", choice.Unit.Nodes);
        json.WriteNumber("slots_per_gpu", choice.Unit.SlotsPerGpu);
        json.WriteNumber("chunk", choice.Chunk);
        json.WriteNumber("requests_per_second_of_a_unit", choice.RequestsPerSecond);
        json.WriteEndObject();
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
            json.WriteNumber("redundant_experts", choice.Unit.RedundantSlots);
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

    static void Optional(Utf8JsonWriter json, string name, long? value)
    {
        if (value is long number) json.WriteNumber(name, number);
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
