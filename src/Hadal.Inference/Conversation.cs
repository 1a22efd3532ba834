using Hadal.Model;
using Hadal.Text;

namespace Hadal.Inference;

/// <summary>
/// A text that a person and a base model write in turns: what the person types is appended, the model continues it. When the model's positions are used up,
/// the older half of the text is forgotten. Not thread safe.
/// </summary>
public sealed class Conversation : IDisposable
{
    readonly Tokenizer _tokenizer;
    readonly GenerationSession _session;
    readonly List<int> _history = [];
    readonly int[] _ends;

    /// <summary>Begins an empty text.</summary>
    /// <param name="model">The weights.</param>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="endTokens">Ids that end a text.</param>
    public Conversation(Transformer model, Tokenizer tokenizer, IReadOnlyList<int> endTokens)
    {
        _tokenizer = tokenizer;
        _session = new GenerationSession(model, model.Shape.MaxPositions);
        _ends = [.. endTokens];
    }

    /// <summary>Tokens of the text so far, BOS included.</summary>
    public int Length => _history.Count;

    /// <summary>The text so far, control tokens left out.</summary>
    public string Text => _tokenizer.Decode(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_history), skipSpecial: true);

    /// <summary>Forgets the text.</summary>
    public void Clear()
    {
        _history.Clear();
        _session.Truncate(0);
    }

    /// <summary>Appends what the person typed and lets the model continue.</summary>
    /// <param name="text">What was typed.</param>
    /// <param name="maxNewTokens">Most tokens of the answer.</param>
    /// <param name="parameters">How tokens are chosen.</param>
    /// <param name="receive">Called with each piece of text; false stops.</param>
    /// <returns>Why the answer ended.</returns>
    public StopReason Say(string text, int maxNewTokens, SamplingParameters parameters, Func<string, bool> receive)
    {
        var added = new List<int>();
        if (_history.Count == 0) added.AddRange(_tokenizer.TryGetId(SpecialTokens.BeginOfSentence, out int begin) ? [begin] : []);
        _tokenizer.Encode(text, added);
        int room = _session.Capacity - Math.Min(maxNewTokens, _session.Capacity / 2);
        if (added.Count > room) added.RemoveRange(0, added.Count - room);
        _history.AddRange(added);
        int[] pending = Pending(room);
        if (pending.Length == 0) return StopReason.Stopped;
        var decoder = new TokenDecoder(_tokenizer, skipSpecial: true);
        StopReason reason = Generator.Generate(_session, pending, maxNewTokens, parameters, _ends, id =>
        {
            _history.Add(id);
            string piece = decoder.Append(id);
            return piece.Length == 0 || receive(piece);
        });
        string rest = decoder.Finish();
        if (rest.Length > 0) receive(rest);
        return reason;
    }

    /// <inheritdoc/>
    public void Dispose() => _session.Dispose();

    // The tokens that the session has not seen; when they do not fit, it begins again with the younger half.
    int[] Pending(int room)
    {
        if (_history.Count > room)
        {
            _history.RemoveRange(0, _history.Count - Math.Max(1, room / 2));
            _session.Truncate(0);
        }

        return [.. _history.Skip(_session.Length)];
    }
}
