using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// The kernel that does the work when there are four rows or more: all rows of one row panel times one column panel, every output held in a register
/// while the contraction runs. Each output is one chain of fused multiply-adds in ascending order. Both operands may lie in memory as they are: what is
/// read per step, a value of each row and two registers of columns, is little beside two multiply-adds a row.
/// </summary>
static unsafe class PanelKernel
{
    /// <summary>c[i, j] = (c[i, j] or 0) + Σ_d a[i, d]·b[d, j], i over <typeparamref name="TRows"/>, j over two registers.</summary>
    /// <param name="depth">Length of the contraction.</param>
    /// <param name="a">Left operand; a[i, d] lies at i·<paramref name="aRow"/> + d·<paramref name="aStep"/>.</param>
    /// <param name="aRow">Floats from row to row.</param>
    /// <param name="aStep">Floats from step to step.</param>
    /// <param name="b">Column panel, [depth, columns] in <typeparamref name="TFormat"/>.</param>
    /// <param name="bStep">Bytes from step to step.</param>
    /// <param name="c">Outputs, <paramref name="stride"/> floats from row to row.</param>
    /// <param name="continues">Start the chains from the values in <paramref name="c"/> instead of zero.</param>
    /// <param name="ahead">Address of left operands that will be wanted soon; asked for while multiplying, never read.</param>
    /// <param name="aheadStep">Bytes by which that address advances a step.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<TRegister, TVector, TFormat, TRows>(
        nint depth, float* a, nint aRow, nint aStep, byte* b, nint bStep, float* c, nint stride, bool continues, byte* ahead, nint aheadStep)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
        where TFormat : struct, IPanelFormat
        where TRows : struct, IConstant
    {
        TVector c0a = default, c0b = default;
        TVector c1a = default, c1b = default;
        TVector c2a = default, c2b = default;
        TVector c3a = default, c3b = default;
        TVector c4a = default, c4b = default;
        TVector c5a = default, c5b = default;
        TVector c6a = default, c6b = default;
        TVector c7a = default, c7b = default;
        TVector c8a = default, c8b = default;
        TVector c9a = default, c9b = default;
        TVector c10a = default, c10b = default;
        TVector c11a = default, c11b = default;
        if (continues)
        {
            float* row = c;
            (c0a, c0b) = (TRegister.Load(row), TRegister.Load(row + TRegister.Width));
            if (TRows.Value > 1) (c1a, c1b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 2) (c2a, c2b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 3) (c3a, c3b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 4) (c4a, c4b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 5) (c5a, c5b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 6) (c6a, c6b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 7) (c7a, c7b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 8) (c8a, c8b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 9) (c9a, c9b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 10) (c10a, c10b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
            if (TRows.Value > 11) (c11a, c11b) = (TRegister.Load(row + stride), TRegister.Load((row += stride) + TRegister.Width));
        }

        else
        {
            // Outputs that are only written are asked for too: stores wait for their lines one after the other.
            byte* line = (byte*)c;
            for (int i = 0; i < TRows.Value; i++, line += stride * sizeof(float))
            {
                Prefetch(line);
                if (TRegister.Width > 8) Prefetch(line + 64);
            }
        }

        // Twelve rows from four addresses: each reaches three rows with one stride and its double.
        nint aRow2 = 2 * aRow;
        float* a3 = a + aRow + aRow2, a6 = a3 + aRow + aRow2, a9 = a6 + aRow + aRow2;
        for (; depth > 0; depth--)
        {
            TVector first = TFormat.First<TRegister, TVector>(b), second = TFormat.Second<TRegister, TVector>(b), value = TRegister.Broadcast(*a);
            Prefetch(ahead);
            Prefetch(ahead + 60);
            Prefetch(b + (8 * bStep));
            if (TRegister.Width * TFormat.ValueBytes > 32) Prefetch(b + (8 * bStep) + 64);
            c0a = TRegister.Fma(value, first, c0a);
            c0b = TRegister.Fma(value, second, c0b);
            if (TRows.Value > 1)
            {
                value = TRegister.Broadcast(a[aRow]);
                c1a = TRegister.Fma(value, first, c1a);
                c1b = TRegister.Fma(value, second, c1b);
            }

            if (TRows.Value > 2)
            {
                value = TRegister.Broadcast(a[aRow2]);
                c2a = TRegister.Fma(value, first, c2a);
                c2b = TRegister.Fma(value, second, c2b);
            }

            if (TRows.Value > 3)
            {
                value = TRegister.Broadcast(*a3);
                c3a = TRegister.Fma(value, first, c3a);
                c3b = TRegister.Fma(value, second, c3b);
            }

            if (TRows.Value > 4)
            {
                value = TRegister.Broadcast(a3[aRow]);
                c4a = TRegister.Fma(value, first, c4a);
                c4b = TRegister.Fma(value, second, c4b);
            }

            if (TRows.Value > 5)
            {
                value = TRegister.Broadcast(a3[aRow2]);
                c5a = TRegister.Fma(value, first, c5a);
                c5b = TRegister.Fma(value, second, c5b);
            }

            if (TRows.Value > 6)
            {
                value = TRegister.Broadcast(*a6);
                c6a = TRegister.Fma(value, first, c6a);
                c6b = TRegister.Fma(value, second, c6b);
            }

            if (TRows.Value > 7)
            {
                value = TRegister.Broadcast(a6[aRow]);
                c7a = TRegister.Fma(value, first, c7a);
                c7b = TRegister.Fma(value, second, c7b);
            }

            if (TRows.Value > 8)
            {
                value = TRegister.Broadcast(a6[aRow2]);
                c8a = TRegister.Fma(value, first, c8a);
                c8b = TRegister.Fma(value, second, c8b);
            }

            if (TRows.Value > 9)
            {
                value = TRegister.Broadcast(*a9);
                c9a = TRegister.Fma(value, first, c9a);
                c9b = TRegister.Fma(value, second, c9b);
            }

            if (TRows.Value > 10)
            {
                value = TRegister.Broadcast(a9[aRow]);
                c10a = TRegister.Fma(value, first, c10a);
                c10b = TRegister.Fma(value, second, c10b);
            }

            if (TRows.Value > 11)
            {
                value = TRegister.Broadcast(a9[aRow2]);
                c11a = TRegister.Fma(value, first, c11a);
                c11b = TRegister.Fma(value, second, c11b);
            }

            a += aStep;
            if (TRows.Value > 3) a3 += aStep;
            if (TRows.Value > 6) a6 += aStep;
            if (TRows.Value > 9) a9 += aStep;
            b += bStep;
            ahead += aheadStep;
        }

        Store<TRegister, TVector>(c0a, c0b, c);
        if (TRows.Value > 1) Store<TRegister, TVector>(c1a, c1b, c += stride);
        if (TRows.Value > 2) Store<TRegister, TVector>(c2a, c2b, c += stride);
        if (TRows.Value > 3) Store<TRegister, TVector>(c3a, c3b, c += stride);
        if (TRows.Value > 4) Store<TRegister, TVector>(c4a, c4b, c += stride);
        if (TRows.Value > 5) Store<TRegister, TVector>(c5a, c5b, c += stride);
        if (TRows.Value > 6) Store<TRegister, TVector>(c6a, c6b, c += stride);
        if (TRows.Value > 7) Store<TRegister, TVector>(c7a, c7b, c += stride);
        if (TRows.Value > 8) Store<TRegister, TVector>(c8a, c8b, c += stride);
        if (TRows.Value > 9) Store<TRegister, TVector>(c9a, c9b, c += stride);
        if (TRows.Value > 10) Store<TRegister, TVector>(c10a, c10b, c += stride);
        if (TRows.Value > 11) Store<TRegister, TVector>(c11a, c11b, c += stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Prefetch(byte* address)
    {
        if (Sse.IsSupported) Sse.Prefetch0(address);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Store<TRegister, TVector>(TVector first, TVector second, float* destination)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
    {
        TRegister.Store(first, destination);
        TRegister.Store(second, destination + TRegister.Width);
    }
}
