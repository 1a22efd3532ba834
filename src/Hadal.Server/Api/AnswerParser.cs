using System.Text;
using Hadal.Inference.Serving;
using Hadal.Text;

namespace Hadal.Server.Api;

/// <summary>Where in the template an answer begins.</summary>
enum AnswerStart
{
    /// <summary>With what the reader is told.</summary>
    Text,
    /// <summary>Inside a chain of thought.</summary>
    Thought,
    /// <summary>With the name of a tool whose call the prompt began.</summary>
    ToolName,
    /// <summary>With the arguments of a tool that the prompt named.</summary>
    ToolArguments,
}

/// <summary>What a piece of an answer is.</summary>
enum PieceKind
{
    Reasoning,
    Content,
    /// <summary>A call begins; the text is the tool's name.</summary>
    CallBegin,
    CallArguments,
}

/// <summary>A piece of an answer.</summary>
readonly record struct AnswerPiece(PieceKind Kind, string Text);

/// <summary>A token of an answer with its log probability, and whether it belongs to the chain of thought.</summary>
readonly record struct AnswerToken(TokenLogProbability Probability, bool IsReasoning);

/// <summary>
/// Parts an answer into its chain of thought, its text and its tool calls. The marks between them are found by token id and placed in the text by the lengths of the
/// tokens before them, so that a text that merely spells a mark is not taken for one; a vocabulary without <c>&lt;/think&gt;</c> spells it.
/// </summary>
sealed class AnswerParser
{
    readonly Tokenizer _tokenizer;
    readonly TokenDecoder _decoder;
    readonly Queue<Item> _items = new();
    readonly StringBuilder _thought = new();
    readonly StringBuilder _call = new();
    readonly Dictionary<int, string> _marks = [];
    readonly IReadOnlyList<int> _endTokens;
    readonly bool _spellsThinkEnd;
    State _state;
    int _partDone;
    bool _trims, _fenceSeen, _anythingSaid;
    bool _thoughtGoesOn;

    /// <param name="tokenizer">The model's.</param>
    /// <param name="endTokens">Ids that end an answer.</param>
    /// <param name="start">Where the answer begins.</param>
    /// <param name="callsTools">Whether calls are looked for.</param>
    public AnswerParser(Tokenizer tokenizer, IReadOnlyList<int> endTokens, AnswerStart start, bool callsTools)
    {
        _tokenizer = tokenizer;
        _endTokens = endTokens;
        _decoder = new TokenDecoder(tokenizer, skipSpecial: true);
        _state = start switch { AnswerStart.Thought => State.Thought, AnswerStart.ToolName => State.CallName, AnswerStart.ToolArguments => State.CallArguments, _ => State.Text };
        _thoughtGoesOn = _trims = _state == State.Thought;
        _fenceSeen = start == AnswerStart.ToolArguments;
        string[] marks = callsTools
            ? [SpecialTokens.ThinkBegin, SpecialTokens.ThinkEnd, SpecialTokens.ToolCallsBegin, SpecialTokens.ToolCallsEnd, SpecialTokens.ToolCallBegin, SpecialTokens.ToolCallEnd, SpecialTokens.ToolSeparator]
            : [SpecialTokens.ThinkBegin, SpecialTokens.ThinkEnd];
        foreach (string mark in marks)
            if (tokenizer.TryGetId(mark, out int id)) _marks[id] = mark;
        _spellsThinkEnd = !tokenizer.TryGetId(SpecialTokens.ThinkEnd, out _);
    }

    enum State
    {
        Text,
        Thought,
        BetweenCalls,
        CallType,
        CallName,
        CallArguments,
    }

    /// <summary>Tokens of the chain of thought, its mark included.</summary>
    public int ReasoningTokens { get; private set; }

    /// <summary>Calls begun.</summary>
    public int Calls { get; private set; }

