using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>What an MTP module keeps besides its block's record.</summary>
public sealed class MtpSaved
{
    /// <summary>[tokens, hidden]: embeddings of the tokens k ahead.</summary>
    public CachedTensor Embedded { get; } = new();

    /// <summary>[tokens]: 1/rms of <see cref="Embedded"/>.</summary>
    public Tensor EmbeddedInverseRms { get; private set; }

    /// <summary>[tokens, hidden]: representation of the previous depth, after its final norm.</summary>
    public CachedTensor Previous { get; } = new();

    /// <summary>[tokens]: 1/rms of <see cref="Previous"/>.</summary>
    public Tensor PreviousInverseRms { get; private set; }

    /// <summary>Of the module's block.</summary>
    public BlockSaved Block { get; } = new();

    /// <summary>[tokens, hidden]: block output before the module's final norm.</summary>
    public CachedTensor Output { get; } = new();

    /// <summary>[tokens]: 1/rms of <see cref="Output"/>.</summary>
    public Tensor OutputInverseRms { get; private set; }

    /// <summary>[tokens, hidden]: input of the shared head.</summary>
    public Tensor Normed { get; private set; }

    /// <summary>[tokens, hidden]: gradient of <see cref="Normed"/> from the head.</summary>
    public Tensor NormedGradient { get; private set; }

    /// <summary>The tensors that a recipe gives a format, by name, those of the block among them.</summary>
    public IEnumerable<(string Name, CachedTensor Tensor)> Caches() =>
        [("Mtp." + nameof(Embedded), Embedded), ("Mtp." + nameof(Previous), Previous), .. Block.Caches(), ("Mtp." + nameof(Output), Output)];

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, MtpModule module, Recipe recipe, DType type, int tokens, IExpertExchange? exchange = null)
    {
        int hidden = module.Block.Shape.Hidden;
        Embedded.Allocate(arena, recipe.Residual, type, tokens, hidden);
        EmbeddedInverseRms = arena.Allocate(type, tokens);
        Previous.Allocate(arena, recipe.Residual, type, tokens, hidden);
        PreviousInverseRms = arena.Allocate(type, tokens);
        Block.Allocate(arena, module.Block, recipe, type, tokens, exchange);
        Output.Allocate(arena, recipe.Residual, type, tokens, hidden);
        OutputInverseRms = arena.Allocate(type, tokens);
        Normed = arena.Allocate(type, tokens, hidden);
        NormedGradient = arena.Allocate(type, tokens, hidden);
    }
}

/// <summary>
/// One multi-token-prediction module [V3 §2.2; model spec §5]: h' = M·[RMSNorm(Emb(t_{i+k})); RMSNorm(h_i)], one block, a norm, the shared head.
/// Concatenation and input follow the released checkpoints: embedding first, h after the final norm.
/// </summary>
public sealed class MtpModule
{
    readonly Parameter _embeddingNorm, _hiddenNorm, _join, _finalNorm, _embedding;

    internal MtpModule(ParameterSet set, TransformerShape shape, int depth, Parameter embedding, Tensor rotary)
    {
        _embedding = embedding;
        string prefix = $"model.layers.{shape.Layers + depth}.";
        _embeddingNorm = set.Add(prefix + "enorm.weight", ParameterKind.Norm, [shape.Hidden], null);
        _hiddenNorm = set.Add(prefix + "hnorm.weight", ParameterKind.Norm, [shape.Hidden], null);
        _join = set.Add(prefix + "eh_proj.weight", ParameterKind.Projection, [shape.Hidden, 2 * shape.Hidden], ProductUses.Training);
        Block = new Block(set, shape, shape.Layers + depth, rotary);
        _finalNorm = set.Add(prefix + "shared_head.norm.weight", ParameterKind.Norm, [shape.Hidden], null);
    }

    /// <summary>The module's transformer block.</summary>
    public Block Block { get; }

