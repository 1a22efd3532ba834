using System.Runtime.CompilerServices;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// <see cref="PanelKernel"/> for the first register of a column panel only: the rest of a matrix whose columns do not fill the last panel, and heads of
/// 48 columns. Same operands, same chains.
/// </summary>
static unsafe class HalfPanelKernel
{
    /// <summary>c[i, j] = (c[i, j] or 0) + Σ_d a[i, d]·b[d, j], i over <typeparamref name="TRows"/>, j over one register.</summary>
    /// <inheritdoc cref="PanelKernel.Multiply" path="/param"/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<TRegister, TVector, TFormat, TRows>(
        nint depth, float* a, nint aRow, nint aStep, byte* b, nint bStep, float* c, nint stride, bool continues, byte* ahead, nint aheadStep)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
        where TFormat : struct, IPanelFormat
        where TRows : struct, IConstant
    {
        TVector c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default;
        TVector c6 = default, c7 = default, c8 = default, c9 = default, c10 = default, c11 = default;
        if (continues)
        {
            float* row = c;
            c0 = TRegister.Load(row);
            if (TRows.Value > 1) c1 = TRegister.Load(row += stride);
            if (TRows.Value > 2) c2 = TRegister.Load(row += stride);
            if (TRows.Value > 3) c3 = TRegister.Load(row += stride);
            if (TRows.Value > 4) c4 = TRegister.Load(row += stride);
            if (TRows.Value > 5) c5 = TRegister.Load(row += stride);
            if (TRows.Value > 6) c6 = TRegister.Load(row += stride);
            if (TRows.Value > 7) c7 = TRegister.Load(row += stride);
            if (TRows.Value > 8) c8 = TRegister.Load(row += stride);
            if (TRows.Value > 9) c9 = TRegister.Load(row += stride);
            if (TRows.Value > 10) c10 = TRegister.Load(row += stride);
            if (TRows.Value > 11) c11 = TRegister.Load(row += stride);
        }

        nint aRow2 = 2 * aRow;
        float* a3 = a + aRow + aRow2, a6 = a3 + aRow + aRow2, a9 = a6 + aRow + aRow2;
        for (; depth > 0; depth--)
        {
            TVector first = TFormat.First<TRegister, TVector>(b);
            c0 = TRegister.Fma(TRegister.Broadcast(*a), first, c0);
            if (TRows.Value > 1) c1 = TRegister.Fma(TRegister.Broadcast(a[aRow]), first, c1);
            if (TRows.Value > 2) c2 = TRegister.Fma(TRegister.Broadcast(a[aRow2]), first, c2);
            if (TRows.Value > 3) c3 = TRegister.Fma(TRegister.Broadcast(*a3), first, c3);
            if (TRows.Value > 4) c4 = TRegister.Fma(TRegister.Broadcast(a3[aRow]), first, c4);
            if (TRows.Value > 5) c5 = TRegister.Fma(TRegister.Broadcast(a3[aRow2]), first, c5);
            if (TRows.Value > 6) c6 = TRegister.Fma(TRegister.Broadcast(*a6), first, c6);
            if (TRows.Value > 7) c7 = TRegister.Fma(TRegister.Broadcast(a6[aRow]), first, c7);
            if (TRows.Value > 8) c8 = TRegister.Fma(TRegister.Broadcast(a6[aRow2]), first, c8);
            if (TRows.Value > 9) c9 = TRegister.Fma(TRegister.Broadcast(*a9), first, c9);
            if (TRows.Value > 10) c10 = TRegister.Fma(TRegister.Broadcast(a9[aRow]), first, c10);
            if (TRows.Value > 11) c11 = TRegister.Fma(TRegister.Broadcast(a9[aRow2]), first, c11);
            a += aStep;
            if (TRows.Value > 3) a3 += aStep;
            if (TRows.Value > 6) a6 += aStep;
            if (TRows.Value > 9) a9 += aStep;
            b += bStep;
        }

        TRegister.Store(c0, c);
        if (TRows.Value > 1) TRegister.Store(c1, c += stride);
        if (TRows.Value > 2) TRegister.Store(c2, c += stride);
        if (TRows.Value > 3) TRegister.Store(c3, c += stride);
        if (TRows.Value > 4) TRegister.Store(c4, c += stride);
        if (TRows.Value > 5) TRegister.Store(c5, c += stride);
        if (TRows.Value > 6) TRegister.Store(c6, c += stride);
        if (TRows.Value > 7) TRegister.Store(c7, c += stride);
        if (TRows.Value > 8) TRegister.Store(c8, c += stride);
        if (TRows.Value > 9) TRegister.Store(c9, c += stride);
        if (TRows.Value > 10) TRegister.Store(c10, c += stride);
        if (TRows.Value > 11) TRegister.Store(c11, c += stride);
    }
}
