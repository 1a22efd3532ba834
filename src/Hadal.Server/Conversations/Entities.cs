namespace Hadal.Server.Conversations;

/// <summary>Extents of conversations.</summary>
static class ConversationLimits
{
    public const int LongestTitle = 120;
    public const int LongestText = 64_000;
    public const int LongestSearch = 200;
    public const int PageSize = 50;

    /// <summary>Answers of one person that may be written at the same time.</summary>
    public const int AnswersAtOnce = 3;

    /// <summary>Streams of answers that one person may have open at the same time, in all windows.</summary>
    public const int StreamsAtOnce = 24;

    /// <summary>Messages of one conversation, every version counted.</summary>
    public const int MostMessages = 4000;
}

/// <summary>A conversation of one person.</summary>
sealed class Conversation
{
    public Guid Id { get; set; }

    public Guid PersonId { get; set; }

    public string Title { get; set; } = "";

    public DateTimeOffset Created { get; set; }

    /// <summary>When something was last said in it.</summary>
    public DateTimeOffset Updated { get; set; }

    /// <summary>The last message of the branch that is shown.</summary>
    public Guid? LeafId { get; set; }
}

/// <summary>Who speaks.</summary>
enum MessageRole
{
    User = 0,
    Assistant = 1,
}

/// <summary>What became of an answer.</summary>
enum MessageState
{
    /// <summary>Said to the end.</summary>
    Complete = 0,

    /// <summary>Being written now, or waiting in line.</summary>
    Running = 1,

    /// <summary>The person stopped it.</summary>
    Stopped = 2,

    /// <summary>It reached the most tokens an answer can have.</summary>
    Length = 3,

    /// <summary>It could not be written; the note says why.</summary>
    Failed = 4,

    /// <summary>The server stopped while it was being written.</summary>
    Interrupted = 5,
}

/// <summary>
/// One message of a conversation. Messages form a tree: those with the same parent are versions of each other (a question that was edited, an answer that was
/// written again).
/// </summary>
sealed class Message
{
    public Guid Id { get; set; }

    public Guid ConversationId { get; set; }

    /// <summary>What this answers; null for the first question.</summary>
    public Guid? ParentId { get; set; }

    public MessageRole Role { get; set; }

    public string Text { get; set; } = "";

    /// <summary>The chain of thought; shown, never sent to a model again.</summary>
    public string? Reasoning { get; set; }

    public long? ReasoningMilliseconds { get; set; }

    /// <summary>Whether DeepThink (R1) was chosen for this message.</summary>
    public bool DeepThink { get; set; }

    public MessageState State { get; set; }

    /// <summary>Why it failed.</summary>
    public string? Note { get; set; }

    public string? Model { get; set; }

    /// <summary>Seed of the draws: with model and history it makes the same text again.</summary>
    public long Seed { get; set; }

    /// <summary>Whether older messages did not fit into what the model can read.</summary>
    public bool IsTrimmed { get; set; }

    public int PromptTokens { get; set; }

    public int CachedTokens { get; set; }

    public int GeneratedTokens { get; set; }

    public DateTimeOffset Created { get; set; }

    public DateTimeOffset? Finished { get; set; }
}
