using System.Text.Json;
using System.Text.Json.Serialization;

namespace Hadal.Client;

// The bodies of DeepSeek's chat completions, as far as this client uses them. Names are the fields' own, in snake case.

sealed record WireRequest
{
    public required string Model { get; init; }
    public required List<WireMessage> Messages { get; init; }
    public float? Temperature { get; init; }
    public float? TopP { get; init; }
    public int? MaxTokens { get; init; }
    public float? FrequencyPenalty { get; init; }
    public float? PresencePenalty { get; init; }
    public long? Seed { get; init; }
    public IList<string>? Stop { get; init; }
    public WireFormat? ResponseFormat { get; init; }
    public List<WireTool>? Tools { get; init; }
    public JsonElement? ToolChoice { get; init; }
    public bool? ParallelToolCalls { get; init; }
    public bool? Stream { get; init; }
    public WireStreamOptions? StreamOptions { get; init; }

    /// <summary>Whatever the caller adds by <c>ChatOptions.AdditionalProperties</c>.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? More { get; set; }
}

sealed record WireStreamOptions(bool IncludeUsage);

sealed record WireFormat(string Type);

sealed record WireTool(string Type, WireFunctionDeclaration Function);

sealed record WireFunctionDeclaration(string Name, string? Description, JsonElement Parameters);

sealed record WireMessage
{
    public string? Role { get; init; }

    /// <summary>Written even when null: an assistant that only calls tools has no content, and servers ask for the key.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public string? Content { get; init; }
    public string? ReasoningContent { get; init; }
    public string? Name { get; init; }
    public List<WireToolCall>? ToolCalls { get; init; }
    public string? ToolCallId { get; init; }
    public bool? Prefix { get; init; }
}

sealed record WireToolCall
{
    public int? Index { get; init; }
    public string? Id { get; init; }
    public string? Type { get; init; }
    public WireFunction? Function { get; init; }
}

sealed record WireFunction
{
    public string? Name { get; init; }
    public string? Arguments { get; init; }
}

sealed record WireResponse
{
    public string? Id { get; init; }
    public long? Created { get; init; }
    public string? Model { get; init; }
    public string? SystemFingerprint { get; init; }
    public List<WireChoice>? Choices { get; init; }
    public WireUsage? Usage { get; init; }
    public WireError? Error { get; init; }
}

sealed record WireChoice
{
    public int Index { get; init; }
    public string? FinishReason { get; init; }
    public WireMessage? Message { get; init; }
    public WireMessage? Delta { get; init; }
    public JsonElement? Logprobs { get; init; }
}

sealed record WireUsage
{
    public long? PromptTokens { get; init; }
    public long? CompletionTokens { get; init; }
    public long? TotalTokens { get; init; }
    public long? PromptCacheHitTokens { get; init; }
    public long? PromptCacheMissTokens { get; init; }
    public WirePromptDetails? PromptTokensDetails { get; init; }
    public WireCompletionDetails? CompletionTokensDetails { get; init; }
}

sealed record WirePromptDetails
{
    public long? CachedTokens { get; init; }
}

sealed record WireCompletionDetails
{
    public long? ReasoningTokens { get; init; }
}

sealed record WireError
{
    public string? Message { get; init; }
    public string? Type { get; init; }

    /// <summary>A text with DeepSeek, sometimes a number elsewhere.</summary>
    public JsonElement? Code { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(WireRequest))]
[JsonSerializable(typeof(WireResponse))]
[JsonSerializable(typeof(WireToolChoice))]
sealed partial class WireJson : JsonSerializerContext;

sealed record WireToolChoice(string Type, WireChosenFunction Function);

sealed record WireChosenFunction(string Name);
