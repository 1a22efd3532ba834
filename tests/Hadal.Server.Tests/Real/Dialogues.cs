using System.Text.Json;
using Hadal.Server.Api;
using Hadal.Text;
using Hadal.Training.Supervised;

namespace Hadal.Server.Tests.Real;

/// <summary>What the model of the tests knows by heart: prompts as the server renders them, and what follows.</summary>
static class Dialogues
{
    public const string Sum = "What is 17 + 25?", Twice = "And twice that?", Thought = "7 + 5 is 12, so the ones are 2. The tens are 1 + 2 + 1.", Answer = "The answer is 42.", Double = "It is 84.";

    public const string Weather = "How cold is it in Kiel?", WeatherTool = "get_weather", WeatherText = "Weather of a city", Arguments = """{"city":"Kiel"}""", Measured = "3 C", Cold = "It is cold: 3 C.";

    public const string AsJson = "Name a city as JSON.", Json = """{"city": "Kiel", "sea": true}""";

    public const string Count = "Count to twenty.";

    public const string FimBefore = "def answer():\n", FimAfter = "\n    return x", FimBetween = "    x = 42";

    public const string Story = "Once upon", StoryGoesOn = " a time the deep sea was still.";

    public const string Formula = "Show a formula.", FormulaText = "$$1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15 + 16 = 136$$";

    /// <summary>JSON Schema of the tool's arguments.</summary>
    public static JsonElement Schema { get; } = JsonDocument.Parse("""{"type":"object","properties":{"city":{"type":"string"}}}""").RootElement;

    /// <summary>One number after the other.</summary>
    public static string Numbers { get; } = string.Join(", ", Enumerable.Range(1, 20)) + ".";

    const string Call = $"{SpecialTokens.ToolCallsBegin}{SpecialTokens.ToolCallBegin}function{SpecialTokens.ToolSeparator}{WeatherTool}\n```json\n{Arguments}\n```{SpecialTokens.ToolCallEnd}{SpecialTokens.ToolCallsEnd}";

    /// <summary>All texts, for a tokenizer that is good at them.</summary>
    public static string[] Texts { get; } =
    [
        Sum, Twice, Thought, Answer, Double, Weather, WeatherTool, WeatherText, Arguments, Measured, Cold, AsJson, Json, Count, Numbers, FimBefore, FimAfter, FimBetween, Story + StoryGoesOn, Formula, FormulaText, "function", "\n```json\n",
        ChatPrompt.WithTools([], [Tool])[0].Content!,
    ];

    static ToolDefinition Tool => new(WeatherTool, WeatherText, Schema.GetRawText());

    /// <summary>Prompts as the server renders them and what follows.</summary>
    public static IEnumerable<ChatSample> Encode(Tokenizer tokenizer)
    {
        ChatMessage Said(ChatRole role, string text) => new(role, text);
        ChatMessage[] first = [Said(ChatRole.User, Sum)], second = [.. first, Said(ChatRole.Assistant, Answer), Said(ChatRole.User, Twice)];
        foreach (bool thinks in (bool[])[false, true])
        {
            string thought = thinks ? Thought + "\n</think>\n\n" : "";
            yield return Sample(thinks, first, thought + Answer);
            yield return Sample(thinks, second, thought + Double);
            yield return Sample(thinks, [Said(ChatRole.User, Count)], thought + Numbers);
            yield return Sample(thinks, [Said(ChatRole.User, AsJson)], thought + Json);
            yield return Sample(thinks, [Said(ChatRole.User, Formula)], thought + FormulaText);
        }

        ChatMessage[] asks = [Said(ChatRole.User, Weather)];
        yield return Sample(false, ChatPrompt.WithTools(asks, [Tool]), Call);
        asks = [.. asks, new ChatMessage(ChatRole.Assistant, null) { ToolCalls = [new ToolCall(WeatherTool, Arguments)] }, Said(ChatRole.Tool, Measured)];
        yield return Sample(false, ChatPrompt.WithTools(asks, [Tool]), Cold);
        yield return Known(FillInTheMiddle.Prompt(tokenizer, FimBefore, FimAfter), FimBetween);
        yield return Known([tokenizer.RequireId(SpecialTokens.BeginOfSentence), .. tokenizer.Encode(Story)], StoryGoesOn);

        ChatSample Sample(bool thinks, IReadOnlyList<ChatMessage> turns, string answer) => Known((thinks ? ChatTemplate.R1 : ChatTemplate.V3).Encode(tokenizer, turns, addGenerationPrompt: true), answer);
        ChatSample Known(List<int> prompt, string answer) => new([.. prompt, .. tokenizer.Encode(answer, allowSpecial: true), tokenizer.RequireId(SpecialTokens.EndOfSentence)], prompt.Count);
    }
}
