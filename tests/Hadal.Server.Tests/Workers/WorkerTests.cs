using System.Collections.Concurrent;
using Hadal.Inference;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;
using Hadal.Inference.Tests.Serving;
using Hadal.Numerics;
using Hadal.Server.Workers;

namespace Hadal.Server.Tests.Workers;

/// <summary>Workers over gRPC: the texts of one engine, whoever computes which part of them.</summary>
public sealed class WorkerTests
{
    static readonly TimeSpan Limit = TimeSpan.FromSeconds(90);

    static GenerationRequest Long(int seed = 0) => new()
    {
        Prompt = Enumerable.Range(3 + seed, 100).ToArray(), MaxNewTokens = 250, Sampling = new SamplingParameters(0.8, 0.9, (ulong)seed), IgnoreEndTokens = true, Owner = "ada",
    };

    static async Task<Answer> Plain(GenerationRequest request)
    {
        using var model = new TestModel();
        await using var plain = new PlainEngine(model.Served, model.Transformer);
        return await Answer.Read(plain.GenerateAsync(request));
    }

    [Fact]
    public async Task Random_requests_through_prefill_and_decode_workers_equal_those_of_the_plain_engine()
    {
        await using WorkerHost prefill = await WorkerHost.StartAsync(WorkerRole.Prefill), first = await WorkerHost.StartAsync(WorkerRole.Decode), second = await WorkerHost.StartAsync(WorkerRole.Decode);
        await using Router router = await WorkerDirectory.ConnectAsync("test", [first.Address, prefill.Address, second.Address]).WaitAsync(Limit);
        Assert.Equal(first.Served.Fingerprint, router.Model.Fingerprint);
        await Until(() => prefill.Options.Engine.Statistics.Finished + router.Statistics.Pages > 2 * first.Options.Engine.Statistics.Pages, router);
        using var model = new TestModel();
        var random = new CounterRandom(5, RandomPurpose.TestData);
        ulong draw = 0;
        GenerationRequest[] requests = [.. Enumerable.Range(0, 40).Select(_ => model.Random(random, ref draw))];
        Answer[] answers = await Task.WhenAll(requests.Select(request => Answer.Read(router.GenerateAsync(request)))).WaitAsync(Limit);
        await using (var plain = new PlainEngine(model.Served, model.Transformer))
            for (int n = 0; n < requests.Length; n++) Answer.Same(await Answer.Read(plain.GenerateAsync(requests[n])), answers[n]);
        Assert.Equal(0, prefill.Options.Engine.Statistics.GeneratedTokens);
        Assert.True(first.Options.Engine.Statistics.GeneratedTokens > 0 && second.Options.Engine.Statistics.GeneratedTokens > 0);
        Assert.Equal((40, 0, 0), (router.Statistics.Finished, router.Statistics.Queued, router.Statistics.Running));
        Assert.Equal(0, router.Report.Redone);
    }

    [Fact]
    public async Task A_worker_that_goes_and_comes_back_gets_work_again_and_no_text_changes()
    {
        await using WorkerHost prefill = await WorkerHost.StartAsync(WorkerRole.Prefill), decode = await WorkerHost.StartAsync(WorkerRole.Decode);
        var notes = new ConcurrentQueue<string>();
        await using Router router = await WorkerDirectory.ConnectAsync("test", [prefill.Address, decode.Address], note: notes.Enqueue).WaitAsync(Limit);
        const int Texts = 8; // enough that they are not over before the worker is
        Answer[] expected = await Task.WhenAll(Enumerable.Range(0, Texts).Select(n => Plain(Long(n))));
        Task<Answer>[] broken = [.. Enumerable.Range(0, Texts).Select(n => Answer.Read(router.GenerateAsync(Long(n))))];
        await Until(() => decode.Options.Engine.Statistics.GeneratedTokens >= 10, router);
        await decode.RestartAsync(() => prefill.RestartAsync(() => Until(() => notes.Any(note => note.Contains("gone", StringComparison.Ordinal)), router)));
        for (int n = 0; n < Texts; n++) Answer.Same(expected[n], await broken[n].WaitAsync(Limit)); // they waited for the only decode worker
        Assert.True(router.Report.Redone >= 1);
        Answer.Same(expected[0], await Answer.Read(router.GenerateAsync(Long())).WaitAsync(Limit));
    }

    [Fact]
    public async Task Cancelling_frees_the_pages_of_the_worker_at_once()
    {
        await using WorkerHost decode = await WorkerHost.StartAsync(WorkerRole.Decode);
        await using Router router = await WorkerDirectory.ConnectAsync("test", [decode.Address]).WaitAsync(Limit);
        Answer part = await Answer.Read(router.GenerateAsync(Long()), leaveAfter: 5).WaitAsync(Limit);
        Assert.InRange(part.Tokens.Length, 5, 249);
        await Until(() => decode.Options.Engine.Statistics is { PagesInUse: 0, Running: 0, Cancelled: 1 }, router);
        Assert.Equal((1, 1), (router.Statistics.Finished, router.Statistics.Cancelled));
    }

