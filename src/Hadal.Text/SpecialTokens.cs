namespace Hadal.Text;

/// <summary>
/// DeepSeek's control tokens by name. The bars are U+FF5C (fullwidth vertical line) and the separators U+2581 (lower one eighth block), not ASCII. Ids differ
/// between vocabularies, so they are always resolved by name: <see cref="Tokenizer.TryGetId"/>, <see cref="Tokenizer.RequireId"/>.
/// </summary>
public static class SpecialTokens
{
    /// <summary>Begins every document and conversation.</summary>
    public const string BeginOfSentence = "<｜begin▁of▁sentence｜>";

    /// <summary>Ends every document and every turn of the assistant.</summary>
    public const string EndOfSentence = "<｜end▁of▁sentence｜>";

    /// <summary>Fills rows; never predicted.</summary>
    public const string Padding = "<｜▁pad▁｜>";

    /// <summary>Fill-in-the-middle: between prefix and suffix.</summary>
    public const string FimHole = "<｜fim▁hole｜>";

    /// <summary>Fill-in-the-middle: before the prefix.</summary>
    public const string FimBegin = "<｜fim▁begin｜>";

    /// <summary>Fill-in-the-middle: after the suffix; the middle follows.</summary>
    public const string FimEnd = "<｜fim▁end｜>";

    /// <summary>Begins a turn of the user.</summary>
    public const string User = "<｜User｜>";

    /// <summary>Begins a turn of the assistant.</summary>
    public const string Assistant = "<｜Assistant｜>";

    /// <summary>Begins the reasoning of R1.</summary>
    public const string ThinkBegin = "<think>";

    /// <summary>Ends the reasoning of R1.</summary>
    public const string ThinkEnd = "</think>";

    /// <summary>Begins the list of tool calls in a turn of the assistant.</summary>
    public const string ToolCallsBegin = "<｜tool▁calls▁begin｜>";

    /// <summary>Ends the list of tool calls.</summary>
    public const string ToolCallsEnd = "<｜tool▁calls▁end｜>";

    /// <summary>Begins one tool call.</summary>
    public const string ToolCallBegin = "<｜tool▁call▁begin｜>";

    /// <summary>Ends one tool call.</summary>
    public const string ToolCallEnd = "<｜tool▁call▁end｜>";

    /// <summary>Begins the list of tool results.</summary>
    public const string ToolOutputsBegin = "<｜tool▁outputs▁begin｜>";

    /// <summary>Ends the list of tool results.</summary>
    public const string ToolOutputsEnd = "<｜tool▁outputs▁end｜>";

    /// <summary>Begins one tool result.</summary>
    public const string ToolOutputBegin = "<｜tool▁output▁begin｜>";

    /// <summary>Ends one tool result.</summary>
    public const string ToolOutputEnd = "<｜tool▁output▁end｜>";

    /// <summary>Between the type of a tool call and the tool's name.</summary>
    public const string ToolSeparator = "<｜tool▁sep｜>";

    /// <summary>Tokens with ids 0, 1, 2 in every vocabulary we train, as in DeepSeek-V3's.</summary>
    public static IReadOnlyList<string> Leading { get; } = [BeginOfSentence, EndOfSentence, Padding];

    /// <summary>Tokens that a trained vocabulary carries after its ordinary tokens, in the order of DeepSeek-V3's.</summary>
    public static IReadOnlyList<string> Trailing { get; } =
    [
        ThinkBegin, ThinkEnd, FimHole, FimBegin, FimEnd, User, Assistant, ToolCallsBegin, ToolCallsEnd, ToolCallBegin, ToolCallEnd,
        ToolOutputsBegin, ToolOutputsEnd, ToolOutputBegin, ToolOutputEnd, ToolSeparator,
    ];
}
