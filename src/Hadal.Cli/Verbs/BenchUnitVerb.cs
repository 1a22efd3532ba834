using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Hadal.Cli.Framework;
using Hadal.Model;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Serving;
using Hadal.Planning.Serving;
using Hadal.Tensors.Operations;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench unit</c>: a serving unit whose ranks really run, small, on a virtual cluster.</summary>
static class BenchUnitVerb
{
    public static Verb Create(Context context)
    {
        Option<string> kind = Options.Choice("--kind", "prefill: rows through nodes, 4 nodes with a redundant expert a GPU; decode: rows straight to each GPU, 18 nodes.", "prefill", "decode");
        Option<int?> nodes = Options.OptionalInteger("--nodes", "Nodes; 4 for prefill and 18 for decode unless given.", 1, 512);
        Option<int> gpus = Options.Integer("--gpus", "GPUs of a node; each is a rank, a thread of this process.", 8, 1, 64);
        Option<int?> slots = Options.OptionalInteger("--slots", "Experts of a GPU in each layer, redundant ones included; the fewest that leave some redundant unless given.", 1, 4096);
        Option<int> layers = Options.Integer("--layers", "Layers that run; the model's others are taken to be like them.", 3, 2, 64);
        Option<int> tokens = Options.Integer("--tokens", "Tokens of a rank in each of two micro-batches; they stand for the model's.", 32, 1, 4096);
        Option<int> steps = Options.Integer("--steps", "Steps.", 20, 1, 100_000);
        Option<double> minutes = Options.Real("--step-minutes", "Time from one step to the next on the placement's clock.", 2.5, 0.001, 1e4);
        Option<double> interval = Options.Real("--interval-minutes", "Time between two looks at the placement.", 10, 0.001, 1e5);
        Option<int> rounds = Options.Integer("--rounds", "Rounds of moving experts after a step: in each a GPU sends one expert and gets one.", 8, 1, 4096);
        Option<string?> routing = Options.Text("--routing", "FILE", "Recorded routing, from hadal inspect experts --output; the gate then has its numbers of experts.");
        Option<double> window = Options.Real("--window-minutes", "How long a window of recorded routing lasts.", 10, 0.001, 1e4);
        Option<double> skew = Options.Real("--skew", "Without --routing: popularity of experts falls as 1/place^X; 0 is even.", 0.5, 0, 5);
        Option<double> drift = Options.Real("--drift-minutes", "Without --routing: how long one order of popularity takes to become the next; 0: it stays.", 0, 0, 1e6);
        Option<Recipe> recipe = Options.Recipe();
        recipe.DefaultValueFactory = _ => Recipe.Fp8;
        Option<ulong> seed = Options.Seed();
        Option<bool> json = Options.Json();
        var verb = new Verb("unit", "Runs a serving unit on a virtual cluster: every GPU a rank with small experts of its own, the gate, dispatch and combine with redundant experts, and the placement that follows the load while tokens go on. Checks every row against one rank with all experts, every moved weight, and every byte on every port against the formula; shows balance and the time of a layer with the model's links and arithmetic. Exit code 1 when a bit or a byte is wrong.",
            "hadal bench unit", "hadal bench unit --kind decode --tokens 8 --steps 8 --step-minutes 5", "hadal bench unit --nodes 2 --gpus 4 --skew 1 --json", "hadal bench unit --routing routing.json --window-minutes 20")
        {
            kind, nodes, gpus, slots, layers, tokens, steps, minutes, interval, rounds, routing, window, skew, drift, recipe, seed, json,
        };
        verb.SetAction(line =>
        {
            bool prefill = string.Equals(line.GetRequiredValue(kind), "prefill", StringComparison.Ordinal);
            RoutingRecord? record = line.GetValue(routing) is { } file ? PlanServeVerb.Record(file) : null;
            TransformerShape shape = KnownShapes.V3671B;
            if (record is not null) shape = shape with { Gate = shape.Gate with { Experts = record.Experts, TopK = record.TopK, Groups = record.Groups, TopGroups = record.TopGroups } };
            GateParameters gate = shape.Gate;
            int ofUnit = line.GetValue(nodes) ?? (prefill ? 4 : 18), all = ofUnit * line.GetValue(gpus), least = (gate.Experts + all - 1) / all;
            var unit = new ExpertUnit(gate.Experts, gate.Groups, ofUnit, line.GetValue(gpus), line.GetValue(slots) ?? (least * all > gate.Experts ? least : least + 1));
            if (all > InProcessRanks.Most) throw CommandError.Failed($"{ofUnit} nodes of {line.GetValue(gpus)} GPUs are {all} ranks.", $"at most {InProcessRanks.Most}", "give fewer --nodes or --gpus");
            var options = new UnitRunOptions
            {
                Unit = unit, Path = prefill ? UnitPath.ThroughNodes : UnitPath.Straight, Gate = gate, Layers = line.GetValue(layers), Tokens = line.GetValue(tokens), Steps = line.GetValue(steps),
                StepTime = TimeSpan.FromMinutes(line.GetValue(minutes)), Rounds = line.GetValue(rounds), Recipe = line.GetRequiredValue(recipe),
                Work = prefill ? new(16_384, 16_384 * 2048.5, 0, 0) : new(0, 0, 128, 128 * 4989.0), Policy = new PlacementPolicy { Interval = TimeSpan.FromMinutes(line.GetValue(interval)), LeastCountsPerExpert = 5 },
            };
            try
            {
                IRoutingSource source = record is not null
                    ? new RecordedRouting(record, TimeSpan.FromMinutes(line.GetValue(window)))
                    : new SyntheticRouting(gate, line.GetValue(skew), line.GetValue(drift) == 0 ? null : TimeSpan.FromMinutes(line.GetValue(drift)), line.GetValue(seed));
                UnitRunReport report;
                using (var progress = new ProgressLine(context.Terminal))
                    report = UnitRun.Run(options, source, new ServingCosts(new ServingModel(shape), ServingHardware.H800, unit.SlotsPerGpu), done => progress.Report("running", done, options.Steps, "steps"), context.Cancellation);
                if (line.GetValue(json)) context.Terminal.WriteJson(writer => WriteJson(writer, report));
                else
                    foreach (string row in Text(report)) context.Terminal.Output.WriteLine(row);
                return report.IsRight ? ExitCode.Fine : ExitCode.Failed;
            }
            catch (Exception exception) when (exception is ArgumentException or NotSupportedException)
            {
                throw CommandError.Failed(exception.Message);
            }
            catch (RankLostException) when (context.Cancellation.IsCancellationRequested)
            {
                throw new OperationCanceledException(context.Cancellation);
            }
        });
        return verb;
    }

