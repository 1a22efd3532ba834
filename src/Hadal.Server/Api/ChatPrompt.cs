using System.Text;
using Hadal.Inference.Serving;
using Hadal.Server.Hosting;
using Hadal.Text;

namespace Hadal.Server.Api;

/// <summary>What a model is given for a chat completion, and where in the template its own tokens begin.</summary>
/// <param name="Tokens">The prompt.</param>
/// <param name="Start">Where the answer begins.</param>
/// <param name="CallsTools">Whether calls are looked for in the answer.</param>
/// <param name="ForcedTool">The tool whose call the prompt began; null when the model names it.</param>
sealed record ChatPrompt(int[] Tokens, AnswerStart Start, bool CallsTools, string? ForcedTool)
{
    /// <summary>Renders a request.</summary>
    /// <exception cref="ApiException">The reasoner of the original refuses it (when strict), or the vocabulary lacks what is needed.</exception>
    public static ChatPrompt Render(ChatRequest request, ModelEntry entry, ServerOptions options)
    {
        if (options.StrictDeepSeek && entry.Thinks) RefuseAsOriginal(request, entry);
        try
        {
            return Render(request, entry);
        }
        catch (InvalidOperationException exception)
        {
            // A control token that this vocabulary has not.
            throw new ApiException(ApiError.BadRequest($"{entry.Name} cannot read this conversation: {exception.Message}"));
        }
    }

    /// <summary>The turns with the tools described in the system text.</summary>
    public static IReadOnlyList<ChatMessage> WithTools(IReadOnlyList<ChatMessage> messages, IReadOnlyList<ToolDefinition> tools)
    {
        if (tools.Count == 0) return messages;
        string text = Describe(tools);
        var turns = new List<ChatMessage>(messages);
        int system = turns.FindLastIndex(turn => turn.Role == ChatRole.System);
        if (system < 0) turns.Insert(0, new ChatMessage(ChatRole.System, text));
        else turns[system] = new ChatMessage(ChatRole.System, $"{turns[system].Content}\n\n{text}");
        return turns;
    }

    static ChatPrompt Render(ChatRequest request, ModelEntry entry)
    {
        Tokenizer tokenizer = entry.Tokenizer;
        IReadOnlyList<ChatMessage> turns = WithTools(request.Messages, request.Tools);
        List<int> tokens = entry.Template.Encode(tokenizer, turns, addGenerationPrompt: true);

        // After results of tools the answer follows without its mark, and without a thought of its own.
        bool thinks = entry.Thinks && turns[^1].Role != ChatRole.Tool;
        bool callsTools = request.ToolUse != ToolUse.None;
        if (request.Prefix is string prefix)
        {
            bool goesOnThinking = thinks && prefix.Length == 0;
            tokenizer.Encode(request.PrefixReasoning ?? "", tokens);
            if (thinks && !goesOnThinking) EndThought(tokenizer, tokens);
            tokenizer.Encode(prefix, tokens);
            return new ChatPrompt([.. tokens], goesOnThinking ? AnswerStart.Thought : AnswerStart.Text, callsTools, null);
        }

        if (thinks && request.Form == OutputForm.JsonObject && !tokenizer.TryGetId(SpecialTokens.ThinkEnd, out _))
        {
            // No token says where a thought ends and the object is to begin: the answer begins at once.
            EndThought(tokenizer, tokens);
            thinks = false;
        }

        if (request.ToolUse != ToolUse.Required) return new ChatPrompt([.. tokens], thinks ? AnswerStart.Thought : AnswerStart.Text, callsTools, null);

        // A forced call is begun for the model, which leaves it no room to think.
        if (thinks) EndThought(tokenizer, tokens);
        tokens.Add(tokenizer.RequireId(SpecialTokens.ToolCallsBegin));
        tokens.Add(tokenizer.RequireId(SpecialTokens.ToolCallBegin));
        tokenizer.Encode("function", tokens);
        tokens.Add(tokenizer.RequireId(SpecialTokens.ToolSeparator));
        string? forced = request.RequiredTool ?? (request.Tools.Count == 1 ? request.Tools[0].Name : null);
        if (forced is not null) tokenizer.Encode($"{forced}\n```json\n", tokens);
        return new ChatPrompt([.. tokens], forced is null ? AnswerStart.ToolName : AnswerStart.ToolArguments, CallsTools: true, forced);
    }

    static void EndThought(Tokenizer tokenizer, List<int> tokens)
    {
        tokenizer.Encode("\n", tokens);
        if (tokenizer.TryGetId(SpecialTokens.ThinkEnd, out int end)) tokens.Add(end);
        else tokenizer.Encode(SpecialTokens.ThinkEnd, tokens);
        tokenizer.Encode("\n\n", tokens);
    }

    // The published templates say how a call is written, not how tools are made known; this is our form of it.
    static string Describe(IReadOnlyList<ToolDefinition> tools)
    {
        var text = new StringBuilder("## Tools\n\nThese functions can be called. A call names one of them and gives its arguments as JSON that fits its schema.\n");
        foreach (ToolDefinition tool in tools)
        {
            text.Append("\n### ").Append(tool.Name).Append('\n');
            if (tool.Description.Length > 0) text.Append(tool.Description).Append('\n');
            text.Append("Arguments: ").Append(tool.Parameters).Append('\n');
        }

        return text.ToString().TrimEnd('\n');
    }

    static void RefuseAsOriginal(ChatRequest request, ModelEntry entry)
    {
        if (request.Successive is (int first, int second))
        {
            throw new ApiException(ApiError.BadRequest(
                $"{entry.Name} does not support successive user or assistant messages (messages[{first}] and messages[{second}] in your input). You should interleave the user/assistant messages in the message sequence.", "messages"));
        }

        if (request.ReasoningSentBack is string path)
            throw new ApiException(ApiError.BadRequest($"{path}: the reasoning of earlier rounds was sent back to {entry.Name}; expected messages without reasoning_content (strict mode, as the original).", path));
        if (request.TopLogProbabilities is not null) throw new ApiException(ApiError.BadRequest($"{entry.Name} does not support logprobs and top_logprobs (strict mode, as the original).", "logprobs"));
        if (request.SentTools) throw new ApiException(ApiError.BadRequest($"{entry.Name} does not support Function Calling (strict mode, as the original).", "tools"));
    }
}
