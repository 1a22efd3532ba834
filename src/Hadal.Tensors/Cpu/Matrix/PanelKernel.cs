using System.Runtime.CompilerServices;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// The kernel that does the work when there are four rows or more: all rows of one row panel times one column panel, every output held in a register
/// while the contraction runs. Each output is one chain of fused multiply-adds in ascending order.
/// </summary>
static unsafe class PanelKernel
{
    /// <summary>c[i, j] = (c[i, j] or 0) + Σ_d a[d, i]·b[d, j], i over <typeparamref name="TRows"/>, j over two registers.</summary>
    /// <param name="depth">Length of the contraction.</param>
    /// <param name="a">Row panel, [depth, rows].</param>
    /// <param name="b">Column panel, [depth, columns] in <typeparamref name="TFormat"/>.</param>
    /// <param name="c">Outputs, <paramref name="stride"/> floats from row to row.</param>
    /// <param name="continues">Start the chains from the values in <paramref name="c"/> instead of zero.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<TVector, TFormat, TRows>(nint depth, float* a, byte* b, float* c, nint stride, bool continues)
        where TVector : struct, IVectorRegister<TVector>
        where TFormat : struct, IPanelFormat
        where TRows : struct, IConstant
    {
        TVector c0a = TVector.Zero, c0b = TVector.Zero;
        TVector c1a = TVector.Zero, c1b = TVector.Zero;
        TVector c2a = TVector.Zero, c2b = TVector.Zero;
        TVector c3a = TVector.Zero, c3b = TVector.Zero;
        TVector c4a = TVector.Zero, c4b = TVector.Zero;
        TVector c5a = TVector.Zero, c5b = TVector.Zero;
        TVector c6a = TVector.Zero, c6b = TVector.Zero;
        TVector c7a = TVector.Zero, c7b = TVector.Zero;
        TVector c8a = TVector.Zero, c8b = TVector.Zero;
        TVector c9a = TVector.Zero, c9b = TVector.Zero;
        TVector c10a = TVector.Zero, c10b = TVector.Zero;
        TVector c11a = TVector.Zero, c11b = TVector.Zero;
        if (continues)
        {
            float* row = c;
            (c0a, c0b) = (TVector.Load(row), TVector.Load(row + TVector.Width));
            if (TRows.Value > 1) (c1a, c1b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 2) (c2a, c2b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 3) (c3a, c3b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 4) (c4a, c4b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 5) (c5a, c5b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 6) (c6a, c6b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 7) (c7a, c7b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 8) (c8a, c8b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 9) (c9a, c9b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 10) (c10a, c10b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
            if (TRows.Value > 11) (c11a, c11b) = (TVector.Load(row + stride), TVector.Load((row += stride) + TVector.Width));
        }

        for (; depth > 0; depth--)
        {
            TVector first = TFormat.First<TVector>(b), second = TFormat.Second<TVector>(b), value = TVector.Broadcast(a[0]);
            c0a = TVector.Fma(value, first, c0a);
            c0b = TVector.Fma(value, second, c0b);
            if (TRows.Value > 1)
            {
                value = TVector.Broadcast(a[1]);
                c1a = TVector.Fma(value, first, c1a);
                c1b = TVector.Fma(value, second, c1b);
            }

            if (TRows.Value > 2)
            {
                value = TVector.Broadcast(a[2]);
                c2a = TVector.Fma(value, first, c2a);
                c2b = TVector.Fma(value, second, c2b);
            }

            if (TRows.Value > 3)
            {
                value = TVector.Broadcast(a[3]);
                c3a = TVector.Fma(value, first, c3a);
                c3b = TVector.Fma(value, second, c3b);
            }

            if (TRows.Value > 4)
            {
                value = TVector.Broadcast(a[4]);
                c4a = TVector.Fma(value, first, c4a);
                c4b = TVector.Fma(value, second, c4b);
            }

            if (TRows.Value > 5)
            {
                value = TVector.Broadcast(a[5]);
                c5a = TVector.Fma(value, first, c5a);
                c5b = TVector.Fma(value, second, c5b);
            }

            if (TRows.Value > 6)
            {
                value = TVector.Broadcast(a[6]);
                c6a = TVector.Fma(value, first, c6a);
                c6b = TVector.Fma(value, second, c6b);
            }

            if (TRows.Value > 7)
            {
                value = TVector.Broadcast(a[7]);
                c7a = TVector.Fma(value, first, c7a);
                c7b = TVector.Fma(value, second, c7b);
            }

            if (TRows.Value > 8)
            {
                value = TVector.Broadcast(a[8]);
                c8a = TVector.Fma(value, first, c8a);
                c8b = TVector.Fma(value, second, c8b);
            }

            if (TRows.Value > 9)
            {
                value = TVector.Broadcast(a[9]);
                c9a = TVector.Fma(value, first, c9a);
                c9b = TVector.Fma(value, second, c9b);
            }

            if (TRows.Value > 10)
            {
                value = TVector.Broadcast(a[10]);
                c10a = TVector.Fma(value, first, c10a);
                c10b = TVector.Fma(value, second, c10b);
            }

            if (TRows.Value > 11)
            {
                value = TVector.Broadcast(a[11]);
                c11a = TVector.Fma(value, first, c11a);
                c11b = TVector.Fma(value, second, c11b);
            }

            a += TRows.Value;
            b += 2 * TVector.Width * TFormat.ValueBytes;
        }

        Store(c0a, c0b, c);
        if (TRows.Value > 1) Store(c1a, c1b, c += stride);
        if (TRows.Value > 2) Store(c2a, c2b, c += stride);
        if (TRows.Value > 3) Store(c3a, c3b, c += stride);
        if (TRows.Value > 4) Store(c4a, c4b, c += stride);
        if (TRows.Value > 5) Store(c5a, c5b, c += stride);
        if (TRows.Value > 6) Store(c6a, c6b, c += stride);
        if (TRows.Value > 7) Store(c7a, c7b, c += stride);
        if (TRows.Value > 8) Store(c8a, c8b, c += stride);
        if (TRows.Value > 9) Store(c9a, c9b, c += stride);
        if (TRows.Value > 10) Store(c10a, c10b, c += stride);
        if (TRows.Value > 11) Store(c11a, c11b, c += stride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Store<TVector>(TVector first, TVector second, float* destination)
        where TVector : struct, IVectorRegister<TVector>
    {
        TVector.Store(first, destination);
        TVector.Store(second, destination + TVector.Width);
    }
}
