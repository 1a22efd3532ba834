using System.Runtime.CompilerServices;
using Hadal.Inference.Serving;
using Hadal.Inference.Serving.Workers;

namespace Hadal.Inference.Tests.Serving;

/// <summary>Who waits and who is taken, with workers whose speed the test decides.</summary>
public sealed class RouterLineTests
{
    /// <summary>Computes nothing: a prompt takes a while, then tokens come one by one.</summary>
    sealed class Paced(TimeSpan prefill, TimeSpan perToken, int most = 64) : IPrefillWorker, IDecodeWorker
    {
        int _prefilling, _decoding;

        public string Name => "paced";

        public int MostRequests => most;

        public EngineStatistics Statistics { get; init; } = new();

        public bool IsAvailable { get; set; } = true;

        public int MostPrefilling { get; private set; }

        public int MostDecoding { get; private set; }

        public Task? Hold { get; init; }

        /// <summary>Times it says that it is busy.</summary>
        public int Busy { get; set; }

        public int Prompts { get; private set; }

        public async Task<PrefillResult> PrefillAsync(WorkerRequest request, CancellationToken cancellationToken = default)
        {
            Prompts++;
            MostPrefilling = Math.Max(MostPrefilling, Interlocked.Increment(ref _prefilling));
            await Task.Delay(prefill, cancellationToken);
            Interlocked.Decrement(ref _prefilling);
            return new PrefillResult([], 0);
        }

        public async IAsyncEnumerable<GenerationEvent> DecodeAsync(WorkerRequest request, byte[]? pages, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            if (Busy > 0)
            {
                Busy--;
                throw new EngineBusyException(9, TimeSpan.FromSeconds(1));
            }

            MostDecoding = Math.Max(MostDecoding, Interlocked.Increment(ref _decoding));
            try
            {
                yield return new RequestStarted(0);
                if (Hold is not null) await Hold.WaitAsync(cancellationToken);
                for (int i = request.Generated.Length; i < request.Request.MaxNewTokens; i++)
                {
                    if (perToken > TimeSpan.Zero) await Task.Delay(perToken, cancellationToken);
                    yield return new TokensGenerated("x", [i], []);
                }

                yield return new RequestFinished(FinishReason.Length, new TokenUsage(request.Request.Prompt.Length, 0, request.Request.MaxNewTokens, 0, 0));
            }
            finally
            {
                Interlocked.Decrement(ref _decoding);
            }
        }
    }

    static GenerationRequest Request(string owner = "", int tokens = 4) => new() { Prompt = new int[100], MaxNewTokens = tokens, Sampling = SamplingParameters.Greedy, Owner = owner };

    static ServedModel Model { get; } = Describe();

