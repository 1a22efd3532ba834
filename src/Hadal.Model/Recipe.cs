using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// Precision, explicit: the format, granularity, scale and accumulation of each product, and the format of each cached tensor [V3 §3.3]. There is no ambient precision; a
/// model is built with one recipe. Embedding, head, gate, norms and the attention core compute in float32 under every recipe; gradients of weights are float32.
/// Blocks of a weight are those of the public matrices: gate and up have blocks of their own, whatever their width.
/// </summary>
/// <param name="Name">The name a user types.</param>
/// <param name="Summary">One line for <c>--help</c> and logs.</param>
public sealed partial record Recipe(string Name, string Summary)
{
    /// <summary>y = x·Wᵀ of every projection: x, the weight.</summary>
    public ProductFormat Forward { get; init; } = ProductFormat.F32;

    /// <summary>dx = dy·W: dy, the weight.</summary>
    public ProductFormat InputGradient { get; init; } = ProductFormat.F32;

    /// <summary>dW = dyᵀ·x: dy, x, both quantised along the tokens.</summary>
    public ProductFormat WeightGradient { get; init; } = ProductFormat.F32;

    /// <summary>What the residual stream, attention outputs and the gradients of activations are rounded to: F32 or BF16.</summary>
    public NumberFormat Activations { get; init; }

    /// <summary>Scales of the input of the projection after attention; null for those of <see cref="Forward"/>.</summary>
    public ScaleKind? AttentionOutputScale { get; init; }

    /// <summary>Cached residual stream before attention and before the feed-forward; norms are recomputed from it.</summary>
    public QuantizationFormat Residual { get; init; } = QuantizationFormat.F32;

    /// <summary>Cached latents of queries, keys and values (and the rotated key); norms and up-projections are recomputed from them.</summary>
    public QuantizationFormat Latents { get; init; } = QuantizationFormat.F32;

    /// <summary>Cached attention output.</summary>
    public QuantizationFormat AttentionOutput { get; init; } = QuantizationFormat.F32;

    /// <summary>Cached gate and up outputs; SwiGLU is recomputed from them.</summary>
    public QuantizationFormat SwiGluInput { get; init; } = QuantizationFormat.F32;

    /// <summary>What dispatch carries, and the cached input of the routed experts. Combine carries <see cref="Activations"/>.</summary>
    public QuantizationFormat ExpertInput { get; init; } = QuantizationFormat.F32;

    /// <summary>What the backward of combine carries: gradients before the experts' down projections. Dispatch's backward carries <see cref="Activations"/>.</summary>
    public QuantizationFormat ExpertGradient { get; init; } = QuantizationFormat.F32;

    /// <summary>Steps whose maxima delayed scales are taken from.</summary>
    public int DelayedSteps { get; init; } = 16;

    /// <summary>True when some scale follows the maxima of earlier steps.</summary>
    public bool HasDelayedScales => Operands.Any(o => o.Format.Origin == ScaleOrigin.Delayed);

    /// <summary>Everything in FP32: products, cached tensors, gradients.</summary>
    public static Recipe Fp32 { get; } = new("fp32", "FP32 products, activations and gradients");

    /// <summary>BF16 operands and activations, FP32 accumulation and weight gradients.</summary>
    public static Recipe Bf16 { get; } = new("bf16", "BF16 products, activations and caches; FP32 accumulation, weights and their gradients")
    {
        Forward = ProductFormat.BF16(), InputGradient = ProductFormat.BF16(), WeightGradient = ProductFormat.BF16(NumberFormat.F32), Activations = NumberFormat.BF16,
        Residual = QuantizationFormat.BF16, Latents = QuantizationFormat.BF16, AttentionOutput = QuantizationFormat.BF16, SwiGluInput = QuantizationFormat.BF16,
        ExpertInput = QuantizationFormat.BF16, ExpertGradient = QuantizationFormat.BF16,
    };

