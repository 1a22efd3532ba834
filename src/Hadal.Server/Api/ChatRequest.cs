using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Text;

namespace Hadal.Server.Api;

/// <summary>A function that the model may call.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Description">What it does; may be empty.</param>
/// <param name="Parameters">JSON Schema of its arguments, as it was sent.</param>
sealed record ToolDefinition(string Name, string Description, string Parameters);

/// <summary>Whether the model calls tools.</summary>
enum ToolUse
{
    /// <summary>Never.</summary>
    None,
    /// <summary>When it likes.</summary>
    Auto,
    /// <summary>At once, one of its choice, or the one named.</summary>
    Required,
}

/// <summary>The body of a chat completion.</summary>
sealed record ChatRequest
{
    const int MostTools = 128;

    public required SamplingFields Sampling { get; init; }

    /// <summary>The turns; reasoning that was sent back is not in them.</summary>
    public required IReadOnlyList<ChatMessage> Messages { get; init; }

    /// <summary>The beginning of the answer that the model goes on with; null when it begins itself. It is not in <see cref="Messages"/>.</summary>
    public required string? Prefix { get; init; }

    /// <summary>The beginning of the chain of thought that belongs to <see cref="Prefix"/>.</summary>
    public required string? PrefixReasoning { get; init; }

    /// <summary>Path of the first <c>reasoning_content</c> that was sent back; null when there is none.</summary>
    public required string? ReasoningSentBack { get; init; }

    /// <summary>Places, in the request, of the first two messages in a row that are both the user's or both the assistant's; null when there are none.</summary>
    public required (int First, int Second)? Successive { get; init; }

    /// <summary>Whether tools were sent, whatever <c>tool_choice</c> says of them.</summary>
    public required bool SentTools { get; init; }

    public required OutputForm Form { get; init; }

    public required IReadOnlyList<ToolDefinition> Tools { get; init; }

    public required ToolUse ToolUse { get; init; }

    /// <summary>The tool that must be called; null when the model chooses.</summary>
    public required string? RequiredTool { get; init; }

    /// <summary>Likeliest tokens to report at each position; null for no log probabilities.</summary>
    public required int? TopLogProbabilities { get; init; }

    public static ChatRequest Take(JsonFields body)
    {
        SamplingFields sampling = SamplingFields.Take(body);
        var messages = new List<ChatMessage>();
        string? prefix = null, prefixReasoning = null, sentBack = null;
        (int Place, ChatRole Role)? before = null;
        (int, int)? successive = null;
        int place = -1;
        foreach (JsonFields message in body.Objects("messages"))
        {
            place++;
            if (prefix is not null) throw message.Refused("role", "A message follows one with \"prefix\": true; expected that one to be the last.");
            if (TakeMessage(message, out string? reasoning, out bool isPrefix) is not ChatMessage taken) continue;
            if (before is { Role: ChatRole.User or ChatRole.Assistant } last && last.Role == taken.Role) successive ??= (last.Place, place);
            if (taken.Role != ChatRole.System) before = (place, taken.Role);
            if (isPrefix) (prefix, prefixReasoning) = (taken.Content ?? "", reasoning);
            else
            {
                messages.Add(taken);
                if (reasoning is not null) sentBack ??= message.PathOf("reasoning_content");
            }
        }

        if (messages.Count == 0) throw body.Missing("messages", "at least one message besides a prefix, such as {\"role\": \"user\", \"content\": \"Hello\"}");
        IReadOnlyList<ToolDefinition> tools = TakeTools(body);
        (ToolUse use, string? required) = TakeToolChoice(body, tools);
        OutputForm form = TakeForm(body);
        if (form == OutputForm.JsonObject && use != ToolUse.None)
            throw body.Refused("response_format", "response_format asks for a JSON object while tools are offered; expected one of both, or \"tool_choice\": \"none\".");
        if (prefix is not null && use == ToolUse.Required) throw body.Refused("tool_choice", "tool_choice forces a call while the answer has a prefix; expected one of both.");
        bool logprobs = body.Flag("logprobs");
        long? top = body.Integer("top_logprobs", 0, RequestChecks.MostTopLogProbabilities);
        if (top is not null && !logprobs) throw body.Refused("top_logprobs", "top_logprobs is given without logprobs; expected \"logprobs\": true beside it.");
        return new ChatRequest
        {
            Sampling = sampling,
            Messages = messages,
            Prefix = prefix,
            PrefixReasoning = prefixReasoning,
            ReasoningSentBack = sentBack,
            Successive = successive,
            SentTools = tools.Count > 0,
            Form = form,
            Tools = use == ToolUse.None ? [] : tools,
            ToolUse = use,
            RequiredTool = required,
            TopLogProbabilities = logprobs ? (int)(top ?? 0) : null,
        };
    }

    /// <summary>The turns of a conversation with its tools described, for counting tokens.</summary>
    public static IReadOnlyList<ChatMessage> TakeTurns(JsonFields body)
    {
        var messages = new List<ChatMessage>();
        foreach (JsonFields message in body.Objects("messages"))
            if (TakeMessage(message, out _, out _) is ChatMessage taken) messages.Add(taken.Content is null && taken.ToolCalls.Count == 0 ? new ChatMessage(taken.Role, "") : taken);
        if (messages.Count == 0) return messages;
        IReadOnlyList<ToolDefinition> tools = TakeTools(body);
        return TakeToolChoice(body, tools).Use == ToolUse.None ? messages : ChatPrompt.WithTools(messages, tools);
    }

