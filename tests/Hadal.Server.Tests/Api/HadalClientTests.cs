using System.ComponentModel;
using System.Net;
using System.Text.Json;
using Hadal.Client;
using Hadal.Server.Keys;
using Microsoft.Extensions.AI;

namespace Hadal.Server.Tests.Api;

/// <summary>Hadal's own client, as an <see cref="IChatClient"/>, against the real server.</summary>
public sealed class HadalClientTests
{
    const string CallOfWeather = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Kiel\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";

    static readonly ChatOptions Thinking = new() { Reasoning = new ReasoningOptions { Effort = ReasoningEffort.High } };

    static CancellationToken Limit => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    static HadalChatClient Connect(ApiHost host, Func<HadalChatClientOptions, HadalChatClientOptions>? with = null)
    {
        var options = new HadalChatClientOptions { Endpoint = host.Address, ApiKey = ApiHost.HostKey, MaxRetries = 0 };
        return new HadalChatClient(with?.Invoke(options) ?? options);
    }

    [Fact]
    [Implements("API", "Reasoning is sent as reasoning_content beside content, before it in a stream; usage counts its tokens")]
    public async Task Reasoning_comes_before_the_answer_streamed_or_not_and_goes_back_without_complaint()
    {
        var engine = new ApiEngine { Cached = 3 };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        using HadalChatClient client = Connect(host);
        List<ChatMessage> history = [new(ChatRole.User, "Hi")];
        ChatResponse whole = await client.GetResponseAsync(history, Thinking, Limit);
        Assert.Equal("Let me think.", Assert.IsType<TextReasoningContent>(whole.Messages.Single().Contents[0]).Text);
        Assert.Equal("The answer is 42.", whole.Text);
        Assert.Equal(("deepseek-reasoner", ChatFinishReason.Stop), (whole.ModelId, whole.FinishReason));
        Assert.Equal(3, whole.Usage!.CachedInputTokenCount);
        Assert.InRange(whole.Usage.ReasoningTokenCount!.Value, 1, whole.Usage.OutputTokenCount!.Value - 1);

        var updates = new List<ChatResponseUpdate>();
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync(history, Thinking, Limit)) updates.Add(update);
        int lastThought = updates.FindLastIndex(u => u.Contents.OfType<TextReasoningContent>().Any()), firstWord = updates.FindIndex(u => u.Contents.OfType<TextContent>().Any());
        Assert.InRange(lastThought, 0, firstWord);
        ChatResponse streamed = updates.ToChatResponse();
        Assert.Equal("Let me think.", string.Concat(streamed.Messages.SelectMany(m => m.Contents).OfType<TextReasoningContent>().Select(c => c.Text)));
        Assert.Equal(whole.Text, streamed.Text);
        Assert.Equal(whole.Usage.OutputTokenCount, streamed.Usage!.OutputTokenCount);

