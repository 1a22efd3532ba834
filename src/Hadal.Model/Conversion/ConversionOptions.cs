using Hadal.Formats;
using Hadal.Numerics;

namespace Hadal.Model.Conversion;

/// <summary>What the weights of a converted checkpoint are stored as.</summary>
public enum WeightFormat
{
    /// <summary>Every tensor as it was, byte for byte.</summary>
    Same,
    /// <summary>binary32.</summary>
    F32,
    /// <summary>bfloat16; selection biases F32.</summary>
    BF16,
    /// <summary>binary16; selection biases F32. A value beyond ±65504 is refused.</summary>
    F16,
    /// <summary>
    /// As the published V3: projections E4M3 with one F32 scale per 128×128 block (<c>weight_scale_inv</c>); embedding, head, norms, gate and <c>eh_proj</c> BF16; selection biases F32.
    /// </summary>
    Fp8,
}

/// <summary>How a checkpoint is converted.</summary>
public sealed record ConversionOptions
{
    /// <summary>What weights become.</summary>
    public WeightFormat Format { get; init; } = WeightFormat.Same;

    /// <summary>Scales of FP8 weights; null keeps those of FP8 sources and takes plain ones otherwise.</summary>
    public ScaleKind? Scales { get; init; }

    /// <summary>Most bytes of data in one file.</summary>
    public long ShardLength { get; init; } = CheckpointWriter.DefaultShardLength;

    /// <summary>Spelling of config.json; null keeps it.</summary>
    public ConfigurationStyle? Style { get; init; }

    /// <summary>Whether a model that lies at the destination may be replaced.</summary>
    public bool Overwrite { get; init; }
}

/// <summary>How far a conversion is.</summary>
/// <param name="Stage">What is being done.</param>
/// <param name="Bytes">Bytes of the source done in this stage.</param>
/// <param name="Total">Bytes of the stage.</param>
public readonly record struct ConversionProgress(string Stage, long Bytes, long Total);

/// <summary>What a conversion did.</summary>
/// <param name="Tensors">Tensors written, scales included.</param>
/// <param name="SourceBytes">Bytes of the source's tensors.</param>
/// <param name="Bytes">Bytes of the tensors written.</param>
/// <param name="Files">Names of the weight files written.</param>
/// <param name="Copied">Other files that were copied.</param>
/// <param name="Warnings">Oddities of the source.</param>
public sealed record ConversionReport(int Tensors, long SourceBytes, long Bytes, IReadOnlyList<string> Files, IReadOnlyList<string> Copied, IReadOnlyList<string> Warnings);
