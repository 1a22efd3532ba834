using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>What a block keeps from forward to backward.</summary>
public sealed class BlockSaved
{
    /// <summary>Of the attention phase.</summary>
    public AttentionSaved Attention { get; } = new();

    /// <summary>[tokens, hidden]: residual stream between attention and feed-forward.</summary>
    public CachedTensor Middle { get; } = new();

    /// <summary>[tokens]: 1/rms of <see cref="Middle"/>.</summary>
    public Tensor MiddleInverseRms { get; private set; }

    /// <summary>Of the dense feed-forward or the shared experts; null without either.</summary>
    public FeedForwardSaved? FeedForward { get; private set; }

    /// <summary>Of the routed experts; null in a dense block.</summary>
    public RoutedSaved? Routed { get; private set; }

    /// <summary>Takes memory for <paramref name="tokens"/> tokens of <paramref name="block"/>.</summary>
    /// <param name="arena">Where from.</param>
    /// <param name="block">The block.</param>
    /// <param name="recipe">Formats.</param>
    /// <param name="type">Element type of activations.</param>
    /// <param name="tokens">Tokens of the chunk.</param>
    /// <param name="exchange">How rows reach experts, which decides how many this rank gets; local when null.</param>
    public void Allocate(TensorArena arena, Block block, Recipe recipe, DType type, int tokens, IExpertExchange? exchange = null)
    {
        TransformerShape shape = block.Shape;
        Attention.Allocate(arena, shape, recipe, type, tokens);
        Middle.Allocate(arena, recipe.Residual, type, tokens, shape.Hidden);
        MiddleInverseRms = arena.Allocate(type, tokens);
        if (block.FeedForward is not null) (FeedForward ??= new()).Allocate(arena, recipe, type, tokens, block.FeedForward.Intermediate);
        else FeedForward = null;
        if (block.Routed is not null) (Routed ??= new()).Allocate(arena, shape, recipe, type, tokens, exchange);
        else Routed = null;
    }

    /// <summary>The tensors that a recipe gives a format, by name.</summary>
    public IEnumerable<(string Name, CachedTensor Tensor)> Caches()
    {
        foreach ((string name, CachedTensor tensor) in Attention.Caches())
            if (tensor.IsAllocated) yield return ("Attention." + name, tensor);
        yield return (nameof(Middle), Middle);
        if (FeedForward is not null) yield return ("FeedForward.GateUp", FeedForward.GateUp);
        if (Routed is null) yield break;
        yield return ("Routed.Rows", Routed.Rows);
        yield return ("Routed.GateUp", Routed.GateUp);
    }

    /// <summary>The record's tensors by name.</summary>
    public IEnumerable<RecordEntry> Entries()
    {
        foreach (RecordEntry entry in Attention.Entries()) yield return entry with { Name = "Attention." + entry.Name };
        foreach (RecordEntry entry in Middle.Entries(nameof(Middle))) yield return entry;
        yield return new(nameof(MiddleInverseRms), MiddleInverseRms);
        if (FeedForward is not null)
            foreach (RecordEntry entry in FeedForward.GateUp.Entries("FeedForward.GateUp")) yield return entry;
        if (Routed is null) yield break;
        foreach (RecordEntry entry in Routed.Entries()) yield return entry with { Name = "Routed." + entry.Name };
    }
}

/// <summary>What a block's backward leaves for its weight gradients.</summary>
public sealed class BlockDeferred
{
    /// <summary>Of the attention phase.</summary>
    public AttentionDeferred Attention { get; } = new();

    /// <summary>[tokens, hidden]: gradient of the block's output, kept while the feed-forward's weight gradients wait.</summary>
    public Tensor OutputGradient { get; private set; }

    /// <summary>[tokens, hidden]: recomputed norm of the middle.</summary>
    public Tensor Normed { get; private set; }

    /// <summary>[tokens, hidden]: its gradient.</summary>
    public Tensor NormedGradient { get; private set; }

    /// <summary>Of the dense feed-forward or the shared experts.</summary>
    public FeedForwardDeferred? FeedForward { get; private set; }

    /// <summary>Of the routed experts.</summary>
    public RoutedDeferred? Routed { get; private set; }

    /// <summary>Takes memory for <paramref name="tokens"/> tokens of <paramref name="block"/>.</summary>
    public void Allocate(TensorArena arena, Block block, DType type, int tokens, IExpertExchange? exchange = null)
    {
        TransformerShape shape = block.Shape;
        Attention.Allocate(arena, shape, type, tokens);
        OutputGradient = arena.Allocate(type, tokens, shape.Hidden);
        Normed = arena.Allocate(type, tokens, shape.Hidden);
        NormedGradient = arena.Allocate(type, tokens, shape.Hidden);
        if (block.FeedForward is not null) (FeedForward ??= new()).Allocate(arena, type, tokens, block.FeedForward.Intermediate);
        if (block.Routed is not null) (Routed ??= new()).Allocate(arena, shape, type, tokens, exchange);
    }
}

/// <summary>
/// One transformer block as named phases [docs/architecture.md]: attention, route, dispatch, experts (shared and routed), combine, add. The plain
/// loop calls <see cref="Forward"/>, <see cref="BackwardInput"/>, <see cref="BackwardWeights"/>; a schedule may call the phases of its layers itself.
/// </summary>
public sealed class Block
{
    readonly Parameter _norm;

