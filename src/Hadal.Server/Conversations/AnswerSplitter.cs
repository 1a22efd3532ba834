using System.Text;
using Hadal.Text;

namespace Hadal.Server.Conversations;

/// <summary>
/// Parts the tokens of an answer into its chain of thought and what follows the first <c>&lt;/think&gt;</c>, however the mark is spelled in tokens. The line feeds
/// around the mark belong to neither.
/// </summary>
sealed class AnswerSplitter
{
    readonly TokenDecoder _decoder;
    readonly int _mark;
    readonly StringBuilder _held = new();
    bool _inThought;
    bool _trims;

    public AnswerSplitter(Tokenizer tokenizer, bool thinks)
    {
        _decoder = new TokenDecoder(tokenizer, skipSpecial: true);
        _mark = tokenizer.TryGetId(SpecialTokens.ThinkEnd, out int id) && tokenizer.IsSpecial(id) ? id : -1;
        _inThought = thinks;
        _trims = thinks;
    }

    /// <summary>Whether the thought goes on.</summary>
    public bool IsInThought => _inThought;

    /// <summary>Takes tokens; either text may be empty.</summary>
    public (string Thought, string Answer) Append(IReadOnlyList<int> tokens)
    {
        for (int i = 0; i < tokens.Count; i++)
            _held.Append(tokens[i] == _mark ? _decoder.Finish() + SpecialTokens.ThinkEnd : _decoder.Append(tokens[i]));
        return Take(last: false);
    }

    /// <summary>Gives what was held back.</summary>
    public (string Thought, string Answer) Finish()
    {
        _held.Append(_decoder.Finish());
        return Take(last: true);
    }

    (string Thought, string Answer) Take(bool last)
    {
        string text = _held.ToString();
        _held.Clear();
        string thought = "";
        if (_inThought)
        {
            int end = text.IndexOf(SpecialTokens.ThinkEnd, StringComparison.Ordinal);
            if (end < 0)
            {
                int kept = last ? 0 : Tail(text);
                _held.Append(text, text.Length - kept, kept);
                thought = text[..^kept];
                return (TrimStart(last ? thought.TrimEnd('\n', ' ') : thought), "");
            }

            thought = TrimStart(text[..end].TrimEnd('\n', ' '));
            text = text[(end + SpecialTokens.ThinkEnd.Length)..];
            _inThought = false;
            _trims = true;
        }

        return (thought, TrimStart(text));
    }

    string TrimStart(string text)
    {
        if (!_trims) return text;
        text = text.TrimStart('\n', ' ');
        if (text.Length > 0) _trims = false;
        return text;
    }

    // What may be the beginning of the mark, and white space that may stand before it.
    static int Tail(string text)
    {
        int kept = 0;
        for (int length = Math.Min(text.Length, SpecialTokens.ThinkEnd.Length - 1); length > 0; length--)
        {
            if (!text.EndsWith(SpecialTokens.ThinkEnd[..length], StringComparison.Ordinal)) continue;
            kept = length;
            break;
        }

        while (kept < text.Length && text[^(kept + 1)] is '\n' or ' ') kept++;
        return kept;
    }
}
