using System.Text.Json;
using System.Text.Json.Nodes;
using static Hadal.Text.SpecialTokens;

namespace Hadal.Text.Tests;

public sealed class ChatTemplateTests
{
    static ChatMessage System(string text) => new(ChatRole.System, text);

    static ChatMessage User(string text) => new(ChatRole.User, text);

    static ChatMessage Assistant(string? text, params ToolCall[] calls) => new(ChatRole.Assistant, text) { ToolCalls = calls };

    static ChatMessage Tool(string text) => new(ChatRole.Tool, text);

    static readonly ToolCall s_weather = new("weather", "{\"city\": \"Paris\"}");
    static readonly ToolCall s_time = new("time", "{}");

    [Fact]
    public void Turns_follow_each_other_without_separators()
    {
        ChatMessage[] messages = [System("Be brief."), User("Hi"), Assistant("Hello!"), User("1+1?")];
        string turns = $"{BeginOfSentence}Be brief.{SpecialTokens.User}Hi{SpecialTokens.Assistant}Hello!{EndOfSentence}{SpecialTokens.User}1+1?";
        Assert.Equal(turns, ChatTemplate.V3.Render(messages, addGenerationPrompt: false));
        Assert.Equal(turns + SpecialTokens.Assistant, ChatTemplate.V3.Render(messages, addGenerationPrompt: true));
        Assert.Equal(turns + SpecialTokens.Assistant + "<think>\n", ChatTemplate.R1.Render(messages, addGenerationPrompt: true));
    }

    [Fact]
    public void System_texts_are_joined_by_V3_and_replaced_by_R1()
    {
        ChatMessage[] messages = [System("one"), User("x"), System("two")];
        Assert.Equal($"{BeginOfSentence}one\n\ntwo{SpecialTokens.User}x", ChatTemplate.V3.Render(messages, addGenerationPrompt: false));
        Assert.Equal($"{BeginOfSentence}two{SpecialTokens.User}x", ChatTemplate.R1.Render(messages, addGenerationPrompt: false));
        Assert.Equal(BeginOfSentence, ChatTemplate.V3.Render([], addGenerationPrompt: false));
    }

    [Fact]
    [Implements("chat template", "R1 forgets the reasoning of earlier answers")]
    public void R1_forgets_the_reasoning_of_earlier_answers()
    {
        ChatMessage[] messages = [User("x"), Assistant("<think>\na</think>b</think>\n\nc")];
        Assert.Equal($"{BeginOfSentence}{SpecialTokens.User}x{SpecialTokens.Assistant}\n\nc{EndOfSentence}", ChatTemplate.R1.Render(messages, addGenerationPrompt: false));
        Assert.EndsWith($"<think>\na</think>b</think>\n\nc{EndOfSentence}", ChatTemplate.V3.Render(messages, addGenerationPrompt: false), StringComparison.Ordinal);
    }

    [Fact]
    public void Tools()
    {
        string calls = $"{ToolCallsBegin}{ToolCallBegin}function{ToolSeparator}weather\n```json\n{{\"city\": \"Paris\"}}\n```{ToolCallEnd}";
        string first = $"{BeginOfSentence}{SpecialTokens.User}x{SpecialTokens.Assistant}{calls}";
        Assert.Equal($"{first}{ToolCallsEnd}{EndOfSentence}", ChatTemplate.V3.Render([User("x"), Assistant(null, s_weather)], addGenerationPrompt: false));

        string both = $"{first}\n{ToolCallBegin}function{ToolSeparator}time\n```json\n{{}}\n```{ToolCallEnd}{ToolCallsEnd}{EndOfSentence}";
        string results = $"{both}{ToolOutputsBegin}{ToolOutputBegin}sun{ToolOutputEnd}\n{ToolOutputBegin}noon{ToolOutputEnd}{ToolOutputsEnd}";
        ChatMessage[] messages = [User("x"), Assistant(null, s_weather, s_time), Tool("sun"), Tool("noon")];
        Assert.Equal(results, ChatTemplate.V3.Render(messages, addGenerationPrompt: true));
        Assert.Equal($"{results}Fine.{EndOfSentence}", ChatTemplate.V3.Render([.. messages, Assistant("Fine.")], addGenerationPrompt: false));
        Assert.Equal($"{results}{SpecialTokens.Assistant}{calls}{ToolCallsEnd}{EndOfSentence}", ChatTemplate.V3.Render([.. messages, Assistant(null, s_weather)], addGenerationPrompt: false));
        Assert.Equal($"{results}{SpecialTokens.User}y", ChatTemplate.V3.Render([.. messages, User("y")], addGenerationPrompt: false));
        Assert.Equal($"{BeginOfSentence}{SpecialTokens.Assistant}I look.{calls}{ToolCallsEnd}{EndOfSentence}", ChatTemplate.V3.Render([Assistant("I look.", s_weather)], addGenerationPrompt: false));
    }

