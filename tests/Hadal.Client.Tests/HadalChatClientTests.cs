using System.ComponentModel;
using System.Net;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace Hadal.Client.Tests;

public sealed class HadalChatClientTests
{
    const string Answer = """
        {"id":"c1","object":"chat.completion","created":1700000000,"model":"deepseek-reasoner","system_fingerprint":"fp","choices":[{"index":0,"finish_reason":"stop",
        "message":{"role":"assistant","content":"Four.","reasoning_content":"2+2"},"logprobs":null}],
        "usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":5,"completion_tokens_details":{"reasoning_tokens":3}}}
        """;

    static HadalChatClientOptions Options(ScriptedServer server) => new() { Endpoint = server.Endpoint, ApiKey = "sk-test", MaxRetryDelay = TimeSpan.FromSeconds(2) };

    static string Chunk(string delta, string finish = "null", string more = "") =>
        $$"""data: {"id":"c2","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{{delta}},"finish_reason":{{finish}}}]{{more}}}""" + "\n\n";

    [Fact]
    public async Task A_plain_answer_carries_reasoning_text_usage_and_reason()
    {
        await using ScriptedServer server = new ScriptedServer().ThenJson(Answer);
        using var client = new HadalChatClient(Options(server));
        ChatResponse response = await client.GetResponseAsync(
            [new ChatMessage(ChatRole.User, "What is 2+2?")],
            new ChatOptions
            {
                Instructions = "Be short.", Temperature = 0.5f, TopP = 0.9f, MaxOutputTokens = 7, FrequencyPenalty = 1, PresencePenalty = -1, Seed = 3, StopSequences = ["\n"],
                Reasoning = new ReasoningOptions { Effort = ReasoningEffort.High }, ResponseFormat = ChatResponseFormat.Json,
                AdditionalProperties = new() { ["logprobs"] = true, ["top_logprobs"] = 2 },
            });
        Assert.Equal("2+2", Assert.IsType<TextReasoningContent>(response.Messages.Single().Contents[0]).Text);
        Assert.Equal("Four.", response.Text);
        Assert.Equal(ChatFinishReason.Stop, response.FinishReason);
        Assert.Equal((9, 5, 14, 4, 3), (response.Usage!.InputTokenCount, response.Usage.OutputTokenCount, response.Usage.TotalTokenCount, response.Usage.CachedInputTokenCount, response.Usage.ReasoningTokenCount));
        Assert.Equal(("c1", "deepseek-reasoner", "fp"), (response.ResponseId, response.ModelId, (string)response.AdditionalProperties!["system_fingerprint"]!));
        (string path, string? authorization, JsonElement body) = server.Requests.Single();
        Assert.Equal(("/v1/chat/completions", "Bearer sk-test"), (path, authorization));
        string expected = """
            {"model":"deepseek-reasoner","messages":[{"role":"system","content":"Be short."},{"role":"user","content":"What is 2+2?"}],"temperature":0.5,"top_p":0.9,"max_tokens":7,
            "frequency_penalty":1,"presence_penalty":-1,"seed":3,"stop":["\n"],"response_format":{"type":"json_object"},"logprobs":true,"top_logprobs":2}
            """;
        Assert.True(JsonElement.DeepEquals(JsonDocument.Parse(expected).RootElement, body), body.GetRawText());
    }

    [Theory]
    [InlineData(null, true)]
    [InlineData(false, false)]
    public async Task Reasoning_goes_back_with_the_answer_unless_it_must_not(bool? sends, bool expected)
    {
        await using ScriptedServer server = new ScriptedServer().ThenJson(Answer).ThenJson(Answer);
        using var client = new HadalChatClient(Options(server) with { SendReasoning = sends });
        List<ChatMessage> history = [new(ChatRole.User, "What is 2+2?")];
        history.AddMessages(await client.GetResponseAsync(history));
        history.Add(new ChatMessage(ChatRole.User, "And 3+3?"));
        await client.GetResponseAsync(history);
        JsonElement turn = server.Requests[1].Body.GetProperty("messages")[1];
        Assert.Equal(("assistant", "Four."), (turn.GetProperty("role").GetString(), turn.GetProperty("content").GetString()));
        Assert.Equal(expected, turn.TryGetProperty("reasoning_content", out JsonElement reasoning));
        if (expected) Assert.Equal("2+2", reasoning.GetString());
    }

