using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Text;

namespace Hadal.Training;

/// <summary>
/// Continues a prompt while a model is being trained: short texts, the whole window computed again for every token, no cache to keep in step with the
/// changing weights. Serving has its own engine (Hadal.Inference).
/// </summary>
public sealed class Continuation : IDisposable
{
    readonly Transformer _model;
    readonly SequenceChunk _chunk;
    readonly TensorMemory _memory;
    readonly Tensor _logits;
    readonly int[] _window;

    /// <summary>Takes memory.</summary>
    /// <param name="model">The model; its weights are read at every token.</param>
    /// <param name="length">Tokens of the window; what is before it is forgotten.</param>
    public Continuation(Transformer model, int length)
    {
        _model = model;
        _chunk = new SequenceChunk(model, 1, length, training: false);
        _memory = model.Backend.Allocate((long)model.Shape.Vocabulary * model.DType.Size());
        _logits = Tensor.View(_memory, 0, model.DType, 1, model.Shape.Vocabulary);
        _window = new int[length];
    }

    /// <summary>Draws tokens until <paramref name="count"/> or EOS.</summary>
    /// <param name="tokenizer">The model's.</param>
    /// <param name="prompt">Text after BOS.</param>
    /// <param name="count">Tokens at most.</param>
    /// <param name="temperature">0 takes the most likely token.</param>
    /// <param name="seed">Of the draws.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>The text after the prompt.</returns>
    public string Continue(Tokenizer tokenizer, string prompt, int count, double temperature, ulong seed, CancellationToken cancel = default)
    {
        int end = tokenizer.RequireId(SpecialTokens.EndOfSentence);
        var tokens = new List<int> { tokenizer.RequireId(SpecialTokens.BeginOfSentence) };
        tokenizer.Encode(prompt, tokens);
        int given = tokens.Count;
        var random = new CounterRandom(seed, RandomPurpose.Sampling);
        for (int i = 0; i < count; i++)
        {
            cancel.ThrowIfCancellationRequested();
            int start = Math.Max(0, tokens.Count - _window.Length), used = tokens.Count - start;
            _window.AsSpan().Clear();
            tokens.CopyTo(start, _window, 0, used);
            _chunk.SetTokens(_window, _window.Length);
            _chunk.ForwardHidden();
            _model.Head.Logits(_chunk.Context, _chunk.Normed.Slice(used - 1, 1), _logits);
            int next = Draw(_logits.AsSpan<float>(), temperature, random.Uniform((ulong)i));
            if (next == end) break;
            tokens.Add(next);
        }

        return tokenizer.Decode(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(tokens)[given..], skipSpecial: true);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _chunk.Dispose();
        _memory.Dispose();
    }

    static int Draw(ReadOnlySpan<float> logits, double temperature, double uniform)
    {
        int best = 0;
        for (int v = 1; v < logits.Length; v++)
            if (logits[v] > logits[best]) best = v;
        if (temperature <= 0) return best;
        double total = 0;
        foreach (float logit in logits) total += Math.Exp((logit - logits[best]) / temperature);
        double left = uniform * total;
        for (int v = 0; v < logits.Length; v++)
        {
            left -= Math.Exp((logits[v] - logits[best]) / temperature);
            if (left < 0) return v;
        }

        return best;
    }
}