    internal Block(ParameterSet set, TransformerShape shape, int layer, Tensor rotary)
    {
        Shape = shape;
        Layer = layer;
        string prefix = $"model.layers.{layer}.";
        Attention = new AttentionLayer(set, shape, prefix, rotary);
        _norm = set.Add(prefix + "post_attention_layernorm.weight", ParameterKind.Norm, [shape.Hidden], null);
        if (!shape.IsSparse(layer))
        {
            FeedForward = new FeedForward(set, prefix + "mlp.", shape.Hidden, shape.DenseIntermediate);
            return;
        }

        if (shape.SharedExperts > 0)
            FeedForward = new FeedForward(set, prefix + "mlp.shared_experts.", shape.Hidden, shape.SharedExperts * shape.ExpertIntermediate);
        Routed = new RoutedExperts(set, shape, prefix + "mlp.");
    }

    /// <summary>The model's shape.</summary>
    public TransformerShape Shape { get; }

    /// <summary>Index in the checkpoint; MTP blocks follow the main ones.</summary>
    public int Layer { get; }

    /// <summary>Phase attention.</summary>
    public AttentionLayer Attention { get; }

    /// <summary>Dense feed-forward, or the shared experts of a sparse block; null when there are none.</summary>
    public FeedForward? FeedForward { get; }

    /// <summary>Gate and routed experts; null in a dense block.</summary>
    public RoutedExperts? Routed { get; }

    /// <summary>All phases in order. x, y [tokens, hidden], may be the same.</summary>
    public void Forward(ChunkContext chunk, Tensor x, BlockSaved saved, Tensor y)
    {
        BlockForward phases = chunk.ForwardPhases;
        phases.Attention(this, chunk, x, saved, y);
        Rest(phases);
    }

    /// <summary>All phases with attention over the latent cache.</summary>
    public void ForwardAbsorbed(ChunkContext chunk, Tensor x, LatentPages pages, Tensor cache, BlockSaved saved, Tensor y)
    {
        BlockForward phases = chunk.ForwardPhases;
        phases.AttentionAbsorbed(this, chunk, x, pages, cache, saved, y);
        Rest(phases);
    }

    static void Rest(BlockForward phases)
    {
        phases.Dispatch();
        phases.Experts();
        phases.Combine();
    }

    /// <summary>dx from dy, phases in reverse; weight gradients wait in <paramref name="deferred"/>. dx may be dy.</summary>
    public void BackwardInput(ChunkContext chunk, Tensor dy, BlockSaved saved, BlockDeferred deferred, Tensor dx)
    {
        BlockBackward phases = chunk.BackwardPhases;
        phases.CombineBackward(this, chunk, dy, saved, deferred);
        phases.ExpertsInput();
        phases.DispatchBackward();
        phases.AttentionInput(dx);
    }

    /// <summary>All weight gradients of the block.</summary>
    public void BackwardWeights(ChunkContext chunk, BlockSaved saved, BlockDeferred deferred, Tensor gradients, bool accumulate)
    {
        BackwardExpertWeights(chunk, saved, deferred, gradients, accumulate);
        BackwardAttentionWeights(chunk, saved, deferred, gradients, accumulate);
    }

    /// <summary>Weight gradients of the feed-forward, routed and shared experts: possible after <see cref="BlockBackward.ExpertsInput"/>.</summary>
    public void BackwardExpertWeights(ChunkContext chunk, BlockSaved saved, BlockDeferred deferred, Tensor gradients, bool accumulate)
    {
        Routed?.BackwardExpertWeights(chunk, saved.Routed!, deferred.Routed!, gradients, accumulate);
        FeedForward?.BackwardWeights(chunk, deferred.Normed, deferred.OutputGradient, deferred.FeedForward!, gradients, accumulate);
    }

    /// <summary>The other weight gradients, gate and norm included: possible after <see cref="BlockBackward.AttentionInput"/>.</summary>
    public void BackwardAttentionWeights(ChunkContext chunk, BlockSaved saved, BlockDeferred deferred, Tensor gradients, bool accumulate)
    {
        Routed?.BackwardGateWeights(chunk, deferred.Normed, deferred.Routed!, gradients, accumulate);
        ArenaMark mark = chunk.Scratch.Mark();
        chunk.Operations.Elementwise.RmsNormBackwardWeight(deferred.NormedGradient, saved.Middle.Restore(chunk), saved.MiddleInverseRms, _norm.View(gradients), accumulate);
        chunk.Scratch.Release(mark);
        Attention.BackwardWeights(chunk, saved.Attention, deferred.Attention, gradients, accumulate);
    }

    internal void Norm(ChunkContext chunk, Tensor x, Tensor y, Tensor inverseRms) =>
        chunk.Operations.Elementwise.RmsNorm(x, _norm.Value, Shape.NormEpsilon, y, inverseRms);

    internal void NormBackward(ChunkContext chunk, Tensor dy, Tensor x, Tensor inverseRms, Tensor dx) =>
        chunk.Operations.Elementwise.RmsNormBackwardInput(dy, x, _norm.Value, inverseRms, dx, accumulate: true);
}
