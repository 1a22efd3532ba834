using System.Text;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace Hadal.Client;

/// <summary>From DeepSeek's words to those of Microsoft.Extensions.AI.</summary>
static class ResponseReader
{
    internal static ChatResponse Read(WireResponse wire, bool withReasoning)
    {
        if (wire.Choices is not { Count: > 0 } choices || choices[0].Message is not { } message) throw HadalApiException.BrokenOff("the server sent no choice");
        var contents = new List<AIContent>();
        if (withReasoning && message.ReasoningContent is { Length: > 0 } reasoning) contents.Add(new TextReasoningContent(reasoning));
        if (message.Content is { Length: > 0 } text) contents.Add(new TextContent(text));
        foreach (WireToolCall call in message.ToolCalls ?? []) contents.Add(Call(call.Id, call.Function?.Name, call.Function?.Arguments));
        return new ChatResponse(new ChatMessage(ChatRole.Assistant, contents) { MessageId = wire.Id, CreatedAt = Time(wire) })
        {
            ResponseId = wire.Id,
            ModelId = wire.Model,
            CreatedAt = Time(wire),
            FinishReason = Reason(choices[0].FinishReason),
            Usage = wire.Usage is { } usage ? Usage(usage) : null,
            AdditionalProperties = Properties(wire, choices[0]),
        };
    }

    internal static DateTimeOffset? Time(WireResponse wire) => wire.Created is { } seconds and >= 0 and < 253402300800 ? DateTimeOffset.FromUnixTimeSeconds(seconds) : null;

    internal static ChatFinishReason? Reason(string? reason) => reason switch
    {
        null or "" => null,
        "stop" => ChatFinishReason.Stop,
        "length" => ChatFinishReason.Length,
        "tool_calls" => ChatFinishReason.ToolCalls,
        "content_filter" => ChatFinishReason.ContentFilter,
        _ => new ChatFinishReason(reason),
    };

    internal static UsageDetails Usage(WireUsage usage) => new()
    {
        InputTokenCount = usage.PromptTokens,
        OutputTokenCount = usage.CompletionTokens,
        TotalTokenCount = usage.TotalTokens,
        CachedInputTokenCount = usage.PromptCacheHitTokens ?? usage.PromptTokensDetails?.CachedTokens,
        ReasoningTokenCount = usage.CompletionTokensDetails?.ReasoningTokens,
    };

    internal static AdditionalPropertiesDictionary? Properties(WireResponse wire, WireChoice? choice)
    {
        AdditionalPropertiesDictionary? properties = null;
        if (wire.SystemFingerprint is { Length: > 0 } fingerprint) (properties ??= [])["system_fingerprint"] = fingerprint;
        if (choice?.Logprobs is { ValueKind: JsonValueKind.Object } logprobs) (properties ??= [])["logprobs"] = logprobs;
        return properties;
    }

    /// <summary>Arguments that are no JSON object come as <see cref="FunctionCallContent.Exception"/>: the model wrote them, and the caller decides.</summary>
    internal static FunctionCallContent Call(string? id, string? name, string? arguments) =>
        FunctionCallContent.CreateFromParsedArguments(string.IsNullOrWhiteSpace(arguments) ? "{}" : arguments, id ?? "", name ?? "", Arguments);

    static IDictionary<string, object?> Arguments(string json) =>
        (IDictionary<string, object?>?)JsonSerializer.Deserialize(json, AIJsonUtilities.DefaultOptions.GetTypeInfo(typeof(IDictionary<string, object?>)))
        ?? throw new JsonException("The arguments of a call are null. Expected a JSON object.");
}

/// <summary>Puts calls together whose arguments arrive in pieces.</summary>
sealed class ToolCallAssembly
{
    readonly SortedDictionary<int, (string? Id, string? Name, StringBuilder Arguments)> _calls = [];

    internal bool IsEmpty => _calls.Count == 0;

    internal void Add(WireToolCall piece)
    {
        int index = piece.Index ?? _calls.Count;
        (string? id, string? name, StringBuilder arguments) = _calls.TryGetValue(index, out var known) ? known : (null, null, new StringBuilder());
        arguments.Append(piece.Function?.Arguments);
        _calls[index] = (id ?? piece.Id, name ?? piece.Function?.Name, arguments);
    }

    internal List<AIContent> Finish()
    {
        List<AIContent> calls = [.. _calls.Values.Select(call => ResponseReader.Call(call.Id, call.Name, call.Arguments.ToString()))];
        _calls.Clear();
        return calls;
    }
}
