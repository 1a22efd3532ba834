using Hadal.Numerics;
using Hadal.Text;

namespace Hadal.Inference.Serving;

/// <summary>Chooses tokens for requests: penalties, the form, then the sampler. Holds the buffers of one engine thread; not thread safe.</summary>
/// <param name="tokenizer">The model's.</param>
/// <param name="vocabulary">Logits of the model.</param>
/// <param name="sampler">What chooses at last.</param>
sealed class TokenPicker(Tokenizer tokenizer, int vocabulary, ISampler sampler)
{
    readonly float[] _adjusted = new float[vocabulary];
    JsonTokens? _json;

    /// <summary>Logits of the model.</summary>
    public int Vocabulary => vocabulary;

    /// <summary>The vocabulary as JSON sees it; sorted when first asked for.</summary>
    /// <exception cref="RequestRefusedException">It lacks a byte.</exception>
    public JsonTokens Json => _json ??= new JsonTokens(tokenizer, vocabulary);

    /// <summary>The next token of a request: a function of the logits, the request and the tokens it has so far.</summary>
    public int Choose(RequestState state, ReadOnlySpan<float> logits) => sampler.Choose(Adjust(state, logits), state.Request.Sampling, (ulong)state.Length);

    /// <summary>The distribution from which <see cref="Choose"/> draws; temperature above 0.</summary>
    public void Distribution(RequestState state, ReadOnlySpan<float> logits, Span<double> probabilities) =>
        sampler.Distribution(Adjust(state, logits), state.Request.Sampling, probabilities);

    /// <summary>Refuses logits that are no numbers.</summary>
    /// <exception cref="InvalidDataException">One is infinite or not a number.</exception>
    public static void RequireNumbers(ReadOnlySpan<float> logits, int position)
    {
        int strange = LogitScan.NotFinite(logits);
        if (strange >= 0)
            throw new InvalidDataException($"The logits after token {position} hold {logits[strange]}: the model's weights are damaged or its training failed. Take an earlier checkpoint, or copy the files again.");
    }

    /// <summary>The natural logarithm of a token's probability, and of the likeliest ones, lowest id first on a tie.</summary>
    public static TokenLogProbability LogProbability(ReadOnlySpan<float> logits, int token, int top)
    {
        float largest = logits[LogitScan.Largest(logits)];
        double normalizer = largest + ExactMath.Log(IntegerWeights.Sum(logits, largest) * (1.0 / (1L << IntegerWeights.Bits)));
        var best = new List<int>(top + 1);
        for (int v = 0; v < logits.Length && top > 0; v++)
        {
            if (best.Count == top && logits[v] <= logits[best[^1]]) continue;
            int place = best.Count;
            while (place > 0 && logits[v] > logits[best[place - 1]]) place--;
            best.Insert(place, v);
            if (best.Count > top) best.RemoveAt(top);
        }

        var likeliest = new (int Token, double LogProbability)[best.Count];
        for (int i = 0; i < likeliest.Length; i++) likeliest[i] = (best[i], logits[best[i]] - normalizer);
        return new TokenLogProbability(token, logits[token] - normalizer, likeliest);
    }

    ReadOnlySpan<float> Adjust(RequestState state, ReadOnlySpan<float> logits)
    {
        bool penalized = state.Counts is not null, formed = state.Request.Form != OutputForm.Text;
        if (!penalized && !formed) return logits;
        logits.CopyTo(_adjusted);
        if (penalized) state.Penalize(_adjusted);
        if (!formed) return _adjusted;
        if (state.FormBegan)
        {
            ReadOnlySpan<ulong> allowed = Json.Allowed(state.Json, state.Left);
            for (int v = 0; v < _adjusted.Length; v++)
                if ((allowed[v / 64] >> (v % 64) & 1) == 0) _adjusted[v] = float.NegativeInfinity;
        }
        else if (state.Left <= state.FormTokens)
        {
            // What is left is for the form.
            int begin = state.Request.FormBeginsAfter!.Value;
            float logit = _adjusted[begin];
            _adjusted.AsSpan().Fill(float.NegativeInfinity);
            _adjusted[begin] = logit;
        }
        else
        {
            // The text must reach the form before it may end.
            foreach (int end in state.EndTokens) _adjusted[end] = float.NegativeInfinity;
        }

        return _adjusted;
    }
}
