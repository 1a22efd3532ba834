using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Cli.Training;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal quickstart</c>: trains a small model of the V3 architecture in a few minutes and talks to it.</summary>
static class QuickstartVerb
{
    public static Verb Create(Context context)
    {
        Option<string> output = Options.Text("--output", "DIR", "Folder for the model. [default: models/nano]")!;
        Option<double> minutes = Options.Real("--minutes", "Minutes of training.", 4, 0.05, 10_000);
        Option<int?> steps = Options.OptionalInteger("--steps", "Exactly so many steps instead, for a result that does not depend on the machine's speed.", 1);
        Option<bool> again = Options.Switch("--again", "Train anew although there is a model; the old folder is kept under another name.");
        Option<bool> noChat = Options.Switch("--no-chat", "Print samples and leave, also in a terminal.");
        Option<string> backend = Options.Backend();
        var verb = new Verb("quickstart", "Trains a small model of the DeepSeek-V3 architecture on Jane Austen, the King James Bible and arithmetic in a few minutes, then chats with it; without a terminal it prints samples. "
            + "Interrupted with Ctrl-C it saves, and goes on when it is started again; with a finished model it goes straight to the chat.",
            "hadal quickstart", "hadal quickstart --minutes 30 --output models/longer", "hadal quickstart --steps 200 --no-chat --output models/tried")
        {
            output, minutes, steps, again, noChat, backend,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetValue(output) ?? Path.Combine("models", "nano"), device = line.GetRequiredValue(backend);
            if (line.GetValue(again)) KeepAside(folder, context);
            if (!File.Exists(Path.Combine(folder, "model.safetensors")))
            {
                TrainingOutcome outcome = RunReport.Train(context, Run(folder, line.GetValue(minutes), line.GetValue(steps), context), device, json: false, "hadal quickstart");
                if (outcome.Status == TrainingStatus.Interrupted) return ExitCode.Interrupted;
            }
            else
            {
                context.Terminal.Error.WriteLine($"{folder} holds a trained model; --again trains anew.");
            }

            return Talk(context, folder, device, chat: Terminal.IsInteractive && !line.GetValue(noChat));
        });
        return verb;
    }

    /// <summary>A run that was interrupted goes on as it began, whatever the defaults are now.</summary>
    static RunConfiguration Run(string folder, double minutes, int? steps, Context context)
    {
        string begun = Path.Combine(folder, "run.json");
        if (!File.Exists(begun) || !Directory.Exists(Path.Combine(folder, "checkpoints"))) return RunConfiguration.Quickstart(folder, minutes, steps);
        context.Terminal.Error.WriteLine($"{folder} holds an interrupted run: it goes on as {begun} says.");
        var warnings = new List<string>();
        RunConfiguration run = RunConfiguration.Load(begun, warnings) with { Output = folder };
        ModelFolder.Warn(warnings, context);
        return run;
    }

    static void KeepAside(string folder, Context context)
    {
        if (!Directory.Exists(folder)) return;
        string kept = "";
        for (int n = 1; kept.Length == 0 || Directory.Exists(kept); n++) kept = $"{Path.TrimEndingDirectorySeparator(folder)}-before-{n}";
        Directory.Move(folder, kept);
        context.Terminal.Error.WriteLine($"{folder} is kept as {kept}");
    }

    static int Talk(Context context, string folder, string backend, bool chat)
    {
        using IBackend device = Backends.Create(backend, context);
        using LoadedModel loaded = ModelFolder.Load(folder, device, context);
        Tokenizer tokenizer = ModelFolder.Tokenizer(folder);
        if (chat) return ChatVerb.Run(context, loaded, tokenizer, 120, new SamplingParameters(0.7, 0.95, 0).Validate());
        TextWriter output = context.Terminal.Output;
        foreach (string prompt in Prompts)
        {
            int[] start = ModelFolder.Encode(tokenizer, prompt);
            const int Count = 60;
            using var session = new GenerationSession(loaded.Model, start.Length + Count - 1);
            var decoder = new TokenDecoder(tokenizer, skipSpecial: true);
            output.Write("\n" + prompt);
            Generator.Generate(session, start, Count, new SamplingParameters(0.7, 0.95, 1).Validate(), [.. loaded.Configuration.EosTokenIds], id =>
            {
                output.Write(decoder.Append(id));
                return !context.Cancellation.IsCancellationRequested;
            });
            output.WriteLine(decoder.Finish());
            if (context.Cancellation.IsCancellationRequested) return ExitCode.Interrupted;
        }

        return ExitCode.Fine;
    }

    static string[] Prompts { get; } = ["It is a truth universally acknowledged, that", "And the LORD said unto Moses,", "Twelve plus seven is"];
}
