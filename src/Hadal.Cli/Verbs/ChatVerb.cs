using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal chat</c>: a person and a model write a text in turns.</summary>
static class ChatVerb
{
    const string Help = """
        Type the beginning of a text; the model continues it. What you type next is appended.
          /new      forget the text and begin another
          /history  show the text so far
          /help     show this
          /exit     leave (also Ctrl-D; Ctrl-C stops an answer, or leaves when none is being written)
        """;

    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model("models/nano");
        Option<int> count = Options.Integer("--max-new-tokens", "Most tokens of one answer.", 120, 1);
        Option<double> temperature = Options.Real("--temperature", "0 takes the most likely token; higher is more varied.", 0.7, 0, 2);
        Option<double> topP = Options.Real("--top-p", "Choose among the most likely tokens that reach this probability.", 0.95, 1e-6, 1);
        Option<ulong> seed = Options.Seed();
        Option<string> backend = Options.Backend();
        var verb = new Verb("chat", "Writes a text with a model, in turns. A model trained on text alone continues what you type; it does not answer questions.",
            "hadal chat", "hadal chat --model models/nano --temperature 0.9")
        {
            model, count, temperature, topP, seed, backend,
        };
        verb.SetAction(line =>
        {
            string folder = line.GetRequiredValue(model);
            ModelFolder.Require(folder);
            Tokenizer tokenizer = ModelFolder.Tokenizer(folder, "put the model's tokenizer.json beside its config.json");
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            using LoadedModel loaded = ModelFolder.Load(folder, device, context);
            var parameters = new SamplingParameters(line.GetValue(temperature), line.GetValue(topP), line.GetValue(seed)).Validate();
            return Run(context, loaded, tokenizer, line.GetValue(count), parameters);
        });
        return verb;
    }

    /// <summary>Talks until the person leaves.</summary>
    public static int Run(Context context, LoadedModel loaded, Tokenizer tokenizer, int count, SamplingParameters parameters)
    {
        using var conversation = new Conversation(loaded.Model, tokenizer, loaded.Configuration.EosTokenIds);
        TextWriter output = context.Terminal.Output;
        bool writing = false, stop = false;
        using IDisposable taken = context.Interruption.Take(() =>
        {
            if (!Volatile.Read(ref writing)) Environment.Exit(ExitCode.Interrupted);
            Volatile.Write(ref stop, true);
            return true;
        });
        context.Terminal.Error.WriteLine("This model continues text, it was never taught to answer. /help lists the commands.");
        while (true)
        {
            if (Terminal.IsInteractive) output.Write("> ");
            string? typed = Console.In.ReadLine();
            switch (typed?.Trim())
            {
                case null or "/exit" or "/quit": return ExitCode.Fine;
                case "": continue;
                case "/help": output.WriteLine(Help); continue;
                case "/new": conversation.Clear(); continue;
                case "/history": output.WriteLine(conversation.Text); continue;
                case { } command when command.StartsWith('/'):
                    context.Terminal.Error.WriteLine($"There is no command {command}; /help lists them.");
                    continue;
            }

            Volatile.Write(ref stop, false);
            Volatile.Write(ref writing, true);
            conversation.Say(typed, count, parameters, piece =>
            {
                output.Write(piece);
                return !Volatile.Read(ref stop);
            });
            Volatile.Write(ref writing, false);
            output.WriteLine();
        }
    }
}