    static IEnumerable<string> Text(UnitRunReport report)
    {
        UnitRunOptions options = report.Options;
        ExpertUnit unit = options.Unit;
        yield return F($"{unit.Gpus} ranks, {unit.Nodes} nodes of {unit.GpusPerNode}, {unit.Experts} experts in {unit.Slots} slots, {options.Layers} layers, {(options.Path == UnitPath.ThroughNodes ? "rows through nodes" : "rows straight")}, {options.Recipe.Name}; {report.Routing}");
        yield return F($"2 x {options.Tokens} tokens of {options.Hidden} elements on a rank stand for {options.Work.Tokens:0} of the model; times are of the simulated clock");
        yield return "";
        yield return F($"{"minute",7} {"fullest/mean",13} {"layer, ms",10} {"priced as here",15} {"as published",13} {"experts moved",14} {"GB",8} {"ms",8}  switched");
        foreach (UnitRunStep step in report.Steps)
        {
            yield return F($"{step.Time.TotalMinutes,7:0.#} {step.Balance,13:0.000} {1e3 * step.LayerSeconds,10:0.000} {1e3 * step.PricedAloneSeconds,15:0.000} {1e3 * step.PricedSeconds,13:0.000} {step.MovedBytes / report.ExpertBytes,14:0} {step.MovedBytes / 1e9,8:0.00} {1e3 * step.MoveSeconds,8:0.00}  {(step.Switched == 0 ? "" : F($"{step.Switched} layers"))}");
        }

        yield return "";
        foreach (string decision in report.Decisions.Select(decision => decision.Reason)) yield return decision;
        yield return "";
        if (report.After.Any())
            yield return F($"fullest GPU over the mean: {report.Before.Average(s => s.Balance):0.000} before the first change and {report.After.Average(s => s.Balance):0.000} after it; a layer {1e3 * report.Before.Average(s => s.LayerSeconds):0.000} and {1e3 * report.After.Average(s => s.LayerSeconds):0.000} ms");
        yield return F($"rows: {report.CheckedRows - report.WrongRows:N0} of {report.CheckedRows:N0} have the bits of one rank with all experts");
        yield return F($"slots: {report.CheckedSlots - report.WrongSlots:N0} of {report.CheckedSlots:N0} have the bits of their expert");
        yield return F($"bytes: {report.Ports.Sum(p => p.BetweenOut):N0} between nodes and {report.Ports.Sum(p => p.InsideOut):N0} inside; {report.Ports.Count - report.WrongPorts} of {report.Ports.Count} GPUs have on each port what the formula counts; a token went to at most {report.NodesPerToken} nodes");
        if (!report.IsRight) yield return "WRONG: see the lines above.";
    }

    static void WriteJson(Utf8JsonWriter json, UnitRunReport report)
    {
        json.WriteNumber("nodes", report.Options.Unit.Nodes);
        json.WriteNumber("gpus", report.Options.Unit.Gpus);
        json.WriteNumber("experts", report.Options.Unit.Experts);
        json.WriteNumber("slots", report.Options.Unit.Slots);
        json.WriteString("path", report.Options.Path == UnitPath.ThroughNodes ? "through nodes" : "straight");
        json.WriteString("recipe", report.Options.Recipe.Name);
        json.WriteString("routing", report.Routing);
        json.WriteBoolean("right", report.IsRight);
        json.WriteNumber("checked_rows", report.CheckedRows);
        json.WriteNumber("wrong_rows", report.WrongRows);
        json.WriteNumber("checked_slots", report.CheckedSlots);
        json.WriteNumber("wrong_slots", report.WrongSlots);
        json.WriteNumber("wrong_ports", report.WrongPorts);
        json.WriteNumber("nodes_per_token", report.NodesPerToken);
        json.WriteNumber("bytes_between_nodes", report.Ports.Sum(p => p.BetweenOut));
        json.WriteNumber("bytes_inside_nodes", report.Ports.Sum(p => p.InsideOut));
        json.WriteStartArray("steps");
        foreach (UnitRunStep step in report.Steps)
        {
            json.WriteStartObject();
            json.WriteNumber("minute", step.Time.TotalMinutes);
            json.WriteNumber("balance", step.Balance);
            json.WriteNumber("layer_seconds", step.LayerSeconds);
            json.WriteNumber("priced_seconds_as_here", step.PricedAloneSeconds);
            json.WriteNumber("priced_seconds_as_published", step.PricedSeconds);
            json.WriteNumber("moved_bytes", step.MovedBytes);
            json.WriteNumber("move_seconds", step.MoveSeconds);
            json.WriteNumber("switched_layers", step.Switched);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("decisions");
        foreach (PlacementDecision decision in report.Decisions) json.WriteStringValue(decision.Reason);
        json.WriteEndArray();
    }

    static string F(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
