using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics;

/// <summary>
/// Values of a narrow format kept in binary32: what encoding and decoding would give, without the codes in between. Matrix products on the CPU decode into panels of
/// binary32 anyway. Every element is rounded on its own, so the bits do not depend on the vector width.
/// </summary>
public static class GridRounding
{
    const uint Magnitude = 0x7FFF_FFFF, Infinity = 0x7F80_0000, E4M3Largest = 0x43E0_0000, E4M3SmallestNormal = 121u << 23;
    const float E4M3Anchor = 16384f; // 2^14: its unit in the last place is 2^−9, the smallest subnormal

    /// <summary>y[i] = float(E4M3(x[i] / scale)); a NaN scale gives 0 (the fault is in the scale). y may be x.</summary>
    public static void ToE4M3(ReadOnlySpan<float> x, float scale, Span<float> y)
    {
        SpanCheck.Fits(x.Length, y.Length);
        if (float.IsNaN(scale))
        {
            y[..x.Length].Clear();
            return;
        }

        ref float from = ref MemoryMarshal.GetReference(x), to = ref MemoryMarshal.GetReference(y);
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            Vector512<float> divisor = Vector512.Create(scale);
            for (; i <= x.Length - 16; i += 16) Round(Vector512.LoadUnsafe(ref from, (nuint)i) / divisor).StoreUnsafe(ref to, (nuint)i);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            Vector256<float> divisor = Vector256.Create(scale);
            for (; i <= x.Length - 8; i += 8) Round(Vector256.LoadUnsafe(ref from, (nuint)i) / divisor).StoreUnsafe(ref to, (nuint)i);
        }

