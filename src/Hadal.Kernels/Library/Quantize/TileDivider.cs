using Hadal.Kernels.Dsl;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>
/// The scale of a tile and division by it, with the bits of <see cref="TileScale"/> and <see cref="TileQuantizer"/>: the quotient is correctly rounded, signs of zeros
/// are kept, a tile with a NaN or an infinity gets scale NaN and codes 0.
/// </summary>
sealed class TileDivider
{
    readonly ThreadScope _scope;
    readonly ScaleKind _kind;
    readonly F32 _divisor, _reciprocal, _minusReciprocal;
    readonly U32 _mask;

    /// <param name="scope">Where the threads run.</param>
    /// <param name="largest">The bits of the tile's largest magnitude, NaN above infinity above numbers.</param>
    /// <param name="kind">Plain or power of two.</param>
    /// <param name="largestCode">The format's largest value.</param>
    public TileDivider(ThreadScope scope, U32 largest, ScaleKind kind, float largestCode)
    {
        (_scope, _kind) = (scope, kind);
        Predicate finite = largest < 0x7F800000;
        F32 magnitude = largest.AsF32().Maximum(TileScale.MinimumMagnitude);
        if (kind == ScaleKind.Plain)
        {
            _divisor = magnitude / scope.Constant(largestCode);
            _reciprocal = _divisor.Reciprocal();
            _minusReciprocal = -_reciprocal;
        }
        else
        {
            // The smallest power of two p with magnitude ≤ largestCode·p, from exponents and mantissas.
            int bits = BitConverter.SingleToInt32Bits(largestCode);
            U32 word = magnitude.AsU32();
            U32 above = ((word & 0x7FFFFF) > (bits & 0x7FFFFF)).Select(scope.Constant(1), scope.Constant(0));
            U32 exponent = (word >> 23) + (127 - (bits >> 23)) + above;
            _divisor = (exponent << 23).AsF32();
            _reciprocal = ((scope.Constant(254) - exponent) << 23).AsF32();
            _minusReciprocal = _reciprocal;
        }

        Scale = finite.Select(_divisor, scope.Constant(float.NaN));
        _mask = finite.Select(scope.Constant(-1), scope.Constant(0));
    }

    /// <summary>What is stored as the tile's scale.</summary>
    public F32 Scale { get; }

    /// <summary>The bits of |value|, which order as magnitudes do.</summary>
    public static U32 Magnitude(F32 value) => value.AsU32() & 0x7FFFFFFF;

    /// <summary>value / scale, correctly rounded where the quotient is normal.</summary>
    public F32 Divide(F32 value)
    {
        F32 quotient = value * _reciprocal;
        if (_kind == ScaleKind.PowerOfTwo) return quotient;

        // The reciprocal is correctly rounded, so the first correction leaves less than one unit and the second rounds correctly (Markstein 1990).
        // With the remainder's sign turned, a quotient of ±0 keeps its sign.
        F32 minusValue = -value;
        quotient = quotient.MultiplyAdd(_divisor, minusValue).MultiplyAdd(_minusReciprocal, quotient);
        return quotient.MultiplyAdd(_divisor, minusValue).MultiplyAdd(_minusReciprocal, quotient);
    }

    /// <summary>Four values as E4M3 codes, the first lowest; 0 in a tile that is not finite.</summary>
    public U32 Codes(F32 first, F32 second, F32 third, F32 fourth) => Masked(_scope.PackE4M3(Divide(first), Divide(second), Divide(third), Divide(fourth)));

    /// <summary>A word of codes; 0 in a tile that is not finite.</summary>
    public U32 Masked(U32 codes) => codes & _mask;
}
