using System.Collections.Concurrent;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Paging;
using Hadal.Numerics;

namespace Hadal.Inference.Tests.Serving;

/// <summary>The batching engine against the plain one, token for token, under everything that could disturb it.</summary>
public sealed class InferenceEngineTests
{
    /// <summary>Pages, step, running, speculate, prefix cache, swap memory; threads.</summary>
    public static TheoryData<string, EngineOptions, int> Ways => new()
    {
        { "default", new EngineOptions(), 1 },
        { "drafts in every step", new EngineOptions { AlwaysSpeculate = true }, 1 },
        { "drafts now and then", new EngineOptions { DraftWhen = NowAndThen(1) }, 1 },
        { "tiny pool", new EngineOptions { Pages = 8, MaxRunning = 12, StepTokens = 48, AlwaysSpeculate = true }, 1 },
        { "tiny pool, drafts now and then", new EngineOptions { Pages = 8, MaxRunning = 12, StepTokens = 48, DraftWhen = NowAndThen(2) }, 1 },
        { "tiny pool, nothing kept of what is put aside", new EngineOptions { Pages = 8, MaxRunning = 12, StepTokens = 48, SwapBytes = 0, DraftWhen = NowAndThen(3) }, 1 },
        { "small steps", new EngineOptions { StepTokens = 2, MaxRunning = 3, Pages = 20, AlwaysSpeculate = true }, 1 },
        { "no speculation", new EngineOptions { Speculate = false, StepTokens = 33, Pages = 12 }, 1 },
        { "no prefix cache", new EngineOptions { PrefixCache = false, StepTokens = 64, Pages = 9, MaxRunning = 9, AlwaysSpeculate = true }, 1 },
        { "shared prefixes", new EngineOptions { SharedPrefixes = true, StepTokens = 100, Pages = 16, DraftWhen = NowAndThen(4) }, 1 },
        { "three threads", new EngineOptions { StepTokens = 80, Pages = 14, MaxRunning = 10, AlwaysSpeculate = true }, 3 },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    [Implements("V3 §2.2", "MTP modules draft tokens for speculative decoding")]
    public async Task Texts_equal_those_of_the_plain_engine(string way, EngineOptions options, int threads)
    {
        using TestModel model = new(threads: threads), alone = new();
        EngineStatistics statistics = await Compare(model, alone, options, way, requests: 60, seed: 21);
        Assert.Equal(0, statistics.PagesInUse);
        Assert.Equal(0, statistics.Queued + statistics.Running);
        if (options.PrefixCache) Assert.True(statistics.CachedTokens > 0, "no prefix was found again");
        if (options.DraftWhen is not null) Assert.True(statistics.DraftedSteps > 10 && statistics.PlainSteps > 10, $"{statistics.DraftedSteps} steps with drafts, {statistics.PlainSteps} without");
        if (options.AlwaysSpeculate || options.DraftWhen is not null) Assert.True(statistics.AcceptedTokens > 0 && statistics.AcceptedTokens < statistics.DraftedTokens, $"{statistics.AcceptedTokens} of {statistics.DraftedTokens} drafts were right");
        else if (!options.Speculate) Assert.Equal((0, 0, 0), (statistics.DraftedTokens, statistics.DraftedSteps, statistics.PlainSteps));
        Assert.Equal(options.Speculate ? 3 : 2, statistics.ExpertLoad.Count);
        Assert.All(statistics.ExpertLoad.Take(2), layer => Assert.True(layer.Sum() > 0));
        Assert.Equal(statistics.ExpertLoad.Select(layer => layer.Count), statistics.RecentExpertLoad.Select(layer => layer.Count));
        for (int layer = 0; layer < statistics.ExpertLoad.Count; layer++) // within a minute nothing has faded much
            Assert.InRange(statistics.RecentExpertLoad[layer].Sum(), statistics.ExpertLoad[layer].Sum() * 0.5, statistics.ExpertLoad[layer].Sum() * 1.001);
    }

    // In stretches of one to some dozen steps.
    static Func<int, bool> NowAndThen(ulong seed)
    {
        var random = new CounterRandom(seed, RandomPurpose.Simulation);
        ulong draw = 0;
        int left = 0;
        bool drafts = false;
        return _ =>
        {
            if (left-- > 0) return drafts;
            drafts = !drafts;
            left = random.Below(draw++, random.Below(draw++, 3) == 0 ? 40 : 6);
            return drafts;
        };
    }

    [Fact]
    [Trait("tier", "full")]
    public async Task Hundreds_of_requests_with_random_options_equal_those_of_the_plain_engine()
    {
        var random = new CounterRandom(99, RandomPurpose.TestData);
        ulong draw = 0;
        long preempted = 0, cached = 0, accepted = 0;
        for (int round = 0; round < 8; round++)
        {
            using var model = new TestModel(seed: 30 + (ulong)round, deviation: round % 2 == 0 ? 0.25 : 0.1);
            var options = new EngineOptions
            {
                Pages = 8 + random.Below(draw++, 20), StepTokens = 2 + random.Below(draw++, 150), MaxRunning = 1 + random.Below(draw++, 20), Speculate = random.Below(draw++, 3) > 0, DraftWhen = round % 3 == 0 ? null : NowAndThen((ulong)round),
                PrefixCache = random.Below(draw++, 4) > 0, SharedPrefixes = random.Below(draw++, 2) == 0, SwapBytes = random.Below(draw++, 3) == 0 ? 40_000 : 1 << 24,
            };
            EngineStatistics statistics = await Compare(model, model, options, $"round {round}: {options}", requests: 100, seed: 100 + (ulong)round);
            preempted += statistics.Preempted;
            cached += statistics.CachedTokens;
            accepted += statistics.AcceptedTokens;
        }

        Assert.True(preempted > 0 && cached > 0 && accepted > 0, $"{preempted} requests put aside, {cached} tokens found again, {accepted} drafts right: the rounds disturbed too little");
    }

    /// <summary>Sends random requests at random moments, gives some up, and compares the others with the plain engine, of the same or an equal model.</summary>
    static Task<EngineStatistics> Compare(TestModel model, TestModel alone, EngineOptions options, string way, int requests, ulong seed) =>
        Compare(() => new InferenceEngine(model.Served, model.Transformer, options), model, alone, way, requests, seed);

    /// <summary>The same with any engine.</summary>
    internal static async Task<EngineStatistics> Compare(Func<IInferenceEngine> open, TestModel model, TestModel alone, string way, int requests, ulong seed)
    {
        var random = new CounterRandom(seed, RandomPurpose.TestData);
        ulong draw = 0;
        var all = new List<(GenerationRequest Request, int LeaveAfter, int Delay)>();
        for (int n = 0; n < requests; n++)
        {
            GenerationRequest request = model.Random(random, ref draw);
            all.Add((request, random.Below(draw++, 6) == 0 ? random.Below(draw++, 8) : int.MaxValue, random.Below(draw++, 60)));
        }

        var answers = new ConcurrentDictionary<int, Answer>();
        EngineStatistics statistics;
        await using (IInferenceEngine engine = open())
        {
            await Task.WhenAll(all.Select(async (entry, n) =>
            {
                await Task.Delay(entry.Delay);
                answers[n] = await Answer.Read(engine.GenerateAsync(entry.Request), entry.LeaveAfter);
            }));
            await engine.DrainAsync();
            statistics = engine.Statistics;
        }

        await using var plain = new PlainEngine(alone.Served, alone.Transformer, new EngineOptions { QueueLength = requests });
        for (int n = 0; n < requests; n++)
        {
            Answer expected = await Answer.Read(plain.GenerateAsync(all[n].Request)), actual = answers[n];
            if (all[n].LeaveAfter == int.MaxValue)
            {
                Answer.Same(expected, actual);
            }
            else
            {
                Assert.Equal(expected.Tokens.Take(actual.Tokens.Length), actual.Tokens);
                Assert.StartsWith(actual.Text, expected.Text, StringComparison.Ordinal);
            }

            Assert.True(actual.Usage.AcceptedTokens <= actual.Usage.DraftedTokens, way);
        }

        return statistics;
    }

    [Theory]
    [InlineData(1 << 24)]
    [InlineData(0)]
    public async Task Requests_that_are_put_aside_for_want_of_pages_go_on_with_the_same_text(long swapBytes)
    {
        using var model = new TestModel();
        GenerationRequest[] requests = [.. Enumerable.Range(0, 6).Select(n => new GenerationRequest
        {
            Prompt = new[] { 3 + n, 20, 30 }, MaxNewTokens = 180, Sampling = new SamplingParameters(n % 2, 0.95, (ulong)n), IgnoreEndTokens = true, PresencePenalty = n == 3 ? 1 : 0,
        })];
        await using var plain = new PlainEngine(model.Served, model.Transformer);
        var expected = new List<Answer>();
        foreach (GenerationRequest request in requests) expected.Add(await Answer.Read(plain.GenerateAsync(request)));
        await plain.DrainAsync();
        await using var engine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { Pages = 8, SwapBytes = swapBytes });
        Answer[] answers = await Task.WhenAll(requests.Select(request => Answer.Read(engine.GenerateAsync(request))));
        for (int n = 0; n < answers.Length; n++) Answer.Same(expected[n], answers[n]);
        Assert.True(engine.Statistics.Preempted > 0); // six texts of three pages each, and eight pages
    }