    /// <summary>Takes what the engine reports.</summary>
    /// <param name="generated">Text and tokens.</param>
    /// <param name="pieces">Receives what can be said now.</param>
    /// <param name="tokens">Receives the tokens whose text was said, with their log probabilities if they were asked for.</param>
    public void Append(TokensGenerated generated, List<AnswerPiece> pieces, List<AnswerToken> tokens)
    {
        for (int i = 0; i < generated.Tokens.Count; i++)
        {
            int id = generated.Tokens[i];
            if (_thoughtGoesOn) ReasoningTokens++;
            string? mark = _marks.GetValueOrDefault(id);
            if (string.Equals(mark, SpecialTokens.ThinkEnd, StringComparison.Ordinal)) _thoughtGoesOn = false;
            _items.Enqueue(new Item(_decoder.Append(id).Length, mark, i < generated.LogProbabilities.Count ? generated.LogProbabilities[i] : null, _endTokens.Contains(id)));
        }

        Take(generated.Text, pieces, tokens);
    }

    /// <summary>Gives what was held back.</summary>
    public void Finish(List<AnswerPiece> pieces, List<AnswerToken> tokens)
    {
        if (_items.TryPeek(out Item? item) && _partDone > 0) Tell(item, tokens); // a stop text began inside of this token
        if (_state == State.Thought) SayThought("", pieces, last: true);
        else if (_state == State.CallName && _call.Length > 0) BeginCall(_call.ToString(), pieces);
        else if (_state == State.CallArguments) SayArguments("", pieces, last: true);
    }

    void Take(string text, List<AnswerPiece> pieces, List<AnswerToken> tokens)
    {
        int from = 0;
        while (_items.TryPeek(out Item? item))
        {
            int left = item.Length - _partDone, have = Math.Min(left, text.Length - from);
            if (item.Mark is not null && _partDone == 0)
            {
                // A mark of no length counts when all text before it was said, another when its text has come.
                if (left > 0 && have == 0) return;
                item.Swallow = Pass(item.Mark, pieces);
            }

            if (have > 0 && !item.Swallow) Say(text.Substring(from, have), pieces);
            from += have;
            _partDone += have;
            if (have < left) return;
            _items.Dequeue();
            _partDone = 0;
            Tell(item, tokens);
        }

        // What is left has no token of its own: the end of an unfinished character.
        if (from < text.Length) Say(text[from..], pieces);
    }

    void Tell(Item item, List<AnswerToken> tokens)
    {
        if (item.Probability is TokenLogProbability probability && !item.IsEnd && !item.Swallow && _state is State.Text or State.Thought)
            tokens.Add(new AnswerToken(item.Probability!, _state == State.Thought));
    }

    // True when the mark means something here, so that its text is not part of the answer.
    bool Pass(string mark, List<AnswerPiece> pieces)
    {
        switch (mark)
        {
            case SpecialTokens.ThinkBegin when _state == State.Text && !_anythingSaid:
                _state = State.Thought;
                _trims = _thoughtGoesOn = true;
                return true;
            case SpecialTokens.ThinkEnd when _state == State.Thought:
                SayThought("", pieces, last: true);
                _state = State.Text;
                _trims = true;
                return true;
            case SpecialTokens.ToolCallsBegin when _state is State.Text or State.Thought:
                if (_state == State.Thought) SayThought("", pieces, last: true);
                _thoughtGoesOn = false;
                _state = State.BetweenCalls;
                return true;
            case SpecialTokens.ToolCallBegin when _state is State.BetweenCalls:
                _call.Clear();
                _state = State.CallType;
                return true;
            case SpecialTokens.ToolSeparator when _state == State.CallType:
                _call.Clear();
                _state = State.CallName;
                return true;
            case SpecialTokens.ToolCallEnd when _state is State.CallType or State.CallName or State.CallArguments:
                if (_state == State.CallName) BeginCall(_call.ToString(), pieces);
                if (_state == State.CallArguments) SayArguments("", pieces, last: true);
                _state = State.BetweenCalls;
                return true;
            case SpecialTokens.ToolCallsEnd when _state is State.BetweenCalls:
                _state = State.Text;
                _trims = true;
                return true;
            default:
                return false;
        }
    }