    [Fact]
    public void Reasoning_is_not_sent_to_DeepSeek_itself() =>
        Assert.False(new HadalChatClientOptions { Endpoint = new Uri("https://api.deepseek.com/v1") }.SendsReasoning);

    [Fact]
    public async Task A_stream_arrives_in_order_however_it_is_cut()
    {
        string all = ": keep-alive\n\n" + Chunk("""{"role":"assistant","content":""}""") + Chunk("""{"reasoning_content":"think ä"}""") + Chunk("""{"content":"He"}""") + Chunk("""{"content":"llo"}""", "\"stop\"")
            + """data: {"id":"c2","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}""" + "\n\ndata: [DONE]\n\n";
        foreach (int cut in new[] { 1, 7, 100_000 })
        {
            await using ScriptedServer server = new ScriptedServer().ThenStream([.. all.Chunk(cut).Select(c => new string(c))]);
            using var client = new HadalChatClient(Options(server));
            var updates = new List<ChatResponseUpdate>();
            await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync([new ChatMessage(ChatRole.User, "Hi")])) updates.Add(update);
            ChatResponse whole = updates.ToChatResponse();
            Assert.Equal("Hello", whole.Text);
            Assert.Equal("think ä", Assert.Single(whole.Messages.Single().Contents.OfType<TextReasoningContent>()).Text);
            Assert.Equal((ChatFinishReason.Stop, 3), (whole.FinishReason, whole.Usage!.TotalTokenCount));
            JsonElement body = server.Requests.Single().Body;
            Assert.True(body.GetProperty("stream").GetBoolean() && body.GetProperty("stream_options").GetProperty("include_usage").GetBoolean());
        }
    }

    [Description("Weather of a city.")]
    static string Weather([Description("Name")] string city) => $"{city}: sunny";

    [Fact]
    public async Task Functions_are_called_in_both_forms_and_their_results_go_back()
    {
        const string Call = """{"id":"c","choices":[{"index":0,"finish_reason":"tool_calls","message":{"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"Weather","arguments":"{\"city\":\"Bath\"}"}}]}}]}""";
        await using ScriptedServer server = new ScriptedServer()
            .ThenJson(Call)
            .ThenStream(Chunk("""{"tool_calls":[{"index":0,"id":"k2","type":"function","function":{"name":"Weather","arguments":"{\"ci"}}]}"""), Chunk("""{"tool_calls":[{"index":0,"function":{"arguments":"ty\":\"Rome\"}"}}]}"""), Chunk("{}", "\"tool_calls\""), "data: [DONE]\n\n")
            .ThenJson(Answer);
        using var client = new HadalChatClient(Options(server));
        AIFunction weather = AIFunctionFactory.Create(Weather, "Weather");
        var options = new ChatOptions { Tools = [weather], ToolMode = ChatToolMode.RequireSpecific("Weather") };
        List<ChatMessage> history = [new(ChatRole.User, "Weather in Bath?")];
        ChatResponse first = await client.GetResponseAsync(history, options);
        FunctionCallContent call = Assert.Single(first.Messages.Single().Contents.OfType<FunctionCallContent>());
        Assert.Equal(("k1", "Weather", "Bath"), (call.CallId, call.Name, call.Arguments!["city"]!.ToString()));
        ChatResponse second = await client.GetStreamingResponseAsync(history, options).ToChatResponseAsync();
        FunctionCallContent streamed = Assert.Single(second.Messages.Single().Contents.OfType<FunctionCallContent>());
        Assert.Equal(("k2", "Rome"), (streamed.CallId, streamed.Arguments!["city"]!.ToString()));

        history.AddMessages(first);
        history.Add(new ChatMessage(ChatRole.Tool, [new FunctionResultContent(call.CallId, await weather.InvokeAsync(new AIFunctionArguments(call.Arguments, StringComparer.Ordinal)))]));
        await client.GetResponseAsync(history, options);
        JsonElement sent = server.Requests[2].Body;
        string expected = """
            [{"role":"user","content":"Weather in Bath?"},{"role":"assistant","content":null,"tool_calls":[{"id":"k1","type":"function","function":{"name":"Weather","arguments":"{\"city\":\"Bath\"}"}}]},
            {"role":"tool","content":"Bath: sunny","tool_call_id":"k1"}]
            """;
        Assert.True(JsonElement.DeepEquals(JsonDocument.Parse(expected).RootElement, sent.GetProperty("messages")), sent.GetProperty("messages").GetRawText());
        JsonElement tool = sent.GetProperty("tools")[0].GetProperty("function");
        Assert.Equal(("Weather", "Weather of a city.", "string"), (tool.GetProperty("name").GetString(), tool.GetProperty("description").GetString(), tool.GetProperty("parameters").GetProperty("properties").GetProperty("city").GetProperty("type").GetString()));
        Assert.Equal("""{"type":"function","function":{"name":"Weather"}}""", sent.GetProperty("tool_choice").GetRawText());
    }

    [Fact]
    public async Task Arguments_that_are_no_JSON_are_told_and_not_thrown()
    {
        await using ScriptedServer server = new ScriptedServer().ThenJson("""{"choices":[{"finish_reason":"tool_calls","message":{"tool_calls":[{"id":"k","function":{"name":"f","arguments":"{oops"}}]}}]}""");
        using var client = new HadalChatClient(Options(server));
        FunctionCallContent call = (await client.GetResponseAsync("x")).Messages.Single().Contents.OfType<FunctionCallContent>().Single();
        Assert.NotNull(call.Exception);
    }

    [Fact]
    public async Task A_refusal_says_what_the_server_said()
    {
        await using ScriptedServer server = new ScriptedServer().ThenJson("""{"error":{"message":"Authentication Fails","type":"authentication_error","param":null,"code":"invalid_request_error"}}""", 401);
        using var client = new HadalChatClient(Options(server));
        HadalApiException exception = await Assert.ThrowsAsync<HadalApiException>(() => client.GetResponseAsync("x"));
        Assert.Equal((HttpStatusCode.Unauthorized, "authentication_error", "invalid_request_error"), (exception.StatusCode, exception.Type, exception.Code));
        Assert.Equal("The server answered 401 Unauthorized: Authentication Fails. Give HadalChatClientOptions.ApiKey a key of this server.", exception.Message);
    }

    [Fact]
    public async Task A_busy_server_is_asked_again_when_it_says_soon_and_not_when_it_says_late()
    {
        const string Busy = """{"error":{"message":"Busy","type":"rate_limit"}}""";
        await using ScriptedServer server = new ScriptedServer().ThenJson(Busy, 429, "0").ThenJson(Busy, 503, "0").ThenJson(Answer).ThenJson(Busy, 429, "40").ThenJson(Busy, 429, "0").ThenJson(Busy, 429, "0").ThenJson(Busy, 429, "0");
        using var client = new HadalChatClient(Options(server));
        Assert.Equal("Four.", (await client.GetResponseAsync("x")).Text);
        HadalApiException late = await Assert.ThrowsAsync<HadalApiException>(() => client.GetResponseAsync("x"));
        Assert.Equal(TimeSpan.FromSeconds(40), late.RetryAfter);
        Assert.Contains("Ask again in 40 s.", late.Message, StringComparison.Ordinal);
        Assert.Equal(4, server.Requests.Count);
        HadalApiException still = await Assert.ThrowsAsync<HadalApiException>(() => client.GetStreamingResponseAsync("x").ToChatResponseAsync());
        Assert.Equal((HttpStatusCode.TooManyRequests, 7), (still.StatusCode, server.Requests.Count));
    }

    [Theory]
    [InlineData("data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\n\n", "without a finish_reason")]
    [InlineData("data: {\"error\":{\"message\":\"worker died\",\"type\":\"server_error\"}}\n\n", "worker died")]
    [InlineData("data: <html>\n\n", "no JSON of a chunk")]
    public async Task A_stream_that_ends_early_or_badly_is_an_error(string stream, string expected)
    {
        await using ScriptedServer server = new ScriptedServer().ThenStream(stream);
        using var client = new HadalChatClient(Options(server));
        HadalApiException exception = await Assert.ThrowsAsync<HadalApiException>(() => client.GetStreamingResponseAsync("x").ToChatResponseAsync());
        Assert.Contains(expected, exception.Message, StringComparison.Ordinal);
        Assert.Null(exception.StatusCode);
    }

    [Fact]
    public async Task Silence_is_a_timeout_and_cancellation_is_cancellation()
    {
        using var release = new SemaphoreSlim(0);
        await using ScriptedServer server = new ScriptedServer().Then(_ => release.WaitAsync());
        using var client = new HadalChatClient(Options(server) with { Timeout = TimeSpan.FromMilliseconds(200) });
        TimeoutException slow = await Assert.ThrowsAsync<TimeoutException>(() => client.GetResponseAsync("x"));
        Assert.Contains("0.2 s", slow.Message, StringComparison.Ordinal);
        release.Release();

        using var patient = new HadalChatClient(Options(server));
        using var cancelled = new CancellationTokenSource();
        server.Then(_ => release.WaitAsync());
        Task<ChatResponse> asked = patient.GetResponseAsync("x", cancellationToken: cancelled.Token);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asked);
        release.Release();
    }

    [Fact]
    public async Task What_these_models_cannot_read_is_refused_before_anything_is_sent()
    {
        using var client = new HadalChatClient(new HadalChatClientOptions { Endpoint = new Uri("http://127.0.0.1:9/v1") });
        await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([new ChatMessage(ChatRole.User, [new DataContent(new byte[] { 1 }, "image/png")])]));
        await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync("x", new ChatOptions { Tools = [new HostedWebSearchTool()] }));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync([]));
        await Assert.ThrowsAsync<ArgumentException>(() => client.GetResponseAsync([new ChatMessage(new ChatRole("oracle"), "x")]));
        Assert.Throws<ArgumentException>(() => new HadalChatClient(new HadalChatClientOptions { Endpoint = new Uri("/relative", UriKind.Relative) }));
        Assert.Throws<ArgumentException>(() => new HadalChatClient(new HadalChatClientOptions { Endpoint = new Uri("ftp://host/") }));
    }

    [Fact]
    public async Task A_prefix_and_a_schema_reach_the_server()
    {
        await using ScriptedServer server = new ScriptedServer().ThenJson(Answer);
        using var client = new HadalChatClient(Options(server));
        await client.GetResponseAsync(
            [new ChatMessage(ChatRole.User, "A city"), new ChatMessage(ChatRole.Assistant, "{") { AdditionalProperties = new() { ["prefix"] = true } }],
            new ChatOptions { ResponseFormat = ChatResponseFormat.ForJsonSchema(JsonDocument.Parse("""{"type":"object"}""").RootElement), ModelId = "other" });
        JsonElement body = server.Requests.Single().Body;
        Assert.Equal("other", body.GetProperty("model").GetString());
        Assert.Contains("""{"type":"object"}""", body.GetProperty("messages")[0].GetProperty("content").GetString(), StringComparison.Ordinal);
        Assert.True(body.GetProperty("messages")[2].GetProperty("prefix").GetBoolean());
    }

    [Fact]
    public void It_says_what_it_is()
    {
        using var client = new HadalChatClient(new HadalChatClientOptions { Endpoint = new Uri("http://127.0.0.1:9/v1") });
        Assert.Equal(("deepseek", "deepseek-chat"), (client.GetService<ChatClientMetadata>()!.ProviderName, client.GetService<ChatClientMetadata>()!.DefaultModelId));
        Assert.Same(client, client.GetService<IChatClient>());
        Assert.Null(client.GetService<string>());
    }
}
