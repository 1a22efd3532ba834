using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>What a SwiGLU feed-forward keeps: its two projections' outputs; their product is recomputed [V3 §3.3.3].</summary>
public sealed class FeedForwardSaved
{
    /// <summary>[tokens, 2·intermediate]: gate, then up.</summary>
    public CachedTensor GateUp { get; } = new();

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, Recipe recipe, DType type, int tokens, int intermediate) =>
        GateUp.Allocate(arena, recipe.SwiGluInput, type, tokens, 2 * intermediate);
}

/// <summary>What a SwiGLU feed-forward leaves for its weight gradients.</summary>
public sealed class FeedForwardDeferred
{
    /// <summary>[tokens, intermediate]: recomputed SwiGLU output.</summary>
    public Tensor Activated { get; private set; }

    /// <summary>[tokens, 2·intermediate]: gradient of both projections' outputs.</summary>
    public Tensor GateUpGradient { get; private set; }

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, DType type, int tokens, int intermediate)
    {
        Activated = arena.Allocate(type, tokens, intermediate);
        GateUpGradient = arena.Allocate(type, tokens, 2 * intermediate);
    }
}

/// <summary>Dense SwiGLU feed-forward: W_down(silu(W_gate x)·W_up x). Also the shared experts, side by side as one.</summary>
public sealed class FeedForward
{
    readonly Parameter _gateUp, _down;

    internal FeedForward(ParameterSet set, string prefix, int hidden, int intermediate)
    {
        Intermediate = intermediate;
        _gateUp = set.Add(prefix + "gate_up_proj.weight", ParameterKind.Projection, [2 * intermediate, hidden], ProductUses.Training,
            new PublicRegion(prefix + "gate_proj.weight", 0, 0, intermediate), new PublicRegion(prefix + "up_proj.weight", 0, intermediate, intermediate));
        _down = set.Add(prefix + "down_proj.weight", ParameterKind.Projection, [hidden, intermediate], ProductUses.Training);
    }

    /// <summary>Width between the projections.</summary>
    public int Intermediate { get; }

    /// <summary>y = feed-forward of x. x, y [tokens, hidden].</summary>
    public void Forward(ChunkContext chunk, Tensor x, FeedForwardSaved saved, Tensor y)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        Tensor gateUp = saved.GateUp.Begin(chunk);
        chunk.Forward(x, _gateUp, gateUp);
        saved.GateUp.Keep(chunk, gateUp);
        Tensor activated = chunk.Temporary(x.Rows, Intermediate);
        ops.Elementwise.SwiGlu(gateUp, default, default, activated);
        chunk.Forward(activated, _down, y);
        chunk.Scratch.Release(mark);
    }

    /// <summary>Gradient of both projections' outputs, into <paramref name="deferred"/>: all that the weight gradients need.</summary>
    public void BackwardProjections(ChunkContext chunk, Tensor dy, FeedForwardSaved saved, FeedForwardDeferred deferred)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        Tensor dActivated = chunk.Temporary(dy.Rows, Intermediate);
        chunk.BackwardInput(dy, _down, dActivated);
        Tensor gateUp = saved.GateUp.Restore(chunk);
        ops.Elementwise.SwiGlu(gateUp, default, default, deferred.Activated);
        ops.Elementwise.SwiGluBackward(dActivated, gateUp, default, default, deferred.GateUpGradient, default);
        chunk.Scratch.Release(mark);
    }

    /// <summary>After <see cref="BackwardProjections"/>: dx (+)= gradient of x.</summary>
    public void BackwardInput(ChunkContext chunk, FeedForwardDeferred deferred, Tensor dx, bool accumulate) =>
        chunk.BackwardInput(deferred.GateUpGradient, _gateUp, dx, accumulate);

    /// <summary>Weight gradients; <paramref name="x"/> is the input of the forward, <paramref name="dy"/> the gradient of its output.</summary>
    public void BackwardWeights(ChunkContext chunk, Tensor x, Tensor dy, FeedForwardDeferred deferred, Tensor gradients, bool accumulate)
    {
        chunk.BackwardWeight(dy, deferred.Activated, _down, gradients, accumulate);
        chunk.BackwardWeight(deferred.GateUpGradient, x, _gateUp, gradients, accumulate);
    }
}
