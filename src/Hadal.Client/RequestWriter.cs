using System.Text;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace Hadal.Client;

/// <summary>From the words of Microsoft.Extensions.AI to DeepSeek's.</summary>
static class RequestWriter
{
    static readonly JsonSerializerOptions Compact = MakeCompact();

    internal static WireRequest Write(IEnumerable<ChatMessage> messages, ChatOptions? options, HadalChatClientOptions settings, bool stream)
    {
        List<WireMessage> turns = Messages(messages, options, settings);
        if (turns.Count == 0) throw new ArgumentException("There is no message. Expected at least one of the user.", nameof(messages));
        bool reasons = options?.Reasoning is { } reasoning && reasoning.Effort is not ReasoningEffort.None;
        List<WireTool>? tools = Tools(options);
        return new WireRequest
        {
            Model = options?.ModelId ?? (reasons ? settings.ReasoningModel : settings.Model),
            Messages = turns,
            Temperature = options?.Temperature,
            TopP = options?.TopP,
            MaxTokens = options?.MaxOutputTokens,
            FrequencyPenalty = options?.FrequencyPenalty,
            PresencePenalty = options?.PresencePenalty,
            Seed = options?.Seed,
            Stop = options?.StopSequences is { Count: > 0 } stop ? stop : null,
            ResponseFormat = options?.ResponseFormat is ChatResponseFormatJson ? new WireFormat("json_object") : null,
            Tools = tools,
            ToolChoice = tools is null ? null : ToolChoice(options?.ToolMode),
            ParallelToolCalls = tools is null ? null : options?.AllowMultipleToolCalls,
            Stream = stream ? true : null,
            StreamOptions = stream ? new WireStreamOptions(true) : null,
            More = More(options?.AdditionalProperties),
        };
    }

    static List<WireMessage> Messages(IEnumerable<ChatMessage> messages, ChatOptions? options, HadalChatClientOptions settings)
    {
        var turns = new List<WireMessage>();
        string? system = options?.Instructions;
        if (options?.ResponseFormat is ChatResponseFormatJson { Schema: { } schema })
        {
            // DeepSeek's JSON mode takes no schema and asks for the word JSON in the prompt: the schema is told in words.
            string wish = $"Answer with one JSON object that fits this JSON schema: {schema.GetRawText()}";
            system = system is null ? wish : $"{system}\n\n{wish}";
        }

        if (system is { Length: > 0 }) turns.Add(new WireMessage { Role = "system", Content = system });
        foreach (ChatMessage message in messages) Add(turns, message, settings);
        return turns;
    }

    static void Add(List<WireMessage> turns, ChatMessage message, HadalChatClientOptions settings)
    {
        StringBuilder text = new(), reasoning = new();
        List<WireToolCall>? calls = null;
        bool results = false;
        foreach (AIContent content in message.Contents)
        {
            switch (content)
            {
                case TextContent said: text.Append(said.Text); break;
                case TextReasoningContent thought: reasoning.Append(thought.Text); break;
                case FunctionCallContent call: (calls ??= []).Add(Call(call)); break;
                case FunctionResultContent result:
                    turns.Add(new WireMessage { Role = "tool", ToolCallId = result.CallId, Content = ResultText(result) });
                    results = true;
                    break;
                case UsageContent or ErrorContent: break;
                default:
                    throw new NotSupportedException($"A message of {message.Role} holds {content.GetType().Name}, and these models read text. Expected text, reasoning, calls and results of functions.");
            }
        }

        if (results && text.Length == 0 && calls is null) return;
        bool assistant = message.Role == ChatRole.Assistant;
        if (calls is not null && !assistant) throw new ArgumentException($"A message of {message.Role} calls functions. Only the assistant does.", nameof(message));
        turns.Add(new WireMessage
        {
            Role = Role(message.Role),
            Content = text.Length == 0 && calls is not null ? null : text.ToString(),
            ReasoningContent = assistant && settings.SendsReasoning && reasoning.Length > 0 ? reasoning.ToString() : null,
            Name = message.AuthorName,
            ToolCalls = calls,
            Prefix = assistant && message.AdditionalProperties?.TryGetValue("prefix", out bool prefix) == true && prefix ? true : null,
        });
    }

    static string Role(ChatRole role)
    {
        if (role == ChatRole.System || role == ChatRole.User || role == ChatRole.Assistant) return role.Value;
        if (role == ChatRole.Tool) throw new ArgumentException("A message of role tool holds no FunctionResultContent. Expected the result of a call, with the call's id.", nameof(role));
        return string.Equals(role.Value, "developer", StringComparison.OrdinalIgnoreCase) ? "system"
            : throw new ArgumentException($"The role '{role}' is not known. Expected system, user, assistant or tool.", nameof(role));
    }

    static WireToolCall Call(FunctionCallContent call) => new()
    {
        Id = call.CallId,
        Type = "function",
        Function = new WireFunction { Name = call.Name, Arguments = call.Arguments is { Count: > 0 } arguments ? Json(arguments, typeof(IDictionary<string, object?>)) : "{}" },
    };

    static string ResultText(FunctionResultContent result) => result.Result switch
    {
        null => result.Exception is { } failure ? $"Error: {failure.Message}" : "",
        string text => text,
        JsonElement { ValueKind: JsonValueKind.String } element => element.GetString()!,
        JsonElement element => element.GetRawText(),
        TextContent text => text.Text,
        { } value => Json(value, typeof(object)),
    };

    static string Json(object value, Type type) => JsonSerializer.Serialize(value, Compact.GetTypeInfo(type));

    // Arguments and results are read by a model: without line breaks they are the tokens it wrote itself, and with the characters as they are.
    static JsonSerializerOptions MakeCompact()
    {
        var options = new JsonSerializerOptions(AIJsonUtilities.DefaultOptions) { WriteIndented = false, Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
        options.MakeReadOnly();
        return options;
    }

    static List<WireTool>? Tools(ChatOptions? options)
    {
        if (options?.Tools is not { Count: > 0 } given) return null;
        var tools = new List<WireTool>(given.Count);
        foreach (AITool tool in given)
        {
            if (tool is not AIFunctionDeclaration function)
                throw new NotSupportedException($"The tool {tool.Name} is a {tool.GetType().Name}, which runs at other servers only. Expected functions (AIFunctionFactory.Create).");
            tools.Add(new WireTool("function", new WireFunctionDeclaration(function.Name, function.Description is { Length: > 0 } text ? text : null, function.JsonSchema)));
        }

        return tools;
    }

    static JsonElement? ToolChoice(ChatToolMode? mode) => mode switch
    {
        null => null,
        NoneChatToolMode => Text("none"),
        RequiredChatToolMode { RequiredFunctionName: { } name } => JsonSerializer.SerializeToElement(new WireToolChoice("function", new WireChosenFunction(name)), WireJson.Default.WireToolChoice),
        RequiredChatToolMode => Text("required"),
        _ => Text("auto"),
    };

    static JsonElement Text(string value) => JsonSerializer.SerializeToElement(value, AIJsonUtilities.DefaultOptions.GetTypeInfo(typeof(string)));

    static Dictionary<string, JsonElement>? More(AdditionalPropertiesDictionary? given)
    {
        if (given is not { Count: > 0 }) return null;
        var more = new Dictionary<string, JsonElement>(StringComparer.Ordinal);
        foreach ((string key, object? value) in given)
            more[key] = value is JsonElement element ? element : JsonSerializer.SerializeToElement(value, AIJsonUtilities.DefaultOptions.GetTypeInfo(typeof(object)));
        return more;
    }
}
