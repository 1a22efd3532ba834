using Hadal.Kernels.Dsl;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>
/// The scale of a tile and division by it, with the bits of <see cref="TileScale"/> and <see cref="TileQuantizer"/>: codes are those of the correctly rounded quotient,
/// signs of zeros are kept, a tile with a NaN or an infinity gets scale NaN and codes 0.
/// </summary>
sealed class TileDivider
{
    readonly ThreadScope _scope;
    readonly ScaleKind _kind;
    readonly F32 _divisor, _minusReciprocal;
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
            Reciprocal = _divisor.Reciprocal();
            _minusReciprocal = -Reciprocal;
        }
        else
        {
            // The smallest power of two p with magnitude ≤ largestCode·p, from exponents and mantissas.
            int bits = BitConverter.SingleToInt32Bits(largestCode);
            U32 word = magnitude.AsU32();
            U32 above = ((word & 0x7FFFFF) > (bits & 0x7FFFFF)).Select(scope.Constant(1), scope.Constant(0));
            U32 exponent = (word >> 23) + (127 - (bits >> 23)) + above;
            _divisor = (exponent << 23).AsF32();
            Reciprocal = ((scope.Constant(254) - exponent) << 23).AsF32();
            _minusReciprocal = Reciprocal;
        }

        Scale = finite.Select(_divisor, scope.Constant(float.NaN));
        _mask = finite.Select(scope.Constant(-1), scope.Constant(0));
    }

    /// <summary>From a <see cref="Scale"/> and a <see cref="Reciprocal"/> that another thread made.</summary>
    public TileDivider(ThreadScope scope, F32 scale, F32 reciprocal, ScaleKind kind)
    {
        (_scope, _kind, _divisor, Scale, Reciprocal) = (scope, kind, scale, scale, reciprocal);
        _minusReciprocal = kind == ScaleKind.Plain ? -reciprocal : reciprocal;
        _mask = (scale.AsU32() < 0x7F800000).Select(scope.Constant(-1), scope.Constant(0));
    }

    /// <summary>What is stored as the tile's scale.</summary>
    public F32 Scale { get; }

    /// <summary>The correctly rounded reciprocal of a finite tile's scale.</summary>
    public F32 Reciprocal { get; }

    /// <summary>The bits of |value|, which order as magnitudes do.</summary>
    public static U32 Magnitude(F32 value) => value.AsU32() & 0x7FFFFFFF;

    /// <summary>
    /// value / scale, so that its E4M3 code is that of the correctly rounded quotient; the quotient itself when the scale is a power of two. With the correctly rounded
    /// reciprocal one correction leaves less than 2⁻⁴⁷ of the quotient, so it rounds as the quotient does unless that lies so near to the middle of two float32; beside
    /// the few numbers where codes change, only scales within 4 units of four significant bits allow that, and there a test looks at all.
    /// </summary>
    public F32 Divide(F32 value)
    {
        F32 quotient = value * Reciprocal;
        if (_kind == ScaleKind.PowerOfTwo) return quotient;

        // With the remainder's sign turned, a quotient of ±0 keeps its sign.
        return quotient.MultiplyAdd(_divisor, -value).MultiplyAdd(_minusReciprocal, quotient);
    }

    /// <summary>Four values as E4M3 codes, the first lowest; 0 in a tile that is not finite.</summary>
    public U32 Codes(F32 first, F32 second, F32 third, F32 fourth) => Masked(_scope.PackE4M3(Divide(first), Divide(second), Divide(third), Divide(fourth)));

    /// <summary>A word of codes; 0 in a tile that is not finite.</summary>
    public U32 Masked(U32 codes) => codes & _mask;
}
