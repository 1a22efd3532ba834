using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics;

/// <summary>The exponential, one at a time and in vectors: the same operations in the same order, so the same bits for any width.</summary>
public static partial class ExactMath
{
    /// <summary>Below it the exponential is 0 here: its results would be subnormal.</summary>
    public const double LeastExponent = -708;

    /// <summary>Above it the exponential is infinite here.</summary>
    public const double MostExponent = 709;

    const double Log2E = 1.4426950408889634;
    const double Magic = 6755399441055744; // 1.5·2⁵²: adding it leaves the rounded integer in the low bits

    /// <summary>e^x within two units in the last place; 0 below <see cref="LeastExponent"/>, infinity above <see cref="MostExponent"/>, NaN for NaN.</summary>
    public static double Exp(double x)
    {
        if (double.IsNaN(x)) return x;
        if (x < LeastExponent) return 0;
        if (x > MostExponent) return double.PositiveInfinity;

        // x = n·ln 2 + r, |r| ≤ ln 2 / 2; a Taylor polynomial of degree 13 (its remainder is 4e-18) whose terms are joined as a tree; 2^n added to the exponent.
        double shifted = (x * Log2E) + Magic;
        double n = shifted - Magic;
        double r = x - (n * Ln2High) - (n * Ln2Low);
        double r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
        double p = (C2 + (C3 * r)) + ((C4 + (C5 * r)) * r2);
        p += ((C6 + (C7 * r)) + ((C8 + (C9 * r)) * r2)) * r4;
        p += ((C10 + (C11 * r)) + ((C12 + (C13 * r)) * r2)) * r8;
        p = 1 + (r + (p * r2));
        long exponent = BitConverter.DoubleToInt64Bits(shifted) - BitConverter.DoubleToInt64Bits(Magic);
        return BitConverter.Int64BitsToDouble(BitConverter.DoubleToInt64Bits(p) + (exponent << 52));
    }

    /// <summary>e^x of eight numbers, to the bits of <see cref="Exp(double)"/>. They must lie between <see cref="LeastExponent"/> and <see cref="MostExponent"/>; others give anything.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<double> Exp(Vector512<double> x)
    {
        Vector512<double> magic = Vector512.Create(Magic);
        Vector512<double> shifted = (x * Log2E) + magic;
        Vector512<double> n = shifted - magic;
        Vector512<double> r = x - (n * Ln2High) - (n * Ln2Low);
        Vector512<double> r2 = r * r, r4 = r2 * r2, r8 = r4 * r4;
        Vector512<double> p = Pair(C2, C3, r) + (Pair(C4, C5, r) * r2);
        p += (Pair(C6, C7, r) + (Pair(C8, C9, r) * r2)) * r4;
        p += (Pair(C10, C11, r) + (Pair(C12, C13, r) * r2)) * r8;
        p = Vector512<double>.One + (r + (p * r2));
        return (p.AsInt64() + ((shifted.AsInt64() - magic.AsInt64()) << 52)).AsDouble();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<double> Pair(double even, double odd, Vector512<double> r) => Vector512.Create(even) + (Vector512.Create(odd) * r);

    // 1/k!
    const double C2 = 1.0 / 2, C3 = 1.0 / 6, C4 = 1.0 / 24, C5 = 1.0 / 120, C6 = 1.0 / 720, C7 = 1.0 / 5040, C8 = 1.0 / 40320, C9 = 1.0 / 362880, C10 = 1.0 / 3628800,
        C11 = 1.0 / 39916800, C12 = 1.0 / 479001600, C13 = 1.0 / 6227020800;
}
