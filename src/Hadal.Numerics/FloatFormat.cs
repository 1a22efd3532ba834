namespace Hadal.Numerics;

/// <summary>
/// A small binary floating-point format, written as its definition: sign, exponent field, mantissa field. Codes are enumerable, so this type is the slow, readable
/// twin of the fast conversions: <see cref="Decode"/> evaluates the definition, <see cref="Encode"/> searches the list of all values for the nearest one.
/// </summary>
/// <remarks>
/// A code with exponent field e and mantissa field m means ±m·2^(1−Bias−MantissaBits) when e = 0 (subnormal) and ±(1 + m/2^MantissaBits)·2^(e−Bias) otherwise;
/// codes above <see cref="LargestCode"/> (sign apart) are infinity (<see cref="InfinityCode"/>) or NaN. Encoding rounds to the nearest value, ties to the even code,
/// and saturates: finite values beyond the largest and infinities become the largest finite value of their sign.
/// </remarks>
public sealed class FloatFormat
{
    readonly double[] _values;

    FloatFormat(string name, int exponentBits, int mantissaBits, int bias, int largestCode, int? infinityCode, int? nanCode)
    {
        (Name, ExponentBits, MantissaBits, Bias, LargestCode, InfinityCode, NaNCode) = (name, exponentBits, mantissaBits, bias, largestCode, infinityCode, nanCode);
        _values = new double[largestCode + 1];
        for (int code = 0; code <= largestCode; code++) _values[code] = Decode(code);
    }

    /// <summary>OCP FP8 E4M3 (the "fn" form): bias 7, largest value 448, no infinity, NaN is the all-ones magnitude 0x7F.</summary>
    public static FloatFormat E4M3 { get; } = new("E4M3", 4, 3, 7, largestCode: 0x7E, infinityCode: null, nanCode: 0x7F);

    /// <summary>OCP FP8 E5M2: bias 15, largest value 57344, infinity 0x7C, NaN 0x7D..0x7F (0x7F when made here).</summary>
    public static FloatFormat E5M2 { get; } = new("E5M2", 5, 2, 15, largestCode: 0x7B, infinityCode: 0x7C, nanCode: 0x7F);

    /// <summary>
    /// The 12-bit format of the cached attention output (V3 §3.3.3): bias 15, subnormals, every code a number (exponent field 31 is an ordinary binade), largest 130048.
    /// It cannot hold a NaN.
    /// </summary>
    public static FloatFormat E5M6 { get; } = new("E5M6", 5, 6, 15, largestCode: 0x7FF, infinityCode: null, nanCode: null);

    /// <summary>Name as in the literature.</summary>
    public string Name { get; }

    /// <summary>Width of the exponent field.</summary>
    public int ExponentBits { get; }

    /// <summary>Width of the mantissa field.</summary>
    public int MantissaBits { get; }

    /// <summary>Subtracted from the exponent field.</summary>
    public int Bias { get; }

    /// <summary>Code of the largest finite value; all positive finite values are the codes 0..LargestCode in ascending order.</summary>
    public int LargestCode { get; }

    /// <summary>Code of +∞, or null where the format has none.</summary>
    public int? InfinityCode { get; }

    /// <summary>Code that stands for NaN when one is encoded, or null where the format has none.</summary>
    public int? NaNCode { get; }

    /// <summary>The sign bit of a code.</summary>
    public int SignBit => 1 << (ExponentBits + MantissaBits);

    /// <summary>Number of codes, both signs.</summary>
    public int CodeCount => SignBit * 2;

    /// <summary>The value of a code, exactly, from the definition.</summary>
    public double Decode(int code)
    {
        if ((uint)code >= (uint)CodeCount) throw new ArgumentOutOfRangeException(nameof(code), code, $"{Name} codes are 0..{CodeCount - 1}.");
        int magnitude = code & (SignBit - 1);
        double sign = (code & SignBit) != 0 ? -1 : 1;
        if (magnitude == InfinityCode) return sign * double.PositiveInfinity;
        if (magnitude > LargestCode) return double.NaN;
        int exponent = magnitude >> MantissaBits;
        int mantissa = magnitude & ((1 << MantissaBits) - 1);
        double significand = exponent == 0 ? mantissa : mantissa + (1 << MantissaBits);
        return sign * significand * Math.ScaleB(1, Math.Max(exponent, 1) - Bias - MantissaBits);
    }

    /// <summary>
    /// The code nearest to a value: ties to even, saturating; the sign of zero is kept. NaN becomes <see cref="NaNCode"/> with a positive sign.
    /// </summary>
    /// <exception cref="ArithmeticException">NaN was given to a format that has none.</exception>
    public int Encode(double value)
    {
        if (double.IsNaN(value)) return NaNCode ?? throw new ArithmeticException($"NaN cannot be encoded in {Name}: every code of it is a number. Find the NaN before encoding.");
        int sign = double.IsNegative(value) ? SignBit : 0;
        double magnitude = Math.Abs(value);
        if (magnitude >= _values[LargestCode]) return sign | LargestCode;
        int below = Array.BinarySearch(_values, magnitude);
        if (below >= 0) return sign | below;
        below = ~below - 1;
        // Both neighbours have few bits, so their midpoint is exact in double and the comparison decides without rounding.
        double midpoint = (_values[below] + _values[below + 1]) / 2;
        int nearest = magnitude < midpoint ? below : magnitude > midpoint ? below + 1 : below + (below & 1);
        return sign | nearest;
    }

    /// <inheritdoc/>
    public override string ToString() => Name;
}
