using Hadal.Text;

namespace Hadal.Inference.Serving;

/// <summary>
/// Which tokens may follow in a JSON text. The vocabulary is walked in the order of its bytes, as a trie is: tokens with a common beginning share the automaton's states.
/// The answer for a state is kept, for texts return to few states. Where few tokens are left, only those may follow after which the rest can still be closed. Not thread safe.
/// </summary>
sealed class JsonTokens
{
    const int MostKept = 512;
    readonly Tokenizer _tokenizer;
    readonly int _vocabulary;
    readonly int[] _sorted, _common;
    readonly JsonAutomaton[] _path;
    readonly Dictionary<(JsonAutomaton State, int Left), (ulong[] Allowed, int Most)> _kept = [];

    /// <summary>Sorts the vocabulary.</summary>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="vocabulary">Logits of the model; tokens beyond it do not exist for it.</param>
    /// <exception cref="RequestRefusedException">The vocabulary lacks a byte: then a text could get stuck.</exception>
    public JsonTokens(Tokenizer tokenizer, int vocabulary)
    {
        _tokenizer = tokenizer;
        _vocabulary = vocabulary;
        var single = new bool[256];
        var ids = new List<int>();
        for (int id = 0; id < Math.Min(vocabulary, tokenizer.VocabularySize); id++)
        {
            ReadOnlySpan<byte> bytes = tokenizer.TokenBytes(id);
            if (bytes.IsEmpty || tokenizer.IsSpecial(id)) continue;
            ids.Add(id);
            if (bytes.Length == 1) single[bytes[0]] = true;
        }

        int missing = Array.IndexOf(single, value: false);
        if (missing >= 0)
            throw new RequestRefusedException($"JSON cannot be kept valid with this model: none of its {vocabulary} tokens is the single byte 0x{missing:X2}. Use a tokenizer that has all 256 bytes.");
        ids.Sort((a, b) => tokenizer.TokenBytes(a).SequenceCompareTo(tokenizer.TokenBytes(b)));
        _sorted = [.. ids];
        _common = new int[_sorted.Length];
        for (int i = 1; i < _sorted.Length; i++) _common[i] = tokenizer.TokenBytes(_sorted[i - 1]).CommonPrefixLength(tokenizer.TokenBytes(_sorted[i]));
        _path = new JsonAutomaton[tokenizer.LongestToken + 1];
    }

    /// <summary>Bit t mod 64 of word t / 64: token t may follow, and the object can be completed after it.</summary>
    /// <param name="state">Where the text stands; <see cref="JsonAutomaton.Closing"/> is at most <paramref name="left"/> + 1, or a token that closes it all exists.</param>
    /// <param name="left">Tokens that may come after this one.</param>
    public ReadOnlySpan<ulong> Allowed(JsonAutomaton state, int left)
    {
        (ulong[] allowed, int most) = Kept(state, int.MaxValue);
        return most <= left ? allowed : Kept(state, left).Allowed;
    }

    (ulong[] Allowed, int Most) Kept(JsonAutomaton state, int left)
    {
        if (_kept.TryGetValue((state, left), out (ulong[] Allowed, int Most) kept)) return kept;
        if (_kept.Count >= MostKept) _kept.Clear();
        ulong[] allowed = new ulong[(_vocabulary + 63) / 64];
        int most = 0;
        _path[0] = state;
        int valid = 0; // bytes of the token before that were accepted: _path[0..valid] are states
        for (int i = 0; i < _sorted.Length; i++)
        {
            int id = _sorted[i], from = _common[i];
            if (from > valid) continue; // shares the byte that was refused
            ReadOnlySpan<byte> bytes = _tokenizer.TokenBytes(id);
            for (valid = from; valid < bytes.Length && _path[valid].Next(bytes[valid], out JsonAutomaton next); valid++) _path[valid + 1] = next;
            if (valid < bytes.Length) continue;
            int closing = _path[valid].Closing;
            if (closing > left) continue;
            allowed[id / 64] |= 1UL << (id % 64);
            most = Math.Max(most, closing);
        }

        _kept.Add((state, left), (allowed, most));
        return (allowed, most);
    }

    /// <summary>The state after a token that may follow.</summary>
    public JsonAutomaton Advance(JsonAutomaton state, int token)
    {
        foreach (byte b in _tokenizer.TokenBytes(token))
            if (!state.Next(b, out state)) throw new InvalidOperationException($"Token {token} cannot stand at {state}.");
        return state;
    }
}