    /// <summary>The report's: E4M3 with scales of 1×128 and 128×128, promoted every 128; E5M6 and E4M3 caches [V3 §3.2.3, §3.3].</summary>
    public static Recipe Fp8 { get; } = Bf16 with
    {
        Name = "fp8",
        Summary = "DeepSeek-V3's: E4M3 products with 1x128 and 128x128 scales, promoted every 128; E5M6 and E4M3 caches",
        Forward = new(QuantizationFormat.Tiles(), QuantizationFormat.Blocks(), Accumulation.Promoted, NumberFormat.BF16),
        InputGradient = new(QuantizationFormat.Tiles(), QuantizationFormat.Blocks(), Accumulation.Promoted, NumberFormat.BF16),
        WeightGradient = new(QuantizationFormat.Tiles(), QuantizationFormat.Tiles(), Accumulation.Promoted),
        AttentionOutputScale = ScaleKind.PowerOfTwo,
        AttentionOutput = QuantizationFormat.E5M6,
        SwiGluInput = QuantizationFormat.Tiles(),
        ExpertInput = QuantizationFormat.Tiles(ScaleKind.PowerOfTwo),
        ExpertGradient = QuantizationFormat.Tiles(ScaleKind.PowerOfTwo),
    };

    /// <summary>Block-wise quantisation of the gradients in the input-gradient products, which made a 16B model diverge [V3 appendix B.2].</summary>
    public static Recipe Fp8BlockGradients { get; } = Fp8 with
    {
        Name = "fp8-block-gradients",
        Summary = "fp8, with 128x128 scales on activation gradients (V3 appendix B.2)",
        InputGradient = Fp8.InputGradient with { Left = QuantizationFormat.Blocks() },
    };

    /// <summary>One scale a tensor, from its current maximum.</summary>
    public static Recipe Fp8PerTensor { get; } = Fp8 with
    {
        Name = "fp8-per-tensor",
        Summary = "fp8, with one scale a tensor from its current maximum",
        Forward = new(QuantizationFormat.WholeTensor(), QuantizationFormat.WholeTensor(), Accumulation.Promoted, NumberFormat.BF16),
        InputGradient = new(QuantizationFormat.WholeTensor(), QuantizationFormat.WholeTensor(), Accumulation.Promoted, NumberFormat.BF16),
        WeightGradient = new(QuantizationFormat.WholeTensor(), QuantizationFormat.WholeTensor(), Accumulation.Promoted),
    };

    /// <summary>One scale a tensor, from the maxima of the last 16 steps: what the report's recipe is set against [V3 §3.3.2].</summary>
    public static Recipe Fp8PerTensorDelayed { get; } = Fp8PerTensor with
    {
        Name = "fp8-per-tensor-delayed",
        Summary = "fp8, with one scale a tensor from the maxima of the last 16 steps; what goes beyond saturates",
        Forward = new(QuantizationFormat.WholeTensorDelayed(), QuantizationFormat.WholeTensorDelayed(), Accumulation.Promoted, NumberFormat.BF16),
        InputGradient = new(QuantizationFormat.WholeTensorDelayed(), QuantizationFormat.WholeTensorDelayed(), Accumulation.Promoted, NumberFormat.BF16),
        WeightGradient = new(QuantizationFormat.WholeTensorDelayed(), QuantizationFormat.WholeTensorDelayed(), Accumulation.Promoted),
    };

    /// <summary>As the tensor core adds, without promotion: needs one scale a tensor. Slow.</summary>
    public static Recipe Fp8NoPromotion { get; } = Fp8PerTensor with
    {
        Name = "fp8-no-promotion",
        Summary = "fp8-per-tensor on the modelled tensor core without promotion; slow",
        Forward = Fp8PerTensor.Forward with { Accumulation = Accumulation.TensorCore },
        InputGradient = Fp8PerTensor.InputGradient with { Accumulation = Accumulation.TensorCore },
        WeightGradient = Fp8PerTensor.WeightGradient with { Accumulation = Accumulation.TensorCore },
    };

    /// <summary>The report's recipe with the tensor core's own sums inside each 128: what the GPU kernels compute. Slow.</summary>
    public static Recipe Fp8TensorCore { get; } = Fp8 with
    {
        Name = "fp8-tensor-core",
        Summary = "fp8 on the modelled tensor core, promoted every 128; slow",
        Forward = Fp8.Forward with { Accumulation = Accumulation.TensorCorePromoted },
        InputGradient = Fp8.InputGradient with { Accumulation = Accumulation.TensorCorePromoted },
        WeightGradient = Fp8.WeightGradient with { Accumulation = Accumulation.TensorCorePromoted },
    };

