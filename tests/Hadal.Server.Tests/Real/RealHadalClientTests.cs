using System.Text.Json;
using Hadal.Client;
using Hadal.Inference.Serving;
using Hadal.Server.Tests.Api;
using Microsoft.Extensions.AI;

namespace Hadal.Server.Tests.Real;

/// <summary>Hadal's <see cref="IChatClient"/> against the server with an engine that computes.</summary>
[Trait("tier", "full")]
public sealed class RealHadalClientTests(RealServer server) : IClassFixture<RealServer>
{
    static ChatOptions Plain => new() { Temperature = 0 };

    static ChatOptions Thinking => new() { Temperature = 0, Reasoning = new ReasoningOptions { Effort = ReasoningEffort.High } };

    static CancellationToken Limit => new CancellationTokenSource(TimeSpan.FromSeconds(120)).Token;

    static ChatMessage User(string text) => new(ChatRole.User, text);

    static HadalChatClient Connect(ApiHost host) => new(new HadalChatClientOptions { Endpoint = host.Address, ApiKey = ApiHost.HostKey, MaxRetries = 0 });

    static string ThoughtOf(ChatResponse response) => string.Concat(response.Messages.SelectMany(message => message.Contents).OfType<TextReasoningContent>().Select(thought => thought.Text));

    [Fact]
    public async Task A_thought_comes_before_the_answer_and_goes_back_and_the_next_answer_is_right()
    {
        using HadalChatClient client = Connect(server.Host);
        Assert.Equal(Dialogues.Answer, (await client.GetResponseAsync([User(Dialogues.Sum)], Plain, Limit)).Text);
        ChatResponse whole = await client.GetResponseAsync([User(Dialogues.Sum)], Thinking, Limit);
        Assert.Equal((Dialogues.Thought, Dialogues.Answer, "deepseek-reasoner"), (ThoughtOf(whole), whole.Text, whole.ModelId));
        var updates = new List<ChatResponseUpdate>();
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync([User(Dialogues.Sum)], Thinking, Limit)) updates.Add(update);
        Assert.InRange(updates.FindLastIndex(u => u.Contents.OfType<TextReasoningContent>().Any()), 0, updates.FindIndex(u => u.Contents.OfType<TextContent>().Any()));
        ChatResponse streamed = updates.ToChatResponse();
        Assert.Equal((Dialogues.Thought, Dialogues.Answer), (ThoughtOf(streamed), streamed.Text));
        Assert.Equal((whole.Usage!.InputTokenCount, whole.Usage.OutputTokenCount, whole.Usage.ReasoningTokenCount), (streamed.Usage!.InputTokenCount, streamed.Usage.OutputTokenCount, streamed.Usage.ReasoningTokenCount));

