#if SERVER
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Hadal.Cli.Framework;
using Hadal.Inference.Measurement;
using Hadal.Inference.Serving;
using Hadal.Tensors;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench serve</c>: how fast a model is served, and what each part of the way costs.</summary>
static class BenchServeVerb
{
    static readonly string[] Parts = ["engine", "paging", "http", "sampling", "mtp", "fast", "form", "workers", "start"];

    public static Verb Create(Context context)
    {
        Option<string> model = Options.Model("models/nano");
        Option<string> streams = new("--streams") { Description = "Numbers of texts that are written at once, separated by commas.", HelpName = "N,N", DefaultValueFactory = _ => "1,8,32" };
        Option<string> parts = new("--parts") { Description = $"What is measured: {string.Join(", ", Parts)}, separated by commas.", HelpName = "NAMES", DefaultValueFactory = _ => string.Join(',', Parts) };
        Option<int> prompt = Options.Integer("--prompt-tokens", "Tokens of each random prompt.", 128, 1, 1 << 20);
        Option<int> tokens = Options.Integer("--tokens", "Tokens that are generated for each.", 128, 2, 1 << 20);
        Option<int> rounds = Options.Integer("--rounds", "Times each load is run; medians are reported.", 3, 1, 100);
        Option<bool> plain = Options.Switch("--no-speculation", "No token is drafted by the model's MTP module.");
        Option<TimeSpan?> ttft = Options.Duration("--ttft", "Goal for the first token under the mixed load. [default: 4 times the median of an idle engine]");
        Option<TimeSpan?> tpot = Options.Duration("--tpot", "Goal for each further token under the mixed load. [default: 4 times the median of an idle engine]");
        Option<string> backend = Options.Backend();
        Option<bool> json = Options.Json();
        var verb = new Verb("serve", "Times the engine at several numbers of streams, paging and HTTP over it, drafting by MTP, prefill and decode as processes of their own against one process, and the start of the server.",
            "hadal bench serve --model models/nano", "hadal bench serve --parts engine --no-speculation --streams 1,8,32 --threads 2 --json", "hadal bench serve --parts workers --ttft 500ms --tpot 20ms")
        {
            model, streams, parts, prompt, tokens, rounds, plain, ttft, tpot, backend, json,
        };
        verb.SetAction(line =>
        {
            ModelFolder.Require(line.GetRequiredValue(model));
            var run = new BenchServeRun
            {
                Context = context, Model = line.GetRequiredValue(model), Backend = line.GetRequiredValue(backend), Streams = Numbers(line.GetRequiredValue(streams)), Parts = Names(line.GetRequiredValue(parts)),
                PromptTokens = line.GetValue(prompt), Tokens = line.GetValue(tokens), Rounds = line.GetValue(rounds), Speculate = !line.GetValue(plain), FirstTokenGoal = line.GetValue(ttft), PerTokenGoal = line.GetValue(tpot),
            };
            BenchServeResult result = run.RunAsync().GetAwaiter().GetResult();
            if (line.GetValue(json)) context.Terminal.WriteJson(writer => result.Write(writer, run));
            else foreach (string text in result.Lines()) context.Terminal.Output.WriteLine(text);
            return ExitCode.Fine;
        });
        return verb;
    }

    static int[] Numbers(string text) => [.. text.Split(',', StringSplitOptions.TrimEntries).Select(word =>
        int.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number is >= 1 and <= 1024 ? number
            : throw CommandError.WrongUse($"--streams was given \"{text}\".", "whole numbers from 1 to 1024, separated by commas"))];

    static string[] Names(string text) => [.. text.Split(',', StringSplitOptions.TrimEntries).Select(word => Parts.Contains(word, StringComparer.Ordinal) ? word
        : throw CommandError.WrongUse($"--parts was given \"{word}\".", $"some of {string.Join(", ", Parts)}, separated by commas"))];
}

/// <summary>What is measured, and how.</summary>
sealed partial record BenchServeRun
{
    public required Context Context { get; init; }

    public required string Model { get; init; }

    public required string Backend { get; init; }

    public required int[] Streams { get; init; }

    public required string[] Parts { get; init; }

    public required int PromptTokens { get; init; }

    public required int Tokens { get; init; }

    public required int Rounds { get; init; }

    public required bool Speculate { get; init; }

    public TimeSpan? FirstTokenGoal { get; init; }

    public TimeSpan? PerTokenGoal { get; init; }

    public async Task<BenchServeResult> RunAsync()
    {
        var result = new BenchServeResult();
        if (Has("engine"))
        {
            await using InferenceEngine engine = Open(new EngineOptions { Speculate = Speculate, MaxRunning = Streams.Max(), PrefixCache = false });
            foreach (int streams in Streams) result.Engine.Add(await LoadAsync(engine, streams));
        }

        if (Has("paging")) result.Paging = await PagingAsync();
        if (Has("http")) await HttpAsync(result);
        if (Has("sampling")) await SamplingAsync(result);
        if (Has("mtp")) await SpeculationAsync(result);
        if (Has("fast")) await FastAsync(result);
        if (Has("form")) Forms(result);
        if (Has("workers")) await WorkersAsync(result);
        if (Has("start")) await StartAsync(result);
        return result;

        bool Has(string part) => Parts.Contains(part, StringComparer.Ordinal);
    }

