using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Diagnosis;
using Hadal.Cli.Framework;
using Hadal.Cli.Training;
using Hadal.Tensors;
using Hadal.Training;
using Hadal.Training.Experiments;
using Hadal.Training.Running;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal experiment NAME</c>: a question of the report, asked of a small model.</summary>
static class ExperimentVerb
{
    const string Findings = "## What it shows";

    static readonly string[] s_names = [.. Experiment.All.Select(e => e.Name), PromotionExperiment.Name];

    public static Verb Create(Context context)
    {
        string names = string.Join(", ", s_names);
        var name = new Argument<string?>("NAME") { Description = $"One of {names}; left out, they are listed.", Arity = ArgumentArity.ZeroOrOne };
        Option<int> steps = Options.Integer("--steps", "Steps of each variant, of 512 tokens.", 300, 2, 1_000_000);
        Option<ulong> seed = Options.Seed(1);
        string more = string.Concat(Experiment.All.Where(e => e.Seeds > 1).GroupBy(e => e.Seeds).Select(g => $"; {g.Key} for {string.Join(" and ", g.Select(e => e.Name))}"));
        Option<int?> seeds = Options.OptionalInteger("--seeds", $"Run all variants with so many seeds, from --seed on. [default: 1{more}]", 1, 1000);
        Option<string?> data = Options.Text("--data", "TEXT", "Ask it of your own text instead of the bundled novels: a folder, a file of several documents, or arithmetic:N.");
        Option<string?> output = Options.Text("--out", "FILE.md", "Write a page with question, command, machine and table there, the curves as a PNG and everything measured as JSON beside it; with FILE.json the JSON alone.");
        var from = new Option<string[]>("--from") { Description = "Run nothing: make the page from JSON files of earlier runs, put together (other seeds, say).", HelpName = "FILE.json", AllowMultipleArgumentsPerToken = true };
        var variants = new Option<string[]>("--variant") { Description = "Run this variant only; may be given several times. Put the files of all together with --from.", HelpName = "NAME" };
        Option<string> backend = Options.Backend();
        var verb = new Verb("experiment", "Asks a question of the report of a model that trains in minutes on two cores: what changes when one thing is changed?",
            "hadal experiment", "hadal experiment mtp --steps 300 --out docs/experiments/mtp.md", "hadal experiment moments --data books/", "hadal experiment fp8-loss --from seed1.json seed2.json --out fp8-loss.md")
        {
            name, steps, seed, seeds, variants, data, output, from, backend,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(name) is not string chosen)
            {
                foreach (string each in s_names) context.Terminal.Output.WriteLine($"{each,-16} {Summary(each)}");
                context.Terminal.Error.WriteLine("hadal experiment NAME asks one of them: about a minute a variant on an idle core.");
                return ExitCode.Fine;
            }

            if (Array.IndexOf(s_names, chosen) < 0) throw CommandError.WrongUse($"There is no experiment '{chosen}'.", names, "hadal experiment lists them with their questions");
            string[] files = line.GetValue(from) ?? [];
            ExperimentReport report;
            if (files.Length > 0)
            {
                report = Read(files, chosen);
            }
            else
            {
                using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
                report = Run(chosen, line.GetValue(steps), line.GetValue(seed), line.GetValue(seeds), line.GetValue(variants) ?? [], line.GetValue(data), device, context);
            }

            context.Terminal.Output.Write(report.TableText());
            if (line.GetValue(output) is string path) Write(path, report);
            return ExitCode.Fine;
        });
        return verb;
    }

    static string Question(string name) => Experiment.All.FirstOrDefault(e => string.Equals(e.Name, name, StringComparison.Ordinal))?.Question ?? PromotionExperiment.Question;

    static string Summary(string name) => Experiment.All.FirstOrDefault(e => string.Equals(e.Name, name, StringComparison.Ordinal))?.Summary ?? PromotionExperiment.Summary;

    static ExperimentReport Run(string name, int steps, ulong firstSeed, int? givenSeeds, string[] only, string? data, IBackend device, Context context)
    {
        var report = new ExperimentReport
        {
            Name = name, Date = DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture), Setting = PromotionExperiment.Setting,
            Machine = $"{Machine.OperatingSystem}, {Machine.Processors} processors, {device.Name} ({device.Description})", Command = $"hadal experiment {name} --seed {firstSeed}",
        };
        if (Experiment.All.FirstOrDefault(e => string.Equals(e.Name, name, StringComparison.Ordinal)) is not { } experiment)
        {
            if (data is not null || only.Length > 0 || givenSeeds is not null) throw CommandError.WrongUse($"'{name}' trains nothing, so it has no text, variants or seeds.", "--seed at most", "leave --data, --variant and --seeds out");
            (IReadOnlyList<string[]> rows, IReadOnlyList<ReportSeries> lines) = PromotionExperiment.Run(device, firstSeed, context.Terminal.Error.WriteLine, context.Cancellation);
            return report with { Rows = rows, Lines = lines, Axes = ("depth of the product", "error, %") };
        }

        int count = givenSeeds ?? experiment.Seeds;
        var results = new List<VariantResult>();
        RunConfiguration run = data is null ? Experiment.Base(steps, firstSeed) : Experiment.Base(steps, firstSeed, data);
        string[] known = [.. experiment.Variants(run).Select(v => v.Name)];
        if (only.FirstOrDefault(v => !known.Contains(v, StringComparer.Ordinal)) is string stranger)
            throw CommandError.WrongUse($"'{name}' has no variant '{stranger}'.", string.Join("; ", known), "leave --variant out to run all of them");
        using (var told = new Told(context.Terminal, (long)count * (only.Length == 0 ? known.Length : only.Distinct(StringComparer.Ordinal).Count()) * steps))
        {
            for (int i = 0; i < count; i++)
            {
                ulong seed = firstSeed + (ulong)i;
                if (count > 1) told.Preparing($"seed {seed}");
                results.AddRange(ExperimentRun.Run(experiment, run with { Seed = seed }, device, told, cancel: context.Cancellation, only: only.Length == 0 ? null : only));
            }
        }

        string preset = experiment.Variants(run)[0].Run.Model.Preset!;
        return report with
        {
            Results = results, Command = ExperimentReport.CommandOf(name, steps, firstSeed, count) + string.Concat(only.Select(v => $" --variant \"{v}\"")) + (data is null ? "" : $" --data \"{data}\""),
            Setting = $"The `{preset}` shape with a vocabulary of {run.Tokenizer.Vocabulary}, {run.Batch.Rows} rows of {run.Data.SequenceLength} tokens a step of {(data is null ? "the bundled novels" : $"`{data}`")}, for all variants with the same seed the same order. "
                + "The loss is smoothed with weight 0.9 on the past; the final loss is its mean over the last tenth of the steps, the distance its mean relative difference over the second half.",
        };
    }

    static ExperimentReport Read(string[] files, string name)
    {
        try
        {
            ExperimentReport report = ExperimentReport.Merge([.. files.Select(ExperimentReport.Load)]);
            if (string.Equals(report.Name, name, StringComparison.Ordinal)) return report;
            throw CommandError.Failed($"The files are results of '{report.Name}'.", $"results of '{name}'", $"hadal experiment {report.Name} --from …");
        }
        catch (Exception exception) when (exception is ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw CommandError.Failed(exception.Message, "JSON files that hadal experiment --out wrote", "check the paths given to --from");
        }
    }

    static void Write(string path, ExperimentReport report)
    {
        string full = Path.GetFullPath(path), picture = Path.ChangeExtension(full, ".png");
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(Path.ChangeExtension(full, ".json"), report.ToJson() + "\n");
        if (full.EndsWith(".json", StringComparison.OrdinalIgnoreCase)) return;
        bool drawn = Curve.TryDraw(report, picture), errors = report.Results.GroupBy(r => r.Name, StringComparer.Ordinal).Any(g => g.Count() > 1);

        // What somebody wrote below the figures stays.
        string old = File.Exists(full) ? File.ReadAllText(full) : "", findings = old.Contains(Findings, StringComparison.Ordinal) ? "\n" + old[old.IndexOf(Findings, StringComparison.Ordinal)..].TrimEnd() + "\n" : "";
        string recording = report.RecordingText();
        if (recording.Length > 0) recording = $"\n## What the flight recorder saw\nSeed {report.Results[0].Seed}, every 25th step.\n\n{recording}";
        File.WriteAllText(full, $"""
            # Experiment: {report.Name}

            {Question(report.Name)}

            Run: `{report.Command}`, {report.Date}, {report.Machine}. {report.Setting}{(errors ? " Means over the seeds, ± their standard errors." : "")}

            {report.TableText().TrimEnd()}
            {(drawn ? $"\n![{report.Axes.Y}]({Path.GetFileName(picture)})\n" : "")}{recording}{findings}
            """.ReplaceLineEndings("\n").TrimEnd() + "\n");
    }

    /// <summary>A line a stage, and below it how many steps of all variants are made and how long the others will take.</summary>
    sealed class Told(Terminal terminal, long steps) : ITrainingObserver, IDisposable
    {
        readonly ProgressLine _line = new(terminal);
        long _made;

        public void Preparing(string what)
        {
            _line.Clear();
            terminal.Error.WriteLine(what);
        }

        public void Started(RunSummary run)
        {
            // Variants have no run of their own.
        }

        public void Stepped(in StepProgress step) => _line.Report("training", ++_made, steps, "steps");

        public void Evaluated(long step, IReadOnlyList<TextScore> scores, bool final)
        {
            // The table has the scores.
        }

        public void Sampled(long step, string prompt, string continuation)
        {
            // Nothing is sampled.
        }

        public void Saved(long step, string path)
        {
            // Nothing is saved.
        }

        public void Warned(string message) => Preparing($"warning: {message}");

        public void Dispose() => _line.Dispose();
    }
}
