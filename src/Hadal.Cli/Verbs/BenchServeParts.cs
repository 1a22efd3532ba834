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
        var options = new EngineOptions { Speculate = false, MaxRunning = Streams.Max(), PrefixCache = false };
        string home = Directory.CreateTempSubdirectory("hadal-bench-").FullName;
        await using InferenceEngine bare = Open(options);
        await using HttpLoad http = await HttpLoad.StartAsync(Open(options), home);
        foreach (int streams in Streams)
        {
            LoadRow[] rows = await InTurnAsync(new Load(bare, streams), new Load(http, streams));
            result.HttpBare.Add(rows[0]);
            result.Http.Add(rows[1]);
        }
    }

    /// <summary>One text at a time without drafts: what choosing costs beside the likeliest token.</summary>
    async Task SamplingAsync(BenchServeResult result)
    {
        await using InferenceEngine engine = Open(new EngineOptions { Speculate = false, PrefixCache = false });
        Load[] loads = [.. ((IEnumerable<(double, double)>)[(0, 1), (0.6, 1), (0.6, 0.95), (1, 1)]).Select(how => new Load(engine, 1, how.Item1, how.Item2, Natural: true))];
        LoadRow[] rows = await InTurnAsync(loads);
        for (int i = 0; i < loads.Length; i++) result.Sampling.Add((loads[i].Temperature, loads[i].TopP, rows[i].PerToken));
    }

    /// <summary>Texts that the model would write, greedy and sampled, with drafts and without.</summary>
    async Task SpeculationAsync(BenchServeResult result)
    {
        foreach (double temperature in (double[])[0, 0.6])
        {
            foreach (int streams in Streams)
            {
                var options = new EngineOptions { MaxRunning = streams, PrefixCache = false };
                await using InferenceEngine always = Open(options with { AlwaysSpeculate = true }), chosen = Open(options), without = Open(options with { Speculate = false });
                if (!always.IsSpeculating) return; // a model without an MTP module
                LoadRow[] rows = await InTurnAsync([.. ((IEnumerable<InferenceEngine>)[always, chosen, without]).Select(engine => new Load(engine, streams, temperature, Natural: true))]);
                EngineStatistics drafted = always.Statistics, mixed = chosen.Statistics;
                result.Speculation.Add(new SpeculationRow(temperature, streams, drafted.AcceptedTokens / Math.Max(1.0, drafted.DraftedTokens),
                    mixed.DraftedSteps / Math.Max(1.0, mixed.DraftedSteps + mixed.PlainSteps), rows[0].PerToken, rows[1].PerToken, rows[2].PerToken));
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
        var options = new EngineOptions { AlwaysSpeculate = true, PrefixCache = false };
        await using InferenceEngine usual = Open(options), fast = Open(options with { Fast = true });
        if (!usual.IsSpeculating) return;
        LoadRow[] rows = await InTurnAsync(new Load(usual, 1, 1, Natural: true), new Load(fast, 1, 1, Natural: true));
        foreach ((InferenceEngine engine, LoadRow row) in ((InferenceEngine, LoadRow)[])[(usual, rows[0]), (fast, rows[1])])
        {
            EngineStatistics statistics = engine.Statistics;
            result.Fast.Add((ReferenceEquals(engine, fast), statistics.AcceptedTokens / Math.Max(1.0, statistics.DraftedTokens), row.PerToken));
        }
    }
}
#endif
