using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Inference.Measurement;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Measurement;
using Hadal.Training;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench decode</c>: tokens per second of one conversation.</summary>
static class BenchDecodeVerb
{
    public static Verb Create(Context context)
    {
        Option<string?> model = Options.Text("--model", "DIR", "A model; without it, random weights of a preset.");
        Option<string?> preset = Options.Text("--preset", "NAME", $"A preset: {string.Join(", ", ModelPresets.Names)}. [default: nano]");
        Option<int> prompt = Options.Integer("--prompt-tokens", "Tokens of the random prompt.", 128, 1, 1 << 20);
        Option<int> tokens = Options.Integer("--tokens", "Tokens that are decoded and timed.", 128, 1, 1 << 20);
        Option<string> backend = Options.Backend();
        Option<bool> json = Options.Json();
        var verb = new Verb("decode", "Times one conversation token by token: tokens per second, allocations, and where the time goes.",
            "hadal bench decode --preset nano", "hadal bench decode --model models/nano --tokens 256 --json")
        {
            model, preset, prompt, tokens, backend, json,
        };
        verb.SetAction(line =>
        {
            string? folder = line.GetValue(model);
            if (folder is not null && line.GetValue(preset) is not null)
                throw CommandError.WrongUse("Both --model and --preset were given.", "at most one of them", "leave one out");
            using IBackend device = Backends.Create(line.GetRequiredValue(backend), context);
            using var timed = new TimedBackend(device);
            int given = line.GetValue(prompt), count = line.GetValue(tokens);
            DecodeMeasurement measured = Run(context, folder, line.GetValue(preset) ?? "nano", device, given, count, null);
            DecodeMeasurement profiled = Run(context, folder, line.GetValue(preset) ?? "nano", timed, given, count, timed.Profile);
            if (line.GetValue(json)) WriteJson(context.Terminal, device, measured, profiled);
            else WriteText(context.Terminal.Output, measured, profiled);
            return ExitCode.Fine;
        });
        return verb;
    }

    static DecodeMeasurement Run(Context context, string? folder, string preset, IBackend backend, int prompt, int tokens, OperationProfile? profile)
    {
        if (folder is not null)
        {
            using LoadedModel loaded = ModelFolder.Load(folder, backend, context);
            return Measure(context, loaded.Model, prompt, tokens, profile);
        }

        var run = new RunConfiguration { Model = new ModelChoice { Preset = preset } };
        using var model = new Transformer(backend, ModelLoader.Shape(ModelFiles.Configuration(run, run.Tokenizer.Vocabulary)), Recipe.Fp32);
        Initialization.Normal(model, run.Seed, run.Model.InitialDeviation);
        return Measure(context, model, prompt, tokens, profile);
    }

    static DecodeMeasurement Measure(Context context, Transformer model, int prompt, int tokens, OperationProfile? profile)
    {
        if ((long)prompt + tokens > model.Shape.MaxPositions)
            throw CommandError.WrongUse($"{prompt} prompt tokens and {tokens} more were asked for.", $"together at most the model's {model.Shape.MaxPositions} positions", "lower --prompt-tokens or --tokens");
        return DecodeBenchmark.Measure(model, prompt, tokens, profile, context.Cancellation);
    }

    static void WriteText(TextWriter output, DecodeMeasurement measured, DecodeMeasurement profiled)
    {
        double[] sorted = [.. measured.TokenSeconds.Order()];
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"prompt: {measured.PromptTokensPerSecond:F0} tokens/s ({measured.PromptTokens} tokens)"));
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"decode: {measured.TokensPerSecond:F0} tokens/s; {1000 * measured.MedianSeconds:F3} ms median, {1000 * sorted[0]:F3} to {1000 * sorted[^1]:F3} ms over {sorted.Length} tokens; {measured.AllocatedBytes} bytes allocated in them"));
        output.WriteLine();
        foreach (string line in BenchVerb.ProfileLines(profiled.Operations, profiled.TokenSeconds.Sum(), profiled.TokenSeconds.Count)) output.WriteLine(line);
    }

    static void WriteJson(Terminal terminal, IBackend backend, DecodeMeasurement measured, DecodeMeasurement profiled) => terminal.WriteJson(json =>
    {
        json.WriteString("backend", backend.Name);
        json.WriteString("description", backend.Description);
        json.WriteNumber("prompt_tokens_per_second", measured.PromptTokensPerSecond);
        json.WriteNumber("tokens_per_second", measured.TokensPerSecond);
        json.WriteNumber("median_token_seconds", measured.MedianSeconds);
        json.WriteNumber("allocated_bytes", measured.AllocatedBytes);
        BenchVerb.WriteProfile(json, profiled.Operations, profiled.TokenSeconds.Count);
    });
}
