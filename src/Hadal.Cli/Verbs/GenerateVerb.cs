using System.CommandLine;
using Hadal.Cli.Framework;
using Hadal.Inference;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal generate</c>: continues ids or text.</summary>
static class GenerateVerb
{
    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model();
        Option<string?> ids = Options.Text("--token-ids", "5,17,…", "Ids to continue, comma separated. Nothing is added to them, no BOS either.");
        Option<string?> prompt = Options.Text("--prompt", "TEXT", "Text to continue; BOS is put before it.");
        Option<int> count = Options.Integer("--max-new-tokens", "Most tokens to choose.", 128, 0, 1 << 24);
        Option<double> temperature = Options.Real("--temperature", "0 takes the most likely token; higher is more varied.", 0.7, 0, 2);
        Option<double> topP = Options.Real("--top-p", "Choose among the most likely tokens that reach this probability.", 1, 1e-6, 1);
        Option<ulong> seed = Options.Seed();
        Option<bool> ignoreEos = Options.Switch("--ignore-eos", "Go on after the end-of-sequence token.");
        Option<string> print = Options.Choice("--print", "What standard output gets: the new text, or the new ids on one line.", "text", "ids");
        Option<string> backend = Options.Backend();
        var verb = new Verb("generate", "Continues ids or text with a model. Standard output gets the new part and nothing else.",
            "hadal generate --model models/nano --prompt \"It is a truth\" --max-new-tokens 60 --temperature 0.7 --seed 1",
            "hadal generate --model models/nano --token-ids 0,284,17 --max-new-tokens 48 --temperature 0 --print ids")
        {
            model, ids, prompt, count, temperature, topP, seed, ignoreEos, print, backend,
        };
        verb.SetAction(line =>
        {
            string? givenIds = line.GetValue(ids), givenText = line.GetValue(prompt);
            if (givenIds is null == givenText is null)
                throw CommandError.WrongUse(givenIds is null ? "There is nothing to continue." : "Both --token-ids and --prompt were given.", "exactly one of --token-ids and --prompt",
                    "for example --prompt \"It is a truth\"");
            string folder = line.GetRequiredValue(model);
            bool printIds = line.GetValue(print) is "ids";
            var parameters = new SamplingParameters(line.GetValue(temperature), line.GetValue(topP), line.GetValue(seed));
            Tokenizer? tokenizer = givenText is not null || !printIds ? ModelFolder.Tokenizer(folder) : null;
            ModelFolder.Require(folder);
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            int[]? encoded = givenText is null ? null : ModelFolder.Encode(tokenizer!, givenText);
            int positions = (encoded?.Length ?? TokenIds.Count(givenIds!)) + line.GetValue(count);
            using LoadedModel loaded = ModelFolder.Load(folder, device, context, positions);
            int[] start = encoded ?? TokenIds.Parse(givenIds!, "--token-ids", loaded.Configuration.VocabularySize);
            if (start.Length == 0) throw CommandError.WrongUse("--token-ids holds no id.", "at least one id", "for example --token-ids 0,17");
            return Run(context, loaded, tokenizer, start, line.GetValue(count), parameters, line.GetValue(ignoreEos) ? [] : [.. loaded.Configuration.EosTokenIds], printIds);
        });
        return verb;
    }

    static int Run(Context context, LoadedModel loaded, Tokenizer? tokenizer, int[] start, int count, SamplingParameters parameters, int[] ends, bool printIds)
    {
        using var session = new GenerationSession(loaded.Model, checked(start.Length + Math.Max(count, 1) - 1));
        TextWriter output = context.Terminal.Output;
        TokenDecoder? decoder = printIds ? null : new TokenDecoder(tokenizer!, skipSpecial: true);
        bool first = true;
        Generator.Generate(session, start, count, parameters, ends, id =>
        {
            if (decoder is not null) output.Write(decoder.Append(id));
            else output.Write(first ? id.ToString() : "," + id);
            first = false;
            return !context.Cancellation.IsCancellationRequested;
        });
        output.WriteLine(decoder?.Finish());
        return context.Cancellation.IsCancellationRequested ? ExitCode.Interrupted : ExitCode.Fine;
    }
}
