using Hadal.Formats;
using Hadal.Numerics;

namespace Hadal.Model.Conversion;

/// <summary>One tensor of a conversion.</summary>
/// <param name="Source">Where it comes from.</param>
/// <param name="SourceScale">Scales of an FP8 source.</param>
/// <param name="Target">What it becomes.</param>
/// <param name="Copy">The bytes stay as they are, scales too.</param>
sealed record ConversionItem(TensorEntry Source, TensorEntry? SourceScale, ElementType Target, bool Copy)
{
    /// <summary>Name of the scales in source and target.</summary>
    internal string ScaleName => Source.Name + "_scale_inv";

    internal bool IsQuantised => !Copy && Target == ElementType.F8E4M3;

    /// <summary>What is written: the tensor, then its scales.</summary>
    internal IEnumerable<TensorDeclaration> Declarations()
    {
        yield return new TensorDeclaration(Source.Name, Target, Source.Shape);
        if (IsQuantised) yield return new TensorDeclaration(ScaleName, ElementType.F32, [.. Source.Shape.Select(n => (n + TileQuantizer.Tile - 1) / TileQuantizer.Tile)]);
        else if (Copy && SourceScale is not null) yield return new TensorDeclaration(ScaleName, SourceScale.Type, SourceScale.Shape);
    }
}

/// <summary>Decides tensor by tensor what a conversion does, and refuses what it cannot do before anything is written.</summary>
static class ConversionPlan
{
    internal const string ScaleSuffix = "_scale_inv";

    /// <summary>The plan in the order of the layers; what the model has no place for comes last and is kept.</summary>
    /// <exception cref="CheckpointFormatException">A tensor is absent, of another shape, or of a type that no weight can have.</exception>
    internal static ConversionItem[] Make(Checkpoint checkpoint, ModelConfiguration configuration, ConversionOptions options, List<string> warnings)
    {
        TransformerShape shape = ModelLoader.Shape(configuration);
        shape = shape with { MtpDepth = CheckpointWeights.MtpDepth(checkpoint, shape) };
        CheckpointWeights.RequireEnough(checkpoint, shape);
        var kinds = new Dictionary<string, ParameterKind>(StringComparer.Ordinal);
        var ordered = new List<TensorEntry>();
        foreach (Parameter parameter in Transformer.Declare(shape))
        {
            foreach (PublicRegion region in parameter.Regions)
            {
                kinds.Add(region.Name, parameter.Kind);
                if (checkpoint.Find(region.Name) is { } entry) ordered.Add(entry);
                else warnings.Add($"{region.Name} is not in the checkpoint and is not written either; zero is used by those who load it.");
            }
        }

        TensorEntry[] extra = [.. checkpoint.Entries.Where(e => !kinds.ContainsKey(e.Name) && !IsScale(e, checkpoint))];
        string[] unknown = [.. extra.Select(e => e.Name).Where(name => !CheckpointWeights.IsKnownExtra(name, shape))];
        if (unknown.Length > 0) warnings.Add($"{unknown.Length} tensors have no place in the model and are kept: {string.Join(", ", unknown.Take(4))}{(unknown.Length > 4 ? ", …" : "")}.");
        bool sameScales = options.Scales is not { } kind || configuration.Quantization is null || kind == ScaleKind.PowerOfTwo == configuration.Quantization.PowerOfTwoScales;
        return [.. ordered.Select(entry => Item(checkpoint, entry, kinds[entry.Name], options.Format, sameScales)), .. extra.Select(entry => Item(checkpoint, entry, null, options.Format, sameScales))];
    }

    static bool IsScale(TensorEntry entry, Checkpoint checkpoint) =>
        entry.Name.EndsWith(ScaleSuffix, StringComparison.Ordinal) && checkpoint.Find(entry.Name[..^ScaleSuffix.Length]) is { Type: ElementType.F8E4M3 };

    static ConversionItem Item(Checkpoint checkpoint, TensorEntry entry, ParameterKind? kind, WeightFormat format, bool sameScales)
    {
        bool isFloat = entry.Type is ElementType.F64 or ElementType.F32 or ElementType.F16 or ElementType.BF16 or ElementType.F8E4M3;
        if (kind is not null && !isFloat)
            throw new CheckpointFormatException($"{entry} cannot be a weight.", entry.File, $"Expected F32, BF16, F16, F64, or F8_E4M3 with {entry.Name}{ScaleSuffix}.", entry.Name);
        if (entry.Type == ElementType.Unknown)
            throw new CheckpointFormatException($"the element type '{entry.TypeName}' is not known.", entry.File, "Remove the tensor from the checkpoint, or convert it with the program that wrote it.", entry.Name);
        TensorEntry? scale = entry.Type == ElementType.F8E4M3 ? RequireScale(checkpoint, entry) : null;
        ElementType target = isFloat ? Target(entry, kind, format) : entry.Type;
        return new ConversionItem(entry, scale, target, Copy: target == entry.Type && (scale is null || format == WeightFormat.Same || sameScales));
    }

    static ElementType Target(TensorEntry entry, ParameterKind? kind, WeightFormat format)
    {
        if (format == WeightFormat.Same) return entry.Type;
        return kind is null && format == WeightFormat.Fp8 && entry.Type == ElementType.F8E4M3 ? ElementType.F8E4M3 : StoredType(entry.Name, kind, entry.Shape.Length, format);
    }

    /// <summary>What a weight becomes under a format. The published checkpoints keep the joining projection of MTP modules in BF16.</summary>
    internal static ElementType StoredType(string name, ParameterKind? kind, int rank, WeightFormat format)
    {
        bool bias = kind == ParameterKind.SelectionBias || name.EndsWith("e_score_correction_bias", StringComparison.Ordinal);
        return format switch
        {
            WeightFormat.F32 => ElementType.F32,
            _ when bias => ElementType.F32,
            WeightFormat.F16 => ElementType.F16,
            WeightFormat.Fp8 when kind == ParameterKind.Projection && rank == 2 && !name.EndsWith(".eh_proj.weight", StringComparison.Ordinal) => ElementType.F8E4M3,
            _ => ElementType.BF16,
        };
    }

    internal static TensorEntry RequireScale(Checkpoint checkpoint, TensorEntry entry)
    {
        TensorEntry? scale = checkpoint.Find(entry.Name + ScaleSuffix);
        if (scale is null || entry.Shape.Length != 2)
            throw new CheckpointFormatException($"{entry} has no scales.", entry.File, $"Expected {entry.Name}{ScaleSuffix} F32 beside it.", entry.Name);
        long rows = (entry.Shape[0] + TileQuantizer.Tile - 1) / TileQuantizer.Tile, columns = (entry.Shape[1] + TileQuantizer.Tile - 1) / TileQuantizer.Tile;
        if (scale.Type != ElementType.F32 || scale.Shape.Length != 2 || scale.Shape[0] != rows || scale.Shape[1] != columns)
            throw new CheckpointFormatException($"{scale} does not fit {entry}.", scale.File, $"Expected F32 [{rows}, {columns}], one scale per 128×128 block.", scale.Name);
        return scale;
    }
}
