using Hadal.Inference.Serving;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Tests that measure the process as a whole: no other test runs beside them.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

/// <summary>What the engine holds after many requests.</summary>
[Collection(nameof(Alone))]
public sealed class FlatMemoryTests
{
    [Fact]
    public async Task Memory_stays_flat_under_ten_thousand_requests_that_are_given_up()
    {
        using var model = new TestModel();
        await using var engine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { QueueLength = 2000, Pages = 40 });
        var request = new GenerationRequest { Prompt = Enumerable.Range(0, 70).Select(i => 3 + (i % 300)).ToArray(), MaxNewTokens = 300, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        var held = new long[10];
        for (int round = 0; round < 10; round++)
        {
            await Task.WhenAll(Enumerable.Range(0, 1000).Select(async n =>
            {
                using var cancel = new CancellationTokenSource();
                try
                {
                    int events = 0;
                    await foreach (GenerationEvent _ in engine.GenerateAsync(request with { Owner = $"{round}/{n}" }, cancel.Token))
                        if (events++ >= n % 3) await cancel.CancelAsync();
                }
                catch (OperationCanceledException)
                {
                }
            }));
            held[round] = GC.GetTotalMemory(forceFullCollection: true);
        }

        Assert.True(held[6..].Min() < held[2..6].Min() + (8 << 20), $"Bytes held after each round: {string.Join(' ', held)}");
        await engine.DrainAsync();
        EngineStatistics statistics = engine.Statistics;
        Assert.Equal((10_000, 0, 0, 0), (statistics.Finished, statistics.PagesInUse, statistics.Queued, statistics.Running));
        Assert.True(statistics.Cancelled > 9000, $"{statistics.Cancelled}");
    }
}
