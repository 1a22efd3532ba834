namespace Hadal.Text;

/// <summary>
/// Turns documents into training tokens and rearranges a part of them so that the model learns to fill gaps: prefix, suffix, middle
/// (PSM) at rate 0.1 per document, before packing [V3 §4.1].
/// </summary>
/// <remarks>
/// <para>Plain document: beginning of sentence, text, end of sentence. Rearranged: beginning of sentence, <c>fim_begin</c> prefix <c>fim_hole</c> suffix
/// <c>fim_end</c> middle, end of sentence. The two cuts are independent and uniform over the character positions of the document, its ends included
/// [Bavarian et al. 2022; the report does not say].</para>
/// <para>Every decision is a function of the document's index, so that it does not depend on order, threads or what was read before.</para>
/// </remarks>
public sealed class FillInTheMiddle
{
    /// <summary>Random numbers that one document uses: whether, first cut, second cut.</summary>
    const ulong DrawsPerDocument = 3;

    readonly Tokenizer _tokenizer;
    readonly Func<ulong, ulong> _random;
    readonly int _begin;
    readonly int _end;
    readonly int _fimBegin;
    readonly int _fimHole;
    readonly int _fimEnd;

    /// <summary>Prepares the stage.</summary>
    /// <param name="tokenizer">A tokenizer with DeepSeek's control tokens.</param>
    /// <param name="rate">Share of documents to rearrange, 0 to 1.</param>
    /// <param name="random">Uniform 64-bit numbers as a function of an index: the generator with its seed and purpose fixed.</param>
    /// <exception cref="ArgumentOutOfRangeException">The rate is not between 0 and 1.</exception>
    /// <exception cref="InvalidOperationException">The tokenizer lacks a control token.</exception>
    public FillInTheMiddle(Tokenizer tokenizer, double rate, Func<ulong, ulong> random)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(random);
        if (!(rate >= 0 && rate <= 1)) throw new ArgumentOutOfRangeException(nameof(rate), rate, "The share of documents to rearrange must be from 0 to 1.");
        _tokenizer = tokenizer;
        _random = random;
        Rate = rate;
        _begin = tokenizer.RequireId(SpecialTokens.BeginOfSentence);
        _end = tokenizer.RequireId(SpecialTokens.EndOfSentence);
        if (rate == 0) return;
        _fimBegin = tokenizer.RequireId(SpecialTokens.FimBegin);
        _fimHole = tokenizer.RequireId(SpecialTokens.FimHole);
        _fimEnd = tokenizer.RequireId(SpecialTokens.FimEnd);
    }

    /// <summary>Share of documents that are rearranged.</summary>
    public double Rate { get; }

    /// <summary>Appends the tokens of a document.</summary>
    /// <param name="document">UTF-8; control tokens spelled in it are ordinary text.</param>
    /// <param name="documentIndex">The document's place in the corpus.</param>
    /// <param name="ids">Receives the tokens.</param>
    /// <returns>Whether the document was rearranged.</returns>
    public bool Encode(ReadOnlySpan<byte> document, ulong documentIndex, List<int> ids)
    {
        ArgumentNullException.ThrowIfNull(ids);
        ReadOnlySpan<byte> text = Utf8Scalars.Repair(document);
        ids.Add(_begin);
        ulong draw = documentIndex * DrawsPerDocument;
        bool rearrange = !text.IsEmpty && (_random(draw) >> 11) * (1.0 / (1ul << 53)) < Rate;
        if (rearrange)
        {
            int scalars = Utf8Scalars.Count(text);
            int first = Position(_random(draw + 1), scalars);
            int second = Position(_random(draw + 2), scalars);
            int middle = Utf8Scalars.PositionOf(text, Math.Min(first, second));
            int suffix = Utf8Scalars.PositionOf(text, Math.Max(first, second));
            ids.Add(_fimBegin);
            _tokenizer.EncodeUtf8(text[..middle], ids);
            ids.Add(_fimHole);
            _tokenizer.EncodeUtf8(text[suffix..], ids);
            ids.Add(_fimEnd);
            _tokenizer.EncodeUtf8(text[middle..suffix], ids);
        }
        else
        {
            _tokenizer.EncodeUtf8(text, ids);
        }
        ids.Add(_end);
        return rearrange;
    }

    /// <summary>What a model is given to write the middle between two texts: beginning of sentence, <c>fim_begin</c> prefix <c>fim_hole</c> suffix <c>fim_end</c>.</summary>
    /// <param name="tokenizer">A tokenizer with DeepSeek's control tokens.</param>
    /// <param name="prefix">Text before; control tokens spelled in it are ordinary text.</param>
    /// <param name="suffix">Text after.</param>
    /// <exception cref="InvalidOperationException">The tokenizer lacks a control token.</exception>
    public static List<int> Prompt(Tokenizer tokenizer, string prefix, string suffix)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        var ids = new List<int> { tokenizer.RequireId(SpecialTokens.BeginOfSentence), tokenizer.RequireId(SpecialTokens.FimBegin) };
        tokenizer.Encode(prefix, ids);
        ids.Add(tokenizer.RequireId(SpecialTokens.FimHole));
        tokenizer.Encode(suffix, ids);
        ids.Add(tokenizer.RequireId(SpecialTokens.FimEnd));
        return ids;
    }

    /// <summary>A position from 0 to <paramref name="scalars"/> inclusive.</summary>
    static int Position(ulong random, int scalars) => (int)Math.BigMul(random, (ulong)scalars + 1, out _);
}
