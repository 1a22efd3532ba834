using System.Runtime.CompilerServices;

namespace Hadal.Tensors.Cpu.Lanes;

/// <summary>Sixteen scalars: what every machine has, and the definition the vector types are tested against.</summary>
[InlineArray(16)]
public unsafe struct LanesScalar : ILanes<LanesScalar>
{
    float _lane0;

    /// <inheritdoc/>
    public static LanesScalar Zero => default;

    /// <inheritdoc/>
    public static LanesScalar Broadcast(float value)
    {
        LanesScalar result = default;
        for (int i = 0; i < 16; i++) result[i] = value;
        return result;
    }

    /// <inheritdoc/>
    public static LanesScalar BroadcastBits(int bits) => Broadcast(BitConverter.Int32BitsToSingle(bits));

    /// <inheritdoc/>
    public static LanesScalar Load(float* source) => LoadFirst(source, 16);

    /// <inheritdoc/>
    public static LanesScalar LoadFirst(float* source, int count)
    {
        LanesScalar result = default;
        for (int i = 0; i < count; i++) result[i] = source[i];
        return result;
    }

    /// <inheritdoc/>
    public static LanesScalar LoadBFloat16(ushort* source)
    {
        LanesScalar result = default;
        for (int i = 0; i < 16; i++) result[i] = BitConverter.Int32BitsToSingle(source[i] << 16);
        return result;
    }

    /// <inheritdoc/>
    public readonly void Store(float* destination) => StoreFirst(destination, 16);

    /// <inheritdoc/>
    public readonly void StoreFirst(float* destination, int count)
    {
        for (int i = 0; i < count; i++) destination[i] = this[i];
    }

    /// <inheritdoc/>
    public readonly void StoreBFloat16(ushort* destination)
    {
        for (int i = 0; i < 16; i++)
        {
            uint bits = BitConverter.SingleToUInt32Bits(this[i]);
            destination[i] = float.IsNaN(this[i]) ? (ushort)((bits >>> 16) | 0x0040) : (ushort)((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16);
        }
    }

    /// <inheritdoc/>
    public static LanesScalar operator +(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] += b[i];
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar operator -(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] -= b[i];
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar operator *(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] *= b[i];
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar operator /(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] /= b[i];
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar Fma(LanesScalar a, LanesScalar b, LanesScalar c)
    {
        for (int i = 0; i < 16; i++) c[i] = MathF.FusedMultiplyAdd(a[i], b[i], c[i]);
        return c;
    }

    /// <inheritdoc/>
    public static LanesScalar FmaNegated(LanesScalar a, LanesScalar b, LanesScalar c)
    {
        for (int i = 0; i < 16; i++) c[i] = MathF.FusedMultiplyAdd(-a[i], b[i], c[i]);
        return c;
    }

    /// <inheritdoc/>
    public static LanesScalar Min(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
        return b;
    }

    /// <inheritdoc/>
    public static LanesScalar Max(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
        return b;
    }

    /// <inheritdoc/>
    public static LanesScalar Sqrt(LanesScalar a)
    {
        for (int i = 0; i < 16; i++) a[i] = MathF.Sqrt(a[i]);
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar Abs(LanesScalar a)
    {
        for (int i = 0; i < 16; i++) a[i] = MathF.Abs(a[i]);
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar LessThan(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Mask(a[i] < b[i]);
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar EqualTo(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Mask(a[i] == b[i]);
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar Select(LanesScalar mask, LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Float((Bits(mask[i]) & Bits(a[i])) | (~Bits(mask[i]) & Bits(b[i])));
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar AddBits(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Float(Bits(a[i]) + Bits(b[i]));
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar SubtractBits(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Float(Bits(a[i]) - Bits(b[i]));
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar AndBits(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Float(Bits(a[i]) & Bits(b[i]));
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar OrBits(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Float(Bits(a[i]) | Bits(b[i]));
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar XorBits(LanesScalar a, LanesScalar b)
    {
        for (int i = 0; i < 16; i++) a[i] = Float(Bits(a[i]) ^ Bits(b[i]));
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar ShiftLeftBits(LanesScalar a, int count)
    {
        for (int i = 0; i < 16; i++) a[i] = Float(Bits(a[i]) << count);
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar ShiftRightBits(LanesScalar a, int count)
    {
        for (int i = 0; i < 16; i++) a[i] = Float(Bits(a[i]) >>> count);
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar IntegerToFloat(LanesScalar integers)
    {
        for (int i = 0; i < 16; i++) integers[i] = Bits(integers[i]);
        return integers;
    }

    /// <inheritdoc/>
    public static LanesScalar SwapPairs(LanesScalar a)
    {
        for (int i = 0; i < 16; i += 2) (a[i], a[i + 1]) = (a[i + 1], a[i]);
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar DuplicateEven(LanesScalar a)
    {
        for (int i = 0; i < 16; i += 2) a[i + 1] = a[i];
        return a;
    }

    /// <inheritdoc/>
    public static LanesScalar DuplicateOdd(LanesScalar a)
    {
        for (int i = 0; i < 16; i += 2) a[i] = a[i + 1];
        return a;
    }

    /// <inheritdoc/>
    public static float Sum(LanesScalar a)
    {
        for (int half = 8; half > 0; half /= 2)
        {
            for (int i = 0; i < half; i++) a[i] += a[i + half];
        }

        return a[0];
    }

    /// <inheritdoc/>
    public static float Largest(LanesScalar a)
    {
        for (int half = 8; half > 0; half /= 2)
        {
            for (int i = 0; i < half; i++) a[i] = a[i] > a[i + half] ? a[i] : a[i + half];
        }

        return a[0];
    }

    static int Bits(float value) => BitConverter.SingleToInt32Bits(value);

    static float Float(int bits) => BitConverter.Int32BitsToSingle(bits);

    static float Mask(bool condition) => Float(condition ? -1 : 0);
}
