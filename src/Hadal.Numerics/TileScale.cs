using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Hadal.Numerics;

/// <summary>How the scale of a quantised tile follows from its largest magnitude.</summary>
public enum ScaleKind
{
    /// <summary>scale = amax / largest, in binary32.</summary>
    Plain,
    /// <summary>scale = 2^⌈log2(amax / largest)⌉, found from the bits of amax ("round" scales, V3 §3.3.3; "ue8m0" in checkpoints).</summary>
    PowerOfTwo,
}

/// <summary>The scale of one tile: from a largest magnitude to the factor with which codes are multiplied on the way back.</summary>
public static class TileScale
{
    /// <summary>Floor on a tile's largest magnitude, so that a tile of zeros has a usable scale. In all DeepSeek code.</summary>
    public const float MinimumMagnitude = 1e-4f;

    /// <summary>
    /// Scale for E4M3: max(amax, 1e-4) / 448 rounded to binary32, or the smallest power of two not below the exact quotient. (Rounding the quotient to binary32 first, as
    /// GPU kernels do, gives the same power of two for every amax: the neighbours of 448·2^k lie more than half a unit away from 2^k after division.)
    /// A NaN or infinite <paramref name="magnitude"/> gives NaN.
    /// </summary>
    public static float ForE4M3(float magnitude, ScaleKind kind)
    {
        if (!float.IsFinite(magnitude)) return float.NaN;
        magnitude = Math.Max(magnitude, MinimumMagnitude);
        return kind == ScaleKind.PowerOfTwo ? PowerOfTwo(magnitude, E4M3.MaxValue) : magnitude / E4M3.MaxValue;
    }

    /// <summary>Scale for E5M6, always a power of two: the smallest with max(amax, 1e-4) / scale ≤ 130048. A NaN or infinite <paramref name="magnitude"/> gives NaN.</summary>
    public static float ForE5M6(float magnitude) =>
        float.IsFinite(magnitude) ? PowerOfTwo(Math.Max(magnitude, MinimumMagnitude), E5M6.MaxValue) : float.NaN;

    /// <summary>The smallest power of two p with magnitude ≤ largest·p, by comparing exponents and mantissas. Both arguments are normal and positive.</summary>
    static float PowerOfTwo(float magnitude, float largest)
    {
        int magnitudeBits = BitConverter.SingleToInt32Bits(magnitude);
        int largestBits = BitConverter.SingleToInt32Bits(largest);
        int exponent = (magnitudeBits >> 23) - (largestBits >> 23) + ((magnitudeBits & 0x7F_FFFF) > (largestBits & 0x7F_FFFF) ? 1 : 0);
        return BitConverter.Int32BitsToSingle((exponent + 127) << 23);
    }

    /// <summary>
    /// The largest |x| of a tile. When the tile holds an infinity and no NaN the result is infinite; when it holds a NaN the result is NaN. An empty tile gives 0.
    /// </summary>
    public static float LargestMagnitude(ReadOnlySpan<float> tile)
    {
        ref uint from = ref Unsafe.As<float, uint>(ref MemoryMarshal.GetReference(tile));
        // Magnitude bits order as magnitudes do, with infinity and then NaN on top.
        uint largest = 0;
        int i = 0;
        if (Vector512.IsHardwareAccelerated && tile.Length >= 16)
        {
            Vector512<uint> top = Vector512<uint>.Zero;
            for (; i <= tile.Length - 16; i += 16) top = Vector512.Max(top, Vector512.LoadUnsafe(ref from, (nuint)i) & Vector512.Create(0x7FFF_FFFFu));
            Vector256<uint> half = Vector256.Max(top.GetLower(), top.GetUpper());
            largest = LargestLane(Vector128.Max(half.GetLower(), half.GetUpper()));
        }
        else if (Vector128.IsHardwareAccelerated && tile.Length >= 4)
        {
            Vector128<uint> top = Vector128<uint>.Zero;
            for (; i <= tile.Length - 4; i += 4) top = Vector128.Max(top, Vector128.LoadUnsafe(ref from, (nuint)i) & Vector128.Create(0x7FFF_FFFFu));
            largest = LargestLane(top);
        }
        for (; i < tile.Length; i++) largest = Math.Max(largest, Unsafe.Add(ref from, i) & 0x7FFF_FFFF);
        return BitConverter.UInt32BitsToSingle(largest);
    }

    static uint LargestLane(Vector128<uint> lanes) =>
        Math.Max(Math.Max(lanes[0], lanes[1]), Math.Max(lanes[2], lanes[3]));
}
