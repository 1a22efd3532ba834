using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// Forward of one block, phase by phase: <see cref="Attention"/> (with the gate), <see cref="Dispatch"/>, <see cref="Experts"/>, <see cref="Combine"/>, in this
/// order. What lies between two phases is kept here and in the chunk's temporaries, so another chunk with a context of its own may run in between [V3 §3.2.1].
/// </summary>
public sealed class BlockForward
{
    Block? _block;
    ChunkContext _chunk = null!;
    BlockSaved _saved = null!;
    ArenaMark _mark;
    Tensor _middle, _normed, _rows, _results, _y;

    /// <summary>Attention and residual, the norm after it, and the choice of experts. x, y [tokens, hidden], may be the same.</summary>
    public void Attention(Block block, ChunkContext chunk, Tensor x, BlockSaved saved, Tensor y)
    {
        Begin(block, chunk, saved, y);
        block.Attention.Forward(chunk, x, saved.Attention, _middle);
        saved.Middle.Keep(chunk, _middle);
        Route();
    }

    /// <summary>As <see cref="Attention"/>, over the latent cache.</summary>
    public void AttentionAbsorbed(Block block, ChunkContext chunk, Tensor x, LatentPages pages, Tensor cache, BlockSaved saved, Tensor y)
    {
        Begin(block, chunk, saved, y);
        block.Attention.ForwardAbsorbed(chunk, x, pages, cache, _middle);
        Route();
    }

    void Begin(Block block, ChunkContext chunk, BlockSaved saved, Tensor y)
    {
        if (_block is not null) throw new InvalidOperationException($"Layer {_block.Layer} has not ended: a context runs one forward at a time.");
        (_block, _chunk, _saved, _y, _mark) = (block, chunk, saved, y, chunk.Scratch.Mark());
        chunk.Layer = block.Layer;
        _middle = saved.Middle.Begin(chunk);
    }

    void Route()
    {
        _normed = _chunk.Temporary(_middle.Rows, _block!.Shape.Hidden);
        _block.Norm(_chunk, _middle, _normed, _saved.MiddleInverseRms);
        _block.Routed?.Route(_chunk, _normed, _saved.Routed!);
    }

    /// <summary>Rows to their experts; nothing in a dense block.</summary>
    public void Dispatch()
    {
        if (Running.Routed is { } routed) _rows = routed.Dispatch(_chunk, _normed, _saved.Routed!);
    }

    /// <summary>Feed-forward: the dense one, or shared and routed experts.</summary>
    public void Experts()
    {
        Block block = Running;
        IElementwiseOperations elementwise = _chunk.Operations.Elementwise;
        if (block.FeedForward is not null)
        {
            ArenaMark mark = _chunk.Scratch.Mark();
            Tensor sum = _chunk.Temporary(_middle.Rows, block.Shape.Hidden);
            block.FeedForward.Forward(_chunk, _normed, _saved.FeedForward!, sum);
            elementwise.Add(_middle, sum, _y);
            _chunk.Scratch.Release(mark);
        }
        else
        {
            elementwise.Copy(_middle, _y);
        }

        if (block.Routed is null) return;
        _results = _chunk.Temporary(_saved.Routed!.Movement.Capacity, block.Shape.Hidden);
        block.Routed.Experts(_chunk, _saved.Routed, _rows, _results);
    }

    /// <summary>Results back to their tokens, and the residual sum.</summary>
    public void Combine()
    {
        Block block = Running;
        if (block.Routed is not null)
        {
            Tensor sum = _chunk.Temporary(_middle.Rows, block.Shape.Hidden);
            block.Routed.Combine(_chunk, _saved.Routed!, _results, sum);
            _chunk.Operations.Elementwise.Add(_y, sum, _y);
        }

        _chunk.Round(_y);
        _chunk.Scratch.Release(_mark);
        _block = null;
    }

    Block Running => _block ?? throw new InvalidOperationException("No forward is running: Attention comes first.");
}

/// <summary>
/// Backward of one block, phase by phase, in this order: <see cref="CombineBackward"/>, <see cref="ExpertsInput"/>, <see cref="DispatchBackward"/>,
/// <see cref="AttentionInput"/>; weight gradients may follow their phase at once or wait: <see cref="Block.BackwardExpertWeights"/>,
/// <see cref="Block.BackwardAttentionWeights"/>.
/// </summary>
public sealed class BlockBackward
{
    Block? _block;
    ChunkContext _chunk = null!;
    BlockSaved _saved = null!;
    BlockDeferred _deferred = null!;
    ArenaMark _mark;
    Tensor _middle, _dRows;

    /// <summary>Takes the gradient of the block's output, recomputes the norm, and sends the gradient to the experts.</summary>
    public void CombineBackward(Block block, ChunkContext chunk, Tensor dy, BlockSaved saved, BlockDeferred deferred)
    {
        if (_block is not null) throw new InvalidOperationException($"Layer {_block.Layer} has not ended: a context runs one backward at a time.");
        (_block, _chunk, _saved, _deferred, _mark) = (block, chunk, saved, deferred, chunk.Scratch.Mark());
        chunk.Operations.Elementwise.Copy(dy, deferred.OutputGradient);
        _middle = saved.Middle.Restore(chunk);
        block.Norm(chunk, _middle, deferred.Normed, default);
        block.Routed?.CombineBackward(chunk, deferred.OutputGradient, saved.Routed!, deferred.Routed!);
    }

    /// <summary>Through the experts, routed and shared, or the dense feed-forward.</summary>
    public void ExpertsInput()
    {
        Block block = Running;
        if (block.Routed is not null)
        {
            _dRows = _chunk.Temporary(_saved.Routed!.Movement.Capacity, block.Shape.Hidden);
            block.Routed.ExpertsBackwardInput(_chunk, _saved.Routed, _deferred.Routed!, _dRows);
        }

        block.FeedForward?.BackwardProjections(_chunk, _deferred.OutputGradient, _saved.FeedForward!, _deferred.FeedForward!);
    }

    /// <summary>Gradients of rows back to their tokens, through the gate.</summary>
    public void DispatchBackward()
    {
        Block block = Running;
        block.Routed?.DispatchRouteBackward(_chunk, _saved.Routed!, _deferred.Routed!, _dRows, _deferred.NormedGradient);
        block.FeedForward?.BackwardInput(_chunk, _deferred.FeedForward!, _deferred.NormedGradient, accumulate: block.Routed is not null);
    }

    /// <summary>Through the norm and attention. dx [tokens, hidden] may be dy.</summary>
    public void AttentionInput(Tensor dx)
    {
        Block block = Running;
        IElementwiseOperations elementwise = _chunk.Operations.Elementwise;
        Tensor dMiddle = _chunk.Temporary(_deferred.OutputGradient.Rows, block.Shape.Hidden);
        elementwise.Copy(_deferred.OutputGradient, dMiddle);
        block.NormBackward(_chunk, _deferred.NormedGradient, _middle, _saved.MiddleInverseRms, dMiddle);
        _chunk.Round(dMiddle);
        block.Attention.BackwardInput(_chunk, dMiddle, _saved.Attention, _deferred.Attention, dx);
        _chunk.Scratch.Release(_mark);
        _block = null;
    }

    Block Running => _block ?? throw new InvalidOperationException("No backward is running: CombineBackward comes first.");
}
