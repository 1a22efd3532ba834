using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>
/// What a phase works on: the operations (bound to a stream), memory for temporaries, the tokens' positions and sequences.
/// Two chunks with their own contexts can run interleaved.
/// </summary>
public sealed class ChunkContext
{
    /// <summary>Operations bound to the chunk's stream.</summary>
    public required IOperations Operations { get; init; }

    /// <summary>Temporaries, used as a stack.</summary>
    public required TensorArena Scratch { get; init; }

    /// <summary>Element type of activations.</summary>
    public required DType DType { get; init; }

    /// <summary>How rows reach experts and come back.</summary>
    public required IExpertExchange Exchange { get; init; }

    /// <summary>I32 [tokens]: position of each token in its sequence.</summary>
    public Tensor Positions { get; set; }

    /// <summary>I32 [sequences + 1]: token offsets of the sequences.</summary>
    public Tensor Sequences { get; set; }

    /// <summary>α of the sequence-wise balance loss, 0 for none.</summary>
    public double BalanceAlpha { get; set; }

    /// <summary>Factor on the balance loss, 1/sequences of the global batch.</summary>
    public double BalanceWeight { get; set; }

    /// <summary>A temporary of the chunk's element type.</summary>
    public Tensor Temporary(params ReadOnlySpan<int> shape) => Scratch.Allocate(DType, shape);
}

/// <summary>A named tensor of a record, for pricing and for flight recorders.</summary>
/// <param name="Name">Field of the record.</param>
/// <param name="Tensor">The view.</param>
public readonly record struct RecordEntry(string Name, Tensor Tensor)
{
    /// <summary>Bytes of the tensor.</summary>
    public long Bytes => Tensor.IsEmpty ? 0 : Tensor.Length * Tensor.DType.Size();
}
