using System.Runtime.CompilerServices;

namespace Hadal.Numerics;

/// <summary>Branch-light scalar encoding shared by the small formats; equal to <see cref="FloatFormat.Encode"/> bit for bit.</summary>
static class SmallFloat
{
    /// <summary>
    /// Code of |value| rounded to nearest even for a format with the given mantissa width and bias. No overflow handling: the caller bounds |value| first
    /// (rounding up into the next binade yields the next code by itself). Exact for every double, since only one rounding happens.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int EncodeMagnitude(double magnitude, int mantissaBits, int bias)
    {
        long bits = BitConverter.DoubleToInt64Bits(magnitude);
        int dropped = 52 - mantissaBits;
        long smallestNormal = (long)(1023 + 1 - bias) << 52;
        if (bits < smallestNormal)
        {
            // Adding 2^52 quanta leaves the value, rounded to whole quanta by the adder itself, in the low bits.
            double anchor = BitConverter.Int64BitsToDouble((long)(1023 + 52 + 1 - bias - mantissaBits) << 52);
            return (int)(BitConverter.DoubleToInt64Bits(magnitude + anchor) - BitConverter.DoubleToInt64Bits(anchor));
        }
        long rounded = bits + ((1L << (dropped - 1)) - 1) + ((bits >> dropped) & 1);
        return (int)((rounded >> dropped) - ((long)(1023 - bias) << mantissaBits));
    }
}
