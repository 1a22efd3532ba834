using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text;
using System.Text.Json;
using Hadal.Server.Keys;
using Hadal.Server.Tests.Api;
using OpenAI;
using OpenAI.Chat;

namespace Hadal.Server.Tests.Real;

/// <summary>The OpenAI client for .NET, unchanged, against the server with an engine that computes.</summary>
[Trait("tier", "full")]
public sealed class RealOpenAiClientTests(RealServer server) : IClassFixture<RealServer>
{
    static readonly ChatTool Tool = ChatTool.CreateFunctionTool(Dialogues.WeatherTool, Dialogues.WeatherText, BinaryData.FromString(Dialogues.Schema.GetRawText()));

    ChatClient Chat => Connect(ApiHost.HostKey).GetChatClient("deepseek-chat");

    static CancellationToken Limit => new CancellationTokenSource(TimeSpan.FromSeconds(120)).Token;

    // Sampled as usual, but so cold that what the model knows by heart comes out.
    static ChatCompletionOptions Cold => new() { Temperature = 0 };

    OpenAIClient Connect(string key) =>
        new(new ApiKeyCredential(key), new OpenAIClientOptions { Endpoint = new Uri(server.Host.Address, "/v1"), RetryPolicy = new ClientRetryPolicy(0) });

    [Fact]
    public async Task Models_are_listed_and_a_conversation_goes_on()
    {
        string[] models = [.. (await Connect(ApiHost.HostKey).GetOpenAIModelClient().GetModelsAsync(Limit)).Value.Select(model => model.Id)];
        Assert.Equal(["deepseek-chat", "deepseek-reasoner", "tiny"], models);
        Assert.Equal("tiny", (await Connect(ApiHost.HostKey).GetOpenAIModelClient().GetModelAsync("tiny", Limit)).Value.Id);

        ChatCompletion first = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.Sum)], Cold, Limit);
        Assert.Equal((Dialogues.Answer, ChatFinishReason.Stop, ChatMessageRole.Assistant), (first.Content[0].Text, first.FinishReason, first.Role));
        Assert.Equal(first.Usage.TotalTokenCount, first.Usage.InputTokenCount + first.Usage.OutputTokenCount);
        ChatCompletion second = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.Sum), new AssistantChatMessage(first), new UserChatMessage(Dialogues.Twice)], Cold, Limit);
        Assert.Equal(Dialogues.Double, second.Content[0].Text);
        ChatCompletion reasoned = await Connect(ApiHost.HostKey).GetChatClient("deepseek-reasoner").CompleteChatAsync([new UserChatMessage(Dialogues.Sum)], Cold, Limit);
        Assert.Equal(Dialogues.Answer, reasoned.Content[0].Text);
        Assert.InRange(reasoned.Usage.OutputTokenDetails.ReasoningTokenCount, 5, reasoned.Usage.OutputTokenCount - 2);
    }

    [Fact]
    public async Task A_stream_says_the_same_piece_by_piece_and_ends_with_its_usage()
    {
        var pieces = new List<string>();
        ChatTokenUsage? usage = null;
        ChatFinishReason? reason = null;
        await foreach (StreamingChatCompletionUpdate update in Chat.CompleteChatStreamingAsync([new UserChatMessage(Dialogues.Count)], Cold, Limit))
        {
            Assert.Null(usage); // it is the last word
            pieces.AddRange(update.ContentUpdate.Select(part => part.Text));
            reason ??= update.FinishReason;
            usage = update.Usage;
        }

        Assert.Equal((Dialogues.Numbers, ChatFinishReason.Stop), (string.Concat(pieces), reason));
        Assert.True(pieces.Count > 5, $"The answer came in {pieces.Count} pieces.");
        ChatCompletion whole = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.Count)], Cold, Limit);
        Assert.Equal((Dialogues.Numbers, whole.Usage.OutputTokenCount, whole.Usage.InputTokenCount), (whole.Content[0].Text, usage!.OutputTokenCount, usage.InputTokenCount));

        // Cut by its length, and by a text to stop at that no token border respects.
        ChatCompletion cut = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.Count)], new ChatCompletionOptions { Temperature = 0, MaxOutputTokenCount = 7 }, Limit);
        Assert.Equal((ChatFinishReason.Length, 7), (cut.FinishReason, cut.Usage.OutputTokenCount));
        Assert.StartsWith(cut.Content[0].Text, Dialogues.Numbers, StringComparison.Ordinal);
        ChatCompletion stopped = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.Count)], new ChatCompletionOptions { Temperature = 0, StopSequences = { ", 1" } }, Limit);
        Assert.Equal(("1, 2, 3, 4, 5, 6, 7, 8, 9", ChatFinishReason.Stop), (stopped.Content[0].Text, stopped.FinishReason));
    }

    [Fact]
    public async Task A_tool_is_called_streamed_and_forced_and_its_result_leads_to_the_answer()
    {
        List<ChatMessage> messages = [new UserChatMessage(Dialogues.Weather)];
        ChatCompletion call = await Chat.CompleteChatAsync(messages, new ChatCompletionOptions { Temperature = 0, Tools = { Tool } }, Limit);
        Assert.Equal(ChatFinishReason.ToolCalls, call.FinishReason);
        Assert.Equal((Dialogues.WeatherTool, Dialogues.Arguments), (Assert.Single(call.ToolCalls).FunctionName, call.ToolCalls[0].FunctionArguments.ToString()));

        StringBuilder name = new(), arguments = new();
        ChatFinishReason? reason = null;
        await foreach (StreamingChatCompletionUpdate update in Chat.CompleteChatStreamingAsync(messages, new ChatCompletionOptions { Temperature = 0, Tools = { Tool } }, Limit))
        {
            reason ??= update.FinishReason;
            foreach (StreamingChatToolCallUpdate piece in update.ToolCallUpdates)
            {
                name.Append(piece.FunctionName);
                arguments.Append(piece.FunctionArgumentsUpdate);
            }
        }

        Assert.Equal((Dialogues.WeatherTool, Dialogues.Arguments, ChatFinishReason.ToolCalls), (name.ToString(), arguments.ToString(), reason));

        // Forced, whatever the model would have said; and forbidden.
        foreach (ChatToolChoice choice in (ChatToolChoice[])[ChatToolChoice.CreateRequiredChoice(), ChatToolChoice.CreateFunctionChoice(Dialogues.WeatherTool)])
        {
            ChatCompletion forced = await Chat.CompleteChatAsync(messages, new ChatCompletionOptions { Temperature = 0, Tools = { Tool }, ToolChoice = choice }, Limit);
            Assert.Equal((Dialogues.WeatherTool, Dialogues.Arguments), (forced.ToolCalls[0].FunctionName, forced.ToolCalls[0].FunctionArguments.ToString()));
        }

        ChatCompletion none = await Chat.CompleteChatAsync(messages, new ChatCompletionOptions { Temperature = 0, Tools = { Tool }, ToolChoice = ChatToolChoice.CreateNoneChoice(), MaxOutputTokenCount = 5 }, Limit);
        Assert.Empty(none.ToolCalls);

        messages.AddRange([new AssistantChatMessage(call), new ToolChatMessage(call.ToolCalls[0].Id, Dialogues.Measured)]);
        ChatCompletion answer = await Chat.CompleteChatAsync(messages, new ChatCompletionOptions { Temperature = 0, Tools = { Tool } }, Limit);
        Assert.Equal((Dialogues.Cold, ChatFinishReason.Stop), (answer.Content[0].Text, answer.FinishReason));
    }

    [Fact]
    public async Task JSON_mode_gives_an_object_whatever_the_model_would_have_said()
    {
        var options = new ChatCompletionOptions { Temperature = 0, ResponseFormat = ChatResponseFormat.CreateJsonObjectFormat() };
        ChatCompletion known = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.AsJson)], options, Limit);
        Assert.Equal(Dialogues.Json, known.Content[0].Text);

        // A question that it answers with a sentence, and one cut short: an object all the same.
        foreach (int most in (int[])[60, 9])
        {
            ChatCompletion forced = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.Sum)], new ChatCompletionOptions { Temperature = 1, MaxOutputTokenCount = most, ResponseFormat = ChatResponseFormat.CreateJsonObjectFormat() }, Limit);
            Assert.Equal(JsonValueKind.Object, JsonDocument.Parse(forced.Content[0].Text).RootElement.ValueKind);
        }
    }

    [Fact]
    public async Task The_same_seed_gives_the_same_text_and_log_probabilities_belong_to_it()
    {
#pragma warning disable OPENAI001 // Seed is said to be for evaluation only.
        static ChatCompletionOptions Hot(long seed) => new() { Temperature = 2, MaxOutputTokenCount = 40, Seed = seed, IncludeLogProbabilities = true, TopLogProbabilityCount = 3 };
#pragma warning restore OPENAI001
        List<ChatMessage> strange = [new UserChatMessage("Sea of kings, how deep and how cold?")];
        Task<ClientResult<ChatCompletion>>[] asked = [.. ((long[])[7, 7, 8, 9]).Select(seed => Chat.CompleteChatAsync(strange, Hot(seed), Limit))];
        ChatCompletion[] answers = [.. (await Task.WhenAll(asked)).Select(result => result.Value)];
        Assert.Equal(answers[0].Content[0].Text, answers[1].Content[0].Text);
        Assert.True(answers.Select(answer => answer.Content[0].Text).Distinct(StringComparer.Ordinal).Count() > 1, "Every seed gave the same text.");
        Assert.Equal(answers[0].ContentTokenLogProbabilities.Select(token => token.LogProbability), answers[1].ContentTokenLogProbabilities.Select(token => token.LogProbability));
        Assert.All(answers[0].ContentTokenLogProbabilities, token =>
        {
            Assert.Equal(3, token.TopLogProbabilities.Count);
            Assert.True(token.LogProbability <= 0 && token.TopLogProbabilities[0].LogProbability >= token.TopLogProbabilities[1].LogProbability);
        });
        ChatCompletion sure = await Chat.CompleteChatAsync([new UserChatMessage(Dialogues.Sum)], new ChatCompletionOptions { Temperature = 0, IncludeLogProbabilities = true, TopLogProbabilityCount = 1 }, Limit);
        Assert.Equal(Dialogues.Answer, string.Concat(sure.ContentTokenLogProbabilities.Select(token => token.Token)));
        Assert.All(sure.ContentTokenLogProbabilities, token => Assert.Equal(token.Token, Assert.Single(token.TopLogProbabilities).Token));
    }

    [Fact]
    public async Task A_prompt_that_was_read_before_comes_from_the_cache_with_the_same_text_and_for_its_owner_alone()
    {
        List<ChatMessage> messages = [new SystemChatMessage(string.Join(' ', Enumerable.Range(100, 60))), new UserChatMessage(Dialogues.Sum)];
        var options = new ChatCompletionOptions { Temperature = 0, MaxOutputTokenCount = 12 };
        ChatCompletion first = await Chat.CompleteChatAsync(messages, options, Limit), second = await Chat.CompleteChatAsync(messages, options, Limit);
        Assert.Equal(0, first.Usage.InputTokenDetails.CachedTokenCount);
        Assert.InRange(second.Usage.InputTokenDetails.CachedTokenCount, 64, second.Usage.InputTokenCount - 1);
        Assert.Equal(0, second.Usage.InputTokenDetails.CachedTokenCount % 64);
        Assert.Equal((first.Usage.InputTokenCount, first.Content[0].Text), (second.Usage.InputTokenCount, second.Content[0].Text));
        NewApiKey other = await server.Host.Keys.MakeAsync(null, "other");
        ChatCompletion others = await Connect(other.Secret).GetChatClient("deepseek-chat").CompleteChatAsync(messages, options, Limit);
        Assert.Equal((0, first.Content[0].Text), (others.Usage.InputTokenDetails.CachedTokenCount, others.Content[0].Text));
    }

    [Fact]
    public async Task What_is_not_served_is_refused_in_words()
    {
        OpenAIClient client = Connect(ApiHost.HostKey);
        await RefusedAsync(404, "/embeddings", () => client.GetEmbeddingClient("deepseek-chat").GenerateEmbeddingAsync("Hi", cancellationToken: Limit));
        await RefusedAsync(404, "/images/generations", () => client.GetImageClient("deepseek-chat").GenerateImageAsync("A fish", cancellationToken: Limit));
        await RefusedAsync(404, "/moderations", () => client.GetModerationClient("deepseek-chat").ClassifyTextAsync("Hi", Limit));
        await RefusedAsync(404, "/audio/speech", () => client.GetAudioClient("deepseek-chat").GenerateSpeechAsync("Hi", OpenAI.Audio.GeneratedSpeechVoice.Alloy, cancellationToken: Limit));
        await RefusedAsync(404, "gpt-4", () => client.GetOpenAIModelClient().GetModelAsync("gpt-4", Limit));
        await RefusedAsync(400, "Model Not Exist", () => client.GetChatClient("gpt-4").CompleteChatAsync([new UserChatMessage("Hi")], Cold, Limit));
        await RefusedAsync(422, "expected text", () => Chat.CompleteChatAsync([new UserChatMessage(ChatMessageContentPart.CreateImagePart(new Uri("https://example.org/a.png")))], Cold, Limit));
        await RefusedAsync(422, "json_schema", () => Chat.CompleteChatAsync([new UserChatMessage("Hi")],
            new ChatCompletionOptions { ResponseFormat = ChatResponseFormat.CreateJsonSchemaFormat("city", BinaryData.FromString("""{"type":"object"}""")) }, Limit));
        await RefusedAsync(400, "maximum context length is 16384 tokens", () => Chat.CompleteChatAsync([new UserChatMessage(string.Join(' ', Enumerable.Repeat("7 8", 9000)))], Cold, Limit));
        await RefusedAsync(401, "invalid", () => Connect("hk-wrong-key-entirely").GetChatClient("deepseek-chat").CompleteChatAsync([new UserChatMessage("Hi")], Cold, Limit));
    }

    static async Task RefusedAsync(int status, string words, Func<Task> call)
    {
        ClientResultException refused = await Assert.ThrowsAsync<ClientResultException>(call);
        Assert.True(refused.Status == status && refused.Message.Contains(words, StringComparison.Ordinal), $"expected {status} {words}: {refused.Status} {refused.Message}");
    }
}
