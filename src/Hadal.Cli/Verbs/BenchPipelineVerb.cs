using System.Collections.Immutable;
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Hadal.Cli.Framework;
using Hadal.Parallel.Drawing;
using Hadal.Parallel.Schedules;
using Hadal.Planning;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;
using Hadal.Tensors;
using Hadal.Training;
using Hadal.Training.Measurement;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench pipeline</c>: a schedule planned and run with the real layers on ranks of this process, side by side; or all schedules in turns (<see cref="BenchPipelineComparison"/>).</summary>
static class BenchPipelineVerb
{
    public static Verb Create(Context context)
    {
        Option<string?> run = Options.Text("--run", "FILE", "A run.json: its model, batch rows, sequence length and recipe; its texts are not read.");
        Option<string?> preset = Options.Text("--preset", "NAME", $"A preset when there is no run.json: {string.Join(", ", ModelPresets.Names)}. [default: nano]");
        Option<string> schedule = Options.Choice("--schedule", "The schedule; not of --compare, which runs all.", "dualpipe", "dualpipev", "zb1p", "1f1b");
        Option<bool> compare = Options.Switch("--compare", "All schedules in turns: waiting by the formula, executed on a simulated clock, and measured; one rank alone beside them.");
        Option<bool> balanced = Options.Switch("--balanced", "Chunks that cost the same: experts in every layer, no MTP, a vocabulary of 64, --layers layers in each stage of DualPipeV.");
        Option<int> layers = Options.Integer("--layers", "Of --balanced: layers of a stage of DualPipeV, which has two stages a rank.", 2, 1, 64);
        Option<string?> output = Options.Text("--output", "FILE", "Of --compare: also write every round, the times of the layers among them, as JSON.");
        Option<int> ranks = Options.Integer("--ranks", "Ranks of the pipeline, each a thread with a backend of its own.", 2, 1, 16);
        Option<int> microBatches = Options.Integer("--micro-batches", "Micro-batches of a step.", 8, 1, 256);
        Option<int?> rows = Options.OptionalInteger("--rows", "Sequences of a micro-batch, instead of the run's.", 1, 4096);
        Option<int?> length = Options.OptionalInteger("--sequence-length", "Tokens of a sequence, instead of the run's.", 1, 1 << 16);
        Option<string?> recipe = Options.Text("--recipe", "NAME", "Precision, instead of the run's: a recipe's name or a .json file. [default: fp32]");
        Option<int> warmUp = Options.Integer("--warm-up", "Steps that are not counted: the first ones compile.", 3, 0, 1000);
        Option<int> steps = Options.Integer("--steps", "Steps that are traced, rounds of --compare; the median counts.", 5, 1, 1000);
        Option<string?> trace = Options.Text("--trace", "FILE", "Write the traced step of the median as a picture, SVG.");
        Option<bool> force = OutputFile.Force();
        Option<bool> json = Options.Json();
        var verb = new Verb("pipeline", "Times the layers, plans a step from them, runs the same schedule with the real layers on ranks of this process, and shows the planned beside the traced times.",
            "hadal bench pipeline", "hadal bench pipeline --schedule 1f1b --ranks 2 --micro-batches 8 --json", "hadal bench pipeline --trace traced.svg",
            "hadal bench pipeline --compare --balanced --steps 9 --output pipeline.json", "hadal bench pipeline --compare --balanced --preset tiny --ranks 8 --micro-batches 20 --rows 1 --sequence-length 16")
        {
            run, preset, schedule, ranks, microBatches, rows, length, recipe, warmUp, steps, trace, compare, balanced, layers, output, force, json,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(run) is not null && line.GetValue(preset) is not null)
                throw CommandError.WrongUse("Both --run and --preset were given.", "at most one of them", "leave one out");
            string? picture = line.GetValue(trace) is { } given ? OutputFile.Prepare(given, "trace.svg", line.GetValue(force)) : null;
            ScheduleKind kind = Enum.GetValues<ScheduleKind>().First(k => string.Equals(PipelineSchedule.Name(k), line.GetRequiredValue(schedule), StringComparison.Ordinal));
            int count = line.GetValue(ranks), batches = line.GetValue(microBatches);
            bool all = line.GetValue(compare);
            if (all && picture is not null) throw CommandError.WrongUse("Both --compare and --trace were given.", "at most one of them", "leave one out, or choose one --schedule to trace");
            if (!all && line.GetValue(output) is not null) throw CommandError.WrongUse("--output was given without --compare.", "both", "add --compare, or use --json");
            if ((all ? BenchPipelineComparison.Refusal(count, batches) : PipelineSchedule.Refusal(kind, count, batches)) is { } reason) throw CommandError.WrongUse(reason, fix: "change --ranks, --micro-batches or --schedule");
            TrainingWork work = BenchLayerVerb.Work(context, line.GetValue(run), line.GetValue(preset) ?? "nano", line.GetValue(recipe), line.GetValue(rows), line.GetValue(length), batches);
            if (line.GetValue(balanced)) work = work with { Name = work.Name + ", balanced", Size = ModelSize.Of(PipelineBenchmark.Balanced(work.Shape, 2 * count, line.GetValue(layers))) };
            IBackend Make() => Backends.Make("cpu", threads: 1);
            string machine;
            using (IBackend one = Make()) machine = $"{one.Name} ({one.Description})";
            context.Terminal.SayBackend($"{machine}, one for each of {count} ranks");
            if (all)
            {
                string? rounds = line.GetValue(output) is { } path ? OutputFile.Prepare(path, "pipeline.json", line.GetValue(force)) : null;
                BenchPipelineComparison.Run(context, work, Make, machine, Cluster(count), line.GetValue(warmUp), line.GetValue(steps), rounds, line.GetValue(json));
                return ExitCode.Fine;
            }

            LayerMeasurement measured = PipelineBenchmark.Layers(count, Make, work.Shape, work.Recipe, work.Rows, work.SequenceLength, 3, 9, context.Cancellation);
            LayerCosts costs = BenchLayerVerb.Costs(measured, work, $"{machine}, {count} ranks at once");
            TrainingPlan plan = TrainingPlanner.Plan(work, Cluster(count), costs, new(count, 1, 1), kind);
            ImmutableArray<TimedSchedule> traced = PipelineBenchmark.Run(
                plan.Timed.Schedule, Make, work.Shape, work.Recipe, work.Rows, work.SequenceLength, line.GetValue(warmUp), line.GetValue(steps), plan.Timed.Costs, context.Cancellation);
            TimedSchedule median = traced.OrderBy(timed => timed.Makespan).ElementAt(traced.Length / 2);
            if (picture is not null) File.WriteAllText(picture, new ScheduleDrawing(median).ToSvg());
            if (line.GetValue(json)) context.Terminal.WriteJson(writer => WriteJson(writer, plan, median, traced));
            else
                foreach (string text in Text(plan, median, traced)) context.Terminal.Output.WriteLine(text);
            if (picture is not null) context.Terminal.Error.WriteLine($"written to {picture}");
            return ExitCode.Fine;
        });
        return verb;
    }

    // Messages between threads are copies in memory; what they take is far below the steps.
    static ClusterDescription Cluster(int ranks) => new()
    {
        Name = "this machine", Nodes = 1, GpusPerNode = ranks, MemoryBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes, ReservedBytes = 0, PeakFlops = 1e12, MemoryBandwidth = 1e10, NodeBandwidth = 5e9,
        NetworkBandwidth = 5e9, NodeLatency = 20e-6, NetworkLatency = 20e-6,
    };

    static IEnumerable<string> Text(TrainingPlan plan, TimedSchedule median, ImmutableArray<TimedSchedule> traced)
    {
        PipelineSchedule schedule = plan.Timed.Schedule;
        yield return string.Create(CultureInfo.InvariantCulture,
            $"{plan.Work.Name}, recipe {plan.Work.Recipe.Name}, {PipelineSchedule.Title(schedule.Kind)}: {schedule.Ranks} ranks, {schedule.MicroBatches} micro-batches of {plan.Work.Rows} × {plan.Work.SequenceLength} tokens");
        yield return $"{"",-26}{"planned",12}{"traced",12}{"difference",12}";
        yield return Line("pipeline", plan.Timed.Makespan, median.Makespan);
        for (int rank = 0; rank < schedule.Ranks; rank++)
        {
            yield return Line($"rank {rank} computes", plan.Timed.Busy(rank), median.Busy(rank));
            yield return Line($"rank {rank} waits", plan.Timed.Idle(rank), median.Idle(rank));
        }

        foreach ((string symbol, double planned, double found) in Kinds(plan, median)) yield return Line($"{symbol}, mean", planned, found);
        yield return string.Create(CultureInfo.InvariantCulture, $"traced steps took {string.Join(", ", traced.Select(timed => PlanText.Seconds(timed.Makespan)))}");

        static string Line(string what, double planned, double traced) => string.Create(CultureInfo.InvariantCulture,
            $"{what,-26}{PlanText.Seconds(planned),12}{PlanText.Seconds(traced),12}{(planned > 0 ? $"{100 * ((traced / planned) - 1):+0.0;-0.0} %" : ""),12}");
    }

    static IEnumerable<(string Symbol, double Planned, double Traced)> Kinds(TrainingPlan plan, TimedSchedule median)
    {
        PipelineSchedule schedule = plan.Timed.Schedule;
        (ScheduleStep Step, double Planned, double Traced)[] all =
            [.. Enumerable.Range(0, schedule.Ranks).SelectMany(rank => schedule.Steps[rank].Select((step, i) => (step, plan.Timed.Duration(rank, i), median.Duration(rank, i)))).Where(entry => !entry.step.IsCommunication)];
        return all.GroupBy(entry => entry.Step.Symbol, StringComparer.Ordinal).OrderBy(group => group.Key, StringComparer.Ordinal).Select(group => (group.Key, group.Average(entry => entry.Planned), group.Average(entry => entry.Traced)));
    }

    static void WriteJson(Utf8JsonWriter json, TrainingPlan plan, TimedSchedule median, ImmutableArray<TimedSchedule> traced)
    {
        PipelineSchedule schedule = plan.Timed.Schedule;
        json.WriteString("model", plan.Work.Name);
        json.WriteString("recipe", plan.Work.Recipe.Name);
        json.WriteString("schedule", PipelineSchedule.Name(schedule.Kind));
        json.WriteNumber("ranks", schedule.Ranks);
        json.WriteNumber("micro_batches", schedule.MicroBatches);
        json.WriteNumber("planned_seconds", plan.Timed.Makespan);
        json.WriteNumber("traced_seconds", median.Makespan);
        json.WriteStartArray("traced_steps");
        foreach (TimedSchedule timed in traced) json.WriteNumberValue(timed.Makespan);
        json.WriteEndArray();
        json.WriteStartArray("rank_seconds");
        for (int rank = 0; rank < schedule.Ranks; rank++)
        {
            json.WriteStartObject();
            json.WriteNumber("planned_busy", plan.Timed.Busy(rank));
            json.WriteNumber("traced_busy", median.Busy(rank));
            json.WriteNumber("planned_idle", plan.Timed.Idle(rank));
            json.WriteNumber("traced_idle", median.Idle(rank));
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartObject("step_means");
        foreach ((string symbol, double planned, double found) in Kinds(plan, median))
        {
            json.WriteStartArray(symbol);
            json.WriteNumberValue(planned);
            json.WriteNumberValue(found);
            json.WriteEndArray();
        }

        json.WriteEndObject();
    }
}