        // The next turn carries the thought; the model reads the answer alone.
        history.AddMessages(streamed);
        history.Add(new ChatMessage(ChatRole.User, "Why?"));
        await client.GetResponseAsync(history, Thinking, Limit);
        Assert.Contains("The answer is 42.", engine.LastPrompt, StringComparison.Ordinal);
        Assert.DoesNotContain("Let me think.", engine.LastPrompt, StringComparison.Ordinal);
        Assert.EndsWith("<think>\n", engine.LastPrompt, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_strict_server_refuses_reasoning_that_comes_back_and_a_client_that_keeps_it_is_served()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine(), options => options with { StrictDeepSeek = true });
        using HadalChatClient sends = Connect(host), keeps = Connect(host, options => options with { SendReasoning = false });
        List<ChatMessage> history = [new(ChatRole.User, "Hi")];
        history.AddMessages(await sends.GetResponseAsync(history, Thinking, Limit));
        history.Add(new ChatMessage(ChatRole.User, "Why?"));
        HadalApiException refused = await Assert.ThrowsAsync<HadalApiException>(() => sends.GetResponseAsync(history, Thinking, Limit));
        Assert.Equal(HttpStatusCode.BadRequest, refused.StatusCode);
        Assert.Equal("The answer is 42.", (await keeps.GetResponseAsync(history, Thinking, Limit)).Text);
    }

    [Fact]
    public async Task A_tool_is_called_and_its_result_leads_to_the_answer()
    {
        var engine = new ApiEngine { Reply = prompt => prompt.Contains("3 C", StringComparison.Ordinal) ? "Cold." : CallOfWeather };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        using HadalChatClient bare = Connect(host);
        string? asked = null;
        AIFunction tool = AIFunctionFactory.Create(([Description("Where")] string city) =>
        {
            asked = city;
            return "3 C";
        }, "get_weather", "Weather of a city");
        var options = new ChatOptions { Tools = [tool] };

        ChatResponse call = await bare.GetResponseAsync([new ChatMessage(ChatRole.User, "Weather?")], options, Limit);
        Assert.Equal(ChatFinishReason.ToolCalls, call.FinishReason);
        FunctionCallContent content = Assert.Single(call.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>());
        Assert.Equal(("get_weather", "Kiel"), (content.Name, content.Arguments!["city"]?.ToString()));

        // Its result goes back with the call, and the answer follows; the same streamed, where the call comes whole.
        Task<ChatResponse> GoOn(ChatResponse called, FunctionCallContent function) => Ask([new(ChatRole.User, "Weather?"), .. called.Messages, new(ChatRole.Tool, [new FunctionResultContent(function.CallId, Invoke(function))])]);
        Task<ChatResponse> Ask(ChatMessage[] messages) => bare.GetResponseAsync(messages, options, Limit);
        object? Invoke(FunctionCallContent function) => tool.InvokeAsync(new AIFunctionArguments(function.Arguments, StringComparer.Ordinal), Limit).AsTask().GetAwaiter().GetResult();
        Assert.Equal("Cold.", (await GoOn(call, content)).Text);
        Assert.Equal("Kiel", asked);
        ChatResponse streamed = await bare.GetStreamingResponseAsync([new ChatMessage(ChatRole.User, "Weather?")], options, Limit).ToChatResponseAsync(Limit);
        asked = null;
        Assert.Equal("Cold.", (await GoOn(streamed, Assert.Single(streamed.Messages.SelectMany(m => m.Contents).OfType<FunctionCallContent>()))).Text);
        Assert.Equal("Kiel", asked);
        Assert.Contains("get_weather", engine.LastPrompt, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Options_reach_the_engine_and_JSON_is_asked_for()
    {
        var engine = new ApiEngine { Reply = _ => "{\"city\": \"Kiel\"}" };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        using HadalChatClient client = Connect(host);
        ChatResponse response = await client.GetResponseAsync([new ChatMessage(ChatRole.User, "A city as JSON.")], new ChatOptions
        {
            Instructions = "Be brief.", ResponseFormat = ChatResponseFormat.Json, MaxOutputTokens = 77, Temperature = 0.25f, TopP = 0.5f, Seed = 9, StopSequences = ["END"],
            FrequencyPenalty = 0.5f, PresencePenalty = -0.5f, AdditionalProperties = new() { ["logprobs"] = true, ["top_logprobs"] = 2 },
        }, Limit);
        Assert.Equal("Kiel", JsonDocument.Parse(response.Text).RootElement.GetProperty("city").GetString());
        Hadal.Inference.Serving.GenerationRequest request = engine.Requests.Last();
        Assert.Equal((Hadal.Inference.Serving.OutputForm.JsonObject, 77, 2), (request.Form, request.MaxNewTokens, request.TopLogProbabilities));
        Assert.Equal((0.25, 0.5, 9ul), (request.Sampling.Temperature, request.Sampling.TopP, request.Sampling.Seed));
        Assert.Equal((0.5, -0.5), (request.FrequencyPenalty, request.PresencePenalty));
        Assert.Equal(["END"], request.Stop);
        Assert.Contains("Be brief.", engine.LastPrompt, StringComparison.Ordinal);
        Assert.True(((JsonElement)response.AdditionalProperties!["logprobs"]!).GetProperty("content").GetArrayLength() > 2);
    }

    [Fact]
    public async Task Refusals_carry_status_words_and_the_wish_to_wait()
    {
        var engine = new ApiEngine();
        await using ApiHost host = await ApiHost.StartAsync(engine);
        List<ChatMessage> hi = [new(ChatRole.User, "Hi")];
        using HadalChatClient stranger = Connect(host, options => options with { ApiKey = "hk-wrong-key-entirely" }), client = Connect(host);
        HadalApiException refused = await Assert.ThrowsAsync<HadalApiException>(() => stranger.GetResponseAsync(hi, null, Limit));
        Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
        Assert.DoesNotContain("hk-wrong-key-entirely", refused.ToString(), StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<HadalApiException>(() => client.GetResponseAsync(hi, new ChatOptions { ModelId = "gpt-4" }, Limit));
        Assert.Contains("Model Not Exist", refused.Message, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<HadalApiException>(() => client.GetResponseAsync(hi, new ChatOptions { Temperature = 3 }, Limit));
        Assert.Equal(HttpStatusCode.UnprocessableEntity, refused.StatusCode);
        engine.IsFull = true;
        refused = await Assert.ThrowsAsync<HadalApiException>(() => client.GetResponseAsync(hi, null, Limit));
        Assert.Equal((HttpStatusCode.TooManyRequests, TimeSpan.FromSeconds(30)), (refused.StatusCode, refused.RetryAfter));
        Assert.Contains("number 9 in line", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task After_429_it_waits_as_long_as_the_server_says_and_asks_again()
    {
        var engine = new ApiEngine { IsFull = true };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        var clock = new HurryingClock(() => engine.IsFull = false);
        using HadalChatClient client = Connect(host, options => options with { MaxRetries = 2, TimeProvider = clock });
        Assert.Equal("The answer is 42.", (await client.GetResponseAsync([new ChatMessage(ChatRole.User, "Hi")], null, Limit)).Text);
        Assert.Equal([TimeSpan.FromSeconds(30)], clock.Pauses);

        // A key's own limit says so too, and a client without patience is told at once.
        NewApiKey key = await host.Keys.MakeAsync(null, "slow", requestsPerMinute: 1, cancellationToken: Limit);
        using HadalChatClient slow = Connect(host, options => options with { ApiKey = key.Secret, MaxRetries = 2, MaxRetryDelay = TimeSpan.FromSeconds(1) });
        Assert.Equal("The answer is 42.", (await slow.GetResponseAsync([new ChatMessage(ChatRole.User, "Hi")], null, Limit)).Text);
        HadalApiException refused = await Assert.ThrowsAsync<HadalApiException>(() => slow.GetResponseAsync([new ChatMessage(ChatRole.User, "Hi")], null, Limit));
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
        Assert.InRange(refused.RetryAfter!.Value.TotalSeconds, 1, 60);
    }

    [Fact]
    public async Task Leaving_a_stream_ends_the_request_in_the_engine()
    {
        var gate = new SemaphoreSlim(3);
        var engine = new ApiEngine { Wait = cancel => gate.WaitAsync(cancel) };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        using HadalChatClient client = Connect(host);
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync([new ChatMessage(ChatRole.User, "Hi")], null, Limit))
            if (update.Text.Length > 0) break;
        for (int i = 0; i < 300 && engine.Cancelled == 0; i++) await Task.Delay(100, Limit);
        Assert.Equal((1, 0), (engine.Cancelled, engine.Running));
    }

    /// <summary>Pauses of up to a minute pass at once and are noted; longer ones, the limits of patience, never end.</summary>
    sealed class HurryingClock(Action paused) : TimeProvider
    {
        public List<TimeSpan> Pauses { get; } = [];

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            if (dueTime > TimeSpan.FromMinutes(1)) return System.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, period);
            if (dueTime == Timeout.InfiniteTimeSpan) return System.CreateTimer(callback, state, dueTime, period);
            Pauses.Add(dueTime);
            paused();
            return System.CreateTimer(callback, state, TimeSpan.Zero, period);
        }
    }
}
