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
    readonly ChunkContext _forward, _backward;
    readonly TensorArena _arena;
    readonly BlockSaved[] _saved;
    readonly MtpSaved[] _mtpSaved = [];
    readonly BlockDeferred?[] _waiting;
    readonly Tensor[] _targets, _losses = [];
    readonly int _first, _sequences, _length;
    readonly Tensor _tokens, _mtpTokens, _final, _finalInverseRms, _normed, _normedGradient;
    bool _mtp;

    /// <param name="model">All weights of the rank.</param>
    /// <param name="forward">Operations and temporaries of forwards.</param>
    /// <param name="backward">Operations and temporaries of backwards: the two may interleave.</param>
    /// <param name="first">First block.</param>
    /// <param name="count">Blocks.</param>
    /// <param name="isFirst">True when the embedding belongs to the stage.</param>
    /// <param name="isLast">True when final norm, head, MTP modules and losses belong to it.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    public StageChunk(Transformer model, ChunkContext forward, ChunkContext backward, int first, int count, bool isFirst, bool isLast, int sequences, int length)
    {
        (_model, _forward, _backward, _first, IsFirst, IsLast, _sequences, _length) = (model, forward, backward, first, isFirst, isLast, sequences, length);
        int tokens = sequences * length, hidden = model.Shape.Hidden, depths = model.Mtp.Count;
        DType type = model.DType;
        _arena = new TensorArena(model.Backend);
        Cargo = _arena.Allocate(type, ((1 + depths) * tokens) + (model.Shape.TiedEmbeddings ? model.Shape.Vocabulary : 0), hidden);
        Stream = Cargo.Slice(0, tokens);
        _targets = new Tensor[isFirst || isLast ? 1 + depths : 0];
        for (int k = 0; k < _targets.Length; k++) _targets[k] = _arena.Allocate(DType.I32, tokens);
        if (isFirst) _tokens = _arena.Allocate(DType.I32, tokens);
        if (_targets.Length > 1) _mtpTokens = _arena.Allocate(DType.I32, tokens);
        if (isLast)
        {
            _losses = new Tensor[1 + depths];
            for (int k = 0; k < _losses.Length; k++) _losses[k] = _arena.Allocate(type, tokens);
            _final = _arena.Allocate(type, tokens, hidden);
            _finalInverseRms = _arena.Allocate(type, tokens);
            _normed = _arena.Allocate(type, tokens, hidden);
            _normedGradient = _arena.Allocate(type, tokens, hidden);
            _mtpSaved = new MtpSaved[depths];
            for (int k = 0; k < depths; k++)
            {
                _mtpSaved[k] = new MtpSaved();
                _mtpSaved[k].Allocate(_arena, model.Mtp[k], model.Recipe, type, tokens, forward.Exchange);
            }
        }

        _saved = new BlockSaved[count];
        _waiting = new BlockDeferred?[count];
        for (int i = 0; i < count; i++)
        {
            _saved[i] = new BlockSaved();
            _saved[i].Allocate(_arena, model.Blocks[first + i], model.Recipe, type, tokens, forward.Exchange);
        }
    }

    /// <summary>[tokens, hidden]: the stage's input, then its output; the gradient of its output, then that of its input.</summary>
    public Tensor Stream { get; }

    /// <summary>
    /// <see cref="Stream"/>, and after it for each MTP module the gradient of the tokens it embedded: it is made in the last stage and belongs to the embedding, so
    /// it rides along with the gradient to the first. So does the gradient of a head that is tied to the embedding: the first stage goes on with its chain.
    /// </summary>
    public Tensor Cargo { get; }

    public bool IsFirst { get; }

    public bool IsLast { get; }

    public int Layers => _saved.Length;

    /// <summary>True when the layer routes.</summary>
    public bool IsSparse(int i) => Block(i).Routed is not null;

    /// <summary>[tokens] after the forward of the last stage; 0 is the main model, k the MTP module of depth k.</summary>
    public IReadOnlyList<Tensor> Losses => _losses;

    /// <summary>Tokens and targets, where the stage needs them. A row that is not full ends in −1.</summary>
    public void SetRows(ReadOnlySpan<int> rows, int width)
    {
        for (int s = 0; s < _sequences; s++)
        {
            ReadOnlySpan<int> row = rows.Slice(s * width, width);
            int used = row.IndexOf(-1);
            if (used >= 0) row = row[..used];
            if (IsFirst)
            {
                Span<int> tokens = _tokens.AsSpan<int>().Slice(s * _length, _length);
                tokens.Clear();
                row[..Math.Min(row.Length, _length)].CopyTo(tokens);
            }

            for (int k = 0; k < _targets.Length; k++)
            {
                Span<int> targets = _targets[k].AsSpan<int>().Slice(s * _length, _length);
                for (int t = 0; t < _length; t++) targets[t] = t + k + 1 < row.Length ? row[t + k + 1] : -1;
            }
        }
    }

    /// <summary>Before the first layer.</summary>
    public void BeginForward()
    {
        if (IsFirst) _model.Embed(_forward, _tokens, Stream);
    }

    /// <summary>First phase of a layer; the others are called on the context's <see cref="ChunkContext.ForwardPhases"/>.</summary>
    public void ForwardAttention(int i) => _forward.ForwardPhases.Attention(Block(i), _forward, Stream, _saved[i], IsLast && i == Layers - 1 ? _final : Stream);

    /// <summary>After the last layer: on the last stage the losses and, at once, the head's gradients.</summary>
    public void EndForward(LossWeights weights, Tensor gradients)
    {
        _mtp = _model.Mtp.Count > 0 && weights.MtpWeight != 0;
        if (!IsLast) return;
        if (Layers == 0) _forward.Operations.Elementwise.Copy(Stream, _final);
        _model.FinalNorm(_forward, _final, _normed, _finalInverseRms);
        _model.Head.LossAndGradient(_forward, _normed, _targets[0], weights.LossWeight, _losses[0], _normedGradient, gradients);
        for (int k = 0; _mtp && k < _mtpSaved.Length; k++)
        {
            MtpSaved saved = _mtpSaved[k];
            _model.Mtp[k].Forward(_forward, MtpTokens(k), k == 0 ? _normed : _mtpSaved[k - 1].Normed, saved);
            _model.Head.LossAndGradient(_forward, saved.Normed, _targets[k + 1], weights.LossWeight * weights.MtpWeight / _mtpSaved.Length, _losses[k + 1], saved.NormedGradient, gradients);
        }
    }

    /// <summary>Tokens per expert of the layers that routed in this forward.</summary>
    public void TellLoads(IPipelineStep step, int microBatch)
    {
        for (int i = 0; i < Layers; i++)
            if (_saved[i].Routed is { } routed) step.Load(microBatch, Block(i).Layer, routed.Movement.Counts.AsSpan<int>());
        for (int k = 0; _mtp && k < _mtpSaved.Length; k++)
            if (_mtpSaved[k].Block.Routed is { } routed) step.Load(microBatch, _model.Mtp[k].Block.Layer, routed.Movement.Counts.AsSpan<int>());
    }

    /// <summary>Before the deepest layer's backward.</summary>
    /// <param name="gradients">Flat.</param>
    /// <param name="dense">Memory between gradients, for an MTP block without experts.</param>
    /// <param name="sparse">For one with experts.</param>
    public void BeginBackward(Tensor gradients, BlockDeferred? dense, BlockDeferred? sparse)
    {
        if (!IsLast) return;
        if (_model.Shape.TiedEmbeddings && !IsFirst)
        {
            _backward.Operations.Elementwise.Copy(_model.Embedding.View(gradients), TiedGradient);
            _backward.Operations.Elementwise.Fill(_model.Embedding.View(gradients), 0);
        }

        for (int k = _mtpSaved.Length - 1; _mtp && k >= 0; k--)
        {
            Tensor dPrevious = k == 0 ? _normedGradient : _mtpSaved[k - 1].NormedGradient;
            MtpModule module = _model.Mtp[k];
            module.Backward(_backward, MtpTokens(k), _mtpSaved[k], (module.Block.Routed is null ? dense : sparse)!, gradients, dPrevious, EmbeddingGradient(k));
        }

        _model.FinalNormBackward(_backward, _normedGradient, _final, _finalInverseRms, gradients, Stream);
    }

    /// <summary>First phase of a layer's backward; the others are called on the context's <see cref="ChunkContext.BackwardPhases"/>.</summary>
    public void BackwardCombine(int i, BlockDeferred? shared) => _backward.BackwardPhases.CombineBackward(Block(i), _backward, Stream, _saved[i], shared ?? Waiting(i));

    /// <summary>Weight gradients of a layer's feed-forward, after that phase.</summary>
    public void ExpertWeights(int i, BlockDeferred deferred, Tensor gradients) => Block(i).BackwardExpertWeights(_backward, _saved[i], deferred, gradients, accumulate: false);

    /// <summary>The layer's other weight gradients, after its last phase.</summary>
    public void AttentionWeights(int i, BlockDeferred deferred, Tensor gradients) => Block(i).BackwardAttentionWeights(_backward, _saved[i], deferred, gradients, accumulate: false);

    /// <summary>After the first layer's backward.</summary>
    public void EndBackward(Tensor gradients)
    {
        if (!IsFirst) return;
        if (_model.Shape.TiedEmbeddings && !IsLast) _backward.Operations.Elementwise.Copy(TiedGradient, _model.Embedding.View(gradients));
        for (int k = _model.Mtp.Count - 1; _mtp && k >= 0; k--) _model.EmbedBackward(_backward, MtpTokens(k), EmbeddingGradient(k), gradients);
        _model.EmbedBackward(_backward, _tokens, Stream, gradients);
    }

    /// <summary>The weight gradients that wait, deepest layer first as in the plain loop.</summary>
    public void Weights(Tensor gradients)
    {
        for (int i = Layers - 1; i >= 0; i--) Block(i).BackwardWeights(_backward, _saved[i], _waiting[i]!, gradients, accumulate: false);
    }

    /// <inheritdoc/>
    public void Dispose() => _arena.Dispose();

    Block Block(int i) => _model.Blocks[_first + i];

    Tensor TiedGradient => Cargo.Slice((1 + _model.Mtp.Count) * Stream.Rows, _model.Shape.Vocabulary);

    Tensor EmbeddingGradient(int depth) => Cargo.Slice((1 + depth) * Stream.Rows, Stream.Rows);

    // Tokens k + 1 ahead, 0 where there is none: those positions have no target either.
    Tensor MtpTokens(int k)
    {
        Span<int> shifted = _mtpTokens.AsSpan<int>();
        ReadOnlySpan<int> targets = _targets[k].AsSpan<int>();
        for (int t = 0; t < shifted.Length; t++) shifted[t] = Math.Max(targets[t], 0);
        return _mtpTokens;
    }

    BlockDeferred Waiting(int i)
    {
        if (_waiting[i] is { } there) return there;
        var made = new BlockDeferred();
        made.Allocate(_arena, Block(i), _model.DType, Stream.Rows, _backward.Exchange);
        return _waiting[i] = made;
    }
}
