using Hadal.Tensors.Operations;

namespace Hadal.Tensors;

/// <summary>A device that holds tensors and runs the vocabulary of operations: Reference, Cpu, Cuda. Chosen by name, never silently replaced.</summary>
public interface IBackend : IDisposable
{
    /// <summary>The name a user types: <c>reference</c>, <c>cpu</c>, <c>cuda</c>.</summary>
    string Name { get; }

    /// <summary>What runs where, in one line: instruction set and threads, or card and driver.</summary>
    string Description { get; }

    /// <summary>The operations, queued on the backend's default stream. CPU streams run at once.</summary>
    IOperations Operations { get; }

    /// <summary>Allocates zeroed memory.</summary>
    TensorMemory Allocate(long bytes);

    /// <summary>Waits until everything queued has run.</summary>
    void Synchronize();
}

/// <summary>The closed vocabulary, by concern. An instance is bound to one stream.</summary>
public interface IOperations
{
    /// <summary>Copies, sums, norms, rotations, activation functions.</summary>
    IElementwiseOperations Elementwise { get; }

    /// <summary>Products with weights: plain, grouped by expert, batched by head.</summary>
    IMatrixOperations Matrix { get; }

    /// <summary>Causal attention over sequences, and over the paged latent cache.</summary>
    IAttentionOperations Attention { get; }

    /// <summary>Gate, balance loss, and moving rows to experts and back.</summary>
    IRoutingOperations Routing { get; }

    /// <summary>Embedding rows and cross-entropy.</summary>
    IEmbeddingOperations Embedding { get; }

    /// <summary>AdamW, norms of gradients, moving averages.</summary>
    IOptimizerOperations Optimizer { get; }

    /// <summary>Narrow formats, and products of quantised operands.</summary>
    IQuantizationOperations Quantization => throw new NotSupportedException($"{GetType().Name} has no quantised operations: use the recipe fp32, or another backend.");
}
