using Hadal.Model;
using Hadal.Tensors;
using Hadal.Text;

namespace Hadal.Cli.Framework;

/// <summary>Opens what a user names as a model, with errors in the one style.</summary>
static class ModelFolder
{
    const string Begin = "; hadal quickstart trains a model to begin with, in models/nano";

    /// <summary>Refuses a folder that cannot be a model before anything else is done.</summary>
    public static void Require(string folder, string option = "--model")
    {
        if (!Directory.Exists(folder))
            throw CommandError.Failed($"There is no folder {folder}.", "a folder with config.json and safetensors", $"check the path given to {option}{Begin}");
        if (!File.Exists(Path.Combine(folder, "config.json")))
            throw CommandError.Failed($"{folder} holds no config.json.", "config.json beside the safetensors files", $"check the path given to {option}{Begin}");
    }

    /// <summary>Loads the weights without MTP modules; what the loader remarks goes to standard error.</summary>
    /// <param name="positions">Positions that are needed, if more than config.json names.</param>
    public static LoadedModel Load(string folder, IBackend backend, Context context, int positions = 0)
    {
        Require(folder);
        LoadedModel loaded = ModelLoader.Load(folder, backend, Recipe.Fp32, withMtp: false, positions: positions);
        Warn(loaded.Warnings, context);
        return loaded;
    }

    /// <summary>Writes remarks to standard error.</summary>
    public static void Warn(IEnumerable<string> warnings, Context context)
    {
        foreach (string warning in warnings) context.Terminal.Error.WriteLine($"warning: {warning}");
    }

    /// <summary>The model's tokenizer.</summary>
    /// <param name="path">A tokenizer.json, or a folder that holds one.</param>
    /// <param name="fix">What to do where there is none.</param>
    public static Tokenizer Tokenizer(string path, string fix = "name a folder with tokenizer.json, or use --token-ids with --print ids, which need none")
    {
        string file = Directory.Exists(path) ? Path.Combine(path, "tokenizer.json") : path;
        if (!File.Exists(file))
            throw CommandError.Failed($"There is no tokenizer at {path}.", "a tokenizer.json, or a folder that holds one", fix);
        return Hadal.Text.Tokenizer.Load(file);
    }

    /// <summary>BOS, if the vocabulary has one, and the text.</summary>
    public static int[] Encode(Tokenizer tokenizer, string text)
    {
        var ids = new List<int>();
        if (tokenizer.TryGetId(SpecialTokens.BeginOfSentence, out int begin)) ids.Add(begin);
        tokenizer.Encode(text, ids);
        return [.. ids];
    }
}