    void Say(string text, List<AnswerPiece> pieces)
    {
        switch (_state)
        {
            case State.Thought:
                SayThought(text, pieces, last: false);
                break;
            case State.CallType:
                _call.Append(text);
                break;
            case State.CallName:
                _call.Append(text);
                string name = _call.ToString();
                int line = name.IndexOf('\n', StringComparison.Ordinal);
                if (line < 0) break;
                BeginCall(name[..line], pieces);
                SayArguments(name[(line + 1)..], pieces, last: false);
                break;
            case State.CallArguments:
                SayArguments(text, pieces, last: false);
                break;
            case State.Text:
                if (_trims) text = text.TrimStart('\n', ' ');
                if (text.Length == 0) break;
                _trims = false;
                _anythingSaid = true;
                pieces.Add(new AnswerPiece(PieceKind.Content, text));
                break;
        }
    }

    // White space at both ends belongs to the marks, and so does what may be the beginning of one that is spelled.
    void SayThought(string text, List<AnswerPiece> pieces, bool last)
    {
        _thought.Append(text);
        string all = _thought.ToString();
        string? after = null;
        if (_spellsThinkEnd && all.IndexOf(SpecialTokens.ThinkEnd, StringComparison.Ordinal) is >= 0 and int end)
        {
            after = all[(end + SpecialTokens.ThinkEnd.Length)..];
            all = all[..end];
            last = true;
        }

        int kept = last || !_spellsThinkEnd ? 0 : Overlap(all, SpecialTokens.ThinkEnd);
        string said = all[..^kept].TrimEnd('\n', ' ');
        _thought.Clear();
        if (!last) _thought.Append(all, said.Length, all.Length - said.Length);
        if (_trims) said = said.TrimStart('\n', ' ');
        if (said.Length > 0)
        {
            _trims = false;
            _anythingSaid = true;
            pieces.Add(new AnswerPiece(PieceKind.Reasoning, said));
        }

        if (after is null) return;
        _state = State.Text;
        _trims = true;
        _thoughtGoesOn = false;
        Say(after, pieces);
    }

    void BeginCall(string name, List<AnswerPiece> pieces)
    {
        name = name.Trim();
        _call.Clear();
        _state = State.CallArguments;
        _fenceSeen = false;
        _anythingSaid = true;
        Calls++;
        pieces.Add(new AnswerPiece(PieceKind.CallBegin, name));
    }

    /// <summary>The call that the prompt began; said before anything else.</summary>
    public AnswerPiece Forced(string name)
    {
        Calls++;
        return new AnswerPiece(PieceKind.CallBegin, name);
    }

    // ```json, line feed, arguments, line feed, ```: the fence is left out, and enough is held back to know it.
    void SayArguments(string text, List<AnswerPiece> pieces, bool last)
    {
        const string Opening = "```json\n", Closing = "\n```";
        _call.Append(text);
        if (!_fenceSeen)
        {
            string begun = _call.ToString();
            if (!last && begun.Length < Opening.Length && Opening.StartsWith(begun, StringComparison.Ordinal)) return;
            if (begun.StartsWith(Opening, StringComparison.Ordinal)) _call.Remove(0, Opening.Length);
            _fenceSeen = true;
        }

        string all = _call.ToString();
        int ready;
        if (last)
        {
            string trimmed = all.TrimEnd();
            if (trimmed.EndsWith("```", StringComparison.Ordinal)) trimmed = trimmed[..^3].TrimEnd();
            ready = trimmed.Length;
        }
        else
        {
            ready = Math.Max(0, all.Length - Closing.Length - 2);
        }

        if (ready > 0) pieces.Add(new AnswerPiece(PieceKind.CallArguments, all[..ready]));
        _call.Remove(0, last ? _call.Length : ready);
    }

    // Length of the longest end of a text that begins a word.
    static int Overlap(string text, string word)
    {
        for (int length = Math.Min(text.Length, word.Length - 1); length > 0; length--)
            if (text.EndsWith(word[..length], StringComparison.Ordinal)) return length;
        return 0;
    }

    /// <summary>A token: how much text it made, what it means, and its probability.</summary>
    sealed class Item(int length, string? mark, TokenLogProbability? probability, bool isEnd)
    {
        public int Length => length;

        public string? Mark => mark;

        public TokenLogProbability? Probability => probability;

        public bool IsEnd => isEnd;

        public bool Swallow { get; set; }
    }
}
