using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Model;
using Hadal.Planning;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;
using Hadal.Tensors;
using Hadal.Training;
using Hadal.Training.Measurement;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench layer</c>: seconds of one block of each kind, of embedding, head, MTP and optimizer: what plans are priced with.</summary>
static class BenchLayerVerb
{
    public static Verb Create(Context context)
    {
        Option<string?> run = Options.Text("--run", "FILE", "A run.json: its model, batch, sequence length and recipe; its texts are not read.");
        Option<string?> preset = Options.Text("--preset", "NAME", $"A shape when there is no run.json: {string.Join(", ", ModelPresets.Names.Concat(KnownShapes.All.Select(shape => shape.Name)))}. [default: nano]");
        Option<int?> rows = Options.OptionalInteger("--rows", "Sequences of a micro-batch, instead of the run's.", 1, 65536);
        Option<int?> length = Options.OptionalInteger("--sequence-length", "Tokens of a sequence, instead of the run's.", 1, 1 << 20);
        Option<string?> recipe = Options.Text("--recipe", "NAME", "Precision, instead of the run's: a recipe's name or a .json file. [default: fp32]");
        Option<int> warmUp = Options.Integer("--warm-up", "Rounds that are not counted: the first ones compile.", 5, 0, 1000);
        Option<int> rounds = Options.Integer("--rounds", "Rounds whose median counts.", 15, 1, 10_000);
        Option<string?> output = Options.Text("--output", "FILE", "Also write the times to a file for hadal plan train --costs.");
        Option<bool> force = OutputFile.Force();
        Option<string> backend = Options.Backend();
        Option<bool> json = Options.Json();
        var verb = new Verb("layer", "Times forward, backward for the input and backward for the weights of one block of each kind, and the ends of the model: what hadal plan train is priced with.",
            "hadal bench layer", "hadal bench layer --preset nano --recipe fp8 --output layer.json", "hadal bench layer --run run.json --json > layer.json")
        {
            run, preset, rows, length, recipe, warmUp, rounds, output, force, json, backend,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(run) is not null && line.GetValue(preset) is not null)
                throw CommandError.WrongUse("Both --run and --preset were given.", "at most one of them", "leave one out");
            string? file = line.GetValue(output) is { } given ? OutputFile.Prepare(given, "layer.json", line.GetValue(force)) : null;
            TrainingWork work = Work(context, line.GetValue(run), line.GetValue(preset) ?? "nano", line.GetValue(recipe), line.GetValue(rows), line.GetValue(length), microBatches: null);
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            using var benchmark = new LayerBenchmark(device, work.Shape, work.Recipe, work.Rows, work.SequenceLength);
            LayerMeasurement measured;
            using (var progress = new ProgressLine(context.Terminal))
                measured = benchmark.Measure(line.GetValue(warmUp), line.GetValue(rounds), (done, all) => progress.Report("timing layers", done, all, "rounds"), context.Cancellation);
            LayerCosts costs = Costs(measured, work, $"{device.Name} ({device.Description})");
            if (file is not null) File.WriteAllText(file, costs.ToJson() + "\n");
            if (line.GetValue(json)) context.Terminal.WriteJson(costs.Write);
            else
                foreach (string row in Text(costs, work)) context.Terminal.Output.WriteLine(row);
            if (file is not null) context.Terminal.Error.WriteLine($"written to {file}");
            return ExitCode.Fine;
        });
        return verb;
    }

    /// <summary>A run's work, or a shape's by name.</summary>
    internal static TrainingWork Work(Context context, string? file, string preset, string? recipe, int? rows, int? length, int? microBatches)
    {
        (string Name, TransformerShape Shape)[] known = [.. KnownShapes.All.Where(shape => string.Equals(shape.Name, preset, StringComparison.Ordinal))];
        if (file is null && known.Length > 0)
            return new(preset, ModelSize.Of(known[0].Shape), Recipe.Find(recipe ?? "fp32"), length ?? 4096, rows ?? 1, microBatches ?? 1);
        var warnings = new List<string>();
        RunConfiguration run = file is null ? new RunConfiguration { Model = new ModelChoice { Preset = preset } } : RunConfiguration.Load(file, warnings);
        ModelFolder.Warn(warnings, context);
        return new(file is null ? preset : Path.GetFileName(file), ModelSize.Of(ModelLoader.Shape(ModelFiles.Configuration(run, run.Tokenizer.Vocabulary))), Recipe.Find(recipe ?? run.Recipe),
            length ?? run.Data.SequenceLength, rows ?? run.Batch.Rows, microBatches ?? run.Batch.MicroBatches);
    }

    /// <summary>A measurement as the planner takes it.</summary>
    internal static LayerCosts Costs(LayerMeasurement measured, TrainingWork work, string machine) => new()
    {
        Machine = machine, Model = LayerCosts.ShapeOf(work.Shape), Recipe = work.Recipe.Name, Rows = work.Rows, SequenceLength = work.SequenceLength, Dense = Block(measured.Dense),
        Sparse = Block(measured.Sparse), EmbeddingForward = measured.EmbeddingForward, EmbeddingBackward = measured.EmbeddingBackward, Head = measured.Head, MtpForward = measured.MtpForward,
        MtpBackward = measured.MtpBackward, OptimizerPerParameter = measured.OptimizerPerParameter,
    };

    static BlockTimes? Block(BlockSeconds? seconds) => seconds is { } block ? new(block.Forward, block.BackwardInput, block.BackwardWeights, block.Pair) : null;

    static IEnumerable<string> Text(LayerCosts costs, TrainingWork work)
    {
        yield return string.Create(CultureInfo.InvariantCulture, $"{work.Name}, recipe {costs.Recipe}, a micro-batch of {costs.Rows} × {costs.SequenceLength} tokens; medians");
        yield return $"{"",-28}{"F",11}{"b",11}{"W",11}{"F+b+W",11}{"F&B",11}";
        foreach ((string name, BlockTimes? block) in ((string, BlockTimes?)[])[("block without experts", costs.Dense), ("block with experts", costs.Sparse)])
            if (block is not null) yield return Line(name, block.Forward, block.BackwardInput, block.BackwardWeights) + $"{(block.Pair is { } pair ? PlanText.Seconds(pair) : ""),11}";
        yield return Line("embedding", costs.EmbeddingForward, costs.EmbeddingBackward, 0);
        yield return Line("head, losses, gradients", costs.Head, 0, 0);
        if (work.Shape.MtpDepth > 0) yield return Line("MTP module with its head", costs.MtpForward, costs.MtpBackward, 0);
        yield return string.Create(CultureInfo.InvariantCulture, $"optimizer {1e9 * costs.OptimizerPerParameter:0.00} ns a parameter");

        static string Line(string name, double f, double b, double w) => $"{name,-28}{PlanText.Seconds(f),11}{PlanText.Seconds(b),11}{PlanText.Seconds(w),11}{PlanText.Seconds(f + b + w),11}";
    }
}