    InferenceEngine Open(EngineOptions options)
    {
        IBackend device = Backends.Create(Backend, Context);
        return EngineFactory.Open(Model, "deepseek-chat", options, device);
    }

    /// <summary>The rounds of one load, after one that warms up; the median of each number.</summary>
    async Task<LoadRow> LoadAsync(IInferenceEngine engine, int streams) => (await InTurnAsync(new Load(engine, streams)))[0];

    /// <summary>The rounds of several loads in turn, after one of each that warms up; medians. So what the machine does at the moment meets all of them.</summary>
    async Task<LoadRow[]> InTurnAsync(params IReadOnlyList<Load> loads)
    {
        var rows = loads.Select(_ => new List<LoadRow>()).ToArray();
        for (int round = -1; round < Rounds; round++)
        {
            for (int i = 0; i < loads.Count; i++)
            {
                LoadRow row = await OnceAsync(loads[i], (ulong)(1000 + round));
                if (round >= 0) rows[i].Add(row);
            }
        }

        return [.. rows.Select(LoadRow.Median)];
    }

    async Task<LoadRow> OnceAsync(Load load, ulong seed)
    {
        IInferenceEngine engine = load.Engine;
        int vocabulary = Math.Min(engine.Model.Tokenizer.VocabularySize, 1 << 20);
        if (PromptTokens + Tokens > engine.Model.MaxPositions)
            throw CommandError.WrongUse($"{PromptTokens} prompt tokens and {Tokens} more were asked for.", $"together at most the model's {engine.Model.MaxPositions} positions", "lower --prompt-tokens or --tokens");
        IReadOnlyList<GenerationRequest> requests = [.. ServeLoad.Requests(load.Streams, load.Natural ? 2 : PromptTokens, Tokens, vocabulary, seed).Select((request, n) => request with
        {
            Sampling = new Inference.SamplingParameters(load.Temperature, load.TopP, (ulong)n), Prompt = load.Natural ? Beginning(engine, request.Prompt) : request.Prompt,
        })];
        return LoadRow.Of(load.Streams, PromptTokens, Tokens, await ServeLoad.RunAsync(engine, requests, Context.Cancellation));
    }

    static int[] Beginning(IInferenceEngine engine, ReadOnlyMemory<int> prompt) =>
        [engine.Model.Tokenizer.TryGetId(Text.SpecialTokens.BeginOfSentence, out int begin) ? begin : prompt.Span[0], prompt.Span[1]];
}

/// <summary>A load.</summary>
/// <param name="Engine">What writes.</param>
/// <param name="Streams">Texts at once.</param>
/// <param name="Temperature">0: the likeliest token.</param>
/// <param name="TopP">Of sampled texts.</param>
/// <param name="Natural">Texts as the model writes them from its beginning on, instead of after random prompts.</param>
sealed record Load(IInferenceEngine Engine, int Streams, double Temperature = 0, double TopP = 1, bool Natural = false);

/// <summary>One load, measured.</summary>
sealed record LoadRow(int Streams, int PromptTokens, int Tokens, double Prefill, double Decode, double FirstToken, double PerToken)
{
    public static LoadRow Of(int streams, int promptTokens, int tokens, LoadMeasurement measured) =>
        new(streams, promptTokens, tokens, measured.PromptTokensPerSecond, measured.DecodeTokensPerSecond, measured.FirstToken, measured.PerToken);

    public static LoadRow Median(IReadOnlyList<LoadRow> rows)
    {
        double Of(Func<LoadRow, double> value) => rows.Select(value).Order().ElementAt(rows.Count / 2);
        return rows[0] with { Prefill = Of(r => r.Prefill), Decode = Of(r => r.Decode), FirstToken = Of(r => r.FirstToken), PerToken = Of(r => r.PerToken) };
    }

    public void Write(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteNumber("streams", Streams);
        json.WriteNumber("prompt_tokens", PromptTokens);
        json.WriteNumber("tokens", Tokens);
        json.WriteNumber("prefill_tokens_per_second", Prefill);
        json.WriteNumber("decode_tokens_per_second", Decode);
        json.WriteNumber("first_token_seconds", FirstToken);
        json.WriteNumber("token_seconds", PerToken);
        json.WriteEndObject();
    }

    public override string ToString() => string.Create(CultureInfo.InvariantCulture,
        $"{Streams,4} streams: prompts {Prefill,8:F0} tokens/s, texts {Decode,8:F0} tokens/s, first token {1000 * FirstToken,8:F1} ms, each further {1000 * PerToken,7:F3} ms");
}
#endif
