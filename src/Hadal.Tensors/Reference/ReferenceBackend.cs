using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Reference;

/// <summary>
/// The definition of every operation: plain loops, one thread, double precision inside, one rounding when a result is stored. F64 tensors keep
/// full precision, so finite differences and oracles work on it; every other element type is read exactly. Slow on purpose: read it to learn
/// what an operation means, and compare the fast backends with it.
/// </summary>
public sealed class ReferenceBackend : IBackend
{
    /// <inheritdoc/>
    public string Name => "reference";

    /// <inheritdoc/>
    public string Description => "plain loops in double precision, one thread";

    /// <inheritdoc/>
    public IOperations Operations { get; } = new ReferenceOperations();

    /// <inheritdoc/>
    public TensorMemory Allocate(long bytes) => new HostMemory(bytes);

    /// <inheritdoc/>
    public void Synchronize()
    {
        // Every operation has run when its call returns.
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Memory belongs to those who allocated it.
    }

    sealed class ReferenceOperations : IOperations
    {
        public IElementwiseOperations Elementwise { get; } = new ReferenceElementwise();

        public IMatrixOperations Matrix { get; } = new ReferenceMatrix();

        public IAttentionOperations Attention { get; } = new ReferenceAttention();

        public IRoutingOperations Routing { get; } = new ReferenceRouting();

        public IEmbeddingOperations Embedding { get; } = new ReferenceEmbedding();

        public IOptimizerOperations Optimizer { get; } = new ReferenceOptimizer();

        public IQuantizationOperations Quantization { get; } = new ReferenceQuantization();
    }
}
