using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Tensors;
using Hadal.Training;
using Hadal.Training.Measurement;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench step</c>: training tokens per second, and where the time of a step goes.</summary>
static class BenchStepVerb
{
    public static Verb Create(Context context)
    {
        Option<string?> run = Options.Text("--run", "FILE", "A run.json: its model, batch, sequence length and vocabulary; its texts are not read.");
        Option<string?> preset = Options.Text("--preset", "NAME", $"A preset when there is no run.json: {string.Join(", ", ModelPresets.Names)}. [default: nano]");
        Option<int> warmUp = Options.Integer("--warm-up", "Steps that are not counted: the first ones compile.", 10, 0, 1000);
        Option<int> steps = Options.Integer("--steps", "Steps that are timed; the median counts.", 15, 1, 100_000);
        Option<int> profiled = Options.Integer("--profiled-steps", "Further steps that are timed operation by operation, of which the fastest is shown; 0 for none.", 5, 0, 1000);
        Option<int?> rows = Options.OptionalInteger("--rows", "Sequences of a micro-batch, instead of the run's.", 1, 65536);
        Option<int?> length = Options.OptionalInteger("--sequence-length", "Tokens of a sequence, instead of the run's.", 1, 1 << 20);
        Option<string?> recipe = Options.Text("--recipe", "NAME", "Precision, instead of the run's: a recipe's name or a .json file. [default: fp32]");
        Option<string?> against = Options.Text("--against", "NAME", "Time steps under this recipe too, in turn with those of --recipe, and give the quotient.");
        Option<bool> record = Options.Switch("--record", "Measure as well what the flight recorder costs: steps that are recorded in turn with steps that are not.");
        Option<bool> shapes = Options.Switch("--shapes", "List the matrix products by shape as well.");
        Option<string> backend = Options.Backend();
        Option<bool> json = Options.Json();
        var verb = new Verb("step", "Times the trainer's step on random rows and shows where the time goes, by operation.",
            "hadal bench step", "hadal bench step --preset nano --steps 30 --json", "hadal bench step --run run.json --profiled-steps 0", "hadal bench step --recipe fp8 --record --profiled-steps 0",
            "hadal bench step --recipe fp8 --against fp32")
        {
            run, preset, warmUp, steps, profiled, rows, length, shapes, recipe, against, record, backend, json,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(run) is not null && line.GetValue(preset) is not null)
                throw CommandError.WrongUse("Both --run and --preset were given.", "at most one of them", "leave one out");
            RunConfiguration configuration = Configuration(context, line.GetValue(run), line.GetValue(preset) ?? "nano");
            configuration = configuration with
            {
                Recipe = line.GetValue(recipe) ?? configuration.Recipe,
                Batch = configuration.Batch with { Rows = line.GetValue(rows) ?? configuration.Batch.Rows },
                Data = configuration.Data with { SequenceLength = line.GetValue(length) ?? configuration.Data.SequenceLength },
            };
            if (line.GetValue(against) is string compared) Hadal.Model.Recipe.Find(compared);
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            StepMeasurement measured = StepBenchmark.Measure(
                configuration, device, line.GetValue(warmUp), line.GetValue(steps), line.GetValue(profiled), context.Cancellation);
            RecordingCost? cost = line.GetValue(record) ? StepBenchmark.MeasureRecording(configuration, device, line.GetValue(warmUp), line.GetValue(steps), context.Cancellation) : null;
            RecipeComparison? comparison = line.GetValue(against) is string other ? StepBenchmark.Compare(configuration, other, device, line.GetValue(warmUp), line.GetValue(steps), context.Cancellation) : null;
            if (line.GetValue(json)) WriteJson(context.Terminal, configuration, device, measured, cost, comparison);
            else WriteText(context.Terminal.Output, configuration, measured, line.GetValue(shapes), cost, comparison);
            return ExitCode.Fine;
        });
        return verb;
    }

    static RunConfiguration Configuration(Context context, string? file, string preset)
    {
        if (file is null) return new RunConfiguration { Model = new ModelChoice { Preset = preset } };
        var warnings = new List<string>();
        RunConfiguration run = RunConfiguration.Load(file, warnings);
        foreach (string warning in warnings) context.Terminal.Error.WriteLine($"warning: {warning}");
        return run;
    }

    static void WriteText(TextWriter output, RunConfiguration run, StepMeasurement measured, bool shapes, RecordingCost? cost, RecipeComparison? comparison)
    {
        double[] sorted = [.. measured.StepSeconds.Order()];
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{run.Model.Preset ?? run.Model.ConfigFile}: {measured.Parameters / 1e6:F2}M parameters, {measured.ActiveParameters / 1e6:F2}M active; {run.Batch.MicroBatches} x {run.Batch.Rows} x {run.Data.SequenceLength} tokens a step"));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{measured.TokensPerSecond:F0} tokens/s; step {1000 * measured.MedianSeconds:F1} ms median, {1000 * sorted[0]:F1} to {1000 * sorted[^1]:F1} ms over {sorted.Length} steps; {measured.AllocatedBytes} bytes allocated in them"));
        if (cost is not null)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"recording: a recorded step takes {1000 * cost.RecordedSeconds:F1} ms, one beside it {1000 * cost.PlainSeconds:F1} ms (medians); every {RecordingConfiguration.UsualEvery}th step recorded costs {100 * cost.Share(RecordingConfiguration.UsualEvery):F2} % of the time; {cost.Tensors} tensors, {cost.StepBytes:N0} bytes a recorded step"));
        }

        if (comparison is not null)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{run.Recipe} against {comparison.Recipe}: {comparison.Ratio:F2} times as long ({1000 * comparison.Seconds:F1} ms and {1000 * comparison.OtherSeconds:F1} ms, medians of steps in turn)"));
        }

        if (measured.Operations.Count == 0) return;
        output.WriteLine();
        foreach (string line in BenchVerb.ProfileLines(measured.Operations, measured.ProfiledSeconds, 1)) output.WriteLine(line);
        if (!shapes) return;
        output.WriteLine();
        foreach (string line in BenchVerb.ProductLines(measured.Products, measured.ProfiledSeconds)) output.WriteLine(line);
    }

    static void WriteJson(Terminal terminal, RunConfiguration run, IBackend backend, StepMeasurement measured, RecordingCost? cost, RecipeComparison? comparison) => terminal.WriteJson(json =>
    {
        json.WriteString("model", run.Model.Preset ?? run.Model.ConfigFile);
        json.WriteString("backend", backend.Name);
        json.WriteString("description", backend.Description);
        json.WriteNumber("parameters", measured.Parameters);
        json.WriteNumber("active_parameters", measured.ActiveParameters);
        json.WriteNumber("micro_batches", run.Batch.MicroBatches);
        json.WriteNumber("rows", run.Batch.Rows);
        json.WriteNumber("sequence_length", run.Data.SequenceLength);
        json.WriteNumber("tokens_per_second", measured.TokensPerSecond);
        json.WriteNumber("median_step_seconds", measured.MedianSeconds);
        json.WriteNumber("allocated_bytes", measured.AllocatedBytes);
        if (cost is not null)
        {
            json.WriteNumber("unrecorded_step_seconds", cost.PlainSeconds);
            json.WriteNumber("recorded_step_seconds", cost.RecordedSeconds);
            json.WriteNumber("recorded_step_bytes", cost.StepBytes);
        }

        if (comparison is not null)
        {
            json.WriteString("against", comparison.Recipe);
            json.WriteNumber("against_step_seconds", comparison.OtherSeconds);
            json.WriteNumber("ratio", comparison.Ratio);
        }

        json.WriteStartArray("step_seconds");
        foreach (double seconds in measured.StepSeconds) json.WriteNumberValue(seconds);
        json.WriteEndArray();
        if (measured.Operations.Count == 0) return;
        json.WriteNumber("profiled_step_seconds", measured.ProfiledSeconds);
        BenchVerb.WriteProfile(json, measured.Operations, 1);
    });
}
