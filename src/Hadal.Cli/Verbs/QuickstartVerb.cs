using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Cli.Training;
using Hadal.Formats;
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
        Option<double> minutes = Options.Real("--minutes", "Minutes of training, about.", 3.5, 0.05, 10_000);
        Option<int?> steps = Options.OptionalInteger("--steps", "Exactly so many steps instead, for a result that does not depend on the machine's speed.", 1);
        Option<bool> again = Options.Switch("--again", "Train anew although there is a model; the old folder is kept under another name.");
        (Option<bool> record, Option<int?> interval) = RecordOptions.Create();
        Option<bool> noChat = Options.Switch("--no-chat", "Print samples and leave, also in a terminal.");
        Option<string> backend = Options.Backend();
        var verb = new Verb("quickstart", "Trains a small model of the DeepSeek-V3 architecture on Jane Austen, the King James Bible and arithmetic in a few minutes, then chats with it; without a terminal it prints samples. "
            + "Interrupted with Ctrl-C it saves, and goes on when it is started again; with a finished model it goes straight to the chat.",
            "hadal quickstart", "hadal quickstart --minutes 30 --output models/longer", "hadal quickstart --steps 200 --no-chat --output models/tried")
        {
            output, minutes, steps, again, record, interval, noChat, backend,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetValue(output) ?? Path.Combine("models", "nano"), device = line.GetRequiredValue(backend);
            if (line.GetValue(again)) RunFolder.KeepAside(folder, context);
            if (!File.Exists(Path.Combine(folder, "model.safetensors")))
            {
                RunConfiguration run = RunFolder.Begun(folder, line.GetResult(steps) is not null || line.GetResult(minutes) is { Implicit: false }, context)
                    ?? RunConfiguration.Quickstart(folder, line.GetValue(minutes), line.GetValue(steps));
                run = RecordOptions.Apply(run, line.GetValue(record), line.GetValue(interval));
                TrainingOutcome outcome = RunReport.Train(context, run, device, json: false, "hadal quickstart")!;
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

    // The model may be one of an earlier run, damaged since.
    static (LoadedModel Model, Tokenizer Tokenizer) Open(string folder, IBackend device, Context context)
    {
        foreach (string file in new[] { "config.json", "tokenizer.json" })
            if (!File.Exists(Path.Combine(folder, file))) throw CommandError.Failed($"{folder} holds model.safetensors but no {file}.", "a model as quickstart leaves it", RunFolder.TrainAnew);
        try
        {
            return (ModelFolder.Load(folder, device, context), ModelFolder.Tokenizer(folder));
        }
        catch (Exception exception) when (exception is CheckpointFormatException or ConfigurationException or TokenizerFormatException)
        {
            throw CommandError.Failed(exception.Message, fix: RunFolder.TrainAnew);
        }
    }

    static int Talk(Context context, string folder, string backend, bool chat)
    {
        using IBackend device = Backends.Create(backend, context);
        (LoadedModel opened, Tokenizer tokenizer) = Open(folder, device, context);
        using LoadedModel loaded = opened;
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