    /// <summary>Fills <paramref name="saved"/> up to the input of the head.</summary>
    /// <param name="tokens">I32 [tokens]: the token k places ahead of each position.</param>
    /// <param name="previous">[tokens, hidden]: representation of the previous depth after its final norm.</param>
    public void Forward(ChunkContext chunk, Tensor tokens, Tensor previous, MtpSaved saved)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        int rows = previous.Rows, hidden = Block.Shape.Hidden;
        Tensor embedded = saved.Embedded.Begin(chunk);
        ops.Embedding.Embed(tokens, _embedding.Value, embedded);
        chunk.Round(embedded);
        saved.Embedded.Keep(chunk, embedded);
        Tensor joined = Join(chunk, embedded, saved.Previous.Hold(chunk, previous), saved);
        Tensor x = chunk.Temporary(rows, hidden), output = saved.Output.Begin(chunk);
        chunk.Forward(joined, _join, x);
        Block.Forward(chunk, x, saved.Block, output);
        saved.Output.Keep(chunk, output);
        ops.Elementwise.RmsNorm(output, _finalNorm.Value, Block.Shape.NormEpsilon, saved.Normed, saved.OutputInverseRms);
        chunk.Scratch.Release(mark);
    }

    /// <summary>
    /// The module over its own part of the paged latent cache, for speculation [inference spec §6]: the new rows are appended to <paramref name="cache"/>, and
    /// <paramref name="normed"/> becomes the input of the head. Positions are those of <paramref name="previous"/>.
    /// </summary>
    /// <param name="tokens">I32 [tokens]: the token after each position.</param>
    /// <param name="previous">[tokens, hidden]: output of the main model after its final norm.</param>
    /// <param name="pages">Where each request stands.</param>
    /// <param name="cache">[pages, 64, latent + rope] of this module.</param>
    /// <param name="saved">Memory of the block, for this many tokens.</param>
    /// <param name="normed">[tokens, hidden].</param>
    public void ForwardAbsorbed(ChunkContext chunk, Tensor tokens, Tensor previous, LatentPages pages, Tensor cache, BlockSaved saved, Tensor normed)
    {
        ArenaMark mark = chunk.Scratch.Mark();
        Tensor x = Input(chunk, tokens, previous);
        Block.ForwardAbsorbed(chunk, x, pages, cache, saved, x);
        chunk.Operations.Elementwise.RmsNorm(x, _finalNorm.Value, Block.Shape.NormEpsilon, normed, default);
        chunk.Scratch.Release(mark);
    }

    /// <summary>
    /// Only the part of <see cref="ForwardAbsorbed"/> that writes the rows of the cache, the same bits: all that later positions need of those that draft nothing.
    /// </summary>
    /// <param name="tokens">I32 [tokens]: the token after each position.</param>
    /// <param name="previous">[tokens, hidden]: output of the main model after its final norm.</param>
    /// <param name="pages">Where each request stands.</param>
    /// <param name="cache">[pages, 64, latent + rope] of this module.</param>
    public void AppendLatent(ChunkContext chunk, Tensor tokens, Tensor previous, LatentPages pages, Tensor cache)
    {
        ArenaMark mark = chunk.Scratch.Mark();
        Block.Attention.AppendLatent(chunk, Input(chunk, tokens, previous), pages, cache);
        chunk.Scratch.Release(mark);
    }

    /// <summary>[tokens, hidden]: what the block gets; a temporary.</summary>
    Tensor Input(ChunkContext chunk, Tensor tokens, Tensor previous)
    {
        IOperations ops = chunk.Operations;
        int rows = previous.Rows, hidden = Block.Shape.Hidden;
        double epsilon = Block.Shape.NormEpsilon;
        Tensor embedded = chunk.Temporary(rows, hidden), joined = chunk.Temporary(rows, 2 * hidden), x = chunk.Temporary(rows, hidden);
        ops.Embedding.Embed(tokens, _embedding.Value, embedded);
        chunk.Round(embedded);
        ops.Elementwise.RmsNorm(embedded, _embeddingNorm.Value, epsilon, joined.SliceColumns(0, hidden), default);
        ops.Elementwise.RmsNorm(previous, _hiddenNorm.Value, epsilon, joined.SliceColumns(hidden, hidden), default);
        chunk.Forward(joined, _join, x);
        return x;
    }

    /// <summary>[tokens, 2·hidden]: both norms side by side, embedding first.</summary>
    Tensor Join(ChunkContext chunk, Tensor embedded, Tensor previous, MtpSaved saved)
    {
        IElementwiseOperations elementwise = chunk.Operations.Elementwise;
        int hidden = Block.Shape.Hidden;
        double epsilon = Block.Shape.NormEpsilon;
        Tensor joined = chunk.Temporary(embedded.Rows, 2 * hidden);
        elementwise.RmsNorm(embedded, _embeddingNorm.Value, epsilon, joined.SliceColumns(0, hidden), saved.EmbeddedInverseRms);
        elementwise.RmsNorm(previous, _hiddenNorm.Value, epsilon, joined.SliceColumns(hidden, hidden), saved.PreviousInverseRms);
        return joined;
    }

    /// <summary>
    /// Backward from <see cref="MtpSaved.NormedGradient"/>: weight gradients of the module, the embedding's share added to <paramref name="gradients"/>,
    /// and dPrevious added to.
    /// </summary>
    /// <param name="chunk">The chunk.</param>
    /// <param name="tokens">As in <see cref="Forward"/>.</param>
    /// <param name="saved">The record.</param>
    /// <param name="deferred">Memory between gradients.</param>
    /// <param name="gradients">Flat.</param>
    /// <param name="dPrevious">[tokens, hidden], added to.</param>
    /// <param name="dEmbedding">[tokens, hidden]: receives the gradient of the embedded tokens instead of the embedding, which another rank has; absent otherwise.</param>
    public void Backward(ChunkContext chunk, Tensor tokens, MtpSaved saved, BlockDeferred deferred, Tensor gradients, Tensor dPrevious, Tensor dEmbedding = default)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        int rows = saved.Output.Rows, hidden = Block.Shape.Hidden;
        Tensor dx = chunk.Temporary(rows, hidden), output = saved.Output.Restore(chunk);
        ops.Elementwise.RmsNormBackwardInput(saved.NormedGradient, output, _finalNorm.Value, saved.OutputInverseRms, dx, accumulate: false);
        ops.Elementwise.RmsNormBackwardWeight(saved.NormedGradient, output, saved.OutputInverseRms, _finalNorm.View(gradients), accumulate: false);
        chunk.Round(dx);
        Block.BackwardInput(chunk, dx, saved.Block, deferred, dx);
        Block.BackwardWeights(chunk, saved.Block, deferred, gradients, accumulate: false);

        Tensor embedded = saved.Embedded.Restore(chunk), previous = saved.Previous.Restore(chunk), joined = Join(chunk, embedded, previous, saved);
        Tensor dJoined = chunk.Temporary(rows, 2 * hidden);
        chunk.BackwardInput(dx, _join, dJoined);
        chunk.BackwardWeight(dx, joined, _join, gradients, accumulate: false);
        Tensor dEmbeddedNormed = dJoined.SliceColumns(0, hidden), dPreviousNormed = dJoined.SliceColumns(hidden, hidden);
        ops.Elementwise.RmsNormBackwardWeight(dEmbeddedNormed, embedded, saved.EmbeddedInverseRms, _embeddingNorm.View(gradients), accumulate: false);
        ops.Elementwise.RmsNormBackwardWeight(dPreviousNormed, previous, saved.PreviousInverseRms, _hiddenNorm.View(gradients), accumulate: false);
        Tensor dEmbedded = dEmbedding.IsEmpty ? chunk.Temporary(rows, hidden) : dEmbedding;
        ops.Elementwise.RmsNormBackwardInput(dEmbeddedNormed, embedded, _embeddingNorm.Value, saved.EmbeddedInverseRms, dEmbedded, accumulate: false);
        if (dEmbedding.IsEmpty) ops.Embedding.EmbedBackward(tokens, dEmbedded, _embedding.View(gradients), accumulate: true);
        ops.Elementwise.RmsNormBackwardInput(dPreviousNormed, previous, _hiddenNorm.Value, saved.PreviousInverseRms, dPrevious, accumulate: true);
        chunk.Scratch.Release(mark);
    }
}
