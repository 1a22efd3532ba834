namespace Hadal.Text;

/// <summary>Who speaks in a conversation.</summary>
public enum ChatRole
{
    /// <summary>Instructions for the whole conversation.</summary>
    System,

    /// <summary>The person.</summary>
    User,

    /// <summary>The model.</summary>
    Assistant,

    /// <summary>The result of a tool that the model called.</summary>
    Tool,
}

/// <summary>A tool that the model calls.</summary>
/// <param name="Name">Name of the function.</param>
/// <param name="Arguments">Its arguments as JSON text, rendered as it is.</param>
/// <param name="Type">Kind of tool; only "function" is in use.</param>
public sealed record ToolCall(string Name, string Arguments, string Type = "function");

/// <summary>One turn of a conversation.</summary>
/// <param name="Role">Who speaks.</param>
/// <param name="Content">What is said; null only for an assistant that calls tools without a word.</param>
public sealed record ChatMessage(ChatRole Role, string? Content)
{
    /// <summary>The tools that the assistant calls in this turn, after its words.</summary>
    public IReadOnlyList<ToolCall> ToolCalls { get; init; } = [];
}
