using System.Text;

namespace Hadal.Text;

/// <summary>
/// Decodes ids one at a time, for streaming: a character that is spread over several tokens is given out when its last byte has come, never by halves.
/// What all calls give together equals <see cref="Tokenizer.Decode"/> of all ids.
/// </summary>
/// <remarks>One stream per instance, one thread at a time. Allocates nothing when given a buffer of <see cref="LongestText"/> characters.</remarks>
public sealed class TokenDecoder
{
    readonly Tokenizer _tokenizer;
    readonly bool _skipSpecial;
    readonly Decoder _decoder = new UTF8Encoding(encoderShouldEmitUTF8Identifier: false).GetDecoder();

    /// <summary>Begins a stream.</summary>
    /// <param name="tokenizer">Whose ids come.</param>
    /// <param name="skipSpecial">Leaves out added tokens marked special.</param>
    public TokenDecoder(Tokenizer tokenizer, bool skipSpecial = false)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        _tokenizer = tokenizer;
        _skipSpecial = skipSpecial;
    }

    /// <summary>The most characters that one call can give out: every byte of the longest token, and what was waiting.</summary>
    public int LongestText => _tokenizer.LongestToken + 4;

    /// <summary>Takes an id.</summary>
    /// <param name="id">The next token.</param>
    /// <param name="destination">Receives the characters that are complete; at least <see cref="LongestText"/> long.</param>
    /// <returns>How many characters were written.</returns>
    public int Append(int id, Span<char> destination)
    {
        if (_skipSpecial && _tokenizer.IsSpecial(id)) return 0;
        return _decoder.GetChars(_tokenizer.TokenBytes(id), destination, flush: false);
    }

    /// <summary>Takes an id and gives the text that is complete.</summary>
    public string Append(int id)
    {
        Span<char> text = LongestText <= 512 ? stackalloc char[LongestText] : new char[LongestText];
        return new string(text[..Append(id, text)]);
    }

    /// <summary>Ends the stream: an unfinished character becomes U+FFFD. A new stream may begin.</summary>
    public string Finish()
    {
        Span<char> text = stackalloc char[8];
        return new string(text[.._decoder.GetChars([], text, flush: true)]);
    }
}
