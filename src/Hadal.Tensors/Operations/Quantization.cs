using Hadal.Numerics;

namespace Hadal.Tensors.Operations;

/// <summary>Formats in which operands of products and cached tensors exist.</summary>
public enum NumberFormat : byte
{
    /// <summary>IEEE binary32: nothing is rounded.</summary>
    F32,
    /// <summary>bfloat16, without scales.</summary>
    BF16,
    /// <summary>FP8 E4M3 with scales.</summary>
    E4M3,
    /// <summary>12 bits with power-of-two scales, packed; for storage only [V3 §3.3.3].</summary>
    E5M6,
}

/// <summary>What shares one scale. Along the contraction a tile or block has 128 elements; the last one may be shorter.</summary>
public enum Granularity : byte
{
    /// <summary>No scale.</summary>
    None,
    /// <summary>128 elements along the contraction (1×128 in forward and input gradient, 128×1 in weight gradients). Stored tensors: along the columns.</summary>
    Tile,
    /// <summary>128 along the contraction by 128 across it.</summary>
    Block,
    /// <summary>The whole tensor; of a group of weights each matrix, of routed rows all rows in use.</summary>
    Tensor,
}

/// <summary>Which values a scale is taken from.</summary>
public enum ScaleOrigin : byte
{
    /// <summary>The values that are quantised [V3 §3.3.2].</summary>
    Current,
    /// <summary>
    /// The largest magnitude of the steps before, as frameworks with one scale a tensor do for speed [V3 §3.3.2, for comparison]; what goes beyond it saturates at ±448. Values
    /// that are not finite still make the scale NaN.
    /// </summary>
    Delayed,
}

/// <summary>How a product adds up along the contraction.</summary>
public enum Accumulation : byte
{
    /// <summary>One chain of float32 multiply-adds over all of it; scales are applied at the end.</summary>
    Chain,
    /// <summary>A chain of float32 multiply-adds inside each 128, scaled and added to a float32 sum in ascending order [V3 §3.3.2].</summary>
    Promoted,
    /// <summary>The tensor core's limited accumulator over all of it, no promotion; scales are applied at the end. Slow.</summary>
    TensorCore,
    /// <summary>The tensor core's limited accumulator inside each 128, then as <see cref="Promoted"/>: what the GPU kernel computes. Slow.</summary>
    TensorCorePromoted,
}

/// <summary>Format of one operand or of one stored tensor.</summary>
/// <param name="Number">Element format.</param>
/// <param name="Granularity">What shares one scale.</param>
/// <param name="Scale">How a scale follows from the largest magnitude; E5M6 always has powers of two.</param>
/// <param name="Origin">Which values that magnitude is of.</param>
public readonly record struct QuantizationFormat(
    NumberFormat Number, Granularity Granularity = Granularity.None, ScaleKind Scale = ScaleKind.Plain, ScaleOrigin Origin = ScaleOrigin.Current)
{
    /// <summary>float32 as it is.</summary>
    public static QuantizationFormat F32 => new(NumberFormat.F32);

    /// <summary>bfloat16.</summary>
    public static QuantizationFormat BF16 => new(NumberFormat.BF16);

    /// <summary>E4M3, a scale for each 128 along the contraction (or the columns).</summary>
    public static QuantizationFormat Tiles(ScaleKind scale = ScaleKind.Plain) => new(NumberFormat.E4M3, Granularity.Tile, scale);

    /// <summary>E4M3, a scale for each 128×128.</summary>
    public static QuantizationFormat Blocks(ScaleKind scale = ScaleKind.Plain) => new(NumberFormat.E4M3, Granularity.Block, scale);

    /// <summary>E4M3, one scale.</summary>
    public static QuantizationFormat WholeTensor(ScaleKind scale = ScaleKind.Plain) => new(NumberFormat.E4M3, Granularity.Tensor, scale);

    /// <summary>E4M3, one scale, from the maxima of the steps before.</summary>
    public static QuantizationFormat WholeTensorDelayed(ScaleKind scale = ScaleKind.Plain) => new(NumberFormat.E4M3, Granularity.Tensor, scale, ScaleOrigin.Delayed);

    /// <summary>E5M6, a power-of-two scale for each 128 columns.</summary>
    public static QuantizationFormat E5M6 => new(NumberFormat.E5M6, Granularity.Tile, ScaleKind.PowerOfTwo);

    /// <summary>Why an operand cannot have this format; null when it can.</summary>
    public string? Fault => Number switch
    {
        _ when Origin == ScaleOrigin.Delayed && (Number != NumberFormat.E4M3 || Granularity != Granularity.Tensor) =>
            "a delayed scale follows maxima of earlier steps, and only a whole tensor is the same thing in the next step: tiles and blocks belong to other tokens then. Use e4m3 tensor delayed",
        NumberFormat.E5M6 => Granularity == Granularity.Tile && Scale == ScaleKind.PowerOfTwo ? null : "E5M6 has power-of-two scales of 128 columns",
        NumberFormat.E4M3 => Granularity == Granularity.None ? "E4M3 needs scales: its largest value is 448" : null,
        _ => Granularity == Granularity.None ? null : $"{Number} has the range of binary32 and takes no scales",
    };

    /// <summary>Element type of the codes in memory.</summary>
    public DType StorageType => Number switch { NumberFormat.F32 => DType.F32, NumberFormat.BF16 => DType.BF16, NumberFormat.E4M3 => DType.E4M3, _ => DType.U8 };

    /// <summary>Elements of <see cref="StorageType"/> that a row of <paramref name="columns"/> takes.</summary>
    public int StorageColumns(int columns) => Number == NumberFormat.E5M6 ? TileQuantizer.E5M6RowLength(columns) : columns;

    /// <summary>Rows and columns of the scales of a stored [rows, columns]; (0, 0) without scales.</summary>
    public (int Rows, int Columns) StorageScales(int rows, int columns) => Granularity switch
    {
        Granularity.None => (0, 0),
        Granularity.Tile => (rows, TileQuantizer.TileCount(columns)),
        Granularity.Block => (TileQuantizer.TileCount(rows), TileQuantizer.TileCount(columns)),
        _ => (1, 1),
    };

    /// <summary>For example <c>e4m3 tile power-of-two</c>.</summary>
    public override string ToString() => Number switch
    {
        NumberFormat.F32 => "f32",
        NumberFormat.BF16 => "bf16",
        NumberFormat.E5M6 => "e5m6 tile",
        _ => $"e4m3 {(Granularity switch { Granularity.Tile => "tile", Granularity.Block => "block", Granularity.Tensor => "tensor", _ => "without scales" })}{(Scale == ScaleKind.PowerOfTwo ? " power-of-two" : "")}{(Origin == ScaleOrigin.Delayed ? " delayed" : "")}",
    };
}

