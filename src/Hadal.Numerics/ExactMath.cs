namespace Hadal.Numerics;

/// <summary>
/// Elementary functions made of + − × ÷ and √ alone. IEEE 754 defines those to the last bit, so these functions return the same bits on every machine; the ones of
/// <see cref="Math"/> call the platform's library and may not. Accurate to about two units in the last place, which is all that random numbers need.
/// </summary>
public static partial class ExactMath
{
    const double Ln2High = 0.693147180369123816490; // 33 bits: a product with an exponent is exact
    const double Ln2Low = 1.9082149292705877e-10;
    const double HalfPi = 1.5707963267948966;

    /// <summary>Natural logarithm of a positive, finite, normal number.</summary>
    public static double Log(double x)
    {
        if (!(x >= 2.2250738585072014E-308) || double.IsInfinity(x))
            throw new ArgumentOutOfRangeException(nameof(x), x, "The logarithm here takes positive, finite, normal numbers.");
        long bits = BitConverter.DoubleToInt64Bits(x);
        // x = 2^e·m with m in [√½, √2): subtracting the bits of √½ makes the carry into the exponent choose e.
        long shifted = bits - 0x3FE6A09E667F3BCD;
        long exponent = shifted >> 52;
        double m = BitConverter.Int64BitsToDouble(bits - (exponent << 52));
        // log m = 2·atanh(s), s = (m − 1)/(m + 1), |s| ≤ 0.172: the term after s²³ is below 2^−60.
        double s = (m - 1) / (m + 1);
        double z = s * s;
        double series = 0;
        for (int k = 23; k >= 3; k -= 2) series = z * (series + 1.0 / k);
        return exponent * Ln2High + (2 * s + (2 * s * series + exponent * Ln2Low));
    }

    /// <summary>(sin 2πt, cos 2πt) for t in [0, 1].</summary>
    public static (double Sin, double Cos) SinCosTurns(double t)
    {
        if (!(t >= 0 && t <= 1)) throw new ArgumentOutOfRangeException(nameof(t), t, "The angle is given in turns from 0 to 1.");
        int quadrant = (int)(t * 4 + 0.5);
        double x = (t * 4 - quadrant) * HalfPi; // t·4 − quadrant is exact; |x| ≤ π/4
        double z = x * x;
        double sine = 0, cosine = 0;
        for (int k = 19; k >= 3; k -= 2) sine = z * (sine + Term(k));
        for (int k = 18; k >= 2; k -= 2) cosine = z * (cosine + Term(k));
        sine = x + x * sine;
        cosine = 1 + cosine;
        return (quadrant & 3) switch
        {
            0 => (sine, cosine),
            1 => (cosine, -sine),
            2 => (-sine, -cosine),
            _ => (-cosine, sine),
        };
    }

    // (−1)^⌊k/2⌋ / k!
    static double Term(int k) => Terms[k];

    static readonly double[] Terms = BuildTerms();

    static double[] BuildTerms()
    {
        double[] terms = new double[20];
        double factorial = 1;
        for (int k = 0; k < terms.Length; k++)
        {
            if (k > 0) factorial *= k; // exact up to 18!, one rounding at 19!
            terms[k] = ((k / 2) % 2 == 0 ? 1 : -1) / factorial;
        }
        return terms;
    }
}
