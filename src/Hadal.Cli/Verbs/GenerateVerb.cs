using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal generate</c>.</summary>
static class GenerateVerb
{
    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model("models/nano");
        Option<string?> ids = Options.Text("--token-ids", "5,17,…", "The prompt as ids; nothing is added to it.");
        Option<string?> prompt = Options.Text("--prompt", "TEXT", "The prompt as text; the tokenizer's BOS is put before it.");
        Option<int> count = Options.Integer("--max-new-tokens", "Most tokens to choose.", 200, 0);
        Option<double> temperature = Options.Real("--temperature", "0 takes the most likely token; higher is more varied.", 0.8, 0, 2);
        Option<double> topP = Options.Real("--top-p", "Smallest set of likely tokens whose probability reaches this.", 0.95, 0.000001, 1);
        Option<ulong> seed = Options.Seed();
        Option<bool> ignoreEnd = Options.Switch("--ignore-eos", "Go on after the end token.");
        Option<string> print = Options.Choice("--print", "What standard output gets: the new text as it comes, or the new ids on one line.", "text", "ids");
        Option<string> recipe = Options.Choice("--recipe", "Precision.", [.. Recipe.All.Select(r => r.Name)]);
        Option<string> backend = Options.Backend();
        Option<int> threads = Options.Threads();
        var verb = new Verb("generate", "Continues a prompt.",
            "hadal generate --prompt \"It is a truth\" --max-new-tokens 100",
            "hadal generate --model models/nano --token-ids 5,17,284 --max-new-tokens 48 --temperature 0 --print ids")
        {
            model, ids, prompt, count, temperature, topP, seed, ignoreEnd, print, recipe, backend, threads,
        };
        verb.SetAction(line =>
        {
            string directory = line.GetRequiredValue(model);
            bool text = string.Equals(line.GetValue(print), "text", StringComparison.Ordinal);
            if (line.GetValue(ids) is null == line.GetValue(prompt) is null)
                throw CommandError.WrongUse("A prompt is given either as --token-ids or as --prompt.", "exactly one of the two");
            Tokenizer? tokenizer = text || line.GetValue(prompt) is not null ? LoadTokenizer(directory) : null;
            using IBackend chosen = Backends.Create(line.GetValue(backend)!, line.GetValue(threads), context.Terminal);
            using LoadedModel loaded = ModelLoader.Load(directory, chosen, Recipe.Find(line.GetValue(recipe)!), withMtp: false);
            foreach (string warning in loaded.Warnings) context.Terminal.Error.WriteLine("warning: " + warning);

            int[] tokens = line.GetValue(ids) is { } given ? TokenIds.Parse(given, "--token-ids", loaded.Model.Shape.Vocabulary) : Encode(tokenizer!, line.GetValue(prompt)!);
            int wanted = line.GetValue(count);
            using var session = new GenerationSession(loaded.Model, Math.Min(loaded.Model.Shape.MaxPositions, Math.Max(tokens.Length, 1) + wanted));
            var chosenIds = new List<int>(wanted);
            TokenDecoder? decoder = text ? new TokenDecoder(tokenizer!, skipSpecial: true) : null;
            Generator.Generate(session, tokens, wanted, new SamplingParameters(line.GetValue(temperature), line.GetValue(topP), line.GetValue(seed)),
                line.GetValue(ignoreEnd) ? [] : [.. loaded.Configuration.EosTokenIds], id =>
                {
                    chosenIds.Add(id);
                    if (decoder is not null) context.Terminal.Output.Write(decoder.Append(id));
                    return !context.Cancellation.IsCancellationRequested;
                });
            if (decoder is not null) context.Terminal.Output.WriteLine(decoder.Finish());
            else context.Terminal.Output.WriteLine(TokenIds.Format(chosenIds));
            return context.Cancellation.IsCancellationRequested ? ExitCode.Interrupted : ExitCode.Fine;
        });
        return verb;
    }

    static int[] Encode(Tokenizer tokenizer, string prompt)
    {
        var tokens = new List<int>(tokenizer.Prefix.ToArray());
        tokenizer.Encode(prompt, tokens, allowSpecial: false);
        return [.. tokens];
    }

    static Tokenizer LoadTokenizer(string directory)
    {
        string file = Path.Combine(directory, "tokenizer.json");
        if (!File.Exists(file))
            throw CommandError.Failed($"There is no tokenizer.json in {directory}.", "a model folder with config.json, safetensors and tokenizer.json", "give --token-ids and --print ids, or copy the model's tokenizer.json there");
        return Tokenizer.Load(file);
    }
}
