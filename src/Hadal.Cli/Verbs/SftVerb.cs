using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Cli.Training;
using Hadal.Training;
using Hadal.Training.Supervised;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal sft</c>: teaches a model of the quickstart to answer, directly and with a chain of thought.</summary>
static class SftVerb
{
    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model("models/nano");
        Option<string> output = Options.Text("--output", "DIR", "Folder for the result. [default: models/nano-chat]")!;
        Option<double> minutes = Options.Real("--minutes", "Minutes of training, about.", 8, 0.05, 10_000);
        Option<int?> steps = Options.OptionalInteger("--steps", "Exactly so many steps instead, for a result that does not depend on the machine's speed.", 1);
        var tasks = new Option<string[]>("--tasks")
        {
            Description = $"What is learned: {string.Join("; ", SupervisedTask.All.Select(t => $"{t.Name} ({t.Description})"))}. [default: all]",
            HelpName = "NAME",
            AllowMultipleArgumentsPerToken = true,
        };
        Option<int?> samples = Options.OptionalInteger("--samples", "Samples that are made, half of them with a chain of thought; a longer run goes through them again. [default: 60000]", 1, 10_000_000);
        Option<int?> problems = Options.OptionalInteger("--problems", "Held-out problems of each task that are asked at the end, in both modes. [default: 100]", 1, 100_000);
        Option<ulong> seed = Options.Seed(1);
        Option<bool> again = Options.Switch("--again", "Train anew although there is a result; the old folder is kept under another name.");
        (Option<bool> record, Option<int?> interval) = RecordOptions.Create();
        Option<bool> example = Options.Switch("--example", "Print the run as a run.json for hadal train, and train nothing.");
        Option<bool> json = Options.Json();
        Option<string> backend = Options.Backend();
        var verb = new Verb("sft", "Supervised fine-tuning: teaches a model to answer in a chat on generated tasks with exact answers, half of them directly and half after a chain of thought, and measures both on "
            + "held-out tasks. Several samples share a sequence without seeing each other; only answers are learned. Interrupted with Ctrl-C it saves, and goes on when it is started again, with the same bits.",
            "hadal sft", "hadal sft --minutes 20 --output models/longer-chat", "hadal sft --model models/nano --tasks addition sorting --steps 300", "hadal sft --example > run.json")
        {
            model, output, minutes, steps, tasks, samples, problems, seed, again, record, interval, example, json, backend,
        };
        verb.SetAction(line =>
        {
            string from = line.GetRequiredValue(model), folder = line.GetValue(output) ?? Path.Combine("models", "nano-chat");
            bool lengthGiven = line.GetResult(steps) is not null || line.GetResult(minutes) is { Implicit: false };
            if (line.GetValue(example))
            {
                context.Terminal.Output.WriteLine(New().ToJson());
                return ExitCode.Fine;
            }

            if (line.GetValue(again)) RunFolder.KeepAside(folder, context);
            if (File.Exists(Path.Combine(folder, "model.safetensors")))
                throw CommandError.Failed($"{folder} holds a finished model.", "another --output, or --again", $"hadal eval --tasks --model {folder} measures it, hadal chat --model {folder} talks to it; --again trains anew and keeps the old folder");
            RunConfiguration run = RunFolder.Begun(folder, lengthGiven, context) ?? New();
            if (run.Supervised is null) throw CommandError.Failed($"{folder} holds an interrupted run that learns text.", "another --output, or --again", "hadal train goes on with it");
            TrainingOutcome outcome = RunReport.Train(context, RecordOptions.Apply(run, line.GetValue(record), line.GetValue(interval)), line.GetRequiredValue(backend), line.GetValue(json), "the same command")!;
            return outcome.Status == TrainingStatus.Completed ? ExitCode.Fine : ExitCode.Interrupted;

            RunConfiguration New()
            {
                if (!line.GetValue(example) && !File.Exists(Path.Combine(from, "config.json")))
                    throw CommandError.Failed($"There is no model in {from}.", "a folder with config.json, safetensors and tokenizer.json", "check the path given to --model; hadal quickstart trains a model to begin with, in models/nano");
                RunConfiguration made = RunConfiguration.Sft(from, folder, line.GetValue(minutes), line.GetValue(steps)) with { Seed = line.GetValue(seed) };
                SupervisedConfiguration supervised = made.Supervised!;
                return made with
                {
                    Supervised = supervised with
                    {
                        Tasks = line.GetValue(tasks) is { Length: > 0 } names ? names : supervised.Tasks,
                        Samples = line.GetValue(samples) ?? supervised.Samples,
                        Problems = line.GetValue(problems) ?? supervised.Problems,
                    },
                };
            }
        });
        return verb;
    }
}
