using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Prefill and decode as separate workers of one process.</summary>
public sealed class SeparateWorkersTests
{
    public static TheoryData<string, EngineOptions, int> Ways => new()
    {
        { "default", new EngineOptions(), 1 },
        { "two threads, drafts in every step", new EngineOptions { AlwaysSpeculate = true, StepTokens = 80 }, 2 },
        { "few pages and small steps", new EngineOptions { Pages = 8, MaxRunning = 6, StepTokens = 16, AlwaysSpeculate = true }, 1 },
        { "no caches", new EngineOptions { PrefixCache = false, Speculate = false, Pages = 12, SwapBytes = 0 }, 1 },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public async Task Texts_equal_those_of_the_plain_engine(string way, EngineOptions options, int threads)
    {
        using TestModel model = new(threads: threads), alone = new();
        EngineStatistics statistics = await InferenceEngineTests.Compare(() => SeparateWorkers.Start(model.Served, model.Transformer, options, new RouterOptions { QueueLength = 100 }), model, alone, way, requests: 40, seed: 61);
        Assert.Equal((0, 0, 0), (statistics.PagesInUse, statistics.Queued, statistics.Running));
        Assert.Equal(40, statistics.Finished);
        if (options.AlwaysSpeculate) Assert.True(statistics.AcceptedTokens > 0);
        if (options.PrefixCache) Assert.True(statistics.CachedTokens > 0);
        Assert.Equal(0, statistics.Goals!.Redone);
    }

    [Fact]
    public async Task Each_worker_computes_its_phase_alone()
    {
        using var model = new TestModel();
        (InferenceEngine prefill, InferenceEngine decode) = SeparateWorkers.StartWorkers(model.Served, model.Transformer, new EngineOptions { Speculate = false });
        await using var router = new Router(decode.Model, [new LocalWorker("p", prefill)], [new LocalWorker("d", decode)], null, prefill, decode);
        var request = new GenerationRequest { Prompt = Enumerable.Range(3, 150).ToArray(), MaxNewTokens = 20, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        Assert.Equal(20, (await Answer.Read(router.GenerateAsync(request))).Tokens.Length);
        await router.DrainAsync();
        Assert.Equal((0, 20), (prefill.Statistics.GeneratedTokens, decode.Statistics.GeneratedTokens));
        Assert.Equal(2 * 149, prefill.Statistics.ExpertLoad[0].Sum()); // two experts each; all but the last token of the prompt
        Assert.Equal(2 * 20, decode.Statistics.ExpertLoad[0].Sum());
        Assert.Equal(2 * 169, router.Statistics.ExpertLoad[0].Sum());
    }

    [Fact]
    public async Task The_next_turn_of_a_conversation_finds_what_the_last_one_wrote()
    {
        using TestModel model = new(), alone = new();
        string folder = Directory.CreateTempSubdirectory("hadal-pages-").FullName;
        try
        {
            var options = new EngineOptions { CacheDirectory = folder };
            var first = new GenerationRequest { Prompt = Enumerable.Range(3, 100).ToArray(), MaxNewTokens = 110, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true, Owner = "ada" };
            GenerationRequest next;
            Answer answer, before;
            await using (Router router = SeparateWorkers.Start(model.Served, model.Transformer, options))
            {
                answer = await Answer.Read(router.GenerateAsync(first));
                next = first with { Prompt = (int[])[.. first.Prompt.ToArray(), .. answer.Tokens, 9, 8, 7], MaxNewTokens = 20 };
                before = await Answer.Read(router.GenerateAsync(next));
                Assert.Equal(192, before.Usage.CachedTokens); // 209 positions were written, three pages full; the prompt alone would give 64
                Assert.Equal(0, (await Answer.Read(router.GenerateAsync(next with { Owner = "grace" }))).Usage.CachedTokens);
            }

            await using (Router router = SeparateWorkers.Start(model.Served, model.Transformer, options)) // and from the disk
            {
                Answer again = await Answer.Read(router.GenerateAsync(next));
                Assert.Equal(192, again.Usage.CachedTokens);
                Answer.Same(before, again);
            }

            await using var plain = new PlainEngine(alone.Served, alone.Transformer);
            Answer.Same(await Answer.Read(plain.GenerateAsync(next)), before);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task Turns_are_taken_in_order_and_none_is_shared()
    {
        var turns = new ComputeTurns();
        int inside = 0, most = 0, sum = 0;
        await Task.WhenAll(Enumerable.Range(0, 3).Select(_ => Task.Run(() =>
        {
            for (int i = 0; i < 2000; i++)
            {
                turns.Enter();
                most = Math.Max(most, ++inside);
                sum++;
                inside--;
                turns.Leave();
            }
        }))).WaitAsync(TimeSpan.FromSeconds(60));
        Assert.Equal((1, 6000), (most, sum));
    }
}
