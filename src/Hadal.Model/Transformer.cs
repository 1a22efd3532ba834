using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// DeepSeek-V3: embedding, blocks, final norm, head, and MTP modules sharing embedding and head. Holds weights and phases; the memory of a
/// running chunk is a <see cref="SequenceChunk"/>. Which thread runs it and how ranks talk is not its business.
/// </summary>
public sealed class Transformer : IDisposable
{
    readonly TensorArena _tables;
    readonly Parameter _embedding, _finalNorm;

    /// <summary>Builds the model with zero weights; initialise or load them.</summary>
    /// <param name="backend">Where tensors live and operations run.</param>
    /// <param name="shape">The architecture.</param>
    /// <param name="recipe">Precision of products and cached tensors.</param>
    /// <param name="type">F32; F64 on the Reference backend only.</param>
    public Transformer(IBackend backend, TransformerShape shape, Recipe recipe, DType type = DType.F32)
        : this(backend, shape, recipe, type, bind: true)
    {
    }

    Transformer(IBackend backend, TransformerShape shape, Recipe recipe, DType type, bool bind)
    {
        recipe.Validate();
        Backend = backend;
        Shape = shape;
        Recipe = recipe;
        DType = type;
        _tables = new TensorArena(backend);
        Tensor rotary = default;
        if (bind)
        {
            rotary = _tables.Allocate(type, shape.MaxPositions, shape.QkRopeHeadDim);
            RotaryTable.Fill(rotary, shape.RotaryTheta, shape.Yarn);
        }

        Parameters = new ParameterSet(backend, type);
        _embedding = Parameters.Add("model.embed_tokens.weight", ParameterKind.Vocabulary, [shape.Vocabulary, shape.Hidden],
            shape.TiedEmbeddings ? ProductUses.Training : null);
        var blocks = new Block[shape.Layers];
        for (int layer = 0; layer < blocks.Length; layer++) blocks[layer] = new Block(Parameters, shape, layer, rotary);
        Blocks = blocks;
        _finalNorm = Parameters.Add("model.norm.weight", ParameterKind.Norm, [shape.Hidden], null);
        Parameter projection = shape.TiedEmbeddings
            ? _embedding
            : Parameters.Add("lm_head.weight", ParameterKind.Vocabulary, [shape.Vocabulary, shape.Hidden], ProductUses.Training);
        Head = new Head(projection, shape);
        var mtp = new MtpModule[shape.MtpDepth];
        for (int depth = 0; depth < mtp.Length; depth++) mtp[depth] = new MtpModule(Parameters, shape, depth, _embedding, rotary);
        Mtp = mtp;
        if (bind) Parameters.Bind(recipe);
    }

    /// <summary>The parameters a shape has, declared without taking memory: for sizing and for checks before a load.</summary>
    public static IReadOnlyList<Parameter> Declare(TransformerShape shape)
    {
        using var model = new Transformer(NoMemory.Instance, shape, Recipe.Fp32, DType.F32, bind: false);
        return model.Parameters.All;
    }

    /// <summary>The main blocks of a shape, declared without taking memory.</summary>
    internal static IReadOnlyList<Block> DeclareBlocks(TransformerShape shape, Recipe recipe)
    {
        using var model = new Transformer(NoMemory.Instance, shape, recipe, DType.F32, bind: false);
        return model.Blocks;
    }

    /// <summary>The backend of declarations: it has no memory and runs nothing.</summary>
    sealed class NoMemory : IBackend
    {
        public static NoMemory Instance { get; } = new();

        public string Name => "none";

        public string Description => "declarations only";

        public IOperations Operations => throw new InvalidOperationException("A declared model has no operations.");

        public TensorMemory Allocate(long bytes) => throw new InvalidOperationException("A declared model has no memory.");

        public void Synchronize()
        {
        }

        public void Dispose()
        {
        }
    }

    /// <summary>Where it lives.</summary>
    public IBackend Backend { get; }

    /// <summary>The architecture.</summary>
    public TransformerShape Shape { get; }

    /// <summary>Precision.</summary>
    public Recipe Recipe { get; }

    /// <summary>Element type of weights and activations.</summary>
    public DType DType { get; }

    /// <summary>All parameters.</summary>
    public ParameterSet Parameters { get; }

    /// <summary>Main blocks in order.</summary>
    public IReadOnlyList<Block> Blocks { get; }

    /// <summary>MTP modules in order of depth.</summary>
    public IReadOnlyList<MtpModule> Mtp { get; }

    /// <summary>The shared head.</summary>
    public Head Head { get; }

    /// <summary>[vocabulary, hidden]: the embedding, shared with the MTP modules, and the head's projection too when they are tied.</summary>
    public Parameter Embedding => _embedding;

    /// <summary>All blocks that route, main and MTP, in order of layer.</summary>
    public IEnumerable<Block> SparseBlocks => Blocks.Concat(Mtp.Select(m => m.Block)).Where(b => b.Routed is not null);

    /// <summary>Call after weights changed: packed copies follow.</summary>
    public void Refresh()
    {
        Parameters.Refresh(Backend.Operations);

        // By index: enumerating an interface would allocate in every step.
        for (int layer = 0; layer < Blocks.Count; layer++) Blocks[layer].Attention.RefreshAbsorbed(Backend.Operations.Matrix);
        for (int depth = 0; depth < Mtp.Count; depth++) Mtp[depth].Block.Attention.RefreshAbsorbed(Backend.Operations.Matrix);
    }

    /// <summary>x[t] = embedding of tokens[t].</summary>
    public void Embed(ChunkContext chunk, Tensor tokens, Tensor x)
    {
        chunk.Operations.Embedding.Embed(tokens, _embedding.Value, x);
        chunk.Round(x);
    }

    /// <summary>Adds the embedding's gradient.</summary>
    public void EmbedBackward(ChunkContext chunk, Tensor tokens, Tensor dx, Tensor gradients) =>
        chunk.Operations.Embedding.EmbedBackward(tokens, dx, _embedding.View(gradients), accumulate: true);

    /// <summary>Final RMSNorm of the residual stream.</summary>
    public void FinalNorm(ChunkContext chunk, Tensor x, Tensor normed, Tensor inverseRms) =>
        chunk.Operations.Elementwise.RmsNorm(x, _finalNorm.Value, Shape.NormEpsilon, normed, inverseRms);

    /// <summary>Backward of <see cref="FinalNorm"/>; dx is overwritten.</summary>
    public void FinalNormBackward(ChunkContext chunk, Tensor dNormed, Tensor x, Tensor inverseRms, Tensor gradients, Tensor dx)
    {
        IElementwiseOperations elementwise = chunk.Operations.Elementwise;
        elementwise.RmsNormBackwardInput(dNormed, x, _finalNorm.Value, inverseRms, dx, accumulate: false);
        chunk.Round(dx);
        elementwise.RmsNormBackwardWeight(dNormed, x, inverseRms, _finalNorm.View(gradients), accumulate: false);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Block block in Blocks) block.Attention.Release();
        foreach (MtpModule module in Mtp) module.Block.Attention.Release();
        Parameters.Dispose();
        _tables.Dispose();
    }
}
