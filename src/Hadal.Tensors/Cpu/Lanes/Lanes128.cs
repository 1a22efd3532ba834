using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Tensors.Cpu.Lanes;

/// <summary>Four 128-bit vectors.</summary>
public readonly unsafe struct Lanes128 : ILanes<Lanes128>
{
    readonly Vector128<float> _v0;
    readonly Vector128<float> _v1;
    readonly Vector128<float> _v2;
    readonly Vector128<float> _v3;

    /// <summary>Wraps the vectors, lowest lanes first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Lanes128(Vector128<float> v0, Vector128<float> v1, Vector128<float> v2, Vector128<float> v3)
    {
        _v0 = v0;
        _v1 = v1;
        _v2 = v2;
        _v3 = v3;
    }

    /// <inheritdoc/>
    public static Lanes128 Zero => default;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Broadcast(float value) => new(Vector128.Create(value), Vector128.Create(value), Vector128.Create(value), Vector128.Create(value));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 BroadcastBits(int bits) => new(Vector128.Create(bits).AsSingle(), Vector128.Create(bits).AsSingle(), Vector128.Create(bits).AsSingle(), Vector128.Create(bits).AsSingle());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Load(float* source) => new(Vector128.Load(source), Vector128.Load(source + 4), Vector128.Load(source + 8), Vector128.Load(source + 12));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadBFloat16(ushort* source)
    {
        (Vector128<uint> a, Vector128<uint> b) = Vector128.Widen(Vector128.Load(source));
        (Vector128<uint> c, Vector128<uint> d) = Vector128.Widen(Vector128.Load(source + 8));
        return new((a << 16).AsSingle(), (b << 16).AsSingle(), (c << 16).AsSingle(), (d << 16).AsSingle());
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(float* destination)
    {
        _v0.Store(destination);
        _v1.Store(destination + 4);
        _v2.Store(destination + 8);
        _v3.Store(destination + 12);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreBFloat16(ushort* destination)
    {
        Vector128.Narrow(RoundToBFloat16(_v0), RoundToBFloat16(_v1)).Store(destination);
        Vector128.Narrow(RoundToBFloat16(_v2), RoundToBFloat16(_v3)).Store(destination + 8);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator +(Lanes128 a, Lanes128 b) => new(a._v0 + b._v0, a._v1 + b._v1, a._v2 + b._v2, a._v3 + b._v3);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator -(Lanes128 a, Lanes128 b) => new(a._v0 - b._v0, a._v1 - b._v1, a._v2 - b._v2, a._v3 - b._v3);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator *(Lanes128 a, Lanes128 b) => new(a._v0 * b._v0, a._v1 * b._v1, a._v2 * b._v2, a._v3 * b._v3);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 operator /(Lanes128 a, Lanes128 b) => new(a._v0 / b._v0, a._v1 / b._v1, a._v2 / b._v2, a._v3 / b._v3);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Fma(Lanes128 a, Lanes128 b, Lanes128 c) => 
        new(Vector128.FusedMultiplyAdd(a._v0, b._v0, c._v0),
            Vector128.FusedMultiplyAdd(a._v1, b._v1, c._v1),
            Vector128.FusedMultiplyAdd(a._v2, b._v2, c._v2),
            Vector128.FusedMultiplyAdd(a._v3, b._v3, c._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 FmaNegated(Lanes128 a, Lanes128 b, Lanes128 c) => 
        new(Vector128.FusedMultiplyAdd(-a._v0, b._v0, c._v0),
            Vector128.FusedMultiplyAdd(-a._v1, b._v1, c._v1),
            Vector128.FusedMultiplyAdd(-a._v2, b._v2, c._v2),
            Vector128.FusedMultiplyAdd(-a._v3, b._v3, c._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Min(Lanes128 a, Lanes128 b) => new(Smaller(a._v0, b._v0), Smaller(a._v1, b._v1), Smaller(a._v2, b._v2), Smaller(a._v3, b._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Max(Lanes128 a, Lanes128 b) => new(Larger(a._v0, b._v0), Larger(a._v1, b._v1), Larger(a._v2, b._v2), Larger(a._v3, b._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Sqrt(Lanes128 a) => new(Vector128.Sqrt(a._v0), Vector128.Sqrt(a._v1), Vector128.Sqrt(a._v2), Vector128.Sqrt(a._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Abs(Lanes128 a) => new(Vector128.Abs(a._v0), Vector128.Abs(a._v1), Vector128.Abs(a._v2), Vector128.Abs(a._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LessThan(Lanes128 a, Lanes128 b) =>
        new(Vector128.LessThan(a._v0, b._v0),
            Vector128.LessThan(a._v1, b._v1),
            Vector128.LessThan(a._v2, b._v2),
            Vector128.LessThan(a._v3, b._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 EqualTo(Lanes128 a, Lanes128 b) =>
        new(Vector128.Equals(a._v0, b._v0),
            Vector128.Equals(a._v1, b._v1),
            Vector128.Equals(a._v2, b._v2),
            Vector128.Equals(a._v3, b._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Select(Lanes128 mask, Lanes128 a, Lanes128 b) =>
        new(Vector128.ConditionalSelect(mask._v0, a._v0, b._v0),
            Vector128.ConditionalSelect(mask._v1, a._v1, b._v1),
            Vector128.ConditionalSelect(mask._v2, a._v2, b._v2),
            Vector128.ConditionalSelect(mask._v3, a._v3, b._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 AddBits(Lanes128 a, Lanes128 b) =>
        new((a._v0.AsInt32() + b._v0.AsInt32()).AsSingle(), (a._v1.AsInt32() + b._v1.AsInt32()).AsSingle(), (a._v2.AsInt32() + b._v2.AsInt32()).AsSingle(), (a._v3.AsInt32() + b._v3.AsInt32()).AsSingle());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 SubtractBits(Lanes128 a, Lanes128 b) =>
        new((a._v0.AsInt32() - b._v0.AsInt32()).AsSingle(), (a._v1.AsInt32() - b._v1.AsInt32()).AsSingle(), (a._v2.AsInt32() - b._v2.AsInt32()).AsSingle(), (a._v3.AsInt32() - b._v3.AsInt32()).AsSingle());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 AndBits(Lanes128 a, Lanes128 b) => new(a._v0 & b._v0, a._v1 & b._v1, a._v2 & b._v2, a._v3 & b._v3);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 OrBits(Lanes128 a, Lanes128 b) => new(a._v0 | b._v0, a._v1 | b._v1, a._v2 | b._v2, a._v3 | b._v3);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 XorBits(Lanes128 a, Lanes128 b) => new(a._v0 ^ b._v0, a._v1 ^ b._v1, a._v2 ^ b._v2, a._v3 ^ b._v3);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 ShiftLeftBits(Lanes128 a, int count) =>
        new((a._v0.AsInt32() << count).AsSingle(), (a._v1.AsInt32() << count).AsSingle(), (a._v2.AsInt32() << count).AsSingle(), (a._v3.AsInt32() << count).AsSingle());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 ShiftRightBits(Lanes128 a, int count) =>
        new((a._v0.AsInt32() >>> count).AsSingle(), (a._v1.AsInt32() >>> count).AsSingle(), (a._v2.AsInt32() >>> count).AsSingle(), (a._v3.AsInt32() >>> count).AsSingle());

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 IntegerToFloat(Lanes128 integers) =>
        new(Vector128.ConvertToSingle(integers._v0.AsInt32()),
            Vector128.ConvertToSingle(integers._v1.AsInt32()),
            Vector128.ConvertToSingle(integers._v2.AsInt32()),
            Vector128.ConvertToSingle(integers._v3.AsInt32()));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 SwapPairs(Lanes128 a) =>
        new(Vector128.Shuffle(a._v0, Vector128.Create(1, 0, 3, 2)),
            Vector128.Shuffle(a._v1, Vector128.Create(1, 0, 3, 2)),
            Vector128.Shuffle(a._v2, Vector128.Create(1, 0, 3, 2)),
            Vector128.Shuffle(a._v3, Vector128.Create(1, 0, 3, 2)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 DuplicateEven(Lanes128 a) =>
        new(Vector128.Shuffle(a._v0, Vector128.Create(0, 0, 2, 2)),
            Vector128.Shuffle(a._v1, Vector128.Create(0, 0, 2, 2)),
            Vector128.Shuffle(a._v2, Vector128.Create(0, 0, 2, 2)),
            Vector128.Shuffle(a._v3, Vector128.Create(0, 0, 2, 2)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 DuplicateOdd(Lanes128 a) =>
        new(Vector128.Shuffle(a._v0, Vector128.Create(1, 1, 3, 3)),
            Vector128.Shuffle(a._v1, Vector128.Create(1, 1, 3, 3)),
            Vector128.Shuffle(a._v2, Vector128.Create(1, 1, 3, 3)),
            Vector128.Shuffle(a._v3, Vector128.Create(1, 1, 3, 3)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Sum(Lanes128 a) => FinishSum((a._v0 + a._v2) + (a._v1 + a._v3));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Largest(Lanes128 a) => FinishLargest(Larger(Larger(a._v0, a._v2), Larger(a._v1, a._v3)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadFirst(float* source, int count) => new(
        LoadQuarter(source, count), LoadQuarter(source + 4, count - 4), LoadQuarter(source + 8, count - 8), LoadQuarter(source + 12, count - 12));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void StoreFirst(float* destination, int count)
    {
        StoreQuarter(destination, count, _v0);
        StoreQuarter(destination + 4, count - 4, _v1);
        StoreQuarter(destination + 8, count - 8, _v2);
        StoreQuarter(destination + 12, count - 12, _v3);
    }

    static Vector128<float> LoadQuarter(float* source, int count) => count switch
    {
        >= 4 => Vector128.Load(source),
        3 => Vector128.Create(source[0], source[1], source[2], 0),
        2 => Vector128.Create(source[0], source[1], 0, 0),
        1 => Vector128.CreateScalar(source[0]),
        _ => Vector128<float>.Zero,
    };

    static void StoreQuarter(float* destination, int count, Vector128<float> value)
    {
        if (count >= 4)
        {
            value.Store(destination);
            return;
        }

        for (int i = 0; i < count; i++) destination[i] = value[i];
    }

    // The x86 instructions are defined as a < b ? a : b and a > b ? a : b; elsewhere that is written out.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> Smaller(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.Min(a, b) : Vector128.ConditionalSelect(Vector128.LessThan(a, b), a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<float> Larger(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? Sse.Max(a, b) : Vector128.ConditionalSelect(Vector128.GreaterThan(a, b), a, b);

    /// <summary>The last two levels of the tree of <see cref="Sum"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float FinishSum(Vector128<float> four)
    {
        Vector128<float> two = four + Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1));
        return two[0] + two[1];
    }

    /// <summary>The last two levels of the tree of <see cref="Largest"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float FinishLargest(Vector128<float> four)
    {
        Vector128<float> two = Larger(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return two[0] > two[1] ? two[0] : two[1];
    }

    // Adds half of the last kept place, minus one when that place is even; NaN keeps its upper half with the quiet bit set.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<uint> RoundToBFloat16(Vector128<float> value)
    {
        Vector128<uint> bits = value.AsUInt32();
        Vector128<uint> rounded = (bits + Vector128.Create(0x7FFFu) + ((bits >>> 16) & Vector128<uint>.One)) >>> 16;
        Vector128<uint> quiet = (bits >>> 16) | Vector128.Create(0x0040u);
        return Vector128.ConditionalSelect(Vector128.Equals(value, value).AsUInt32(), rounded, quiet);
    }
}
