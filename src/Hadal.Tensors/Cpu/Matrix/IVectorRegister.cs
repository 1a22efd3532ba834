using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>One vector register of floats: what a matrix kernel, which counts registers, is written over.</summary>
/// <typeparam name="TSelf">The implementing type.</typeparam>
unsafe interface IVectorRegister<TSelf>
    where TSelf : struct, IVectorRegister<TSelf>
{
    /// <summary>Floats in the register.</summary>
    static abstract int Width { get; }

    /// <summary>All +0.</summary>
    static abstract TSelf Zero { get; }

    /// <summary><paramref name="value"/> everywhere.</summary>
    static abstract TSelf Broadcast(float value);

    /// <summary>Width values from memory, unaligned.</summary>
    static abstract TSelf Load(float* source);

    /// <summary>Width 32-bit words, their lower halves as bfloat16.</summary>
    static abstract TSelf LoadLowerHalves(uint* source);

    /// <summary>Width 32-bit words, their upper halves as bfloat16.</summary>
    static abstract TSelf LoadUpperHalves(uint* source);

    /// <summary>Writes Width values, unaligned.</summary>
    static abstract void Store(TSelf value, float* destination);

    /// <summary>a·b + c with one rounding.</summary>
    static abstract TSelf Fma(TSelf a, TSelf b, TSelf c);
}

/// <summary>512 bits: 16 floats.</summary>
readonly unsafe struct Register512(Vector512<float> value) : IVectorRegister<Register512>
{
    readonly Vector512<float> _value = value;

    public static int Width => 16;

    public static Register512 Zero => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register512 Broadcast(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register512 Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register512 LoadLowerHalves(uint* source) => new((Vector512.Load(source) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register512 LoadUpperHalves(uint* source) => new((Vector512.Load(source) & Vector512.Create(0xFFFF_0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Register512 value, float* destination) => value._value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register512 Fma(Register512 a, Register512 b, Register512 c) => new(Vector512.FusedMultiplyAdd(a._value, b._value, c._value));
}

/// <summary>256 bits: 8 floats.</summary>
readonly unsafe struct Register256(Vector256<float> value) : IVectorRegister<Register256>
{
    readonly Vector256<float> _value = value;

    public static int Width => 8;

    public static Register256 Zero => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Broadcast(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Load(float* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 LoadLowerHalves(uint* source) => new((Vector256.Load(source) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 LoadUpperHalves(uint* source) => new((Vector256.Load(source) & Vector256.Create(0xFFFF_0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Register256 value, float* destination) => value._value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register256 Fma(Register256 a, Register256 b, Register256 c) => new(Vector256.FusedMultiplyAdd(a._value, b._value, c._value));
}

/// <summary>128 bits: 4 floats.</summary>
readonly unsafe struct Register128(Vector128<float> value) : IVectorRegister<Register128>
{
    readonly Vector128<float> _value = value;

    public static int Width => 4;

    public static Register128 Zero => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Broadcast(float value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Load(float* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 LoadLowerHalves(uint* source) => new((Vector128.Load(source) << 16).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 LoadUpperHalves(uint* source) => new((Vector128.Load(source) & Vector128.Create(0xFFFF_0000u)).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Register128 value, float* destination) => value._value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Register128 Fma(Register128 a, Register128 b, Register128 c) => new(Vector128.FusedMultiplyAdd(a._value, b._value, c._value));
}

/// <summary>A single float: the same kernels without vector instructions.</summary>
readonly unsafe struct RegisterScalar(float value) : IVectorRegister<RegisterScalar>
{
    readonly float _value = value;

    public static int Width => 1;

    public static RegisterScalar Zero => default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static RegisterScalar Broadcast(float value) => new(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static RegisterScalar Load(float* source) => new(*source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static RegisterScalar LoadLowerHalves(uint* source) => new(BitConverter.UInt32BitsToSingle(*source << 16));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static RegisterScalar LoadUpperHalves(uint* source) => new(BitConverter.UInt32BitsToSingle(*source & 0xFFFF_0000u));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(RegisterScalar value, float* destination) => *destination = value._value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static RegisterScalar Fma(RegisterScalar a, RegisterScalar b, RegisterScalar c) => new(MathF.FusedMultiplyAdd(a._value, b._value, c._value));
}
