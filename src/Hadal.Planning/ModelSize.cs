using System.Globalization;
using Hadal.Model;

namespace Hadal.Planning;

/// <summary>Parameters of one block, or of an MTP module, by kind.</summary>
/// <param name="Layer">Index in the checkpoint; MTP blocks follow the main ones.</param>
/// <param name="Attention">Projections of attention, norms not counted.</param>
/// <param name="FeedForward">The dense feed-forward, or the shared experts.</param>
/// <param name="Experts">All routed experts.</param>
/// <param name="Gate">The router's weights.</param>
/// <param name="Join">The projection that joins embedding and representation in an MTP module.</param>
/// <param name="Other">Norms and selection biases.</param>
public sealed record LayerSize(int Layer, long Attention, long FeedForward, long Experts, long Gate, long Join, long Other)
{
    /// <summary>What every rank of the stage holds.</summary>
    public long Dense => Attention + FeedForward + Gate + Join + Other;

    /// <summary>All.</summary>
    public long Total => Dense + Experts;

    /// <summary>Of the dense ones, those whose products a recipe may quantise.</summary>
    public long DenseProjections => Attention + FeedForward + Join;

    /// <summary>Weights that multiply one token's row: of the experts only the chosen ones.</summary>
    public double Multiplied(TransformerShape shape) =>
        Attention + FeedForward + Gate + Join + (Experts == 0 ? 0 : (double)Experts * shape.Gate.TopK / shape.Gate.Experts);

    /// <summary>True when the block routes.</summary>
    public bool IsSparse => Experts > 0;
}

/// <summary>How large a model is, counted on the parameters that it declares; nothing is allocated.</summary>
/// <param name="Shape">The model.</param>
/// <param name="Layers">Main blocks in order.</param>
/// <param name="Mtp">MTP modules in order.</param>
/// <param name="Embedding">Of the embedding.</param>
/// <param name="Head">Of the head; 0 when it is the embedding.</param>
/// <param name="FinalNorm">Of the last norm.</param>
public sealed record ModelSize(TransformerShape Shape, IReadOnlyList<LayerSize> Layers, IReadOnlyList<LayerSize> Mtp, long Embedding, long Head, long FinalNorm)
{
    /// <summary>Parameters of the main model, without MTP modules.</summary>
    public long Main => Embedding + Head + FinalNorm + Layers.Sum(layer => layer.Total);

    /// <summary>All parameters.</summary>
    public long Total => Main + Mtp.Sum(layer => layer.Total);

    /// <summary>
    /// Weights that take part in products for one token of the main model: chosen experts, head, no embedding (a look-up). 36.63 billion for V3.
    /// </summary>
    public double Multiplied => Layers.Sum(layer => layer.Multiplied(Shape)) + (Head == 0 ? Embedding : Head);

    /// <summary>
    /// Floating-point operations of training for one token of the main model: three times the forward, which is two for each multiplied weight and, for attention, two for
    /// each head, query or value element and visible position. MTP is not counted, as in the published utilisation.
    /// </summary>
    /// <param name="sequenceLength">Tokens of a sequence, T.</param>
    /// <param name="causal">Count the T/2 positions that a query sees on average; else all T, as figures called non-causal do.</param>
    public double FlopsPerToken(int sequenceLength, bool causal) => 3 * ((2 * Multiplied) + (Layers.Count * AttentionFlops(sequenceLength, causal)));

    /// <summary>Operations of scores and weighted values of one token in one layer, forward.</summary>
    public double AttentionFlops(int sequenceLength, bool causal) =>
        2.0 * Shape.Heads * (Shape.QkHeadDim + Shape.ValueHeadDim) * sequenceLength / (causal ? 2 : 1);

    /// <summary>Counts a shape.</summary>
    public static ModelSize Of(TransformerShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        var layers = new LayerSize[shape.Layers + shape.MtpDepth];
        for (int i = 0; i < layers.Length; i++) layers[i] = new(i, 0, 0, 0, 0, 0, 0);
        long embedding = 0, head = 0, finalNorm = 0;
        foreach (Parameter parameter in Transformer.Declare(shape))
        {
            // The parameter's own count of elements is an int; the experts of one published layer have more.
            long length = parameter.Shape.Aggregate(1L, (product, extent) => checked(product * extent));
            (int index, string rest) = LayerOf(parameter.Name);
            if (index < 0)
            {
                if (parameter.Kind == ParameterKind.Norm) finalNorm += length;
                else if (parameter.Name.StartsWith("lm_head", StringComparison.Ordinal)) head += length;
                else embedding += length;
                continue;
            }

            LayerSize layer = layers[index];
            layers[index] = parameter.Kind switch
            {
                ParameterKind.Norm or ParameterKind.SelectionBias => layer with { Other = layer.Other + length },
                ParameterKind.Gate => layer with { Gate = layer.Gate + length },
                _ when rest.StartsWith("self_attn.", StringComparison.Ordinal) => layer with { Attention = layer.Attention + length },
                _ when rest.StartsWith("mlp.experts.", StringComparison.Ordinal) => layer with { Experts = layer.Experts + length },
                _ when rest.StartsWith("mlp.", StringComparison.Ordinal) => layer with { FeedForward = layer.FeedForward + length },
                _ => layer with { Join = layer.Join + length },
            };
        }

        return new(shape, layers[..shape.Layers], layers[shape.Layers..], embedding, head, finalNorm);
    }

    static (int Layer, string Tail) LayerOf(string name)
    {
        const string prefix = "model.layers.";
        if (!name.StartsWith(prefix, StringComparison.Ordinal)) return (-1, name);
        int dot = name.IndexOf('.', prefix.Length);
        return (int.Parse(name.AsSpan(prefix.Length, dot - prefix.Length), CultureInfo.InvariantCulture), name[(dot + 1)..]);
    }
}
