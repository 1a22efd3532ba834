using System.Runtime.CompilerServices;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Numerics;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Prefill and decode apart: the same texts, also when workers die and pages are damaged.</summary>
public sealed class RouterTests
{
    /// <summary>A worker that dies in the middle of things, again and again, and damages pages on their way.</summary>
    sealed class Unreliable(LocalWorker worker, ulong seed) : IPrefillWorker, IDecodeWorker
    {
        int _calls;

        public string Name => worker.Name;

        public int MostRequests => worker.MostRequests;

        public EngineStatistics Statistics => worker.Statistics;

        public int Deaths { get; private set; }

        public int Damages { get; private set; }

        public async Task<PrefillResult> PrefillAsync(WorkerRequest request, CancellationToken cancellationToken = default)
        {
            var random = new CounterRandom(seed, RandomPurpose.Simulation, (uint)Interlocked.Increment(ref _calls));
            PrefillResult result = await worker.PrefillAsync(request, cancellationToken);
            if (random.Below(0, 5) == 0)
            {
                Deaths++;
                throw new WorkerFailedException(Name, "killed by the test");
            }

            if (random.Below(1, 4) == 0)
            {
                Damages++;
                result.Pages[random.Below(2, result.Pages.Length)] ^= (byte)(1 << random.Below(3, 8));
                if (random.Below(4, 2) == 0) return result with { Pages = result.Pages[..random.Below(5, result.Pages.Length)] };
            }

            return result;
        }

        public async IAsyncEnumerable<GenerationEvent> DecodeAsync(WorkerRequest request, byte[]? pages, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            var random = new CounterRandom(seed, RandomPurpose.Simulation, (uint)Interlocked.Increment(ref _calls));
            int left = random.Below(0, 3) == 0 ? random.Below(1, 20) : int.MaxValue;
            await foreach (GenerationEvent happened in worker.DecodeAsync(request, pages, cancellationToken))
            {
                if (left-- == 0)
                {
                    Deaths++;
                    throw new WorkerFailedException(Name, "killed by the test");
                }

                yield return happened;
            }
        }
    }

    [Fact]
    [Implements("V3 §3.4", "Prefilling and decoding are separated")]
    public async Task Texts_equal_those_of_the_plain_engine_though_workers_die_and_pages_are_damaged()
    {
        TestModel[] models = [.. Enumerable.Range(0, 4).Select(_ => new TestModel())];
        InferenceEngine[] engines = [.. models.Select(m => new InferenceEngine(m.Served, m.Transformer, new EngineOptions { Pages = 30, StepTokens = 80 }))];
        Unreliable[] workers = [.. engines.Select((e, n) => new Unreliable(new LocalWorker($"{n}", e), 50 + (ulong)n))];
        var options = new RouterOptions { RetryAfter = TimeSpan.FromMilliseconds(3), MostAttempts = 200 };
        await using (var router = new Router(engines[0].Model, [workers[0], workers[1]], [workers[2], workers[3]], options, engines))
        {
            var random = new CounterRandom(77, RandomPurpose.TestData);
            ulong draw = 0;
            GenerationRequest[] requests = [.. Enumerable.Range(0, 60).Select(_ => models[0].Random(random, ref draw))];
            Answer[] answers = await Task.WhenAll(requests.Select(request => Answer.Read(router.GenerateAsync(request))));
            Assert.True(workers.Sum(w => w.Deaths) > 10, $"{workers.Sum(w => w.Deaths)} deaths");
            Assert.True(workers.Sum(w => w.Damages) > 5, $"{workers.Sum(w => w.Damages)} damaged");
            Assert.True(router.Report.Redone > 15);
            Assert.Equal((60, 0, 0), (router.Statistics.Finished, router.Statistics.Queued, router.Statistics.Running));
            await router.DrainAsync();

            using var model = new TestModel();
            await using var plain = new PlainEngine(model.Served, model.Transformer);
            for (int n = 0; n < requests.Length; n++) Answer.Same(await Answer.Read(plain.GenerateAsync(requests[n])), answers[n]);
        }

        foreach (TestModel m in models) m.Dispose();
    }