    [Fact]
    public async Task A_worker_with_another_model_or_without_the_key_gets_no_work()
    {
        const string Key = "a secret of more than 16";
        await using WorkerHost decode = await WorkerHost.StartAsync(WorkerRole.Decode, Key), other = await WorkerHost.StartAsync(WorkerRole.Decode, Key, seed: 2), locked = await WorkerHost.StartAsync(WorkerRole.Prefill, Key + "!");
        var notes = new ConcurrentQueue<string>();
        using var enough = new CancellationTokenSource(Limit);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => WorkerDirectory.ConnectAsync("test", [decode.Address], note: note =>
        {
            notes.Enqueue(note);
            enough.CancelAfter(TimeSpan.FromSeconds(0.5)); // said; it goes on trying until it is told to stop
        }, cancellationToken: enough.Token));
        Assert.Contains(notes, note => note.Contains(WorkerOptions.KeyVariable, StringComparison.Ordinal));

        await using Router router = await WorkerDirectory.ConnectAsync("test", [decode.Address], key: Key).WaitAsync(Limit);
        notes.Clear();
        await using Router both = await WorkerDirectory.ConnectAsync("test", [decode.Address, locked.Address], key: Key, note: notes.Enqueue).WaitAsync(Limit);
        await Until(() => notes.Any(note => note.Contains(WorkerOptions.KeyVariable, StringComparison.Ordinal)), both);
        Answer.Same(await Plain(Long()), await Answer.Read(both.GenerateAsync(Long())).WaitAsync(Limit));

