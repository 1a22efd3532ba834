using System.Text;

namespace Hadal.Text;

/// <summary>
/// Takes some tokens that join punctuation and line ends apart again during training, so that the model is not surprised by a prompt that ends without the line
/// end [V3 §4.1, "token boundary bias"; the share is not published]. The text stays the same.
/// </summary>
public sealed class PunctuationSplitter
{
    readonly Dictionary<int, int[]> _parts = [];
    readonly Func<ulong, ulong> _random;
    readonly double _rate;

    /// <summary>Prepares the stage.</summary>
    /// <param name="tokenizer">Whose tokens are taken apart.</param>
    /// <param name="rate">Share of joined tokens to take apart, 0 to 1.</param>
    /// <param name="random">Uniform 64-bit numbers as a function of an index.</param>
    /// <exception cref="ArgumentOutOfRangeException">The rate is not between 0 and 1.</exception>
    public PunctuationSplitter(Tokenizer tokenizer, double rate, Func<ulong, ulong> random)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(random);
        if (!(rate >= 0 && rate <= 1)) throw new ArgumentOutOfRangeException(nameof(rate), rate, "The share of tokens to take apart must be from 0 to 1.");
        _rate = rate;
        _random = random;
        var added = tokenizer.AddedTokens.Select(token => token.Id).ToHashSet();
        var ids = new List<int>();
        for (int id = 0; id < tokenizer.VocabularySize; id++)
        {
            ReadOnlySpan<byte> bytes = tokenizer.TokenBytes(id);
            int ends = bytes.Length - bytes.TrimEnd("\r\n"u8).Length;
            if (ends == 0 || ends == bytes.Length || added.Contains(id) || !IsPunctuation(bytes[..^ends])) continue;
            ids.Clear();
            tokenizer.EncodeUtf8(bytes[..^ends], ids);
            tokenizer.EncodeUtf8(bytes[^ends..], ids);
            _parts.Add(id, [.. ids]);
        }
    }

    /// <summary>How many tokens of the vocabulary join punctuation and line ends.</summary>
    public int JoinedTokens => _parts.Count;

    /// <summary>Appends tokens to a list, some of the joined ones taken apart.</summary>
    /// <param name="tokens">Token ids.</param>
    /// <param name="firstIndex">Index of the random number for the first token; the others follow.</param>
    /// <param name="output">Receives the ids.</param>
    public void Apply(ReadOnlySpan<int> tokens, ulong firstIndex, List<int> output)
    {
        ArgumentNullException.ThrowIfNull(output);
        for (int i = 0; i < tokens.Length; i++)
        {
            if (_parts.TryGetValue(tokens[i], out int[]? parts) && (_random(firstIndex + (ulong)i) >> 11) * (1.0 / (1ul << 53)) < _rate) output.AddRange(parts);
            else output.Add(tokens[i]);
        }
    }

    static bool IsPunctuation(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (Rune.DecodeFromUtf8(bytes, out Rune rune, out int length) != System.Buffers.OperationStatus.Done) return false;
            if (rune.Value != ' ' && !Rune.IsPunctuation(rune) && !Rune.IsSymbol(rune)) return false;
            bytes = bytes[length..];
        }
        return true;
    }
}
