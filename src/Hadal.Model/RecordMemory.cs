using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>One tensor of a block's record and what it takes.</summary>
/// <param name="Name">Field of the record.</param>
/// <param name="Format">What its elements are, for example <c>e4m3 tile</c> or <c>i32</c>.</param>
/// <param name="Bytes">Bytes of the elements.</param>
public readonly record struct RecordMemoryEntry(string Name, string Format, long Bytes);

/// <summary>
/// What blocks keep from forward to backward under a recipe, from the records themselves: they are allocated as in a step, from memory that is counted and does not exist.
/// </summary>
/// <param name="Tokens">Tokens of the micro-batch.</param>
/// <param name="Dense">Entries of a dense block; empty when the shape has none.</param>
/// <param name="Sparse">Entries of a block with experts; empty when the shape has none.</param>
/// <param name="DenseReserved">Bytes a dense block's record takes from its arena, alignment included.</param>
/// <param name="SparseReserved">As <paramref name="DenseReserved"/> for a block with experts.</param>
public sealed record RecordMemory(int Tokens, IReadOnlyList<RecordMemoryEntry> Dense, IReadOnlyList<RecordMemoryEntry> Sparse, long DenseReserved, long SparseReserved)
{
    /// <summary>Bytes per token of a dense block; 0 when there is none.</summary>
    public double DenseBytesPerToken => Dense.Sum(e => (double)e.Bytes) / Tokens;

    /// <summary>Bytes per token of a block with experts; 0 when there is none.</summary>
    public double SparseBytesPerToken => Sparse.Sum(e => (double)e.Bytes) / Tokens;

    /// <summary>Elements per token that a dense block's backward leaves for its weight gradients while they wait; 0 when there is none. They are of the model's activation type.</summary>
    public double DenseDeferredPerToken { get; init; }

    /// <summary>As <see cref="DenseDeferredPerToken"/> for a block with experts.</summary>
    public double SparseDeferredPerToken { get; init; }

    /// <summary>Bytes per token of all main blocks of a shape.</summary>
    public double BytesPerToken(TransformerShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        double bytes = 0;
        for (int layer = 0; layer < shape.Layers; layer++) bytes += shape.IsSparse(layer) ? SparseBytesPerToken : DenseBytesPerToken;
        return bytes;
    }

    /// <summary>Counts for a shape, a recipe and a micro-batch.</summary>
    public static RecordMemory Of(TransformerShape shape, Recipe recipe, int tokens)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(recipe);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tokens);
        IReadOnlyList<Block> blocks = Transformer.DeclareBlocks(shape, recipe);
        Block? denseBlock = blocks.FirstOrDefault(b => b.Routed is null), sparseBlock = blocks.FirstOrDefault(b => b.Routed is not null);
        (RecordMemoryEntry[] dense, long denseReserved) = Count(denseBlock, recipe, tokens);
        (RecordMemoryEntry[] sparse, long sparseReserved) = Count(sparseBlock, recipe, tokens);
        return new RecordMemory(tokens, dense, sparse, denseReserved, sparseReserved)
        {
            DenseDeferredPerToken = Deferred(denseBlock, tokens), SparseDeferredPerToken = Deferred(sparseBlock, tokens),
        };
    }

    static double Deferred(Block? block, int tokens)
    {
        if (block is null) return 0;
        using var backend = new CountedBackend();
        using var arena = new TensorArena(backend);
        new BlockDeferred().Allocate(arena, block, DType.F32, tokens);
        return arena.UsedBytes / 4.0 / tokens;
    }

    static (RecordMemoryEntry[] Entries, long Reserved) Count(Block? block, Recipe recipe, int tokens)
    {
        if (block is null) return ([], 0);
        using var backend = new CountedBackend();
        using var arena = new TensorArena(backend);
        var saved = new BlockSaved();
        saved.Allocate(arena, block, recipe, DType.F32, tokens);
        return ([.. saved.Entries().Where(e => !e.Tensor.IsEmpty).Select(e => new RecordMemoryEntry(e.Name, e.Tensor.DType == DType.I32 ? "i32" : e.Format.ToString(), e.Bytes))], arena.UsedBytes);
    }

    /// <summary>A backend whose memory has a size and no bytes.</summary>
    sealed class CountedBackend : IBackend
    {
        public string Name => "counted";

        public string Description => "memory that is counted and does not exist";

        public IOperations Operations => throw new InvalidOperationException("Counted memory cannot be computed with.");

        public TensorMemory Allocate(long bytes) => new Counted(bytes);

        public void Synchronize()
        {
            // Nothing runs.
        }

        public void Dispose()
        {
            // There is no memory.
        }

        sealed class Counted(long bytes) : TensorMemory
        {
            public override nint Address => 64;

            public override long Bytes => bytes;

            public override bool IsHost => false;

            protected override void Dispose(bool disposing)
            {
                // There is no memory.
            }
        }
    }
}
