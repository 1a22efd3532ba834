using System.Runtime.CompilerServices;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// How the values of a packed panel lie in memory. A panel is two registers wide; for every index of the contraction it holds one step:
/// the values of those columns.
/// </summary>
unsafe interface IPanelFormat
{
    /// <summary>Bytes of one value.</summary>
    static abstract int ValueBytes { get; }

    /// <summary>The first register of the step at <paramref name="step"/>, widened to binary32.</summary>
    static abstract TVector First<TRegister, TVector>(byte* step)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged;

    /// <summary>The second register of the step.</summary>
    static abstract TVector Second<TRegister, TVector>(byte* step)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged;
}

/// <summary>binary32, column after column.</summary>
readonly unsafe struct SinglePanel : IPanelFormat
{
    public static int ValueBytes => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TRegister, TVector>(byte* step)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged => TRegister.Load((float*)step);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TRegister, TVector>(byte* step)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged => TRegister.Load((float*)step + TRegister.Width);
}

/// <summary>
/// bfloat16: word j holds column j in its lower half and column Width + j in its upper half, so that one shift and one mask widen both registers.
/// </summary>
readonly unsafe struct BFloat16Panel : IPanelFormat
{
    public static int ValueBytes => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector First<TRegister, TVector>(byte* step)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged => TRegister.LoadLowerHalves((uint*)step);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Second<TRegister, TVector>(byte* step)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged => TRegister.LoadUpperHalves((uint*)step);
}
