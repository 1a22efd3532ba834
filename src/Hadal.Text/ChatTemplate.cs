using System.Text;

namespace Hadal.Text;

/// <summary>
/// Renders conversations as DeepSeek's models were trained to read them. To tokens directly, which is the safe way: text of the conversation is encoded as
/// ordinary text, so no message can inject a control token. To a string for people and tests.
/// </summary>
/// <remarks>
/// <para>Form: beginning of sentence, system text, then the turns without separators. User: mark + text. Assistant: mark + text + end of sentence. Tool calls and
/// results stand between their own marks; the assistant's text after results follows them directly, without its mark.</para>
/// <para>The published Jinja template of V3 forgets to close a list of one tool call, closes a longer list after every call but the first, opens only the first list of a
/// conversation, and leaves results open when a user speaks next. Here every list is opened and closed once; otherwise both agree.</para>
/// </remarks>
public sealed class ChatTemplate
{
    readonly bool _joinsSystemTexts;
    readonly bool _reasons;

    ChatTemplate(string name, bool joinsSystemTexts, bool reasons)
    {
        Name = name;
        _joinsSystemTexts = joinsSystemTexts;
        _reasons = reasons;
    }

    /// <summary>DeepSeek-V3: system texts are joined by an empty line, answers are rendered as they are.</summary>
    public static ChatTemplate V3 { get; } = new("V3", joinsSystemTexts: true, reasons: false);

    /// <summary>
    /// DeepSeek-R1 (February 2025): the last system text counts, earlier answers keep only what follows their last <c>&lt;/think&gt;</c>, and a new answer
    /// begins with <c>&lt;think&gt;</c> and a line feed.
    /// </summary>
    public static ChatTemplate R1 { get; } = new("R1", joinsSystemTexts: false, reasons: true);

    /// <summary>Name of the template.</summary>
    public string Name { get; }

    /// <summary>Renders a conversation to text.</summary>
    /// <param name="messages">The turns in order.</param>
    /// <param name="addGenerationPrompt">Whether the assistant is to speak next.</param>
    /// <exception cref="ArgumentException">A message lacks its content.</exception>
    public string Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt)
    {
        var sink = new TextSink();
        Render(messages, addGenerationPrompt, sink);
        return sink.Text.ToString();
    }

    /// <summary>Renders a conversation to token ids.</summary>
    /// <param name="tokenizer">A tokenizer with DeepSeek's control tokens. One without <c>&lt;think&gt;</c> (V3's own) gets it as ordinary text.</param>
    /// <param name="messages">The turns in order.</param>
    /// <param name="addGenerationPrompt">Whether the assistant is to speak next.</param>
    /// <exception cref="ArgumentException">A message lacks its content.</exception>
    /// <exception cref="InvalidOperationException">The tokenizer lacks a control token that is needed.</exception>
    public List<int> Encode(Tokenizer tokenizer, IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        var sink = new TokenSink(tokenizer);
        Render(messages, addGenerationPrompt, sink);
        sink.Flush();
        return sink.Ids;
    }

    void Render(IReadOnlyList<ChatMessage> messages, bool addGenerationPrompt, ISink sink)
    {
        ArgumentNullException.ThrowIfNull(messages);
        sink.Mark(SpecialTokens.BeginOfSentence);
        sink.Say(SystemText(messages));
        bool inResults = false;
        foreach (ChatMessage message in messages)
        {
            if (message.Role == ChatRole.System) continue;
            if (message.Role == ChatRole.Tool)
            {
                if (inResults) sink.Say("\n");
                else sink.Mark(SpecialTokens.ToolOutputsBegin);
                sink.Mark(SpecialTokens.ToolOutputBegin);
                sink.Say(ContentOf(message));
                sink.Mark(SpecialTokens.ToolOutputEnd);
                inResults = true;
                continue;
            }
            if (inResults) sink.Mark(SpecialTokens.ToolOutputsEnd);
            if (message.Role == ChatRole.User)
            {
                sink.Mark(SpecialTokens.User);
                sink.Say(ContentOf(message));
            }
            else
            {
                RenderAssistant(message, afterResults: inResults, sink);
            }
            inResults = false;
        }
        if (inResults) sink.Mark(SpecialTokens.ToolOutputsEnd);
        if (!addGenerationPrompt || inResults) return;
        sink.Mark(SpecialTokens.Assistant);
        if (!_reasons) return;
        sink.Mark(SpecialTokens.ThinkBegin);
        sink.Say("\n");
    }

    void RenderAssistant(ChatMessage message, bool afterResults, ISink sink)
    {
        bool calls = message.ToolCalls.Count > 0;
        if (!afterResults || (calls && message.Content is null)) sink.Mark(SpecialTokens.Assistant);
        if (message.Content is not null || !calls) sink.Say(Answer(ContentOf(message)));
        if (calls)
        {
            sink.Mark(SpecialTokens.ToolCallsBegin);
            for (int i = 0; i < message.ToolCalls.Count; i++)
            {
                ToolCall call = message.ToolCalls[i];
                if (i > 0) sink.Say("\n");
                sink.Mark(SpecialTokens.ToolCallBegin);
                sink.Say(call.Type);
                sink.Mark(SpecialTokens.ToolSeparator);
                sink.Say($"{call.Name}\n```json\n{call.Arguments}\n```");
                sink.Mark(SpecialTokens.ToolCallEnd);
            }
            sink.Mark(SpecialTokens.ToolCallsEnd);
        }
        sink.Mark(SpecialTokens.EndOfSentence);
    }

    string SystemText(IReadOnlyList<ChatMessage> messages)
    {
        string[] texts = [.. messages.Where(message => message.Role == ChatRole.System).Select(ContentOf)];
        return texts.Length == 0 ? "" : _joinsSystemTexts ? string.Join("\n\n", texts) : texts[^1];
    }

    string Answer(string content)
    {
        if (!_reasons) return content;
        int end = content.LastIndexOf(SpecialTokens.ThinkEnd, StringComparison.Ordinal);
        return end < 0 ? content : content[(end + SpecialTokens.ThinkEnd.Length)..];
    }

    static string ContentOf(ChatMessage message) => message.Content
        ?? throw new ArgumentException($"A message of role {message.Role} has no content. Only an assistant that calls tools may say nothing.", nameof(message));

    /// <summary>What a conversation is rendered into.</summary>
    interface ISink
    {
        /// <summary>A control token.</summary>
        void Mark(string token);

        /// <summary>Ordinary text.</summary>
        void Say(string text);
    }

    sealed class TextSink : ISink
    {
        public StringBuilder Text { get; } = new();

        public void Mark(string token) => Text.Append(token);

        public void Say(string text) => Text.Append(text);
    }

    /// <summary>Texts between two control tokens are encoded together, as they would be in the rendered string.</summary>
    sealed class TokenSink(Tokenizer tokenizer) : ISink
    {
        readonly StringBuilder _pending = new();

        public List<int> Ids { get; } = [];

        public void Mark(string token)
        {
            if (ReferenceEquals(token, SpecialTokens.ThinkBegin) && !tokenizer.TryGetId(token, out _))
            {
                Say(token);
                return;
            }
            Flush();
            Ids.Add(tokenizer.RequireId(token));
        }

        public void Say(string text) => _pending.Append(text);

        public void Flush()
        {
            tokenizer.Encode(_pending.ToString(), Ids);
            _pending.Clear();
        }
    }
}
