namespace Hadal.Numerics;

/// <summary>
/// The 12-bit format in which the attention output is kept for backward (V3 §3.3.3): 1 sign, 5 exponent bits (bias 15), 6 mantissa bits, subnormals down to 2^−20,
/// no infinity, no NaN; exponent field 31 is an ordinary binade, so the largest value is 130048. Bits 12–15 of <see cref="Bits"/> are zero.
/// </summary>
/// <remarks>
/// Conversion rounds to nearest even and saturates to ±130048, infinities included. A NaN cannot be represented and throws: it is a fault of the step that made it.
/// In memory two values take three bytes, little endian: byte 0 = low 8 bits of the first, byte 1 = high 4 bits of the first in its low nibble and low 4 bits of the
/// second in its high nibble, byte 2 = high 8 bits of the second. An odd count ends with a pair whose second value is +0. The definition is <see cref="FloatFormat.E5M6"/>.
/// </remarks>
public readonly struct E5M6 : IEquatable<E5M6>
{
    static readonly float[] Values = BuildValues();

    /// <summary>Largest finite value.</summary>
    public const float MaxValue = 130048f;

    /// <summary>From a 12-bit code.</summary>
    public E5M6(ushort bits)
    {
        if (bits > 0xFFF) throw new ArgumentOutOfRangeException(nameof(bits), bits, "An E5M6 code has 12 bits: 0..4095.");
        Bits = bits;
    }

    /// <summary>The code, 0..4095.</summary>
    public ushort Bits { get; }

    /// <summary>Nearest code, ties to even, saturating.</summary>
    /// <exception cref="ArithmeticException">The value is NaN.</exception>
    public static E5M6 FromSingle(float value) => FromDouble(value);

    /// <summary>Nearest code to a double, rounded once.</summary>
    /// <exception cref="ArithmeticException">The value is NaN.</exception>
    public static E5M6 FromDouble(double value)
    {
        if (double.IsNaN(value)) throw new ArithmeticException("NaN cannot be encoded in E5M6: every code of it is a number. Find the NaN before encoding.");
        int sign = double.IsNegative(value) ? 0x800 : 0;
        double magnitude = Math.Min(Math.Abs(value), MaxValue);
        return new E5M6((ushort)(sign | SmallFloat.EncodeMagnitude(magnitude, mantissaBits: 6, bias: 15)));
    }

    /// <summary>The value, exactly.</summary>
    public float ToSingle() => Values[Bits];

    /// <summary>Bytes of <paramref name="count"/> packed values: three for each pair begun.</summary>
    public static int PackedLength(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        return checked((int)(((long)count + 1) / 2 * 3));
    }

    /// <summary>Encodes and packs <paramref name="source"/> into <see cref="PackedLength"/> bytes of <paramref name="destination"/>.</summary>
    /// <exception cref="ArithmeticException">A value is NaN; the message has its index.</exception>
    public static void Pack(ReadOnlySpan<float> source, Span<byte> destination)
    {
        SpanCheck.Fits(PackedLength(source.Length), destination.Length);
        for (int i = 0, o = 0; i < source.Length; i += 2, o += 3)
        {
            int first = EncodeAt(source, i);
            int second = i + 1 < source.Length ? EncodeAt(source, i + 1) : 0;
            WritePair(destination[o..], first, second);
        }
    }

    /// <summary>Unpacks and decodes <paramref name="destination"/>.Length values from <see cref="PackedLength"/> bytes of <paramref name="source"/>.</summary>
    public static void Unpack(ReadOnlySpan<byte> source, Span<float> destination)
    {
        SpanCheck.Fits(PackedLength(destination.Length), source.Length);
        for (int i = 0, o = 0; i < destination.Length; i += 2, o += 3)
        {
            (int first, int second) = ReadPair(source[o..]);
            destination[i] = Values[first];
            if (i + 1 < destination.Length) destination[i + 1] = Values[second];
        }
    }

    /// <summary>Stores two codes in three bytes.</summary>
    internal static void WritePair(Span<byte> destination, int first, int second)
    {
        destination[2] = (byte)(second >> 4);
        destination[1] = (byte)((first >> 8) | (second << 4));
        destination[0] = (byte)first;
    }

    /// <summary>Loads two codes from three bytes.</summary>
    internal static (int First, int Second) ReadPair(ReadOnlySpan<byte> source)
    {
        int high = source[2];
        return (source[0] | ((source[1] & 0xF) << 8), (source[1] >> 4) | (high << 4));
    }

    static int EncodeAt(ReadOnlySpan<float> source, int index)
    {
        float value = source[index];
        if (float.IsNaN(value)) throw new ArithmeticException($"NaN at index {index} of {source.Length} cannot be encoded in E5M6: every code of it is a number.");
        return FromSingle(value).Bits;
    }

    /// <inheritdoc/>
    public bool Equals(E5M6 other) => Bits == other.Bits;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is E5M6 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Bits;

    /// <summary>Same code.</summary>
    public static bool operator ==(E5M6 left, E5M6 right) => left.Bits == right.Bits;

    /// <summary>Different code.</summary>
    public static bool operator !=(E5M6 left, E5M6 right) => left.Bits != right.Bits;

    /// <inheritdoc/>
    public override string ToString() => $"{ToSingle():R} (E5M6 0x{Bits:X3})";

    static float[] BuildValues()
    {
        float[] values = new float[4096];
        for (int code = 0; code < 4096; code++) values[code] = (float)FloatFormat.E5M6.Decode(code);
        return values;
    }
}