    [Fact]
    public void Tokens_equal_those_of_the_rendered_text_when_no_message_spells_a_control_token()
    {
        Tokenizer tokenizer = Fixtures.Trained;
        ChatMessage[] messages =
            [System("Be brief.\n"), User("Hi \n"), Assistant(" Hello!"), User("Weather?"), Assistant(null, s_weather, s_time), Tool("sun\n"), Tool(" noon"), Assistant("\n😀"), User("?")];
        foreach (ChatTemplate template in (ChatTemplate[])[ChatTemplate.V3, ChatTemplate.R1])
            Assert.Equal(tokenizer.Encode(template.Render(messages, addGenerationPrompt: true), allowSpecial: true), template.Encode(tokenizer, messages, addGenerationPrompt: true));
    }

    [Fact]
    public void No_message_can_inject_a_control_token()
    {
        Tokenizer tokenizer = Fixtures.Trained;
        string evil = string.Concat(Leading.Concat(Trailing));
        ChatMessage[] Conversation(string text) =>
            [System(text), User(text), Assistant(text, new ToolCall(text, text, text)), Tool(text), Assistant(text), User(text)];
        var controls = tokenizer.AddedTokens.Select(token => token.Id).ToHashSet();
        foreach (ChatTemplate template in (ChatTemplate[])[ChatTemplate.V3, ChatTemplate.R1])
        {
            List<int> harmless = template.Encode(tokenizer, Conversation("x"), addGenerationPrompt: true);
            List<int> attacked = template.Encode(tokenizer, Conversation(evil), addGenerationPrompt: true);
            Assert.Equal(harmless.Where(controls.Contains), attacked.Where(controls.Contains));
        }
    }

    [Fact]
    public void Silence_is_refused()
    {
        Assert.Contains("no content", Assert.Throws<ArgumentException>(() => ChatTemplate.V3.Render([new(ChatRole.User, null)], addGenerationPrompt: true)).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ChatTemplate.V3.Render([Assistant(null)], addGenerationPrompt: true));
        Assert.Throws<InvalidOperationException>(() => ChatTemplate.V3.Encode(Tokenizer.Parse(Fixtures.Minimal()), [User("x")], addGenerationPrompt: true));
    }

    [Fact]
    [Trait("tier", "full")]
    [Implements("chat template", "Conversations are rendered as the published template renders them")]
    public void The_published_template_renders_the_same()
    {
        // Only conversations in which the published template has none of the faults named at ChatTemplate.
        (ChatMessage[] Messages, bool Prompt)[] conversations =
        [
            ([], true),
            ([User("Hi")], true),
            ([User("Hi")], false),
            ([System("S"), User("Hi"), Assistant("Yes"), User(" \n x")], true),
            ([System("S"), User("Hi"), System("T\n"), Assistant("<think>a</think>b"), System("U")], false),
            ([User("x"), Assistant(null, s_weather, s_time)], false),
            ([User("x"), Assistant(null, s_weather, s_time), Tool("sun"), Tool("noon")], true),
            ([User("x"), Assistant(null, s_weather, s_time), Tool("sun")], true),
            ([User("x"), Assistant(null, s_weather, s_time), Tool("sun"), Tool("noon"), Assistant("Fine."), User("Thanks")], true),
            ([Assistant("first"), Assistant("second"), User("{{ x }} {% y %}")], true),
            .. Enumerable.Range(0, 200).Select(Random),
        ];
        string folder = Directory.CreateTempSubdirectory("hadal-jinja-").FullName;
        string input = Path.Combine(folder, "conversations.json");
        string output = Path.Combine(folder, "rendered.json");
        File.WriteAllText(input, new JsonArray([.. conversations.Select(conversation => Json(conversation.Messages, conversation.Prompt))]).ToJsonString());
        TokenizerOracle.Run("render.js", TokenizerOracle.Modules, input, output);
        string[] expected = JsonSerializer.Deserialize<string[]>(File.ReadAllText(output))!;
        Directory.Delete(folder, recursive: true);
        Assert.Equal(conversations.Length, expected.Length);
        for (int i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], ChatTemplate.V3.Render(conversations[i].Messages, conversations[i].Prompt));
    }

    static (ChatMessage[], bool) Random(int index)
    {
        var random = new SplitMix((ulong)index);
        string Text() => TestDocuments.Generate(200).ElementAt(random.Next(190)).Text ?? "none";
        ChatMessage[] messages = [.. Enumerable.Range(0, random.Next(1, 6)).Select(_ => random.Next(3) switch { 0 => System(Clean(Text())), 1 => User(Clean(Text())), _ => Assistant(Clean(Text())) })];
        return (messages, random.Next(2) == 0);
    }

    /// <summary>JSON cannot carry half a surrogate pair.</summary>
    static string Clean(string text) => string.Concat(text.EnumerateRunes().Select(rune => rune.ToString()));

    static JsonObject Json(ChatMessage[] messages, bool prompt) => new()
    {
        ["messages"] = new JsonArray([.. messages.Select(message => new JsonObject
        {
            ["role"] = message.Role.ToString().ToLowerInvariant(),
            ["content"] = message.Content,
            ["tool_calls"] = new JsonArray([.. message.ToolCalls.Select(call => new JsonObject
            {
                ["type"] = call.Type,
                ["function"] = new JsonObject { ["name"] = call.Name, ["arguments"] = call.Arguments },
            })]),
        })]),
        ["add_generation_prompt"] = prompt,
    };
}
