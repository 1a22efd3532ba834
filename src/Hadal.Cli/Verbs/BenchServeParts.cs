#if SERVER
using Hadal.Cli.Framework;
using Hadal.Inference.Measurement;
using Hadal.Inference.Serving;
using Hadal.Model;
using Hadal.Server.Measurement;
using Hadal.Tensors;

namespace Hadal.Cli.Verbs;

/// <summary>The parts that run in this process.</summary>
sealed partial record BenchServeRun
{
    /// <summary>One text by a session without an engine, and the same by the engine: what pages, the step's plan and events cost.</summary>
    async Task<(double Session, double Engine)> PagingAsync()
    {
        double session;
        using (IBackend device = Backends.Create(Backend, Context))
        using (LoadedModel loaded = ModelFolder.Load(Model, device, Context))
        {
            session = Enumerable.Range(0, Rounds).Select(_ => DecodeBenchmark.Measure(loaded.Model, PromptTokens, Tokens, cancel: Context.Cancellation).MedianSeconds).Order().ElementAt(Rounds / 2);
        }

        await using InferenceEngine engine = Open(new EngineOptions { Speculate = false, PrefixCache = false });
        return (session, (await LoadAsync(engine, 1)).PerToken);
    }

    async Task HttpAsync(BenchServeResult result)
    {
        int most = Streams.Max();
        await using (InferenceEngine engine = Open(new EngineOptions { Speculate = false, MaxRunning = most, PrefixCache = false }))
            foreach (int streams in Streams) result.HttpBare.Add(await LoadAsync(engine, streams));
        string home = Directory.CreateTempSubdirectory("hadal-bench-").FullName;
        await using HttpLoad http = await HttpLoad.StartAsync(Open(new EngineOptions { Speculate = false, MaxRunning = most, PrefixCache = false }), home);
        foreach (int streams in Streams) result.Http.Add(await LoadAsync(http, streams));
    }

    /// <summary>One text at a time without drafts: what choosing costs beside the likeliest token.</summary>
    async Task SamplingAsync(BenchServeResult result)
    {
        await using InferenceEngine engine = Open(new EngineOptions { Speculate = false, PrefixCache = false });
        foreach ((double temperature, double topP) in ((double, double)[])[(0, 1), (0.6, 1), (0.6, 0.95), (1, 1)])
            result.Sampling.Add((temperature, topP, (await LoadAsync(engine, 1, temperature, topP, natural: true)).PerToken));
    }

    /// <summary>Texts that the model would write, greedy and sampled, with drafts and without.</summary>
    async Task SpeculationAsync(BenchServeResult result)
    {
        foreach (double temperature in (double[])[0, 0.6])
        {
            foreach (int streams in Streams)
            {
                LoadRow always, chosen, without;
                double acceptance, share;
                var options = new EngineOptions { MaxRunning = streams, PrefixCache = false };
                await using (InferenceEngine engine = Open(options with { AlwaysSpeculate = true }))
                {
                    if (!engine.IsSpeculating) return; // a model without an MTP module
                    always = await LoadAsync(engine, streams, temperature, natural: true);
                    EngineStatistics statistics = engine.Statistics;
                    acceptance = statistics.AcceptedTokens / Math.Max(1.0, statistics.DraftedTokens);
                }

                await using (InferenceEngine engine = Open(options))
                {
                    chosen = await LoadAsync(engine, streams, temperature, natural: true);
                    EngineStatistics statistics = engine.Statistics;
                    share = statistics.DraftedSteps / Math.Max(1.0, statistics.DraftedSteps + statistics.PlainSteps);
                }

                await using (InferenceEngine engine = Open(options with { Speculate = false })) without = await LoadAsync(engine, streams, temperature, natural: true);
                result.Speculation.Add(new SpeculationRow(temperature, streams, acceptance, share, always.PerToken, chosen.PerToken, without.PerToken));
            }
        }
    }

    /// <summary>Prompts of several lengths in the one form that serving has, and in that of training.</summary>
    void Forms(BenchServeResult result)
    {
        using IBackend device = Backends.Create(Backend, Context);
        using LoadedModel loaded = ModelFolder.Load(Model, device, Context);
        foreach (int length in ((int[])[PromptTokens, 4 * PromptTokens, 16 * PromptTokens]).Where(length => length <= loaded.Model.Shape.MaxPositions))
        {
            (double absorbed, double expanded) = PrefillForms.Measure(loaded.Model, length, Rounds);
            result.Forms.Add((length, absorbed, expanded));
        }
    }

    /// <summary>What the promise costs that a text depends on nothing else: drafts that are accepted by residual resampling instead.</summary>
    async Task FastAsync(BenchServeResult result)
    {
        foreach (bool fast in (bool[])[false, true])
        {
            await using InferenceEngine engine = Open(new EngineOptions { Fast = fast, AlwaysSpeculate = true, PrefixCache = false });
            if (!engine.IsSpeculating) return;
            LoadRow row = await LoadAsync(engine, 1, temperature: 1, natural: true);
            EngineStatistics statistics = engine.Statistics;
            result.Fast.Add((fast, statistics.AcceptedTokens / Math.Max(1.0, statistics.DraftedTokens), row.PerToken));
        }
    }
}
#endif
