namespace Hadal.Training.Recording;

/// <summary>What kind of tensor was recorded.</summary>
public enum TensorKind : byte
{
    /// <summary>Token ids of a micro-batch.</summary>
    Tokens,
    /// <summary>A parameter before the step, float32 masters; the format is that of its quantised copy.</summary>
    Weight,
    /// <summary>The input of a product.</summary>
    Activation,
    /// <summary>The gradient of an activation: of a product's output, or on its way to the experts.</summary>
    ActivationGradient,
    /// <summary>A tensor that is kept from forward to backward.</summary>
    Cache,
    /// <summary>The gradient of a parameter, summed over the micro-batches, before clipping.</summary>
    WeightGradient,
}

/// <summary>A tensor that is recorded in every recorded step.</summary>
/// <param name="Kind">Its kind.</param>
/// <param name="Layer">Block it belongs to; −1 for embedding, final norm, head and tokens.</param>
/// <param name="Name">For example <c>self_attn.o_proj input</c>; unique together with kind and layer.</param>
/// <param name="Format">How the recipe stores or multiplies it, for example <c>e4m3 tile</c>.</param>
public sealed record RecordedTensor(TensorKind Kind, int Layer, string Name, string Format)
{
    /// <summary>With its layer, for people.</summary>
    public string Title => Layer < 0 ? Name : $"layer {Layer}, {Name}";

    /// <summary>The kind in a word or two.</summary>
    public string KindName => Kind switch
    {
        TensorKind.Tokens => "tokens",
        TensorKind.Weight => "weight",
        TensorKind.Activation => "activation",
        TensorKind.ActivationGradient => "gradient",
        TensorKind.Cache => "cache",
        _ => "weight gradient",
    };

    /// <summary>What makes it the same tensor in two runs: everything but the format.</summary>
    internal (TensorKind Kind, int Layer, string Name) Key => (Kind, Layer, Name);
}
