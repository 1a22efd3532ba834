namespace Hadal.Numerics;

/// <summary>
/// A bit-exact model of one Hopper tensor-core instruction with BF16 or TF32 factors and a float32 accumulator (wgmma and mma.sync): all products of the
/// instruction and the accumulator are aligned to the largest exponent among them, cut towards zero to 25 bits below it, added as integers, and the sum is cut
/// towards zero to float32.
/// </summary>
/// <remarks>
/// Equal to an H100 in every output of tests/Hadal.Kernels.Tests/Calibration/instructions.bin. As with E4M3 (<see cref="TensorCoreAccumulation"/>) a product's exponent is the
/// sum of its factors' exponents, zero products apart. Not measured: infinities, and sums beyond float32; NaN gives 0x7FFFFFFF as there.
/// </remarks>
public static class WideTensorCoreAccumulation
{
    /// <summary>Bits kept below the largest exponent.</summary>
    public const int FractionBits = 25;

    /// <summary>accumulator + Σ a[i]·b[i] of one instruction: 16 products of BF16, or 8 of TF32.</summary>
    /// <param name="accumulator">The sum so far.</param>
    /// <param name="a">Factors that BF16 or TF32 hold exactly.</param>
    /// <param name="b">As many such factors.</param>
    public static float Accumulate(float accumulator, ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        if (a.Length != b.Length) throw new ArgumentException($"The factors have {a.Length} and {b.Length} elements; products need pairs.");
        int largest = int.MinValue;
        double plain = accumulator;
        for (int i = 0; i < a.Length; i++)
        {
            plain += (double)a[i] * b[i];
            if (a[i] != 0 && b[i] != 0) largest = Math.Max(largest, Exponent(a[i]) + Exponent(b[i]));
        }

        if (double.IsNaN(plain)) return BitConverter.UInt32BitsToSingle(0x7FFF_FFFF);
        if (!double.IsFinite(plain)) return (float)plain;
        if (accumulator != 0) largest = Math.Max(largest, Exponent(accumulator));
        if (largest == int.MinValue) return accumulator + 0f;

        // Terms are integers of at most 28 bits, products of at most 24 significant ones: exact in double.
        int scale = FractionBits - largest;
        double sum = Math.Truncate(Math.ScaleB(accumulator, scale));
        for (int i = 0; i < a.Length; i++) sum += Math.Truncate(Math.ScaleB((double)a[i] * b[i], scale));
        return TowardZero(Math.ScaleB(sum, -scale));
    }

    static int Exponent(float x) => Math.Max((BitConverter.SingleToInt32Bits(x) >> 23) & 0xFF, 1) - 127;

    static float TowardZero(double value)
    {
        float nearest = (float)value;
        if (float.IsInfinity(nearest)) return nearest;
        return Math.Abs((double)nearest) > Math.Abs(value) ? (nearest > 0 ? MathF.BitDecrement(nearest) : MathF.BitIncrement(nearest)) : nearest;
    }
}