/// <summary>Formats and arithmetic of one product.</summary>
/// <param name="Left">x, or dy: the operand whose rows are rows (weight gradients: columns become rows) of the output.</param>
/// <param name="Right">The weight, or in weight gradients x.</param>
/// <param name="Accumulation">How it adds up.</param>
/// <param name="Output">F32 or BF16: what finished outputs are rounded to. The elements stay in the output tensor's type.</param>
public readonly record struct ProductFormat(QuantizationFormat Left, QuantizationFormat Right, Accumulation Accumulation, NumberFormat Output = NumberFormat.F32)
{
    /// <summary>All in float32.</summary>
    public static ProductFormat F32 => new(QuantizationFormat.F32, QuantizationFormat.F32, Accumulation.Chain);

    /// <summary>bfloat16 operands, float32 accumulation.</summary>
    public static ProductFormat BF16(NumberFormat output = NumberFormat.BF16) => new(QuantizationFormat.BF16, QuantizationFormat.BF16, Accumulation.Chain, output);

    /// <summary>True when the product is the plain float32 one.</summary>
    public bool IsPlain => this == F32;

    /// <summary>Why this product cannot be computed; null when it can.</summary>
    public string? Fault
    {
        get
        {
            if ((Left.Fault ?? Right.Fault) is { } fault) return fault;
            if (Left.Number == NumberFormat.E5M6 || Right.Number == NumberFormat.E5M6) return "E5M6 is a storage format; products take F32, BF16 or E4M3";
            if ((Left.Number == NumberFormat.E4M3) != (Right.Number == NumberFormat.E4M3)) return $"operands of {Left.Number} and {Right.Number}: FP8 multiplies with FP8 only";
            if (Output is not (NumberFormat.F32 or NumberFormat.BF16)) return $"an output of {Output}; products end in F32 or BF16";
            if (Left.Number != NumberFormat.E4M3)
                return Accumulation == Accumulation.Chain ? null : $"{Accumulation} accumulation is that of FP8 products; {Left.Number} takes one chain";
            bool changes = Left.Granularity != Granularity.Tensor || Right.Granularity != Granularity.Tensor;
            return changes && Accumulation is (Accumulation.Chain or Accumulation.TensorCore)
                ? "scales change every 128 along the contraction, so its sum must be promoted every 128; without promotion both operands need one scale a tensor"
                : null;
        }
    }
}
