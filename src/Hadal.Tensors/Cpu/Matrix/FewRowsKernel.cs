using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>
/// The kernel for one to three rows, where reading the weights is the work: several neighbouring column panels are streamed at once, so that there are
/// enough independent chains to keep the multipliers busy. Rows are read where they lie.
/// </summary>
static unsafe class FewRowsKernel
{
    // Far enough ahead to hide main memory behind the arithmetic of a few steps, and over the page boundary where the hardware's prefetcher stops.
    const int PrefetchBytes = 2048;

    /// <summary>c[i, j] = (c[i, j] or 0) + Σ_d a[i, d]·b[d, j], j over <typeparamref name="TPanels"/> panels of two registers (1, 2 or 4).</summary>
    /// <param name="depth">Length of the contraction.</param>
    /// <param name="a">Rows, <paramref name="aStride"/> floats apart.</param>
    /// <param name="b">First column panel, [depth, columns] in <typeparamref name="TFormat"/>; the others follow <paramref name="panelBytes"/> apart.</param>
    /// <param name="c">Outputs, <paramref name="stride"/> floats from row to row.</param>
    /// <param name="continues">Start the chains from the values in <paramref name="c"/> instead of zero.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply<TVector, TFormat, TRows, TPanels>(
        nint depth, float* a, nint aStride, byte* b, nint panelBytes, float* c, nint stride, bool continues)
        where TVector : struct, IVectorRegister<TVector>
        where TFormat : struct, IPanelFormat
        where TRows : struct, IConstant
        where TPanels : struct, IConstant
    {
        byte* b1 = b + panelBytes, b2 = b1 + panelBytes, b3 = b2 + panelBytes;
        float* a1 = a + aStride, a2 = a1 + aStride;
        TVector c00a = TVector.Zero, c00b = TVector.Zero, c01a = TVector.Zero, c01b = TVector.Zero;
        TVector c02a = TVector.Zero, c02b = TVector.Zero, c03a = TVector.Zero, c03b = TVector.Zero;
        TVector c10a = TVector.Zero, c10b = TVector.Zero, c11a = TVector.Zero, c11b = TVector.Zero;
        TVector c12a = TVector.Zero, c12b = TVector.Zero, c13a = TVector.Zero, c13b = TVector.Zero;
        TVector c20a = TVector.Zero, c20b = TVector.Zero, c21a = TVector.Zero, c21b = TVector.Zero;
        TVector c22a = TVector.Zero, c22b = TVector.Zero, c23a = TVector.Zero, c23b = TVector.Zero;
        if (continues)
        {
            float* row = c;
            (c00a, c00b) = (TVector.Load(row), TVector.Load(row + TVector.Width));
            if (TPanels.Value > 1) (c01a, c01b) = (TVector.Load(row + (2 * TVector.Width)), TVector.Load(row + (3 * TVector.Width)));
            if (TPanels.Value > 2)
            {
                (c02a, c02b) = (TVector.Load(row + (4 * TVector.Width)), TVector.Load(row + (5 * TVector.Width)));
                (c03a, c03b) = (TVector.Load(row + (6 * TVector.Width)), TVector.Load(row + (7 * TVector.Width)));
            }
            if (TRows.Value > 1)
            {
                row += stride;
                (c10a, c10b) = (TVector.Load(row), TVector.Load(row + TVector.Width));
                if (TPanels.Value > 1) (c11a, c11b) = (TVector.Load(row + (2 * TVector.Width)), TVector.Load(row + (3 * TVector.Width)));
                if (TPanels.Value > 2)
                {
                    (c12a, c12b) = (TVector.Load(row + (4 * TVector.Width)), TVector.Load(row + (5 * TVector.Width)));
                    (c13a, c13b) = (TVector.Load(row + (6 * TVector.Width)), TVector.Load(row + (7 * TVector.Width)));
                }
            }

            if (TRows.Value > 2)
            {
                row += stride;
                (c20a, c20b) = (TVector.Load(row), TVector.Load(row + TVector.Width));
                if (TPanels.Value > 1) (c21a, c21b) = (TVector.Load(row + (2 * TVector.Width)), TVector.Load(row + (3 * TVector.Width)));
                if (TPanels.Value > 2)
                {
                    (c22a, c22b) = (TVector.Load(row + (4 * TVector.Width)), TVector.Load(row + (5 * TVector.Width)));
                    (c23a, c23b) = (TVector.Load(row + (6 * TVector.Width)), TVector.Load(row + (7 * TVector.Width)));
                }
            }
        }

        for (nint d = 0; d < depth; d++)
        {
            TVector v0 = TVector.Broadcast(a[d]);
            TVector v1 = TRows.Value > 1 ? TVector.Broadcast(a1[d]) : v0;
            TVector v2 = TRows.Value > 2 ? TVector.Broadcast(a2[d]) : v0;
            TVector first = TFormat.First<TVector>(b);
            TVector second = TFormat.Second<TVector>(b);
            Prefetch(b);
            c00a = TVector.Fma(v0, first, c00a);
            c00b = TVector.Fma(v0, second, c00b);
            if (TRows.Value > 1) (c10a, c10b) = (TVector.Fma(v1, first, c10a), TVector.Fma(v1, second, c10b));
            if (TRows.Value > 2) (c20a, c20b) = (TVector.Fma(v2, first, c20a), TVector.Fma(v2, second, c20b));
            b += 2 * TVector.Width * TFormat.ValueBytes;
            if (TPanels.Value > 1)
            {
                first = TFormat.First<TVector>(b1);
                second = TFormat.Second<TVector>(b1);
                Prefetch(b1);
                c01a = TVector.Fma(v0, first, c01a);
                c01b = TVector.Fma(v0, second, c01b);
                if (TRows.Value > 1) (c11a, c11b) = (TVector.Fma(v1, first, c11a), TVector.Fma(v1, second, c11b));
                if (TRows.Value > 2) (c21a, c21b) = (TVector.Fma(v2, first, c21a), TVector.Fma(v2, second, c21b));
                b1 += 2 * TVector.Width * TFormat.ValueBytes;
            }

            if (TPanels.Value > 2)
            {
                first = TFormat.First<TVector>(b2);
                second = TFormat.Second<TVector>(b2);
                Prefetch(b2);
                c02a = TVector.Fma(v0, first, c02a);
                c02b = TVector.Fma(v0, second, c02b);
                if (TRows.Value > 1) (c12a, c12b) = (TVector.Fma(v1, first, c12a), TVector.Fma(v1, second, c12b));
                if (TRows.Value > 2) (c22a, c22b) = (TVector.Fma(v2, first, c22a), TVector.Fma(v2, second, c22b));
                b2 += 2 * TVector.Width * TFormat.ValueBytes;
                first = TFormat.First<TVector>(b3);
                second = TFormat.Second<TVector>(b3);
                Prefetch(b3);
                c03a = TVector.Fma(v0, first, c03a);
                c03b = TVector.Fma(v0, second, c03b);
                if (TRows.Value > 1) (c13a, c13b) = (TVector.Fma(v1, first, c13a), TVector.Fma(v1, second, c13b));
                if (TRows.Value > 2) (c23a, c23b) = (TVector.Fma(v2, first, c23a), TVector.Fma(v2, second, c23b));
                b3 += 2 * TVector.Width * TFormat.ValueBytes;
            }
        }

        Store(c00a, c00b, c);
        if (TPanels.Value > 1) Store(c01a, c01b, c + (2 * TVector.Width));
        if (TPanels.Value > 2)
        {
            Store(c02a, c02b, c + (4 * TVector.Width));
            Store(c03a, c03b, c + (6 * TVector.Width));
        }

        if (TRows.Value > 1)
        {
            c += stride;
            Store(c10a, c10b, c);
            if (TPanels.Value > 1) Store(c11a, c11b, c + (2 * TVector.Width));
            if (TPanels.Value > 2)
            {
                Store(c12a, c12b, c + (4 * TVector.Width));
                Store(c13a, c13b, c + (6 * TVector.Width));
            }
        }

        if (TRows.Value > 2)
        {
            c += stride;
            Store(c20a, c20b, c);
            if (TPanels.Value > 1) Store(c21a, c21b, c + (2 * TVector.Width));
            if (TPanels.Value > 2)
            {
                Store(c22a, c22b, c + (4 * TVector.Width));
                Store(c23a, c23b, c + (6 * TVector.Width));
            }
        }
    }

    // One step of a 512-bit binary32 panel is two cache lines; narrower steps ask for the same line more than once, which costs little.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Prefetch(byte* step)
    {
        if (!Sse.IsSupported) return;
        Sse.Prefetch0(step + PrefetchBytes);
        Sse.Prefetch0(step + PrefetchBytes + 64);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Store<TVector>(TVector first, TVector second, float* destination)
        where TVector : struct, IVectorRegister<TVector>
    {
        TVector.Store(first, destination);
        TVector.Store(second, destination + TVector.Width);
    }
}
