using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Cli.Training;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;
using Hadal.Training;
using Hadal.Training.Data;
using Hadal.Training.Running;
using Hadal.Training.Supervised;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal eval</c>: bits per byte of a model on text.</summary>
static class EvalVerb
{
    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model("models/nano");
        var data = new Option<string[]>("--data")
        {
            Description = "Files or folders to score whole, or bundled:austen, bundled:kjv, arithmetic:N to score their held-out part. [default: the held-out text of the model's own run]",
            HelpName = "SOURCE",
            AllowMultipleArgumentsPerToken = true,
        };
        Option<int?> window = Options.OptionalInteger("--window", "Tokens of a window; each token sees at least half a window before it. [default: the run's sequence length, or 256]", 8, 1 << 20);
        Option<bool> ema = Options.Switch("--ema", "Use the moving average of the weights that training kept, instead of the final weights.");
        Option<bool> tasks = Options.Switch("--tasks", "Ask held-out tasks instead, as hadal sft does at its end: how many answers are right, directly and after a chain of thought.");
        Option<int?> problems = Options.OptionalInteger("--problems", "With --tasks: held-out problems of each task. [default: the run's, or 100]", 1, 100_000);
        Option<bool> json = Options.Json();
        Option<string> backend = Options.Backend();
        var verb = new Verb("eval", "Scores text: bits per byte = total negative log-likelihood / (ln 2 × bytes); BOS is given and not counted. With --tasks, counts right answers.",
            "hadal eval", "hadal eval --model models/nano --ema", "hadal eval --model models/nano --data my-text.txt --json", "hadal eval --model models/nano-chat --tasks --problems 500")
        {
            model, data, window, ema, tasks, problems, json, backend,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetRequiredValue(model);
            ModelFolder.Require(folder);
            Tokenizer tokenizer = ModelFolder.Tokenizer(folder, "put the model's tokenizer.json beside its config.json");
            RunConfiguration? run = OwnRun(folder, context);
            string[] sources = line.GetValue(data) ?? [];
            if (line.GetValue(tasks) && sources.Length > 0) throw CommandError.WrongUse("Both --tasks and --data were given.", "at most one of them", "leave one out");
            IReadOnlyList<HeldOutText> texts = line.GetValue(tasks) ? [] : Texts(run, sources, tokenizer);
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            LoadedModel loaded = ModelLoader.Load(folder, device, Recipe.Fp32, withMtp: line.GetValue(ema));
            using Transformer transformer = loaded.Model;
            ModelFolder.Warn(loaded.Warnings, context);
            if (line.GetValue(ema)) ModelEvaluation.UseAverage(folder, transformer);
            if (line.GetValue(tasks)) return Ask(context, transformer, tokenizer, run, line.GetValue(problems), line.GetValue(json));
            int length = Math.Min(line.GetValue(window) ?? run?.Data.SequenceLength ?? 256, loaded.Configuration.MaxPositionEmbeddings);
            IReadOnlyList<TextScore> scores = ModelEvaluation.Score(transformer, texts, length, context.Cancellation);
            if (line.GetValue(json)) context.Terminal.WriteJson(writer => ScoreReport.Write(writer, scores));
            else Write(context.Terminal.Output, scores);
            return ExitCode.Fine;
        });
        return verb;
    }

    static int Ask(Context context, Transformer transformer, Tokenizer tokenizer, RunConfiguration? run, int? problems, bool json)
    {
        SupervisedConfiguration supervised = run?.Supervised ?? new SupervisedConfiguration();
        IReadOnlyList<TaskScore> scores = TaskEvaluation.Score(transformer, tokenizer, TaskEvaluation.Problems(supervised.Tasks, problems ?? supervised.Problems), answered: null, context.Cancellation);
        if (json) context.Terminal.WriteJson(writer => TaskReport.Write(writer, scores));
        else TaskReport.Write(context.Terminal.Output, scores);
        return ExitCode.Fine;
    }

    static void Write(TextWriter output, IReadOnlyList<TextScore> scores)
    {
        foreach (TextScore score in scores)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{score.Corpus,-12} {score.BitsPerByte,7:F4} bits per byte   {score.Bytes,10:N0} bytes   {score.Documents,6:N0} documents   {score.Tokens,9:N0} tokens"));
        }
    }

    static List<HeldOutText> Texts(RunConfiguration? run, string[] sources, Tokenizer tokenizer)
    {
        var plain = new RunConfiguration();
        ulong seed = run?.Seed ?? plain.Seed;
        if (sources.Length == 0)
        {
            if (run is null) throw CommandError.WrongUse("There is no text to score: the model has no run.json beside it.", "--data with files, folders or bundled texts", "for example --data bundled:austen");
            return [.. ModelEvaluation.Texts(run.Data.Sources, tokenizer, run.Data.HeldOutEvery, run.Data.Boundary, seed)];
        }

        int heldOutEvery = (run ?? plain).Data.HeldOutEvery;
        return [.. sources.SelectMany(s => ModelEvaluation.Texts([s], tokenizer, CorpusSources.IsGenerated(s) ? heldOutEvery : 0, DocumentBoundary.File, seed))];
    }

    static RunConfiguration? OwnRun(string folder, Context context)
    {
        string path = Path.Combine(folder, "run.json");
        if (!File.Exists(path)) return null;
        var warnings = new List<string>();
        RunConfiguration run = RunConfiguration.Load(path, warnings);
        ModelFolder.Warn(warnings, context);
        return run;
    }
}
