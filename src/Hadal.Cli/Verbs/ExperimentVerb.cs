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
    public static Verb Create(Context context)
    {
        string names = string.Join(", ", Experiment.All.Select(e => e.Name));
        var name = new Argument<string?>("NAME") { Description = $"One of {names}; left out, they are listed.", Arity = ArgumentArity.ZeroOrOne };
        Option<int> steps = Options.Integer("--steps", "Steps of each variant, of 512 tokens.", 300, 2, 1_000_000);
        Option<ulong> seed = Options.Seed(1);
        Option<string?> output = Options.Text("--out", "FILE.md", "Write a page with question, command, machine and table there, and the curves as a PNG beside it.");
        Option<string> backend = Options.Backend();
        var verb = new Verb("experiment", "Asks a question of the report of a model that trains in minutes on two cores: what changes when one thing is changed?",
            "hadal experiment", "hadal experiment precision --steps 300 --out docs/experiments/precision.md")
        {
            name, steps, seed, output, backend,
        };
        verb.SetAction(line =>
        {
            if (line.GetValue(name) is not string chosen)
            {
                foreach (Experiment each in Experiment.All) context.Terminal.Output.WriteLine($"{each.Name,-12} {each.Question}");
                return ExitCode.Fine;
            }

            Experiment experiment = Experiment.All.FirstOrDefault(e => string.Equals(e.Name, chosen, StringComparison.Ordinal))
                ?? throw CommandError.WrongUse($"There is no experiment '{chosen}'.", names, "hadal experiment lists them with their questions");
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            RunConfiguration run = Experiment.Base(line.GetValue(steps), line.GetValue(seed));
            IReadOnlyList<VariantResult> results = ExperimentRun.Run(experiment, run, device, new Told(context.Terminal.Error), cancel: context.Cancellation);
            string[] table = Table(results);
            foreach (string row in table) context.Terminal.Output.WriteLine(row);
            if (line.GetValue(output) is string path) Write(path, experiment, run, device, results, table);
            return ExitCode.Fine;
        });
        return verb;
    }

    static string[] Table(IReadOnlyList<VariantResult> results)
    {
        bool averages = results.Any(r => !double.IsNaN(r.EmaBitsPerByte));
        VariantResult first = results[0];
        return
        [
            $"| variant | final loss, nats | against {first.Name} | mean distance of the curves | held out, bits per byte |{(averages ? " held out, average |" : "")} MaxVio | seconds |",
            $"|---|---|---|---|---|{(averages ? "---|" : "")}---|---|",
            .. results.Select(r => string.Create(CultureInfo.InvariantCulture,
                $"| {r.Name} | {r.FinalLoss:F4} | {100 * ((r.FinalLoss / first.FinalLoss) - 1):+0.00;-0.00;0.00} % | {100 * r.MeanDistance(first):F2} % | {r.BitsPerByte:F4} |{(averages ? $" {r.EmaBitsPerByte.ToString("F4", CultureInfo.InvariantCulture)} |" : "")} {r.MaxViolation:F2} | {r.Seconds:F0} |")),
        ];
    }

    static void Write(string path, Experiment experiment, RunConfiguration run, IBackend device, IReadOnlyList<VariantResult> results, string[] table)
    {
        string full = Path.GetFullPath(path), picture = Path.ChangeExtension(full, ".png");
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        bool drawn = Curve.TryDraw([.. results.Select(r => (r.Name, r.SmoothedLosses()))], $"{experiment.Name}: smoothed training loss", picture);
        File.WriteAllText(full, string.Create(CultureInfo.InvariantCulture, $"""
            # Experiment: {experiment.Name}

            {experiment.Question}

            Run: `hadal experiment {experiment.Name} --steps {run.Budget.Steps} --seed {run.Seed}`, {DateTime.UtcNow:yyyy-MM-dd}, {Machine.OperatingSystem}, {Machine.Processors} processors, {device.Name}
            ({device.Description}). The `nano` shape with a vocabulary of {run.Tokenizer.Vocabulary}, {run.Batch.Rows} rows of {run.Data.SequenceLength} tokens a step of the bundled novels, the same seed and order for all
            variants. The loss is smoothed with weight 0.9 on the past; the final loss is its mean over the last tenth of the steps, the distance its mean relative difference over the second half.

            {string.Join('\n', table)}
            {(drawn ? $"\n![Smoothed training loss]({Path.GetFileName(picture)})\n" : "")}
            """).ReplaceLineEndings("\n"));
    }

    /// <summary>One line a stage.</summary>
    sealed class Told(TextWriter error) : ITrainingObserver
    {
        public void Preparing(string what) => error.WriteLine(what);

        public void Started(RunSummary run)
        {
            // Variants have no run of their own.
        }

        public void Stepped(in StepProgress step)
        {
            // Steps are not told.
        }

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

        public void Warned(string message) => error.WriteLine($"warning: {message}");
    }
}