        for (; i < x.Length; i++) Unsafe.Add(ref to, i) = E4M3.FromSingle(Unsafe.Add(ref from, i) / scale).ToSingle();
    }

    /// <summary>y[i] = float(E4M3(x[i] / scales[i])): a row of a matrix whose tiles run down its columns. A NaN scale gives 0. y may be x.</summary>
    public static void ToE4M3(ReadOnlySpan<float> x, ReadOnlySpan<float> scales, Span<float> y)
    {
        SpanCheck.Fits(x.Length, y.Length);
        SpanCheck.Fits(x.Length, scales.Length);
        ref float from = ref MemoryMarshal.GetReference(x), by = ref MemoryMarshal.GetReference(scales), to = ref MemoryMarshal.GetReference(y);
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= x.Length - 16; i += 16)
            {
                Vector512<float> scale = Vector512.LoadUnsafe(ref by, (nuint)i);
                Vector512<float> rounded = Round(Vector512.LoadUnsafe(ref from, (nuint)i) / scale);
                Vector512.ConditionalSelect(Vector512.Equals(scale, scale), rounded, Vector512<float>.Zero).StoreUnsafe(ref to, (nuint)i);
            }
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= x.Length - 8; i += 8)
            {
                Vector256<float> scale = Vector256.LoadUnsafe(ref by, (nuint)i);
                Vector256<float> rounded = Round(Vector256.LoadUnsafe(ref from, (nuint)i) / scale);
                Vector256.ConditionalSelect(Vector256.Equals(scale, scale), rounded, Vector256<float>.Zero).StoreUnsafe(ref to, (nuint)i);
            }
        }

        for (; i < x.Length; i++)
        {
            float scale = Unsafe.Add(ref by, i);
            Unsafe.Add(ref to, i) = float.IsNaN(scale) ? 0 : E4M3.FromSingle(Unsafe.Add(ref from, i) / scale).ToSingle();
        }
    }

    /// <summary>y[i] = x[i] rounded to the nearest bfloat16, ties to even; infinities and NaN stay. y may be x.</summary>
    public static void ToBF16(ReadOnlySpan<float> x, Span<float> y)
    {
        SpanCheck.Fits(x.Length, y.Length);
        ref uint from = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(x)), to = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(y));
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= x.Length - 16; i += 16)
            {
                Vector512<uint> bits = Vector512.LoadUnsafe(ref from, (nuint)i);
                Vector512<uint> rounded = (bits + Vector512.Create(0x7FFFu) + ((bits >>> 16) & Vector512<uint>.One)) & Vector512.Create(0xFFFF_0000u);
                Vector512<uint> special = Vector512.GreaterThan(bits & Vector512.Create(Magnitude), Vector512.Create(Infinity));
                Vector512.ConditionalSelect(special, Quiet(bits), rounded).StoreUnsafe(ref to, (nuint)i);
            }
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= x.Length - 8; i += 8)
            {
                Vector256<uint> bits = Vector256.LoadUnsafe(ref from, (nuint)i);
                Vector256<uint> rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >>> 16) & Vector256<uint>.One)) & Vector256.Create(0xFFFF_0000u);
                Vector256<uint> special = Vector256.GreaterThan(bits & Vector256.Create(Magnitude), Vector256.Create(Infinity));
                Vector256.ConditionalSelect(special, (bits | Vector256.Create(0x40_0000u)) & Vector256.Create(0xFFFF_0000u), rounded).StoreUnsafe(ref to, (nuint)i);
            }
        }

        for (; i < x.Length; i++) Unsafe.Add(ref to, i) = RoundToBF16(Unsafe.Add(ref from, i));
    }

    /// <summary>largest[i] = max(largest[i], |x[i]|) on the bits: infinity and then NaN come out on top.</summary>
    public static void Largest(ReadOnlySpan<float> x, Span<float> largest)
    {
        SpanCheck.Fits(x.Length, largest.Length);
        ref uint from = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(x)), to = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(largest));
        int i = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; i <= x.Length - 16; i += 16)
                Vector512.Max(Vector512.LoadUnsafe(ref to, (nuint)i), Vector512.LoadUnsafe(ref from, (nuint)i) & Vector512.Create(Magnitude)).StoreUnsafe(ref to, (nuint)i);
        }
        else if (Vector128.IsHardwareAccelerated)
        {
            for (; i <= x.Length - 8; i += 8)
                Vector256.Max(Vector256.LoadUnsafe(ref to, (nuint)i), Vector256.LoadUnsafe(ref from, (nuint)i) & Vector256.Create(Magnitude)).StoreUnsafe(ref to, (nuint)i);
        }

        for (; i < x.Length; i++) Unsafe.Add(ref to, i) = Math.Max(Unsafe.Add(ref to, i), Unsafe.Add(ref from, i) & Magnitude);
    }

    static uint RoundToBF16(uint bits) =>
        (bits & Magnitude) > Infinity ? (bits | 0x40_0000) & 0xFFFF_0000 : (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF_0000;

    static Vector512<uint> Quiet(Vector512<uint> bits) => (bits | Vector512.Create(0x40_0000u)) & Vector512.Create(0xFFFF_0000u);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector512<float> Round(Vector512<float> value)
    {
        Vector512<uint> bits = value.AsUInt32();
        Vector512<uint> sign = bits & Vector512.Create(~Magnitude);
        Vector512<uint> magnitude = Vector512.Min(bits & Vector512.Create(Magnitude), Vector512.Create(E4M3Largest));
        Vector512<uint> subnormal = ((magnitude.AsSingle() + Vector512.Create(E4M3Anchor)) - Vector512.Create(E4M3Anchor)).AsUInt32();
        Vector512<uint> normal = (magnitude + Vector512.Create(0x7FFFFu) + ((magnitude >>> 20) & Vector512<uint>.One)) & Vector512.Create(0xFFF0_0000u);
        return (Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(E4M3SmallestNormal)), subnormal, normal) | sign).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector256<float> Round(Vector256<float> value)
    {
        Vector256<uint> bits = value.AsUInt32();
        Vector256<uint> sign = bits & Vector256.Create(~Magnitude);
        Vector256<uint> magnitude = Vector256.Min(bits & Vector256.Create(Magnitude), Vector256.Create(E4M3Largest));
        Vector256<uint> subnormal = ((magnitude.AsSingle() + Vector256.Create(E4M3Anchor)) - Vector256.Create(E4M3Anchor)).AsUInt32();
        Vector256<uint> normal = (magnitude + Vector256.Create(0x7FFFFu) + ((magnitude >>> 20) & Vector256<uint>.One)) & Vector256.Create(0xFFF0_0000u);
        return (Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(E4M3SmallestNormal)), subnormal, normal) | sign).AsSingle();
    }
}