    [Fact]
    public async Task A_decode_step_allocates_nothing_after_warm_up()
    {
        using var model = new TestModel();
        await using var engine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { MaxRunning = 4 });
        async Task Run(ulong seed)
        {
            await Task.WhenAll(Enumerable.Range(0, 4).Select(n => Answer.Read(engine.GenerateAsync(new GenerationRequest
            {
                Prompt = Enumerable.Range(0, 70).Select(i => 3 + ((i * (n + 5)) % 300)).ToArray(), MaxNewTokens = 150, IgnoreEndTokens = true,
                Sampling = n == 0 ? SamplingParameters.Greedy : new SamplingParameters(0.8, 0.9, seed + (ulong)n), FrequencyPenalty = n == 2 ? 0.1 : 0,
            }))));
        }

        await Run(1);
        await Run(1);
        long before = engine.StepAllocatedBytes, steps = engine.Steps;
        await Run(1);
        Assert.True(engine.Steps - steps > 70, $"{engine.Steps - steps} steps");
        Assert.Equal(0, engine.StepAllocatedBytes - before);
    }

    [Fact]
    public async Task A_prompt_that_was_answered_before_is_found_again_by_its_owner_only()
    {
        using var model = new TestModel();
        await using var engine = new InferenceEngine(model.Served, model.Transformer);
        foreach (int length in (int[])[64, 65, 128, 200])
        {
            var request = new GenerationRequest
            {
                Prompt = Enumerable.Range(0, length).Select(i => 3 + ((i * 7) + length) % 300).ToArray(), MaxNewTokens = 5, Sampling = SamplingParameters.Greedy, Owner = "ada", IgnoreEndTokens = true,
            };
            Answer first = await Answer.Read(engine.GenerateAsync(request)), again = await Answer.Read(engine.GenerateAsync(request));
            Answer other = await Answer.Read(engine.GenerateAsync(request with { Owner = "grace" }));
            Assert.Equal(0, first.Usage.CachedTokens);
            Assert.Equal(length % 64 == 0 ? length - 1 : length / 64 * 64, again.Usage.CachedTokens);
            Assert.Equal(0, other.Usage.CachedTokens);
            Answer.Same(first, again);
            Answer.Same(first, other);
        }
    }

    [Fact]
    public async Task With_shared_prefixes_all_owners_find_what_one_sent()
    {
        using var model = new TestModel();
        await using var engine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { SharedPrefixes = true });
        var request = new GenerationRequest { Prompt = Enumerable.Range(3, 200).ToArray(), MaxNewTokens = 5, Sampling = SamplingParameters.Greedy, Owner = "ada", IgnoreEndTokens = true };
        Answer first = await Answer.Read(engine.GenerateAsync(request)), other = await Answer.Read(engine.GenerateAsync(request with { Owner = "grace" }));
        Assert.Equal((0, 192), (first.Usage.CachedTokens, other.Usage.CachedTokens));
        Answer.Same(first, other);
    }

    [Fact]
    public async Task A_request_that_is_given_up_frees_its_pages_though_nobody_else_asks()
    {
        using var model = new TestModel(positions: 4000);
        await using var engine = new InferenceEngine(model.Served, model.Transformer);
        var request = new GenerationRequest { Prompt = Enumerable.Range(3, 150).ToArray(), MaxNewTokens = 3800, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        int left = (await Answer.Read(engine.GenerateAsync(request), leaveAfter: 3)).Tokens.Length;
        for (int i = 0; i < 3000 && (engine.Statistics.PagesInUse > 0 || engine.Statistics.Running > 0); i++) await Task.Delay(10);
        EngineStatistics statistics = engine.Statistics;
        Assert.Equal((0, 0, 1), (statistics.PagesInUse, statistics.Running, statistics.Cancelled));
        Assert.InRange(statistics.GeneratedTokens, left, 3799);
    }

    [Fact]
    public async Task Prefixes_outlive_the_engine_on_disk_and_damaged_files_count_as_absent()
    {
        using var model = new TestModel();
        string folder = Directory.CreateTempSubdirectory("hadal-pages-").FullName;
        try
        {
            var options = new EngineOptions { CacheDirectory = folder, CacheDirectoryBytes = 1 << 20 };
            var request = new GenerationRequest { Prompt = Enumerable.Range(0, 200).Select(i => 3 + (i % 300)).ToArray(), MaxNewTokens = 4, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
            Answer first;
            await using (var engine = new InferenceEngine(model.Served, model.Transformer, options)) first = await Answer.Read(engine.GenerateAsync(request));
            string[] files = Directory.GetFiles(folder, "*.page", SearchOption.AllDirectories);
            Assert.Equal(3, files.Length);
            await using (var engine = new InferenceEngine(model.Served, model.Transformer, options))
            {
                Answer second = await Answer.Read(engine.GenerateAsync(request));
                Assert.Equal(192, second.Usage.CachedTokens);
                Answer.Same(first, second);
            }

            if (!OperatingSystem.IsWindows()) // what people wrote is nobody else's to read
                Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.GetDirectoryName(files[0])!));

            // Each file is damaged in another way.
            byte[] flipped = await File.ReadAllBytesAsync(files[0]);
            flipped[^100] ^= 4;
            await File.WriteAllBytesAsync(files[0], flipped);
            await File.WriteAllBytesAsync(files[1], flipped.AsMemory(0, 50).ToArray());
            await File.WriteAllTextAsync(Path.Combine(Path.GetDirectoryName(files[0])!, "notes.page"), "not a page");
            await using (var engine = new InferenceEngine(model.Served, model.Transformer, options))
            {
                Answer third = await Answer.Read(engine.GenerateAsync(request));
                Assert.True(third.Usage.CachedTokens <= 128, $"{third.Usage.CachedTokens}");
                Answer.Same(first, third);
            }

            // The bound is kept: a page here has 20 · 64 · 4 · 4 bytes and a header.
            await using (var engine = new InferenceEngine(model.Served, model.Transformer, options with { CacheDirectoryBytes = 45_000 })) await Answer.Read(engine.GenerateAsync(request));
            Assert.InRange(Directory.GetFiles(folder, "*.page", SearchOption.AllDirectories).Where(f => !f.EndsWith("notes.page", StringComparison.Ordinal)).Sum(f => new FileInfo(f).Length), 1, 45_000);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task Pages_on_disk_that_nobody_asks_for_are_deleted()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-pages-").FullName;
        try
        {
            BlockKey[] keys = [BlockKey.Root("a", "1"), BlockKey.Root("a", "2"), BlockKey.Root("a", "3")];
            string Place(BlockKey key) => Path.Combine(folder, $"{key}.page");
            await using (var store = new PageStore(folder, 64, 1 << 20, TimeSpan.FromDays(3)))
                foreach (BlockKey key in keys) store.Write(key, 7, static (fill, page) => page.Span.Fill((byte)fill));
            Assert.All(keys, key => Assert.True(File.Exists(Place(key))));
            File.SetLastWriteTimeUtc(Place(keys[0]), DateTime.UtcNow.AddDays(-4));
            File.SetLastWriteTimeUtc(Place(keys[1]), DateTime.UtcNow.AddDays(-2));
            await using (var store = new PageStore(folder, 64, 1 << 20, TimeSpan.FromDays(3)))
            {
                Assert.Equal([false, true, true], keys.Select(store.Knows));
                Assert.Equal([false, true, true], keys.Select(key => File.Exists(Place(key))));
            }

            // While it runs, too.
            await using (var store = new PageStore(folder, 64, 1 << 20, TimeSpan.FromMilliseconds(200)))
            {
                for (int i = 0; i < 3000 && (store.Count > 0 || keys.Any(key => File.Exists(Place(key)))); i++) await Task.Delay(10);
                Assert.Equal(0, store.Count);
            }

            Assert.DoesNotContain(keys, key => File.Exists(Place(key)));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public async Task The_owner_with_the_fewest_tokens_is_served_next()
    {
        using var model = new TestModel();
        await using var engine = new InferenceEngine(model.Served, model.Transformer, new EngineOptions { MaxRunning = 1 });
        var finished = new ConcurrentQueue<string>();
        GenerationRequest Of(string owner) => new()
        {
            Prompt = new[] { 5, 6, 7 }, MaxNewTokens = 60, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true, Owner = owner,
        };
        async Task Run(string owner)
        {
            await Answer.Read(engine.GenerateAsync(Of(owner)));
            finished.Enqueue(owner);
        }

        Task[] many = [.. Enumerable.Range(0, 8).Select(_ => Run("many"))];
        Task one = Run("one");
        await Task.WhenAll([.. many, one]);
        int place = finished.ToList().IndexOf("one");
        Assert.InRange(place, 0, 3); // behind at most what had begun, not behind all eight
    }
}