    /// <summary>All recipes with a name, in the order in which they are listed.</summary>
    public static IReadOnlyList<Recipe> All { get; } = [Fp32, Bf16, Fp8, Fp8BlockGradients, Fp8PerTensor, Fp8PerTensorDelayed, Fp8NoPromotion, Fp8TensorCore];

    /// <summary>The name.</summary>
    public override string ToString() => Name;

    /// <summary>Finds a recipe by name, or reads one from a file when the name ends in <c>.json</c>.</summary>
    /// <exception cref="ArgumentException">No recipe has that name (the message lists those that exist), or the file's recipe cannot work.</exception>
    public static Recipe Find(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (name.EndsWith(".json", StringComparison.OrdinalIgnoreCase)) return Load(name);
        return All.FirstOrDefault(r => string.Equals(r.Name, name, StringComparison.Ordinal))
            ?? throw new ArgumentException($"There is no recipe '{name}'. Recipes: {string.Join(", ", All.Select(r => r.Name))}, or a .json file that defines one.", nameof(name));
    }

    /// <summary>Refuses a recipe that cannot work.</summary>
    /// <exception cref="ArgumentException">The message names the product or cache and the reason.</exception>
    public void Validate()
    {
        if (Forward.Fault is { } forward) Refuse("forward", forward);
        if (InputGradient.Fault is { } input) Refuse("inputGradient", input);
        if (WeightGradient.Fault is { } weight) Refuse("weightGradient", weight);
        if (Forward.Right != InputGradient.Right)
            Refuse("inputGradient.weight", $"it is {InputGradient.Right} and forward.weight is {Forward.Right}; a weight is quantised once and serves both products");
        if (Forward.Right.Granularity == Granularity.Tile)
            Refuse("forward.weight", "a scale of 1x128 along the inputs lies across the contraction of the input gradient, which runs over the outputs: use 128x128 or one scale a tensor");
        if (WeightGradient.Output != NumberFormat.F32) Refuse("weightGradient.output", $"it is {WeightGradient.Output}; gradients of weights are F32");
        if (Activations is not (NumberFormat.F32 or NumberFormat.BF16)) Refuse("activations", $"{Activations} is a format of operands and caches; activations are F32 or BF16");
        if (DelayedSteps is < 1 or > 4096) Refuse("delayedSteps", $"{DelayedSteps} steps; a history has 1 to 4096");
        foreach ((string name, QuantizationFormat format) in Caches)
        {
            if (format.Fault is { } fault) Refuse(name, fault);
            if (format.Origin == ScaleOrigin.Delayed) Refuse(name, "a cached tensor is quantised when all its values are there, so it takes the scale of those; only operands of products may have delayed scales");
        }

        if (AttentionOutputScale is not null && Forward.Left.Number != NumberFormat.E4M3) Refuse("attentionOutputScale", $"forward.input is {Forward.Left.Number}, which has no scales");
    }

    /// <summary>Operands of the three products, under the names they have in files.</summary>
    internal IEnumerable<(string Name, QuantizationFormat Format)> Operands =>
    [
        ("forward.input", Forward.Left), ("forward.weight", Forward.Right), ("inputGradient.gradient", InputGradient.Left), ("inputGradient.weight", InputGradient.Right),
        ("weightGradient.gradient", WeightGradient.Left), ("weightGradient.input", WeightGradient.Right),
    ];

    /// <summary>Cached tensors and payloads, under the names they have in files.</summary>
    internal IEnumerable<(string Name, QuantizationFormat Format)> Caches =>
    [
        ("cache.residual", Residual), ("cache.latents", Latents), ("cache.attentionOutput", AttentionOutput), ("cache.swiGluInput", SwiGluInput),
        ("cache.expertInput", ExpertInput), ("cache.expertGradient", ExpertGradient),
    ];

    void Refuse(string what, string reason) => throw new ArgumentException($"Recipe '{Name}' cannot work: {what}: {reason}.");
}