        notes.Clear();
        await using Router mixed = await WorkerDirectory.ConnectAsync("test", [decode.Address, other.Address], key: Key, note: notes.Enqueue).WaitAsync(Limit);
        await Until(() => notes.Any(note => note.Contains("another model", StringComparison.Ordinal)), mixed);
        string[] chosen = [mixed.Model.Fingerprint, decode.Served.Fingerprint, other.Served.Fingerprint];
        for (int n = 0; n < 4; n++) await Answer.Read(mixed.GenerateAsync(Long(n) with { MaxNewTokens = 5 })).WaitAsync(Limit);
        WorkerHost left = string.Equals(chosen[0], chosen[1], StringComparison.Ordinal) ? other : decode;
        Assert.Equal(left == decode ? 250 : 0, left.Options.Engine.Statistics.GeneratedTokens);
    }

    [Fact]
    public async Task A_worker_that_others_reach_needs_a_key()
    {
        using var model = new TestModel();
        await using var engine = new InferenceEngine(model.Served, model.Transformer);
        var options = new WorkerOptions { Engine = engine, Role = WorkerRole.Decode, Urls = ["http://*:0"] };
        Assert.Contains(WorkerOptions.KeyVariable, Assert.Throws<ArgumentException>(() => options.Validate()).Message, StringComparison.Ordinal);
        Assert.Contains("at least 16", Assert.Throws<ArgumentException>(() => (options with { Key = "short" }).Validate()).Message, StringComparison.Ordinal);
        (options with { Key = "sixteen characters" }).Validate();
    }

    [Fact]
    public async Task Pages_that_do_not_arrive_as_they_were_sent_are_refused_and_so_are_too_many()
    {
        await using WorkerHost prefill = await WorkerHost.StartAsync(WorkerRole.Prefill), decode = await WorkerHost.StartAsync(WorkerRole.Decode);
        using RemoteWorker first = new(prefill.Address, null), second = new(decode.Address, null);
        first.Hear(await first.DescribeAsync(CancellationToken.None));
        second.Hear(await second.DescribeAsync(CancellationToken.None));
        var work = new WorkerRequest(Long() with { MaxNewTokens = 30 }, []);
        PrefillResult result = await first.PrefillAsync(work).WaitAsync(Limit);
        Answer.Same(await Plain(work.Request), await Answer.Read(second.DecodeAsync(work, result.Pages)).WaitAsync(Limit));
        byte[] flipped = [.. result.Pages];
        flipped[^9] ^= 1;
        await Assert.ThrowsAsync<PagesDamagedException>(() => Answer.Read(second.DecodeAsync(work, flipped)).WaitAsync(Limit));
        await Assert.ThrowsAsync<PagesDamagedException>(() => Answer.Read(second.DecodeAsync(work, result.Pages[..^1])).WaitAsync(Limit));
        await Assert.ThrowsAsync<ArgumentException>(() => Answer.Read(second.DecodeAsync(work, [.. result.Pages, .. new byte[3 << 20]])).WaitAsync(Limit));
        await Assert.ThrowsAsync<ArgumentException>(() => first.DecodeAsync(work, null).GetAsyncEnumerator().MoveNextAsync().AsTask().WaitAsync(Limit));
        await Assert.ThrowsAsync<ArgumentException>(() => second.PrefillAsync(work).WaitAsync(Limit));
        await Assert.ThrowsAsync<RequestRefusedException>(() => Answer.Read(second.DecodeAsync(work with { Request = work.Request with { Prompt = new[] { 99_999 } } }, null)).WaitAsync(Limit));
    }

    [Fact]
    public void Requests_events_and_statistics_survive_the_wire()
    {
        using var model = new TestModel();
        var random = new CounterRandom(6, RandomPurpose.TestData);
        ulong draw = 0;
        for (int n = 0; n < 300; n++)
        {
            GenerationRequest request = model.Random(random, ref draw) with { FormBeginsAfter = n % 2 == 0 ? n : null, PresencePenalty = random.Uniform(draw++) };
            WorkerRequest back = WireForm.Of(Wire(WireForm.Of(new WorkerRequest(request, [.. Enumerable.Range(0, Math.Min(n, request.MaxNewTokens))]))));
            Assert.Equal(request.Prompt.ToArray(), back.Request.Prompt.ToArray());
            Assert.Equal(request.Stop, back.Request.Stop);
            Assert.Equal(request, back.Request with { Prompt = request.Prompt, Stop = request.Stop });
            Assert.Equal(Math.Min(n, request.MaxNewTokens), back.Generated.Length);
        }

        // A text may be cut inside a surrogate pair, and a number of the last place counts.
        var tokens = new TokensGenerated("a\uD83D", [1, 2], [new TokenLogProbability(7, -0.1234567890123456789, [(7, -1.0 / 3), (8, double.NegativeInfinity)])]);
        var read = (TokensGenerated)WireForm.Of(WireForm.Of(tokens))!;
        Assert.Equal(tokens.Text, read.Text);
        Assert.Equal(tokens.Tokens, read.Tokens);
        Assert.Equal(tokens.LogProbabilities[0].LogProbability, read.LogProbabilities[0].LogProbability);
        Assert.Equal(tokens.LogProbabilities[0].Top, read.LogProbabilities[0].Top);
        foreach (GenerationEvent happened in (GenerationEvent[])[new RequestQueued(3, TimeSpan.FromSeconds(1.5)), new RequestStarted(64), new RequestFinished(FinishReason.Length, new TokenUsage(1, 2, 3, 4, 5))])
            Assert.Equal(happened, WireForm.Of(WireForm.Of(happened)));
        Assert.Throws<ArgumentException>(() => WireForm.Of(new Server.Workers.Wire.Work { MaxNewTokens = 1, Generated = { 1, 2 } }));
        Assert.Throws<ArgumentException>(() => WireForm.Of(new Server.Workers.Wire.Work { MaxNewTokens = 1, Form = 99 }));
        var statistics = new EngineStatistics { Queued = 1, Running = 2, Pages = 3, PagesInUse = 4, PagesCached = 5, Finished = 6, Cancelled = 7, Preempted = 8, PromptTokens = 9, CachedTokens = 10, GeneratedTokens = 11, DraftedTokens = 12, AcceptedTokens = 13, ExpertLoad = [[1, 2]], RecentExpertLoad = [[0.5, 1.5]], DecodeStepSeconds = 0.25, PromptTokensPerSecond = 7.5, DraftedSteps = 14, PlainSteps = 15, SpeculationGain = 1.25, PagesOnDisk = 16 };
        EngineStatistics heard = WireForm.Of(WireForm.Of(statistics));
        Assert.Equal(statistics with { ExpertLoad = [], RecentExpertLoad = [] }, heard with { ExpertLoad = [], RecentExpertLoad = [] });
        Assert.Equal(statistics.ExpertLoad[0], heard.ExpertLoad[0]);
        Assert.Equal(statistics.RecentExpertLoad[0], heard.RecentExpertLoad[0]);
    }

    // Through its bytes.
    static Server.Workers.Wire.Work Wire(Server.Workers.Wire.Work message) => Server.Workers.Wire.Work.Parser.ParseFrom(Google.Protobuf.MessageExtensions.ToByteArray(message));

    static async Task Until(Func<bool> condition, Router router)
    {
        for (int i = 0; i < 6000 && !condition(); i++) await Task.Delay(10);
        Assert.True(condition(), $"{router.Statistics}");
    }
}