    [Fact]
    public async Task Prompts_are_computed_where_they_should_be_and_goals_are_reported()
    {
        using TestModel first = new(), second = new();
        var prefill = new InferenceEngine(first.Served, first.Transformer);
        var decode = new InferenceEngine(second.Served, second.Transformer);
        var options = new RouterOptions { TimeToFirstToken = TimeSpan.FromSeconds(100), TimePerOutputToken = TimeSpan.FromTicks(1) };
        await using var router = new Router(prefill.Model, [new LocalWorker("p", prefill)], [new LocalWorker("d", decode)], options, prefill, decode);
        var request = new GenerationRequest { Prompt = Enumerable.Range(3, 150).ToArray(), MaxNewTokens = 20, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        Answer[] answers = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => Answer.Read(router.GenerateAsync(request))));
        Assert.All(answers, answer => Answer.Same(answers[0], answer));
        RouterReport report = router.Report;
        Assert.Equal((6, 6, 0, 0), (report.Requests, report.FirstTokenHeld, report.PerTokenHeld, report.Redone));
        Assert.Contains(answers, answer => answer.Queued > 0); // an impossible goal leaves one text at a time
        Assert.Equal(0, prefill.Statistics.GeneratedTokens);
        Assert.Equal(6 * 20, decode.Statistics.GeneratedTokens);
        Assert.Equal(6 * 20, router.Statistics.GeneratedTokens);
    }

    [Fact]
    public async Task When_all_decode_workers_are_gone_the_request_ends_by_itself()
    {
        using var model = new TestModel();
        var engine = new InferenceEngine(model.Served, model.Transformer);
        await using var router = new Router(engine.Model, [], [new LocalWorker("d", engine)], new RouterOptions { MostAttempts = 3, RetryAfter = TimeSpan.FromSeconds(60), WorkerWait = TimeSpan.FromSeconds(1) });
        var request = new GenerationRequest { Prompt = new[] { 5, 6 }, MaxNewTokens = 20, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        Assert.Equal(FinishReason.Length, (await Answer.Read(router.GenerateAsync(request))).Reason);
        await engine.DisposeAsync();
        Answer answer = await Answer.Read(router.GenerateAsync(request));
        Assert.Equal(FinishReason.InsufficientResources, answer.Reason);
    }

    [Fact]
    public void Pages_that_are_damaged_anywhere_are_refused()
    {
        using var model = new TestModel();
        using var pool = new Inference.Serving.Paging.PagePool(model.Transformer, 3, withMtp: true);
        int[] pages = [pool.Take(), pool.Take()];
        var random = new CounterRandom(8, RandomPurpose.Fuzzing);
        for (int layer = 0; layer < pool.Layers; layer++)
            for (int p = 0; p < 2; p++)
                foreach (ref byte b in pool.Rows(layer, pages[p], 64)) b = (byte)random.Below((ulong)layer, 256);
        byte[] good = PageTransfer.Write(pool, model.Served.Fingerprint, pages, 100);
        Assert.Equal(100, PageTransfer.Verify(good, model.Served.Fingerprint, pool.Layers, pool.RowBytes));
        for (ulong n = 0; n < 3000; n++)
        {
            byte[] bad = [.. good];
            switch (random.Below(n, 3))
            {
                case 0:
                    bad[random.Below(n + 10_000, bad.Length)] ^= (byte)(1 << random.Below(n + 20_000, 8));
                    break;
                case 1:
                    bad = bad[..random.Below(n + 30_000, bad.Length)];
                    break;
                default:
                    bad = [.. bad, 0];
                    break;
            }

            Assert.Throws<InvalidDataException>(() => PageTransfer.Verify(bad, model.Served.Fingerprint, pool.Layers, pool.RowBytes));
        }

        Assert.Throws<InvalidDataException>(() => PageTransfer.Verify(good, new string('0', 32), pool.Layers, pool.RowBytes));
        Assert.Throws<InvalidDataException>(() => PageTransfer.Verify(good, model.Served.Fingerprint, pool.Layers - 1, pool.RowBytes));
    }
}
