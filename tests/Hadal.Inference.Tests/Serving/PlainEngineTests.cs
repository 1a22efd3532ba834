using Hadal.Inference.Serving;
using Hadal.Numerics;

namespace Hadal.Inference.Tests.Serving;

/// <summary>The slow twin against the generator that has no engine, and what every engine promises its callers.</summary>
public sealed class PlainEngineTests
{
    [Fact]
    public async Task Texts_equal_those_of_a_session_without_an_engine()
    {
        using var model = new TestModel(mtp: false);
        await using var engine = new PlainEngine(model.Served, model.Transformer);
        var random = new CounterRandom(3, RandomPurpose.TestData);
        ulong draw = 0;
        for (int n = 0; n < 20; n++)
        {
            GenerationRequest request = model.Random(random, ref draw) with { FrequencyPenalty = 0, PresencePenalty = 0, Form = OutputForm.Text, Stop = [] };
            Answer answer = await Answer.Read(engine.GenerateAsync(request));
            using var session = new GenerationSession(model.Transformer, TestModel.Positions);
            var tokens = new List<int>();
            StopReason reason = Generator.Generate(session, request.Prompt.Span, request.MaxNewTokens, request.Sampling, request.IgnoreEndTokens ? [] : [.. model.Served.EndTokens], id =>
            {
                tokens.Add(id);
                return true;
            });
            Assert.Equal(tokens, answer.Tokens);
            Assert.Equal(model.Tokenizer.Decode([.. tokens], skipSpecial: true), answer.Text);
            Assert.Equal(reason == StopReason.Length ? FinishReason.Length : FinishReason.Stop, answer.Reason);
            Assert.Equal(request.TopLogProbabilities is null ? 0 : tokens.Count, answer.LogProbabilities.Length);
        }
    }

    [Fact]
    public async Task A_full_queue_says_where_the_request_would_stand_and_a_cancelled_one_makes_room()
    {
        using var model = new TestModel(mtp: false);
        await using var engine = new PlainEngine(model.Served, model.Transformer, new EngineOptions { QueueLength = 2 });
        var request = new GenerationRequest { Prompt = new[] { 5, 6 }, MaxNewTokens = 300, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        using var cancel = new CancellationTokenSource();
        IAsyncEnumerator<GenerationEvent> first = engine.GenerateAsync(request, cancel.Token).GetAsyncEnumerator();
        Assert.True(await first.MoveNextAsync());
        Task<Answer> second = Answer.Read(engine.GenerateAsync(request)), third = Answer.Read(engine.GenerateAsync(request with { MaxNewTokens = 3 }));
        await Until(() => engine.Statistics.Queued == 2 || second.IsCompleted);
        if (!second.IsCompleted)
        {
            EngineBusyException busy = await Assert.ThrowsAsync<EngineBusyException>(() => Answer.Read(engine.GenerateAsync(request)));
            Assert.Equal(3, busy.PlaceInLine);
            Assert.True(busy.ExpectedWait > TimeSpan.Zero);
        }

        await cancel.CancelAsync();
        await first.DisposeAsync();
        Assert.Equal(300, (await second).Tokens.Length);
        Assert.Equal(3, (await third).Tokens.Length);
        EngineStatistics statistics = engine.Statistics;
        Assert.Equal((3, 1), (statistics.Finished, statistics.Cancelled));
    }

    [Fact]
    public async Task Requests_out_of_range_are_refused_with_what_is_expected()
    {
        using var model = new TestModel(mtp: false);
        await using var engine = new PlainEngine(model.Served, model.Transformer);
        var good = new GenerationRequest { Prompt = new[] { 5 }, MaxNewTokens = 1, Sampling = SamplingParameters.Greedy };
        foreach (GenerationRequest bad in (GenerationRequest[])[
            good with { Prompt = default }, good with { Prompt = new int[TestModel.Positions] }, good with { Prompt = new[] { -1 } }, good with { Prompt = new[] { 100_000 } },
            good with { MaxNewTokens = 0 }, good with { Sampling = new SamplingParameters(3, 1, 0) }, good with { FrequencyPenalty = 2.5 }, good with { PresencePenalty = double.NaN },
            good with { Stop = [""] }, good with { Stop = [.. Enumerable.Repeat("x", 17)] }, good with { TopLogProbabilities = 21 }])
        {
            RequestRefusedException error = await Assert.ThrowsAsync<RequestRefusedException>(() => Answer.Read(engine.GenerateAsync(bad)));
            Assert.Matches("expected|at most|outside", error.Message);
        }

        Answer whole = await Answer.Read(engine.GenerateAsync(good with { Prompt = Enumerable.Repeat(5, TestModel.Positions - 2).ToArray(), MaxNewTokens = 100, IgnoreEndTokens = true }));
        Assert.Equal((2, FinishReason.Length), (whole.Tokens.Length, whole.Reason));
    }

    [Fact]
    public async Task Damaged_weights_are_an_error_of_the_request()
    {
        using var model = new TestModel(mtp: false);
        model.Transformer.Parameters.Values.AsSpan<float>().Fill(float.NaN);
        model.Transformer.Refresh();
        await using var engine = new PlainEngine(model.Served, model.Transformer);
        var request = new GenerationRequest { Prompt = new[] { 5 }, MaxNewTokens = 1, Sampling = SamplingParameters.Greedy };
        await Assert.ThrowsAsync<InvalidDataException>(() => Answer.Read(engine.GenerateAsync(request)));
        await Assert.ThrowsAsync<InvalidDataException>(() => Answer.Read(engine.GenerateAsync(request)));
    }

    [Fact]
    public async Task Draining_finishes_what_was_begun_and_takes_nothing_new()
    {
        using var model = new TestModel(mtp: false);
        await using var engine = new PlainEngine(model.Served, model.Transformer);
        var request = new GenerationRequest { Prompt = new[] { 5, 6 }, MaxNewTokens = 20, Sampling = SamplingParameters.Greedy, IgnoreEndTokens = true };
        Task<Answer>[] begun = [.. Enumerable.Range(0, 5).Select(_ => Answer.Read(engine.GenerateAsync(request)))];
        await engine.DrainAsync();
        Assert.All(begun, task => Assert.Equal(20, task.Result.Tokens.Length));
        await Assert.ThrowsAsync<EngineStoppingException>(() => Answer.Read(engine.GenerateAsync(request)));
    }

    static async Task Until(Func<bool> condition)
    {
        for (int i = 0; i < 12_000 && !condition(); i++) await Task.Delay(5);
        Assert.True(condition());
    }
}
