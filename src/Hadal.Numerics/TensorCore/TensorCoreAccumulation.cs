namespace Hadal.Numerics;

/// <summary>What happens to the bits of an aligned term that lie below the last one kept.</summary>
public enum AlignmentRounding
{
    /// <summary>The magnitude is truncated: towards zero.</summary>
    TowardZero,
    /// <summary>The two's complement is truncated: downwards.</summary>
    Downward,
}

/// <summary>
/// A bit-exact model of one FP8 tensor-core instruction of K = 32 (Hopper wgmma m64nNk32, E4M3 in, float32 accumulator): all products and the accumulator are aligned
/// to the largest exponent among them, cut to <see cref="FractionBits"/> bits below it, added as integers, and the sum is cut again (V3 §3.3.2: "around 14 bits").
/// </summary>
/// <remarks>
/// Every property is a hypothesis that a dump of the hardware can refute; the defaults, <see cref="Hopper"/>, equal an H100 in every output of the dump in tests/Hadal.Kernels.Tests/Calibration.
/// A product's exponent is the sum of its factors' exponents (its significand lies in [1, 4)); a subnormal factor has the smallest normal exponent.
/// Any NaN in gives the NaN 0x7FFFFFFF.
/// </remarks>
public sealed record TensorCoreAccumulation
{
    const int ProductFraction = 6, SingleFraction = 23, SmallestExponent = -6;

    /// <summary>The arithmetic of H100 and H200.</summary>
    public static TensorCoreAccumulation Hopper { get; } = new();

    /// <summary>Bits kept below the largest exponent when terms are aligned.</summary>
    public int FractionBits { get; init; } = 13;

    /// <summary>Fraction bits of the significand of the result.</summary>
    public int ResultFractionBits { get; init; } = 13;

    /// <summary>How aligned terms are cut.</summary>
    public AlignmentRounding Alignment { get; init; } = AlignmentRounding.TowardZero;

    /// <summary>Whether the accumulator takes part in the alignment; otherwise products are summed alone and added to it in float32, towards zero.</summary>
    public bool AlignsAccumulator { get; init; } = true;

    /// <summary>Products of consecutive k that are added at once; the groups of an instruction follow each other.</summary>
    public int GroupSize { get; init; } = 32;

    /// <summary>Whether the exponents of products that are zero take part in finding the largest.</summary>
    public bool ZerosTakePart { get; init; }

    /// <summary>Whether a product of significand 2 or more counts with its normalised exponent.</summary>
    public bool NormalizesProducts { get; init; }

    /// <summary>accumulator + Σ a[i]·b[i], as the hardware rounds it. Lengths are equal; full instructions have 32.</summary>
    public float Accumulate(float accumulator, ReadOnlySpan<E4M3> a, ReadOnlySpan<E4M3> b)
    {
        if (a.Length != b.Length) throw new ArgumentException($"The factors have {a.Length} and {b.Length} elements; products need pairs.");
        for (int first = 0; first < a.Length; first += GroupSize)
        {
            int count = Math.Min(GroupSize, a.Length - first);
            accumulator = AddGroup(accumulator, a.Slice(first, count), b.Slice(first, count));
        }

        return accumulator;
    }

    float AddGroup(float accumulator, ReadOnlySpan<E4M3> a, ReadOnlySpan<E4M3> b)
    {
        const int None = int.MinValue / 2;
        int largest = None;
        bool nan = float.IsNaN(accumulator);
        for (int i = 0; i < a.Length; i++)
        {
            nan |= a[i].IsNaN || b[i].IsNaN;
            (int product, int exponent) = Product(a[i], b[i]);
            if (product != 0 || ZerosTakePart) largest = Math.Max(largest, NormalizesProducts && Math.Abs(product) >= 2 << ProductFraction ? exponent + 1 : exponent);
        }

        if (nan) return BitConverter.UInt32BitsToSingle(0x7FFF_FFFF);
        if (!float.IsFinite(accumulator)) return accumulator;
        (long significand, int accumulatorExponent) = Split(accumulator);
        if (AlignsAccumulator && significand != 0) largest = Math.Max(largest, accumulatorExponent);
        if (largest == None) return AlignsAccumulator ? accumulator + 0f : accumulator;

        long sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            (int product, int exponent) = Product(a[i], b[i]);
            sum += Align(product, exponent - ProductFraction - (largest - FractionBits));
        }

        if (AlignsAccumulator) sum += Align(significand, accumulatorExponent - SingleFraction - (largest - FractionBits));
        float result = Cut(sum, largest - FractionBits);
        return AlignsAccumulator ? result : TowardZero((double)accumulator + result);
    }

    /// <summary>Signed significand with 6 fraction bits, and exponent.</summary>
    static (int Significand, int Exponent) Product(E4M3 a, E4M3 b)
    {
        (int sa, int ea) = Split(a);
        (int sb, int eb) = Split(b);
        return (sa * sb, ea + eb);
    }

    static (int Significand, int Exponent) Split(E4M3 x)
    {
        int field = (x.Bits >> 3) & 0xF, mantissa = x.Bits & 7;
        int magnitude = field == 0 ? mantissa : mantissa | 8;
        return ((x.Bits & 0x80) != 0 ? -magnitude : magnitude, Math.Max(field - 7, SmallestExponent));
    }

    static (long Significand, int Exponent) Split(float x)
    {
        int bits = BitConverter.SingleToInt32Bits(x), field = (bits >> 23) & 0xFF;
        long magnitude = (bits & 0x7F_FFFF) | (field == 0 ? 0 : 0x80_0000);
        return (bits < 0 ? -magnitude : magnitude, Math.Max(field, 1) - 127);
    }

    /// <summary>significand · 2^shift, cut to an integer.</summary>
    long Align(long significand, int shift)
    {
        if (shift >= 0) return significand << shift;
        shift = Math.Min(-shift, 62);
        return Alignment == AlignmentRounding.Downward || significand >= 0 ? significand >> shift : -(-significand >> shift);
    }

    /// <summary>sum · 2^exponent with its significand cut towards zero.</summary>
    float Cut(long sum, int exponent)
    {
        if (sum == 0) return 0;
        ulong magnitude = (ulong)Math.Abs(sum);
        int excess = 63 - System.Numerics.BitOperations.LeadingZeroCount(magnitude) - ResultFractionBits;
        if (excess > 0) magnitude = magnitude >> excess << excess;
        double value = Math.ScaleB(magnitude, exponent);
        return TowardZero(sum < 0 ? -value : value);
    }

    /// <summary>The float32 nearest to a double on the side of zero; beyond the largest, infinity.</summary>
    static float TowardZero(double value)
    {
        float nearest = (float)value;
        if (float.IsInfinity(nearest)) return Math.Abs(value) < 3.4028236692093846e38 ? MathF.CopySign(float.MaxValue, nearest) : nearest;
        return Math.Abs((double)nearest) > Math.Abs(value) ? (nearest > 0 ? MathF.BitDecrement(nearest) : MathF.BitIncrement(nearest)) : nearest;
    }
}
