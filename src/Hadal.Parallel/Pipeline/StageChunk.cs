using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Parallel.Pipeline;

/// <summary>
/// One micro-batch in one stage: its records, and the phases of the stage's layers called on them. It makes the same calls on the same values as the plain
/// loop of <see cref="SequenceChunk"/>, so it leaves the same bits. Taken by a micro-batch from its input to its last weight gradient, then by another.
/// </summary>
sealed class StageChunk : IDisposable
{
    readonly Transformer _model;
    readonly ChunkContext _context;
    readonly TensorArena _arena;
    readonly BlockSaved[] _saved;
    readonly BlockDeferred?[] _waiting;
    readonly int _first, _sequences, _length;
    readonly Tensor _tokens, _targets, _losses, _final, _finalInverseRms, _normed, _normedGradient;

    /// <param name="model">All weights of the rank.</param>
    /// <param name="context">Operations and temporaries of the rank.</param>
    /// <param name="first">First block.</param>
    /// <param name="count">Blocks.</param>
    /// <param name="isFirst">True when the embedding belongs to the stage.</param>
    /// <param name="isLast">True when final norm, head and loss belong to it.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    public StageChunk(Transformer model, ChunkContext context, int first, int count, bool isFirst, bool isLast, int sequences, int length)
    {
        (_model, _context, _first, IsFirst, IsLast, _sequences, _length) = (model, context, first, isFirst, isLast, sequences, length);
        int tokens = sequences * length, hidden = model.Shape.Hidden;
        DType type = model.DType;
        _arena = new TensorArena(model.Backend);
        Stream = _arena.Allocate(type, tokens, hidden);
        if (isFirst) _tokens = _arena.Allocate(DType.I32, tokens);
        if (isLast)
        {
            _targets = _arena.Allocate(DType.I32, tokens);
            _losses = _arena.Allocate(type, tokens);
            _final = _arena.Allocate(type, tokens, hidden);
            _finalInverseRms = _arena.Allocate(type, tokens);
            _normed = _arena.Allocate(type, tokens, hidden);
            _normedGradient = _arena.Allocate(type, tokens, hidden);
        }

        _saved = new BlockSaved[count];
        _waiting = new BlockDeferred?[count];
        for (int i = 0; i < count; i++)
        {
            _saved[i] = new BlockSaved();
            _saved[i].Allocate(_arena, model.Blocks[first + i], model.Recipe, type, tokens);
        }
    }

    /// <summary>[tokens, hidden]: the stage's input, then its output; the gradient of its output, then that of its input.</summary>
    public Tensor Stream { get; }

    public bool IsFirst { get; }

    public bool IsLast { get; }

    public int Layers => _saved.Length;

    /// <summary>True when the layer routes.</summary>
    public bool IsSparse(int i) => _model.Blocks[_first + i].Routed is not null;

    /// <summary>[tokens] after the forward of the last stage.</summary>
    public Tensor Losses => _losses;

    /// <summary>Tokens and targets, where the stage needs them.</summary>
    public void SetRows(ReadOnlySpan<int> rows, int width)
    {
        for (int s = 0; s < _sequences; s++)
        {
            ReadOnlySpan<int> row = rows.Slice(s * width, width);
            if (IsFirst) row[.._length].CopyTo(_tokens.AsSpan<int>()[(s * _length)..]);
            if (!IsLast) continue;
            Span<int> targets = _targets.AsSpan<int>().Slice(s * _length, _length);
            for (int t = 0; t < _length; t++) targets[t] = t + 1 < width ? row[t + 1] : -1;
        }
    }

    /// <summary>Before the first layer.</summary>
    public void BeginForward()
    {
        if (IsFirst) _model.Embed(_context, _tokens, Stream);
    }

    public void ForwardLayer(int i) => _model.Blocks[_first + i].Forward(_context, Stream, _saved[i], IsLast && i == Layers - 1 ? _final : Stream);

    /// <summary>After the last layer: on the last stage the loss and, at once, the head's gradients.</summary>
    public void EndForward(double lossWeight, Tensor gradients)
    {
        if (!IsLast) return;
        if (Layers == 0) _context.Operations.Elementwise.Copy(Stream, _final);
        _model.FinalNorm(_context, _final, _normed, _finalInverseRms);
        _model.Head.LossAndGradient(_context, _normed, _targets, lossWeight, _losses, _normedGradient, gradients);
    }

    /// <summary>Before the deepest layer's backward.</summary>
    public void BeginBackward(Tensor gradients)
    {
        if (IsLast) _model.FinalNormBackward(_context, _normedGradient, _final, _finalInverseRms, gradients, Stream);
    }

    /// <summary>Backward of a layer for its input; weight gradients at once with <paramref name="shared"/>, or later when null.</summary>
    public void BackwardLayer(int i, BlockDeferred? shared, Tensor gradients)
    {
        Block block = _model.Blocks[_first + i];
        BlockDeferred deferred = shared ?? Waiting(i);
        block.BackwardInput(_context, Stream, _saved[i], deferred, Stream);
        if (shared is not null) block.BackwardWeights(_context, _saved[i], deferred, gradients, accumulate: false);
    }

    /// <summary>After the first layer's backward.</summary>
    public void EndBackward(Tensor gradients)
    {
        if (IsFirst) _model.EmbedBackward(_context, _tokens, Stream, gradients);
    }

    /// <summary>The weight gradients that wait, deepest layer first as in the plain loop.</summary>
    public void Weights(Tensor gradients)
    {
        for (int i = Layers - 1; i >= 0; i--) _model.Blocks[_first + i].BackwardWeights(_context, _saved[i], _waiting[i]!, gradients, accumulate: false);
    }

    /// <inheritdoc/>
    public void Dispose() => _arena.Dispose();

    BlockDeferred Waiting(int i)
    {
        if (_waiting[i] is { } there) return there;
        var made = new BlockDeferred();
        made.Allocate(_arena, _model.Blocks[_first + i], _model.DType, Stream.Rows);
        return _waiting[i] = made;
    }
}
