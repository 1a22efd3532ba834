using System.ClientModel;
using System.Text;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Models;

namespace Hadal.Server.Tests.Api;

/// <summary>The OpenAI client for .NET, unchanged, against the real server.</summary>
public sealed class OpenAiClientTests
{
    static OpenAIClient Connect(ApiHost host, string key = ApiHost.HostKey) =>
        new(new ApiKeyCredential(key), new OpenAIClientOptions { Endpoint = new Uri(host.Address, "/v1"), RetryPolicy = new System.ClientModel.Primitives.ClientRetryPolicy(0) });

    [Fact]
    public async Task It_completes_streams_calls_tools_and_lists_models()
    {
        var engine = new ApiEngine { Cached = 2 };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        OpenAIClient client = Connect(host);
        ChatClient chat = client.GetChatClient("deepseek-chat");
        ChatCompletion completion = await chat.CompleteChatAsync([new SystemChatMessage("Be brief."), new UserChatMessage("Hi")],
            new ChatCompletionOptions { MaxOutputTokenCount = 100, Temperature = 0.5f, IncludeLogProbabilities = true, TopLogProbabilityCount = 2 });
        Assert.Equal("The answer is 42.", completion.Content[0].Text);
        Assert.Equal(ChatFinishReason.Stop, completion.FinishReason);
        Assert.Equal(2, completion.Usage.InputTokenDetails.CachedTokenCount);
        Assert.Equal("The answer is 42.", string.Concat(completion.ContentTokenLogProbabilities.Select(token => token.Token)));
        Assert.Equal(100, engine.Requests.Last().MaxNewTokens);

        var text = new StringBuilder();
        ChatTokenUsage? usage = null;
        await foreach (StreamingChatCompletionUpdate update in chat.CompleteChatStreamingAsync([new UserChatMessage("Hi")]))
        {
            foreach (ChatMessageContentPart part in update.ContentUpdate) text.Append(part.Text);
            usage ??= update.Usage;
        }

        Assert.Equal("The answer is 42.", text.ToString());
        Assert.True(usage!.OutputTokenCount > 0);

        ChatTool tool = ChatTool.CreateFunctionTool("get_weather", "Weather", BinaryData.FromString("""{"type":"object","properties":{"city":{"type":"string"}}}"""));
        engine.Reply = _ => "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Kiel\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
        completion = await chat.CompleteChatAsync([new UserChatMessage("Weather?")], new ChatCompletionOptions { Tools = { tool } });
        Assert.Equal(ChatFinishReason.ToolCalls, completion.FinishReason);
        Assert.Equal("""{"city": "Kiel"}""", completion.ToolCalls[0].FunctionArguments.ToString());
        var arguments = new StringBuilder();
        await foreach (StreamingChatCompletionUpdate update in chat.CompleteChatStreamingAsync([new UserChatMessage("Weather?")], new ChatCompletionOptions { Tools = { tool } }))
            foreach (StreamingChatToolCallUpdate call in update.ToolCallUpdates) arguments.Append(call.FunctionArgumentsUpdate);
        Assert.Equal("""{"city": "Kiel"}""", arguments.ToString());
        engine.Reply = _ => "Cold.";
        completion = await chat.CompleteChatAsync([new UserChatMessage("Weather?"), new AssistantChatMessage(completion), new ToolChatMessage(completion.ToolCalls[0].Id, "3 C")], new ChatCompletionOptions { Tools = { tool } });
        Assert.Equal("Cold.", completion.Content[0].Text);

        OpenAIModelCollection models = await client.GetOpenAIModelClient().GetModelsAsync();
        Assert.Contains(models, model => string.Equals(model.Id, "deepseek-reasoner", StringComparison.Ordinal));
        OpenAIModel one = await client.GetOpenAIModelClient().GetModelAsync("deepseek-chat");
        Assert.Equal("deepseek-chat", one.Id);
    }

    [Fact]
    public async Task Its_exceptions_carry_status_and_words()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        ClientResultException refused = await Assert.ThrowsAsync<ClientResultException>(() => Connect(host, "hk-wrong-key-entirely").GetChatClient("deepseek-chat").CompleteChatAsync([new UserChatMessage("Hi")]));
        Assert.Equal(401, refused.Status);
        refused = await Assert.ThrowsAsync<ClientResultException>(() => Connect(host).GetChatClient("gpt-4").CompleteChatAsync([new UserChatMessage("Hi")]));
        Assert.Equal(400, refused.Status);
        Assert.Contains("Model Not Exist", refused.Message, StringComparison.Ordinal);
    }
}
