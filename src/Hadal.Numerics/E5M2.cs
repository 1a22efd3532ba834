namespace Hadal.Numerics;

/// <summary>
/// FP8 E5M2 (OCP OFP8): 1 sign, 5 exponent bits (bias 15), 2 mantissa bits, subnormals down to 2^−16, largest finite value 57344, infinity 0x7C, NaN 0x7D–0x7F.
/// Read from checkpoints and used in comparisons; the V3 recipe itself has E4M3 everywhere.
/// </summary>
/// <remarks>Conversion to E5M2 rounds to nearest even and saturates to ±57344, infinities included; NaN becomes 0x7F. Decoding keeps infinities and NaN. The definition is <see cref="FloatFormat.E5M2"/>.</remarks>
public readonly struct E5M2(byte bits) : IEquatable<E5M2>
{
    static readonly float[] Values = BuildValues();

    /// <summary>Largest finite value.</summary>
    public const float MaxValue = 57344f;

    /// <summary>The code.</summary>
    public byte Bits { get; } = bits;

    /// <summary>True for 0x7D..0x7F and 0xFD..0xFF.</summary>
    public bool IsNaN => (Bits & 0x7F) > 0x7C;

    /// <summary>True for 0x7C and 0xFC.</summary>
    public bool IsInfinity => (Bits & 0x7F) == 0x7C;

    /// <summary>Nearest code, ties to even, saturating; NaN becomes 0x7F.</summary>
    public static E5M2 FromSingle(float value) => FromDouble(value);

    /// <summary>Nearest code to a double, rounded once.</summary>
    public static E5M2 FromDouble(double value)
    {
        if (double.IsNaN(value)) return new E5M2(0x7F);
        int sign = double.IsNegative(value) ? 0x80 : 0;
        double magnitude = Math.Min(Math.Abs(value), MaxValue);
        return new E5M2((byte)(sign | SmallFloat.EncodeMagnitude(magnitude, mantissaBits: 2, bias: 15)));
    }

    /// <summary>The value, exactly.</summary>
    public float ToSingle() => Values[Bits];

    /// <summary>Encodes <paramref name="source"/> into <paramref name="destination"/> (at least as long).</summary>
    public static void FromSingle(ReadOnlySpan<float> source, Span<E5M2> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        for (int i = 0; i < source.Length; i++) destination[i] = FromSingle(source[i]);
    }

    /// <summary>Decodes <paramref name="source"/> into <paramref name="destination"/> (at least as long).</summary>
    public static void ToSingle(ReadOnlySpan<E5M2> source, Span<float> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        for (int i = 0; i < source.Length; i++) destination[i] = source[i].ToSingle();
    }

    /// <inheritdoc/>
    public bool Equals(E5M2 other) => Bits == other.Bits;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is E5M2 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Bits;

    /// <summary>Same code.</summary>
    public static bool operator ==(E5M2 left, E5M2 right) => left.Bits == right.Bits;

    /// <summary>Different code.</summary>
    public static bool operator !=(E5M2 left, E5M2 right) => left.Bits != right.Bits;

    /// <inheritdoc/>
    public override string ToString() => $"{ToSingle():R} (E5M2 0x{Bits:X2})";

    static float[] BuildValues()
    {
        float[] values = new float[256];
        for (int code = 0; code < 256; code++) values[code] = (float)FloatFormat.E5M2.Decode(code);
        return values;
    }
}
