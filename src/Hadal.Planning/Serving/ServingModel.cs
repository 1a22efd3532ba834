using Hadal.Model;

namespace Hadal.Planning.Serving;

/// <summary>What serving a model takes: bytes and operations, counted on its parameters. Weights are FP8, embedding, head and gate BF16; the cache holds one latent a token and layer in BF16.</summary>
/// <param name="Shape">The model.</param>
public sealed record ServingModel(TransformerShape Shape)
{
    /// <summary>Layers with routed experts, MTP not counted.</summary>
    public int SparseLayers { get; } = Enumerable.Range(0, Shape.Layers).Count(Shape.IsSparse);

    /// <summary>Weights of one expert; as many bytes.</summary>
    public double ExpertBytes => 3.0 * Shape.Hidden * Shape.ExpertIntermediate;

    /// <summary>Projections of one layer's attention; as many bytes.</summary>
    public double AttentionWeights
    {
        get
        {
            double query = Shape.QueryLoraRank == 0
                ? (double)Shape.Hidden * Shape.Heads * Shape.QkHeadDim
                : Shape.QueryLoraRank * (Shape.Hidden + ((double)Shape.Heads * Shape.QkHeadDim));
            double values = ((double)Shape.Hidden * Shape.LatentDim) + (Shape.KeyValueLoraRank * (double)Shape.Heads * (Shape.QkNopeHeadDim + Shape.ValueHeadDim));
            return query + values + ((double)Shape.Heads * Shape.ValueHeadDim * Shape.Hidden);
        }
    }

    /// <summary>Shared experts of one layer.</summary>
    public double SharedWeights => ExpertBytes * Shape.SharedExperts;

    /// <summary>Dense feed-forward of one layer.</summary>
    public double DenseWeights => 3.0 * Shape.Hidden * Shape.DenseIntermediate;

    /// <summary>Bytes of what every GPU holds when attention is data parallel: all but the routed experts.</summary>
    public double ReplicatedBytes =>
        (Shape.Layers * AttentionWeights) + (SparseLayers * (SharedWeights + (2.0 * Shape.Hidden * Shape.Gate.Experts))) + ((Shape.Layers - SparseLayers) * DenseWeights)
        + (4.0 * Shape.Vocabulary * Shape.Hidden);

    /// <summary>Bytes of the cache for one token.</summary>
    public double CacheBytes => 2.0 * Shape.LatentDim * Shape.Layers;

    /// <summary>Bytes of a token's row on its way to an expert: FP8 with a scale for each 128, its place, experts and gate weights.</summary>
    public double OutBytes => Shape.Hidden + (4.0 * ((Shape.Hidden + 127) / 128)) + 8 + (8.0 * Shape.Gate.TopK);

    /// <summary>Bytes of a row on its way back: BF16.</summary>
    public double BackBytes => 2.0 * Shape.Hidden;

    /// <summary>Bytes of weights on a GPU with so many slots a layer.</summary>
    public double WeightBytes(int slotsPerGpu) => ReplicatedBytes + (SparseLayers * slotsPerGpu * ExpertBytes);
}