        // With the thought in the history and without it the model reads the same, and goes on.
        foreach (ChatMessage[] said in (ChatMessage[][])[[.. streamed.Messages], [new ChatMessage(ChatRole.Assistant, Dialogues.Answer)]])
        {
            ChatResponse next = await client.GetResponseAsync([User(Dialogues.Sum), .. said, User(Dialogues.Twice)], Thinking, Limit);
            Assert.Equal((Dialogues.Thought, Dialogues.Double), (ThoughtOf(next), next.Text));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_function_is_called_and_its_result_leads_to_the_answer(bool streams)
    {
        using HadalChatClient client = Connect(server.Host);
        string? asked = null;
        var tool = new Weather(city =>
        {
            asked = city;
            return Dialogues.Measured;
        });
        var options = new ChatOptions { Temperature = 0, Tools = [tool] };
        Task<ChatResponse> Ask(IEnumerable<ChatMessage> messages) => streams ? client.GetStreamingResponseAsync(messages, options, Limit).ToChatResponseAsync(Limit) : client.GetResponseAsync(messages, options, Limit);
        ChatResponse called = await Ask([User(Dialogues.Weather)]);
        Assert.Equal(ChatFinishReason.ToolCalls, called.FinishReason);
        FunctionCallContent call = Assert.Single(called.Messages.SelectMany(message => message.Contents).OfType<FunctionCallContent>());
        object? result = await tool.InvokeAsync(new AIFunctionArguments(call.Arguments, StringComparer.Ordinal), Limit);
        Assert.Equal("Kiel", asked);
        ChatResponse answer = await Ask([User(Dialogues.Weather), .. called.Messages, new ChatMessage(ChatRole.Tool, [new FunctionResultContent(call.CallId, result)])]);
        Assert.Equal((Dialogues.Cold, ChatFinishReason.Stop), (answer.Text, answer.FinishReason));
    }

    [Fact]
    public async Task JSON_comes_as_an_object_with_a_schema_told_in_words_too()
    {
        using HadalChatClient client = Connect(server.Host);
        ChatResponse known = await client.GetResponseAsync([User(Dialogues.AsJson)], new ChatOptions { Temperature = 0, ResponseFormat = ChatResponseFormat.Json }, Limit);
        Assert.Equal(Dialogues.Json, known.Text);
        ChatResponse thought = await client.GetResponseAsync([User(Dialogues.AsJson)], new ChatOptions { Temperature = 0, ResponseFormat = ChatResponseFormat.Json, Reasoning = Thinking.Reasoning }, Limit);
        Assert.Equal((Dialogues.Thought, Dialogues.Json), (ThoughtOf(thought), thought.Text));
        ChatResponse schema = await client.GetResponseAsync([User(Dialogues.AsJson)], new ChatOptions { MaxOutputTokens = 40, ResponseFormat = ChatResponseFormat.ForJsonSchema(Dialogues.Schema) }, Limit);
        Assert.Equal(JsonValueKind.Object, JsonDocument.Parse(schema.Text).RootElement.ValueKind);
    }

    [Fact]
    public async Task Options_are_kept_by_the_engine_and_a_prefix_is_continued()
    {
        using HadalChatClient client = Connect(server.Host);
        ChatResponse cut = await client.GetResponseAsync([User(Dialogues.Count)], new ChatOptions { Temperature = 0, MaxOutputTokens = 7 }, Limit);
        Assert.Equal((ChatFinishReason.Length, 7L), (cut.FinishReason, cut.Usage!.OutputTokenCount));
        ChatResponse stopped = await client.GetResponseAsync([User(Dialogues.Count)], new ChatOptions { Temperature = 0, StopSequences = [", 1"] }, Limit);
        Assert.Equal("1, 2, 3, 4, 5, 6, 7, 8, 9", stopped.Text);
        ChatOptions hot = new() { Temperature = 2, Seed = 3, MaxOutputTokens = 30, AdditionalProperties = new() { ["logprobs"] = true, ["top_logprobs"] = 2 } };
        ChatResponse one = await client.GetResponseAsync([User("Sea of kings?")], hot, Limit), two = await client.GetResponseAsync([User("Sea of kings?")], hot, Limit);
        Assert.Equal(one.Text, two.Text);
        Assert.True(((JsonElement)one.AdditionalProperties!["logprobs"]!).GetProperty("content").GetArrayLength() > 0);
        var prefix = new ChatMessage(ChatRole.Assistant, "The answer") { AdditionalProperties = new() { ["prefix"] = true } };
        Assert.Equal(" is 42.", (await client.GetResponseAsync([User(Dialogues.Sum), prefix], Plain, Limit)).Text);
    }

    [Fact]
    public async Task Leaving_a_stream_frees_its_pages()
    {
        long before = server.Engine.Statistics.Cancelled;
        using HadalChatClient client = Connect(server.Host);
        ChatOptions endless = new() { Temperature = 0, FrequencyPenalty = -2, MaxOutputTokens = 16_000 }; // what was said becomes likelier each time: commas without end
        await foreach (ChatResponseUpdate update in client.GetStreamingResponseAsync([User(Dialogues.Count)], endless, Limit))
            if (update.Text.Length > 0) break;
        await RealServer.IdleAsync(server.Engine);
        Assert.Equal(before + 1, server.Engine.Statistics.Cancelled);
    }

    [Fact]
    public async Task A_strict_server_refuses_a_thought_that_comes_back()
    {
        await using ApiHost host = await ApiHost.StartAsync(LearnedModel.Open(new EngineOptions { Pages = 40 }), options => options with { StrictDeepSeek = true });
        using HadalChatClient client = Connect(host);
        ChatResponse first = await client.GetResponseAsync([User(Dialogues.Sum)], Thinking, Limit);
        HadalApiException refused = await Assert.ThrowsAsync<HadalApiException>(() => client.GetResponseAsync([User(Dialogues.Sum), .. first.Messages, User(Dialogues.Twice)], Thinking, Limit));
        Assert.Equal(System.Net.HttpStatusCode.BadRequest, refused.StatusCode);
        ChatResponse next = await client.GetResponseAsync([User(Dialogues.Sum), new ChatMessage(ChatRole.Assistant, first.Text), User(Dialogues.Twice)], Thinking, Limit);
        Assert.Equal((Dialogues.Thought, Dialogues.Double), (ThoughtOf(next), next.Text));
        refused = await Assert.ThrowsAsync<HadalApiException>(() => client.GetResponseAsync([User(Dialogues.Weather)], new ChatOptions { Tools = [new Weather(_ => "")], Reasoning = Thinking.Reasoning }, Limit));
        Assert.Equal(System.Net.HttpStatusCode.BadRequest, refused.StatusCode);
    }

    /// <summary>A function with exactly the schema that the model knows.</summary>
    sealed class Weather(Func<string?, string> measure) : AIFunction
    {
        public override string Name => Dialogues.WeatherTool;

        public override string Description => Dialogues.WeatherText;

        public override JsonElement JsonSchema => Dialogues.Schema;

        protected override ValueTask<object?> InvokeCoreAsync(AIFunctionArguments arguments, CancellationToken cancellationToken) => new(measure(arguments["city"]?.ToString()));
    }
}
