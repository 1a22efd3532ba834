namespace Hadal.Training.Recording;

/// <summary>What one recorded step knows of one tensor, over all its micro-batches.</summary>
public sealed class TensorStatistics
{
    /// <summary>Buckets of <see cref="Scales"/>.</summary>
    public const int ScaleBuckets = 32;

    /// <summary>Exponent of the first bucket: bucket b counts scales in [2^(b−24), 2^(b−23)); the first and last take everything beyond.</summary>
    public const int LowestScaleExponent = -24;

    /// <summary>Sums of the sketch.</summary>
    public const int SketchLanes = 16;

    /// <summary>Elements seen.</summary>
    public long Elements { get; internal set; }

    /// <summary>Of them zero.</summary>
    public long Zeros { get; internal set; }

    /// <summary>Values that are not zero and become zero in the format.</summary>
    public long Underflows { get; internal set; }

    /// <summary>Values beyond the largest of the format (times scale) by more than rounding: those that are clipped.</summary>
    public long Saturations { get; internal set; }

    /// <summary>NaN and infinities.</summary>
    public long NonFinite { get; internal set; }

    /// <summary>Largest magnitude; NaN when there is a NaN.</summary>
    public float Largest { get; internal set; }

    /// <summary>Σ x².</summary>
    public double Squares { get; internal set; }

    /// <summary>Elements that were compared with their float32 original.</summary>
    public long Sampled { get; internal set; }

    /// <summary>Σ (stored − x)² over the sampled elements.</summary>
    public double ErrorSquares { get; internal set; }

    /// <summary>Σ x² over the sampled elements.</summary>
    public double SampledSquares { get; internal set; }

    /// <summary>Scales by power of two; see <see cref="LowestScaleExponent"/>. All zero in formats without scales.</summary>
    public long[] Scales { get; } = new long[ScaleBuckets];

    /// <summary>
    /// Sixteen sums of the elements with fixed random signs, each element in one of them. Of two tensors of one shape, the distance of their sketches estimates the distance
    /// of the tensors (Σ over lanes of the squared difference has ‖a − b‖² as its mean).
    /// </summary>
    public double[] Sketch { get; } = new double[SketchLanes];

    /// <summary>For each micro-batch a hash of the bits, in order; one for tensors that exist once a step; 0 for a micro-batch that was not seen.</summary>
    public ulong[] Hashes { get; internal set; } = [];

    /// <summary>Share of the values that are not zero that become zero in the format.</summary>
    public double UnderflowShare => Elements > Zeros ? (double)Underflows / (Elements - Zeros) : 0;

    /// <summary>Share of all values that are clipped.</summary>
    public double SaturationShare => Elements > 0 ? (double)Saturations / Elements : 0;

    /// <summary>√(Σ (stored − x)² / Σ x²) over the sampled elements; NaN when nothing was sampled.</summary>
    public double RelativeError => Sampled == 0 ? double.NaN : SampledSquares > 0 ? Math.Sqrt(ErrorSquares / SampledSquares) : 0;

    /// <summary>Root of the mean square.</summary>
    public double RootMeanSquare => Elements > 0 ? Math.Sqrt(Squares / Elements) : 0;

    /// <summary>
    /// Estimate of ‖a − b‖ / ‖·‖ from the sketches, the larger norm below; within about a fifth of the truth, and zero where the sketches cannot tell two tensors apart (below
    /// about 1e-7).
    /// </summary>
    public double RelativeDifference(TensorStatistics other)
    {
        ArgumentNullException.ThrowIfNull(other);
        double distance = 0, norm = Math.Max(Squares, other.Squares);
        for (int lane = 0; lane < SketchLanes; lane++) distance += Math.Pow(Sketch[lane] - other.Sketch[lane], 2);
        if (!double.IsFinite(distance) || !double.IsFinite(norm)) return double.PositiveInfinity;
        return norm > 0 ? Math.Sqrt(distance / norm) : distance > 0 ? double.PositiveInfinity : 0;
    }

    internal void Clear(int microBatches)
    {
        if (Hashes.Length != microBatches) Hashes = new ulong[microBatches];
        Elements = Zeros = Underflows = Saturations = NonFinite = Sampled = 0;
        Largest = 0;
        Squares = ErrorSquares = SampledSquares = 0;
        Array.Clear(Scales);
        Array.Clear(Sketch);
        Array.Clear(Hashes);
    }

    internal void AddScale(float scale) => AddScales(scale, 1);

    internal void AddScales(float scale, long count)
    {
        if (!float.IsFinite(scale)) return;
        int exponent = (int)(BitConverter.SingleToUInt32Bits(scale) >> 23) - 127;
        Scales[Math.Clamp(exponent - LowestScaleExponent, 0, ScaleBuckets - 1)] += count;
    }
}