    static ServedModel Describe()
    {
        using var model = new TestModel();
        return model.Served;
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1_000_000, 5)]
    public async Task With_a_goal_for_the_first_token_prompts_wait_in_line_rather_than_miss_it(int goalMilliseconds, int atOnce)
    {
        var worker = new Paced(TimeSpan.FromMilliseconds(30), TimeSpan.Zero);
        await using var router = new Router(Model, [worker], [worker], new RouterOptions { TimeToFirstToken = TimeSpan.FromMilliseconds(goalMilliseconds) });
        await Answer.Read(router.GenerateAsync(Request())); // its speed is known now
        Answer[] answers = await Task.WhenAll(Enumerable.Range(0, 5).Select(_ => Answer.Read(router.GenerateAsync(Request()))));
        Assert.All(answers, answer => Assert.Equal(FinishReason.Length, answer.Reason));
        Assert.InRange(worker.MostPrefilling, Math.Min(atOnce, 2), atOnce);
        Assert.Equal(atOnce == 1 ? 0 : 6, router.Report.FirstTokenHeld);
        Assert.Equal(atOnce == 1, answers.Any(answer => answer.Queued > 0));
        Assert.Equal((6, 6), (router.Report.Requests, router.Report.PerTokenHeld));
        Assert.Equal(router.Report, router.Statistics.Goals);
    }

    [Fact]
    public async Task With_a_goal_for_further_tokens_fewer_texts_are_written_at_once()
    {
        var slow = new Paced(TimeSpan.Zero, TimeSpan.FromMilliseconds(2));
        await using (var router = new Router(Model, [], [slow], new RouterOptions { TimePerOutputToken = TimeSpan.FromTicks(1) }))
        {
            await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Answer.Read(router.GenerateAsync(Request()))));
            Assert.InRange(slow.MostDecoding, 1, 2); // begun with two, found to be too slow
            Assert.Equal((8, 0, 0), (router.Report.Requests, router.Report.PerTokenHeld, router.Report.BothHeld));
        }

        var fast = new Paced(TimeSpan.Zero, TimeSpan.FromMilliseconds(1));
        await using (var router = new Router(Model, [], [fast], new RouterOptions { TimePerOutputToken = TimeSpan.FromSeconds(30) }))
        {
            await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => Answer.Read(router.GenerateAsync(Request(tokens: 10)))));
            Assert.InRange(fast.MostDecoding, 3, 64); // more and more while there is room below the goal
            Assert.Equal(40, router.Report.BothHeld);
        }
    }

    [Fact]
    public async Task A_full_line_says_where_the_request_would_stand()
    {
        var hold = new TaskCompletionSource();
        var worker = new Paced(TimeSpan.Zero, TimeSpan.Zero, most: 1) { Hold = hold.Task };
        await using var router = new Router(Model, [], [worker], new RouterOptions { QueueLength = 2 });
        Task<Answer>[] begun = [.. Enumerable.Range(0, 3).Select(_ => Answer.Read(router.GenerateAsync(Request())))];
        Assert.Equal((1, 2), (router.Statistics.Running, router.Statistics.Queued));
        EngineBusyException busy = await Assert.ThrowsAsync<EngineBusyException>(() => Answer.Read(router.GenerateAsync(Request())));
        Assert.Equal(3, busy.PlaceInLine);
        Assert.True(busy.ExpectedWait > TimeSpan.Zero);
        hold.SetResult();
        Assert.All(await Task.WhenAll(begun), answer => Assert.Equal(4, answer.Tokens.Length));
        Assert.Contains(begun, answer => answer.Result.Queued > 0);
    }

    [Fact]
    public async Task The_owner_with_the_fewest_tokens_is_taken_next()
    {
        var all = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously); // are in line
        var worker = new Paced(TimeSpan.Zero, TimeSpan.FromMilliseconds(1), most: 1) { Hold = all.Task };
        await using var router = new Router(Model, [], [worker]);
        var finished = new System.Collections.Concurrent.ConcurrentQueue<string>();
        async Task Run(string owner)
        {
            await Answer.Read(router.GenerateAsync(Request(owner, 20)));
            finished.Enqueue(owner);
        }

        Task[] many = [.. Enumerable.Range(0, 8).Select(_ => Run("many"))];
        Task one = Run("one");
        all.SetResult();
        await Task.WhenAll([.. many, one]);
        Assert.InRange(finished.ToList().IndexOf("one"), 0, 2);
    }

    [Fact]
    public async Task Requests_wait_for_a_worker_that_is_away_and_for_the_first_one_to_come()
    {
        var worker = new Paced(TimeSpan.Zero, TimeSpan.Zero) { IsAvailable = false };
        await using var router = new Router(Model, new RouterOptions { WorkerWait = TimeSpan.FromSeconds(60) });
        Task<Answer> first = Answer.Read(router.GenerateAsync(Request()));
        router.AddDecode(worker);
        Task<Answer> second = Answer.Read(router.GenerateAsync(Request()));
        await Task.Delay(150);
        Assert.False(first.IsCompleted || second.IsCompleted);
        worker.IsAvailable = true;
        Assert.Equal(4, (await first.WaitAsync(TimeSpan.FromSeconds(30))).Tokens.Length);
        Assert.Equal(4, (await second.WaitAsync(TimeSpan.FromSeconds(30))).Tokens.Length);
    }

    /// <summary>Prompts: tokens and attention work both even, so that a long prompt weighs more than many short ones with as many tokens.</summary>
    [Fact]
    public void Prompts_go_where_tokens_and_attention_work_are_least()
    {
        static WorkerSlot<Paced> Slot(double tokens, double work, bool away = false) =>
            new(new Paced(TimeSpan.Zero, TimeSpan.Zero) { IsAvailable = !away }) { Tokens = tokens, Work = work };
        WorkerSlot<Paced> onePrompt = Slot(1000, 500_500), shortPrompts = Slot(1000, 10 * 5050), idleButAway = Slot(0, 0, away: true);
        Assert.Same(shortPrompts, RouterBalance.ForPrefill([onePrompt, shortPrompts, idleButAway], 100, 5050)); // as many tokens, less work
        WorkerSlot<Paced> fewTokens = Slot(900, 500_500);
        Assert.Same(fewTokens, RouterBalance.ForPrefill([onePrompt, fewTokens], 100, 5050)); // as much work, fewer tokens
        Assert.Null(RouterBalance.ForPrefill([idleButAway], 100, 5050));
    }

    /// <summary>Texts: use of the cache and requests both even.</summary>
    [Fact]
    public void Texts_go_where_cache_use_and_requests_are_least()
    {
        static WorkerSlot<Paced> Slot(double tokens, int requests, int most = 64) => new(new Paced(TimeSpan.Zero, TimeSpan.Zero, most)) { Tokens = tokens, Requests = requests };
        WorkerSlot<Paced> longOnes = Slot(4000, 4), shortOnes = Slot(1000, 4), many = Slot(4000, 12), full = Slot(0, 2, most: 2);
        Assert.Same(shortOnes, RouterBalance.ForDecode([longOnes, shortOnes], 100)); // as many requests, less cache
        Assert.Same(longOnes, RouterBalance.ForDecode([many, longOnes], 100)); // as much cache, fewer requests
        Assert.Same(longOnes, RouterBalance.ForDecode([full, longOnes], 100)); // as many as it may have
        Assert.Null(RouterBalance.ForDecode([full], 100));
    }

    [Fact]
    public async Task A_busy_worker_is_asked_again_and_its_prompt_is_not_computed_twice()
    {
        var worker = new Paced(TimeSpan.Zero, TimeSpan.Zero) { Busy = 4 };
        await using var router = new Router(Model, [worker], [worker], new RouterOptions { MostAttempts = 2 });
        Answer answer = await Answer.Read(router.GenerateAsync(Request()));
        Assert.Equal((FinishReason.Length, 4), (answer.Reason, answer.Tokens.Length));
        Assert.Equal((1, 0, 0L), (worker.Prompts, worker.Busy, router.Report.Redone));

        await using var impatient = new Router(Model, [], [new Paced(TimeSpan.Zero, TimeSpan.Zero) { Busy = 1000 }], new RouterOptions { WorkerWait = TimeSpan.FromMilliseconds(150) });
        Assert.Equal(FinishReason.InsufficientResources, (await Answer.Read(impatient.GenerateAsync(Request()))).Reason);
    }

    [Fact]
    public void Silence_earns_no_credit_and_owners_who_are_away_are_forgotten()
    {
        var share = new FairShare();
        share.Come("a");
        share.Charge("a", 100);
        share.Come("b"); // begins level with the least served
        Assert.Equal((100, 100), (share.Of("a"), share.Of("b")));
        share.Charge("b", 50);
        share.Come("b");
        share.Leave("b");
        Assert.Equal(150, share.Of("b"));
        share.Leave("b");
        Assert.Equal((1, 0), (share.Count, share.Of("b")));
        share.Charge("a", 1000);
        share.Come("b");
        Assert.Equal(1100, share.Of("b"));
    }

    [Fact]
    public void A_token_counts_half_after_a_half_life()
    {
        var load = new DecayingLoad(2, 3, halfLife: 10);
        load.Add(0, [8, 0, 4]);
        load.Advance(10);
        load.Add(0, [0, 1, 4]);
        Assert.Equal([4, 1, 6], load.Present(10)[0].Select(x => Math.Round(x, 9)));
        Assert.Equal([2, 0.5, 3], load.Present(20)[0].Select(x => Math.Round(x, 9)));
        Assert.Equal([0, 0, 0], load.Present(20)[1]);
        load.Advance(5000); // far beyond the largest weight: all is scaled back, nothing overflows
        load.Add(0, [1, 2, 3]);
        Assert.Equal([1, 2, 3], load.Present(5000)[0].Select(x => Math.Round(x, 9)));
        for (double now = 5000; now < 20_000; now += 7) load.Advance(now);
        Assert.All(load.Present(20_000)[0], value => Assert.InRange(value, 0, 1e-9));
    }
}
