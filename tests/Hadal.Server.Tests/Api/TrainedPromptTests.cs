using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Server.Conversations;
using Hadal.Training.Supervised;

namespace Hadal.Server.Tests.Api;

/// <summary>What the server sends to a model is, token for token, what the supervised stage trained it on.</summary>
public sealed class TrainedPromptTests
{
    static readonly TaskProblem[] Problems = [.. SupervisedTask.All.Select(task => task.Draw(3, 1))];

    /// <summary>One turn, and a second one after an answer.</summary>
    static IEnumerable<TaskProblem[]> Conversations => [[Problems[0]], [Problems[1]], [Problems[2], Problems[3]], [Problems[3], Problems[0]]];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    [Implements("chat template", "Conversations are rendered as the published template renders them")]
    public async Task The_API_renders_the_prompts_of_training(bool thinks)
    {
        var engine = new ApiEngine();
        await using ApiHost host = await ApiHost.StartAsync(engine);
        foreach (TaskProblem[] turns in Conversations)
        {
            var messages = new List<object>();
            foreach (TaskProblem turn in turns)
            {
                if (messages.Count > 0) messages.Add(new { role = "assistant", content = turns[0].Answer, reasoning_content = turns[0].Trace });
                messages.Add(new { role = "user", content = turn.Question });
            }

            await host.PostAsync("/v1/chat/completions", JsonSerializer.Serialize(new { model = thinks ? "deepseek-reasoner" : "deepseek-chat", messages, max_tokens = 3 }));
            Assert.Equal(ChatSample.Prompt(ApiEngine.Tokenizer, turns, thinks), engine.Requests.Last().Prompt.ToArray());
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_chat_renders_the_prompts_of_training(bool thinks)
    {
        ServedModel model = new ApiEngine().Model;
        foreach (TaskProblem[] turns in Conversations)
        {
            var branch = new List<Message>();
            foreach (TaskProblem turn in turns)
            {
                if (branch.Count > 0) branch.Add(new Message { Role = MessageRole.Assistant, Text = turns[0].Answer, Reasoning = turns[0].Trace, DeepThink = true });
                branch.Add(new Message { Role = MessageRole.User, Text = turn.Question });
            }

            Assert.Equal(ChatSample.Prompt(model.Tokenizer, turns, thinks), PromptBuilder.Build(model, branch, thinks, out _)!.Tokens);
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_trained_answer_comes_apart_into_thought_and_result(bool thinks)
    {
        TaskProblem problem = Problems[0];
        ChatSample sample = ChatSample.Create(ApiEngine.Tokenizer, [problem], thinks);
        var engine = new ApiEngine { Reply = _ => ApiEngine.Tokenizer.Decode(sample.Tokens.AsSpan(sample.AnswerStart, sample.Tokens.Length - sample.AnswerStart - 1)) };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        JsonElement answer = await host.PostAsync("/v1/chat/completions", JsonSerializer.Serialize(new { model = thinks ? "deepseek-reasoner" : "deepseek-chat", messages = new[] { new { role = "user", content = problem.Question } } }));
        JsonElement message = answer.GetProperty("choices")[0].GetProperty("message");
        Assert.Equal(problem.Answer, message.GetProperty("content").GetString());
        Assert.Equal(thinks ? problem.Trace : null, message.TryGetProperty("reasoning_content", out JsonElement thought) ? thought.GetString() : null);
    }
}
