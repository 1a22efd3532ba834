using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics;

/// <summary>
/// FP8 E4M3 in its "fn" form (OCP OFP8): 1 sign, 4 exponent bits (bias 7), 3 mantissa bits, subnormals down to 2^−9, largest value 448, no infinity, NaN 0x7F and 0xFF.
/// The one FP8 format of DeepSeek-V3 training (V3 §3.3.2).
/// </summary>
/// <remarks>
/// Conversion to E4M3 rounds to nearest even and saturates: anything beyond 448, infinities too, becomes ±448 (as <c>cvt.rn.satfinite</c> does on the GPU). NaN becomes
/// 0x7F whatever its sign. The definition is <see cref="FloatFormat.E4M3"/>.
/// </remarks>
public readonly struct E4M3(byte bits) : IEquatable<E4M3>
{
    static readonly float[] Values = BuildValues();

    /// <summary>Largest finite value.</summary>
    public const float MaxValue = 448f;

    /// <summary>The code.</summary>
    public byte Bits { get; } = bits;

    /// <summary>True for 0x7F and 0xFF.</summary>
    public bool IsNaN => (Bits & 0x7F) == 0x7F;

    /// <summary>Nearest code, ties to even, saturating; NaN becomes 0x7F.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static E4M3 FromSingle(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        uint sign = (bits >> 24) & 0x80;
        uint magnitude = bits & 0x7FFF_FFFF;
        if (magnitude > 0x7F80_0000) return new E4M3(0x7F);
        magnitude = Math.Min(magnitude, LargestBits);
        if (magnitude < SmallestNormalBits)
            return new E4M3((byte)(sign | (BitConverter.SingleToUInt32Bits(BitConverter.UInt32BitsToSingle(magnitude) + Anchor) - AnchorBits)));
        uint rounded = magnitude + 0x7FFFF + ((magnitude >> 20) & 1);
        return new E4M3((byte)(sign | ((rounded >> 20) - ExponentShift)));
    }

    /// <summary>Nearest code to a double, rounded once.</summary>
    public static E4M3 FromDouble(double value)
    {
        if (double.IsNaN(value)) return new E4M3(0x7F);
        int sign = double.IsNegative(value) ? 0x80 : 0;
        double magnitude = Math.Min(Math.Abs(value), MaxValue);
        return new E4M3((byte)(sign | SmallFloat.EncodeMagnitude(magnitude, mantissaBits: 3, bias: 7)));
    }

    /// <summary>The value, exactly; NaN codes give a NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float ToSingle() => Values[Bits];

    /// <summary>Encodes <paramref name="source"/> into <paramref name="destination"/> (at least as long), element by element as <see cref="FromSingle(float)"/>.</summary>
    public static void FromSingle(ReadOnlySpan<float> source, Span<E4M3> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        ref float from = ref MemoryMarshal.GetReference(source);
        ref byte to = ref Unsafe.As<E4M3, byte>(ref MemoryMarshal.GetReference(destination));
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 16; i += 16)
                EncodeVector(Vector512.LoadUnsafe(ref from, (nuint)i)).StoreUnsafe(ref to, (nuint)i);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 8; i += 8)
                Unsafe.WriteUnaligned(ref Unsafe.Add(ref to, i), EncodeVector(Vector256.LoadUnsafe(ref from, (nuint)i)));
        }
        for (; i < source.Length; i++) destination[i] = FromSingle(source[i]);
    }

    /// <summary>Decodes <paramref name="source"/> into <paramref name="destination"/> (at least as long).</summary>
    public static void ToSingle(ReadOnlySpan<E4M3> source, Span<float> destination)
    {
        SpanCheck.Fits(source.Length, destination.Length);
        ref byte from = ref Unsafe.As<E4M3, byte>(ref MemoryMarshal.GetReference(source));
        ref float to = ref MemoryMarshal.GetReference(destination);
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 16; i += 16)
                DecodeVector512(Vector128.LoadUnsafe(ref from, (nuint)i)).StoreUnsafe(ref to, (nuint)i);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= source.Length - 8; i += 8)
                DecodeVector256(Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref from, i))).StoreUnsafe(ref to, (nuint)i);
        }
        for (; i < source.Length; i++) destination[i] = source[i].ToSingle();
    }

    /// <summary>Sixteen values to sixteen codes; <see cref="FromSingle(float)"/> in lanes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<byte> EncodeVector(Vector512<float> value)
    {
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> sign = (bits >>> 24) & Vector512.Create(0x80u);
        Vector512<uint> magnitude = bits & Vector512.Create(0x7FFF_FFFFu);
        Vector512<uint> nan = Vector512.GreaterThan(magnitude, Vector512.Create(0x7F80_0000u));
        magnitude = Vector512.Min(magnitude, Vector512.Create(LargestBits));
        Vector512<uint> subnormal = (magnitude.AsSingle() + Vector512.Create(Anchor)).AsUInt32() - Vector512.Create(AnchorBits);
        Vector512<uint> rounded = magnitude + Vector512.Create(0x7FFFFu) + ((magnitude >>> 20) & Vector512<uint>.One);
        Vector512<uint> normal = (rounded >>> 20) - Vector512.Create(ExponentShift);
        Vector512<uint> code = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(SmallestNormalBits)), subnormal, normal) | sign;
        code = Vector512.ConditionalSelect(nan, Vector512.Create(0x7Fu), code);
        Vector256<ushort> words = Vector256.Narrow(code.GetLower(), code.GetUpper());
        return Vector128.Narrow(words.GetLower(), words.GetUpper());
    }

    /// <summary>Eight values to eight codes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static ulong EncodeVector(Vector256<float> value)
    {
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> sign = (bits >>> 24) & Vector256.Create(0x80u);
        Vector256<uint> magnitude = bits & Vector256.Create(0x7FFF_FFFFu);
        Vector256<uint> nan = Vector256.GreaterThan(magnitude, Vector256.Create(0x7F80_0000u));
        magnitude = Vector256.Min(magnitude, Vector256.Create(LargestBits));
        Vector256<uint> subnormal = (magnitude.AsSingle() + Vector256.Create(Anchor)).AsUInt32() - Vector256.Create(AnchorBits);
        Vector256<uint> rounded = magnitude + Vector256.Create(0x7FFFFu) + ((magnitude >>> 20) & Vector256<uint>.One);
        Vector256<uint> normal = (rounded >>> 20) - Vector256.Create(ExponentShift);
        Vector256<uint> code = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(SmallestNormalBits)), subnormal, normal) | sign;
        code = Vector256.ConditionalSelect(nan, Vector256.Create(0x7Fu), code);
        Vector128<ushort> words = Vector128.Narrow(code.GetLower(), code.GetUpper());
        return Vector128.Narrow(words, words).AsUInt64().ToScalar();
    }

    /// <summary>Sixteen codes to sixteen values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector512<float> DecodeVector512(Vector128<byte> codes)
    {
        Vector512<uint> code = Vector512.WidenLower(Vector512.WidenLower(codes.ToVector256Unsafe().ToVector512Unsafe()));
        Vector512<uint> sign = (code & Vector512.Create(0x80u)) << 24;
        Vector512<uint> magnitude = code & Vector512.Create(0x7Fu);
        Vector512<uint> shifted = magnitude << 20;
        Vector512<uint> normal = shifted + Vector512.Create(120u << 23);
        // Exponent field 0: (1 + m/8)·2^−6 − 2^−6 is exactly m/8·2^−6, without denormal floats on the way.
        Vector512<uint> subnormal = ((shifted + Vector512.Create(121u << 23)).AsSingle() - Vector512.Create(SmallestNormal)).AsUInt32();
        Vector512<uint> value = Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(8u)), subnormal, normal);
        value = Vector512.ConditionalSelect(Vector512.Equals(magnitude, Vector512.Create(0x7Fu)), Vector512.Create(0x7FC0_0000u), value);
        return (value | sign).AsSingle();
    }

    /// <summary>Eight codes to eight values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector256<float> DecodeVector256(ulong codes)
    {
        Vector128<ushort> words = Vector128.WidenLower(Vector128.CreateScalar(codes).AsByte());
        Vector256<uint> code = Vector256.Create(Vector128.WidenLower(words), Vector128.WidenUpper(words));
        Vector256<uint> sign = (code & Vector256.Create(0x80u)) << 24;
        Vector256<uint> magnitude = code & Vector256.Create(0x7Fu);
        Vector256<uint> shifted = magnitude << 20;
        Vector256<uint> normal = shifted + Vector256.Create(120u << 23);
        Vector256<uint> subnormal = ((shifted + Vector256.Create(121u << 23)).AsSingle() - Vector256.Create(SmallestNormal)).AsUInt32();
        Vector256<uint> value = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(8u)), subnormal, normal);
        value = Vector256.ConditionalSelect(Vector256.Equals(magnitude, Vector256.Create(0x7Fu)), Vector256.Create(0x7FC0_0000u), value);
        return (value | sign).AsSingle();
    }

    /// <inheritdoc/>
    public bool Equals(E4M3 other) => Bits == other.Bits;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is E4M3 other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => Bits;

    /// <summary>Same code (so a NaN equals itself and the zeros differ).</summary>
    public static bool operator ==(E4M3 left, E4M3 right) => left.Bits == right.Bits;

    /// <summary>Different code.</summary>
    public static bool operator !=(E4M3 left, E4M3 right) => left.Bits != right.Bits;

    /// <inheritdoc/>
    public override string ToString() => $"{ToSingle():R} (E4M3 0x{Bits:X2})";

    const uint LargestBits = 0x43E0_0000;        // 448f
    const uint SmallestNormalBits = 121u << 23;  // 2^-6
    const float SmallestNormal = 0.015625f;
    const float Anchor = 16384f;                 // 2^14: its unit in the last place is 2^-9, the smallest subnormal
    const uint AnchorBits = 141u << 23;
    const uint ExponentShift = (127 - 7) << 3;

    static float[] BuildValues()
    {
        float[] values = new float[256];
        for (int code = 0; code < 256; code++) values[code] = (float)FloatFormat.E4M3.Decode(code);
        // The sign of a NaN is kept so that the table and the vector path agree bit for bit.
        values[0x7F] = BitConverter.UInt32BitsToSingle(0x7FC0_0000);
        values[0xFF] = BitConverter.UInt32BitsToSingle(0xFFC0_0000);
        return values;
    }
}
