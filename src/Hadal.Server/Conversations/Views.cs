namespace Hadal.Server.Conversations;

/// <summary>A message as the page gets it.</summary>
sealed record MessageView(Guid Id, Guid? ParentId, string Role, string Text, string? Reasoning, long? ReasoningMilliseconds, bool DeepThink, string State, string? Note,
    string? Model, bool IsTrimmed, int PromptTokens, int CachedTokens, int GeneratedTokens, DateTimeOffset Created, DateTimeOffset? Finished)
{
    public static MessageView Of(Message message) => new(message.Id, message.ParentId, message.Role == MessageRole.User ? "user" : "assistant", message.Text,
        message.Reasoning, message.ReasoningMilliseconds, message.DeepThink, NameOf(message.State), message.Note, message.Model, message.IsTrimmed, message.PromptTokens,
        message.CachedTokens, message.GeneratedTokens, message.Created, message.Finished);

    static string NameOf(MessageState state) => state switch
    {
        MessageState.Complete => "complete",
        MessageState.Running => "running",
        MessageState.Stopped => "stopped",
        MessageState.Length => "length",
        MessageState.Failed => "failed",
        _ => "interrupted",
    };
}

/// <summary>A line of the list of conversations.</summary>
sealed record ConversationSummary(Guid Id, string Title, DateTimeOffset Created, DateTimeOffset Updated, string? Excerpt);

/// <summary>A page of the list; <paramref name="Next"/> asks for the one after it.</summary>
sealed record ConversationPage(IReadOnlyList<ConversationSummary> Conversations, long? Next);

/// <summary>A conversation with every version of every message.</summary>
sealed record ConversationView(Guid Id, string Title, DateTimeOffset Created, DateTimeOffset Updated, Guid? LeafId, IReadOnlyList<MessageView> Messages);
