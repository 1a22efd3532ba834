using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// The architecture in the field's words [model spec §1], free of file formats. Sizes count elements.
/// </summary>
public sealed record TransformerShape
{
    /// <summary>Rows of embedding and head.</summary>
    public required int Vocabulary { get; init; }

    /// <summary>Width of the residual stream, d.</summary>
    public required int Hidden { get; init; }

    /// <summary>Main blocks, MTP modules not counted.</summary>
    public required int Layers { get; init; }

    /// <summary>Leading blocks whose feed-forward is dense.</summary>
    public required int DenseLayers { get; init; }

    /// <summary>From the first sparse layer on, every n-th is sparse; 1 in all published models.</summary>
    public int SparseFrequency { get; init; } = 1;

    /// <summary>Width of the dense feed-forward.</summary>
    public required int DenseIntermediate { get; init; }

    /// <summary>Width of one expert.</summary>
    public required int ExpertIntermediate { get; init; }

    /// <summary>Attention heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Rank of the compressed query; 0 when queries are projected directly.</summary>
    public required int QueryLoraRank { get; init; }

    /// <summary>Rank of the compressed keys and values, d_c.</summary>
    public required int KeyValueLoraRank { get; init; }

    /// <summary>Query and key dims per head without position.</summary>
    public required int QkNopeHeadDim { get; init; }

    /// <summary>Query and key dims per head that are rotated; the key's are shared by all heads. Even.</summary>
    public required int QkRopeHeadDim { get; init; }

    /// <summary>Value dims per head.</summary>
    public required int ValueHeadDim { get; init; }

    /// <summary>Shared experts; they act as one feed-forward of that many times the expert width.</summary>
    public required int SharedExperts { get; init; }

    /// <summary>The gate, with the number of routed experts.</summary>
    public required GateParameters Gate { get; init; }

    /// <summary>True when selection adds a bias per expert (<c>noaux_tc</c>).</summary>
    public required bool GateBias { get; init; }

    /// <summary>MTP modules.</summary>
    public required int MtpDepth { get; init; }

    /// <summary>RMSNorm ε.</summary>
    public required double NormEpsilon { get; init; }

    /// <summary>Rotary base.</summary>
    public required double RotaryTheta { get; init; }

    /// <summary>Context extension; null for plain rotary.</summary>
    public YarnShape? Yarn { get; init; }

    /// <summary>Longest sequence, positions.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>The head is the embedding.</summary>
    public bool TiedEmbeddings { get; init; }

    /// <summary>Query and key dims per head.</summary>
    public int QkHeadDim => QkNopeHeadDim + QkRopeHeadDim;

    /// <summary>What the cache holds per token and layer: latent and rotated key.</summary>
    public int LatentDim => KeyValueLoraRank + QkRopeHeadDim;

    /// <summary>Factor on scores before the softmax.</summary>
    public double SoftmaxScale => Math.Pow(QkHeadDim, -0.5) * (Yarn?.SoftmaxMagnitude ?? 1);

    /// <summary>Whether block <paramref name="layer"/> has experts. MTP blocks (layer ≥ <see cref="Layers"/>) do when any block does.</summary>
    public bool IsSparse(int layer) => Gate.Experts > 0 && DenseLayers < Layers && layer >= DenseLayers && (layer >= Layers || layer % SparseFrequency == 0);
}
