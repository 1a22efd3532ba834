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

        // x = n·ln 2 + r, |r| ≤ ln 2 / 2; a Taylor polynomial of degree 13 (its remainder is 4e-18); 2^n added to the exponent.
        double shifted = (x * Log2E) + Magic;
        double n = shifted - Magic;
        double r = x - (n * Ln2High) - (n * Ln2Low);
        double p = InverseFactorials[13];
        for (int k = 12; k >= 0; k--) p = (p * r) + InverseFactorials[k];
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
        Vector512<double> p = Vector512.Create(1.0 / 6227020800);
        p = (p * r) + Vector512.Create(1.0 / 479001600);
        p = (p * r) + Vector512.Create(1.0 / 39916800);
        p = (p * r) + Vector512.Create(1.0 / 3628800);
        p = (p * r) + Vector512.Create(1.0 / 362880);
        p = (p * r) + Vector512.Create(1.0 / 40320);
        p = (p * r) + Vector512.Create(1.0 / 5040);
        p = (p * r) + Vector512.Create(1.0 / 720);
        p = (p * r) + Vector512.Create(1.0 / 120);
        p = (p * r) + Vector512.Create(1.0 / 24);
        p = (p * r) + Vector512.Create(1.0 / 6);
        p = (p * r) + Vector512.Create(0.5);
        p = (p * r) + Vector512<double>.One;
        p = (p * r) + Vector512<double>.One;
        return (p.AsInt64() + ((shifted.AsInt64() - magic.AsInt64()) << 52)).AsDouble();
    }

    static readonly double[] InverseFactorials = BuildInverseFactorials();

    static double[] BuildInverseFactorials()
    {
        double[] inverse = new double[14];
        long factorial = 1;
        for (int k = 0; k < inverse.Length; k++)
        {
            if (k > 0) factorial *= k;
            inverse[k] = 1.0 / factorial;
        }

        return inverse;
    }
}