    static ChatMessage? TakeMessage(JsonFields message, out string? reasoning, out bool isPrefix)
    {
        string role = message.Choice("role", "system", "developer", "user", "assistant", "tool") ?? throw message.Missing("role", "one of system, user, assistant, tool");
        reasoning = null;
        isPrefix = false;
        string? content = TakeContent(message);
        if (role is not "assistant")
        {
            if (content is null) throw message.Missing("content", "a text");
            return new ChatMessage(role switch { "user" => ChatRole.User, "tool" => ChatRole.Tool, _ => ChatRole.System }, content);
        }

        reasoning = message.Text("reasoning_content");
        isPrefix = message.Flag("prefix");
        var calls = new List<ToolCall>();
        foreach (JsonFields call in message.Objects("tool_calls"))
        {
            call.Choice("type", "function");
            JsonFields function = call.Object("function") ?? throw call.Missing("function", "an object with name and arguments");
            calls.Add(new ToolCall(function.RequiredText("name"), function.RequiredText("arguments")));
        }

        if (content is null && calls.Count == 0 && !isPrefix) content = "";
        if (isPrefix && calls.Count > 0) throw message.Refused("tool_calls", "A prefix calls tools; expected it to be text.");
        return new ChatMessage(ChatRole.Assistant, content) { ToolCalls = calls };
    }

    // A text, or parts of which each is a text.
    static string? TakeContent(JsonFields message)
    {
        if (!message.TryGet("content", out JsonElement value)) return null;
        if (value.ValueKind == JsonValueKind.String) return value.GetString();
        if (value.ValueKind != JsonValueKind.Array) throw message.Wrong("content", value, "a text, or an array of parts of type text");
        var text = new System.Text.StringBuilder();
        foreach (JsonFields part in message.Objects("content"))
        {
            string type = part.Text("type") ?? "text";
            if (type is "text") text.Append(part.RequiredText("text"));
            else if (type is "refusal") text.Append(part.RequiredText("refusal"));
            else throw part.Refused("type", $"{part.PathOf("type")} is \"{(type.Length > 40 ? type[..39] + "…" : type)}\"; expected text: this model reads nothing else.");
        }

        return text.ToString();
    }

    static IReadOnlyList<ToolDefinition> TakeTools(JsonFields body)
    {
        var tools = new List<ToolDefinition>();
        foreach (JsonFields tool in body.Objects("tools"))
        {
            tool.Choice("type", "function");
            JsonFields function = tool.Object("function") ?? throw tool.Missing("function", "an object with name, description and parameters");
            string name = function.RequiredText("name");
            if (name.Length is 0 or > 64 || name.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('_' or '-' or '.')))
                throw function.Refused("name", $"{function.PathOf("name")} has {name.Length} characters or other letters; expected 1 to 64 of a-z, A-Z, 0-9, _, - and full stop.");
            if (tools.Count == MostTools) throw body.Refused("tools", $"tools has more than {MostTools} entries; expected at most {MostTools}.");
            if (function.TryGet("parameters", out JsonElement schema) && schema.ValueKind != JsonValueKind.Object) throw function.Wrong("parameters", schema, "a JSON Schema object");
            tools.Add(new ToolDefinition(name, function.Text("description") ?? "", schema.ValueKind == JsonValueKind.Object ? JsonSerializer.Serialize(schema, CompactJson.Options) : "{}"));
        }

        return tools;
    }

    static (ToolUse Use, string? Required) TakeToolChoice(JsonFields body, IReadOnlyList<ToolDefinition> tools)
    {
        const string Expected = "none, auto, required, or {\"type\": \"function\", \"function\": {\"name\": …}}";
        if (!body.TryGet("tool_choice", out JsonElement value)) return (tools.Count > 0 ? ToolUse.Auto : ToolUse.None, null);
        if (value.ValueKind == JsonValueKind.String)
        {
            ToolUse use = value.GetString() switch { "none" => ToolUse.None, "auto" => ToolUse.Auto, "required" => ToolUse.Required, _ => throw body.Wrong("tool_choice", value, Expected) };
            if (tools.Count > 0) return (use, null);
            if (use == ToolUse.Required) throw body.Refused("tool_choice", "tool_choice is \"required\" and there are no tools; expected tools beside it.");
            return (ToolUse.None, null);
        }

        if (value.ValueKind != JsonValueKind.Object) throw body.Wrong("tool_choice", value, Expected);
        JsonFields function = body.Object("tool_choice")!.Value.Object("function") ?? throw body.Wrong("tool_choice", value, Expected);
        string name = function.RequiredText("name");
        return tools.Any(tool => string.Equals(tool.Name, name, StringComparison.Ordinal)) ? (ToolUse.Required, name)
            : throw function.Refused("name", $"tool_choice names a tool that is not offered; expected one of {(tools.Count == 0 ? "the tools, and there are none" : string.Join(", ", tools.Select(tool => tool.Name)))}.");
    }

    static OutputForm TakeForm(JsonFields body) =>
        body.Object("response_format") is JsonFields format && (format.Choice("type", "text", "json_object") ?? throw format.Missing("type", "text or json_object")) is "json_object"
            ? OutputForm.JsonObject : OutputForm.Text;
}

/// <summary>JSON without spaces, letters as they are.</summary>
static class CompactJson
{
    public static JsonSerializerOptions Options { get; } = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping, TypeInfoResolver = new System.Text.Json.Serialization.Metadata.DefaultJsonTypeInfoResolver() };
}
