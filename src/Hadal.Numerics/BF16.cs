using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics;

/// <summary>bfloat16: the upper 16 bits of binary32 (1 sign, 8 exponent bits, 7 mantissa bits).</summary>
/// <remarks>
/// Conversion rounds to nearest even and follows IEEE 754: values beyond the largest (3.39e38) become infinity, infinities stay, subnormals are kept, a NaN stays a NaN
/// of the same sign and is made quiet. Decoding is exact.
/// </remarks>
public readonly struct BF16(ushort bits) : IEquatable<BF16>
{
    /// <summary>The code.</summary>
    public ushort Bits { get; } = bits;

    /// <summary>True for NaN.</summary>
    public bool IsNaN => (Bits & 0x7FFF) > 0x7F80;

    /// <summary>Nearest code, ties to even.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static BF16 FromSingle(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if ((bits & 0x7FFF_FFFF) > 0x7F80_0000) return new BF16((ushort)((bits >> 16) | 0x40));
        return new BF16((ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16));
    }

    /// <summary>Nearest code to a double, rounded once (through float it could be rounded twice).</summary>
    public static BF16 FromDouble(double value)
    {
        if (double.IsNaN(value)) return FromSingle((float)value);
        int sign = double.IsNegative(value) ? 0x8000 : 0;
        double magnitude = Math.Min(Math.Abs(value), TwoTo128);
        return new BF16((ushort)(sign | SmallFloat.EncodeMagnitude(magnitude, mantissaBits: 7, bias: 127)));
    }

    /// <summary>The value, exactly.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float ToSingle() => BitConverter.UInt32BitsToSingle((uint)Bits << 16);

    /// <summary>Encodes <paramref name="source"/> into <paramref name="destination"/> (at least as long), element by element as <see cref="FromSingle(float)"/>.</summary>
    public static void FromSingle(ReadOnlySpan<float> source, Span<BF16> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        ref float from = ref MemoryMarshal.GetReference(source);
        ref ushort to = ref Unsafe.As<BF16, ushort>(ref MemoryMarshal.GetReference(destination));
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 32; i += 32)
                Vector512.Narrow(Round(Vector512.LoadUnsafe(ref from, (nuint)i)), Round(Vector512.LoadUnsafe(ref from, (nuint)i + 16))).StoreUnsafe(ref to, (nuint)i);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 16; i += 16)
                Vector256.Narrow(Round(Vector256.LoadUnsafe(ref from, (nuint)i)), Round(Vector256.LoadUnsafe(ref from, (nuint)i + 8))).StoreUnsafe(ref to, (nuint)i);
        }
        for (; i < source.Length; i++) destination[i] = FromSingle(source[i]);
    }

    /// <summary>Decodes <paramref name="source"/> into <paramref name="destination"/> (at least as long).</summary>
    public static void ToSingle(ReadOnlySpan<BF16> source, Span<float> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        ref ushort from = ref Unsafe.As<BF16, ushort>(ref MemoryMarshal.GetReference(source));
        ref uint to = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(destination));
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 32; i += 32)
            {
                Vector512<ushort> codes = Vector512.LoadUnsafe(ref from, (nuint)i);
                (Vector512.WidenLower(codes) << 16).StoreUnsafe(ref to, (nuint)i);
                (Vector512.WidenUpper(codes) << 16).StoreUnsafe(ref to, (nuint)i + 16);
            }
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 16; i += 16)
            {
                Vector256<ushort> codes = Vector256.LoadUnsafe(ref from, (nuint)i);
                (Vector256.WidenLower(codes) << 16).StoreUnsafe(ref to, (nuint)i);
                (Vector256.WidenUpper(codes) << 16).StoreUnsafe(ref to, (nuint)i + 8);
            }
        }
        for (; i < source.Length; i++) destination[i] = source[i].ToSingle();
    }

    /// <summary>Index of the first NaN or infinity, or −1.</summary>
    public static int FirstNonFinite(ReadOnlySpan<BF16> x)
    {
        // Whole vectors first: finite is what has an exponent below the largest.
        int i = 0;
        var exponent = new Vector<ushort>(0x7F80);
        ReadOnlySpan<Vector<ushort>> vectors = MemoryMarshal.Cast<BF16, Vector<ushort>>(x);
        while (i < vectors.Length && !Vector.EqualsAny(vectors[i] & exponent, exponent)) i++;
        for (i *= Vector<ushort>.Count; i < x.Length; i++)
            if ((x[i].Bits & 0x7F80) == 0x7F80) return i;
        return -1;
    }

    /// <summary>Rounds each value to its nearest bfloat16 and keeps it as a float. <paramref name="destination"/> may be <paramref name="source"/>.</summary>
    public static void RoundSingle(ReadOnlySpan<float> source, Span<float> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        ref float from = ref MemoryMarshal.GetReference(source);
        ref uint to = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(destination));
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
            for (; i <= source.Length - 16; i += 16) (Round(Vector512.LoadUnsafe(ref from, (nuint)i)) << 16).StoreUnsafe(ref to, (nuint)i);
        else if (Vector128.IsHardwareAccelerated)
            for (; i <= source.Length - 8; i += 8) (Round(Vector256.LoadUnsafe(ref from, (nuint)i)) << 16).StoreUnsafe(ref to, (nuint)i);
        for (; i < source.Length; i++) destination[i] = FromSingle(source[i]).ToSingle();
    }

    /// <summary><see cref="FromSingle(float)"/> in lanes; the code is in the low half of each lane, the high half is zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<uint> Round(Vector512<float> value)
    {
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> upper = bits >>> 16;
        Vector512<uint> rounded = (bits + Vector512.Create(0x7FFFu) + (upper & Vector512<uint>.One)) >>> 16;
        return Vector512.ConditionalSelect(Vector512.Equals(value, value).AsUInt32(), rounded, upper | Vector512.Create(0x40u));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<uint> Round(Vector256<float> value)
    {
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> upper = bits >>> 16;
        Vector256<uint> rounded = (bits + Vector256.Create(0x7FFFu) + (upper & Vector256<uint>.One)) >>> 16;
        return Vector256.ConditionalSelect(Vector256.Equals(value, value).AsUInt32(), rounded, upper | Vector256.Create(0x40u));
    }

    /// <inheritdoc/>
    public bool Equals(BF16 other) => Bits == other.Bits;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is BF16 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Bits;

    /// <summary>Same code (so a NaN equals itself and the zeros differ).</summary>
    public static bool operator ==(BF16 left, BF16 right) => left.Bits == right.Bits;

    /// <summary>Different code.</summary>
    public static bool operator !=(BF16 left, BF16 right) => left.Bits != right.Bits;

    /// <inheritdoc/>
    public override string ToString() => $"{ToSingle():R} (BF16 0x{Bits:X4})";

    const double TwoTo128 = 340282366920938463463374607431768211456.0;
}
