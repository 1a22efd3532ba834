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
    public static void Multiply<TRegister, TVector, TFormat, TRows, TPanels>(
        nint depth, float* a, nint aStride, byte* b, nint panelBytes, float* c, nint stride, bool continues)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
        where TFormat : struct, IPanelFormat
        where TRows : struct, IConstant
        where TPanels : struct, IConstant
    {
        byte* b1 = b + panelBytes, b2 = b1 + panelBytes, b3 = b2 + panelBytes;
        float* a1 = a + aStride, a2 = a1 + aStride;
        TVector c00a = default, c00b = default, c01a = default, c01b = default;
        TVector c02a = default, c02b = default, c03a = default, c03b = default;
        TVector c10a = default, c10b = default, c11a = default, c11b = default;
        TVector c12a = default, c12b = default, c13a = default, c13b = default;
        TVector c20a = default, c20b = default, c21a = default, c21b = default;
        TVector c22a = default, c22b = default, c23a = default, c23b = default;
        if (continues)
        {
            float* row = c;
            (c00a, c00b) = (TRegister.Load(row), TRegister.Load(row + TRegister.Width));
            if (TPanels.Value > 1) (c01a, c01b) = (TRegister.Load(row + (2 * TRegister.Width)), TRegister.Load(row + (3 * TRegister.Width)));
            if (TPanels.Value > 2)
            {
                (c02a, c02b) = (TRegister.Load(row + (4 * TRegister.Width)), TRegister.Load(row + (5 * TRegister.Width)));
                (c03a, c03b) = (TRegister.Load(row + (6 * TRegister.Width)), TRegister.Load(row + (7 * TRegister.Width)));
            }
            if (TRows.Value > 1)
            {
                row += stride;
                (c10a, c10b) = (TRegister.Load(row), TRegister.Load(row + TRegister.Width));
                if (TPanels.Value > 1) (c11a, c11b) = (TRegister.Load(row + (2 * TRegister.Width)), TRegister.Load(row + (3 * TRegister.Width)));
                if (TPanels.Value > 2)
                {
                    (c12a, c12b) = (TRegister.Load(row + (4 * TRegister.Width)), TRegister.Load(row + (5 * TRegister.Width)));
                    (c13a, c13b) = (TRegister.Load(row + (6 * TRegister.Width)), TRegister.Load(row + (7 * TRegister.Width)));
                }
            }

            if (TRows.Value > 2)
            {
                row += stride;
                (c20a, c20b) = (TRegister.Load(row), TRegister.Load(row + TRegister.Width));
                if (TPanels.Value > 1) (c21a, c21b) = (TRegister.Load(row + (2 * TRegister.Width)), TRegister.Load(row + (3 * TRegister.Width)));
                if (TPanels.Value > 2)
                {
                    (c22a, c22b) = (TRegister.Load(row + (4 * TRegister.Width)), TRegister.Load(row + (5 * TRegister.Width)));
                    (c23a, c23b) = (TRegister.Load(row + (6 * TRegister.Width)), TRegister.Load(row + (7 * TRegister.Width)));
                }
            }
        }

        for (nint d = 0; d < depth; d++)
        {
            TVector v0 = TRegister.Broadcast(a[d]);
            TVector v1 = TRows.Value > 1 ? TRegister.Broadcast(a1[d]) : v0;
            TVector v2 = TRows.Value > 2 ? TRegister.Broadcast(a2[d]) : v0;
            TVector first = TFormat.First<TRegister, TVector>(b);
            TVector second = TFormat.Second<TRegister, TVector>(b);
            Prefetch(b);
            c00a = TRegister.Fma(v0, first, c00a);
            c00b = TRegister.Fma(v0, second, c00b);
            if (TRows.Value > 1) (c10a, c10b) = (TRegister.Fma(v1, first, c10a), TRegister.Fma(v1, second, c10b));
            if (TRows.Value > 2) (c20a, c20b) = (TRegister.Fma(v2, first, c20a), TRegister.Fma(v2, second, c20b));
            b += 2 * TRegister.Width * TFormat.ValueBytes;
            if (TPanels.Value > 1)
            {
                first = TFormat.First<TRegister, TVector>(b1);
                second = TFormat.Second<TRegister, TVector>(b1);
                Prefetch(b1);
                c01a = TRegister.Fma(v0, first, c01a);
                c01b = TRegister.Fma(v0, second, c01b);
                if (TRows.Value > 1) (c11a, c11b) = (TRegister.Fma(v1, first, c11a), TRegister.Fma(v1, second, c11b));
                if (TRows.Value > 2) (c21a, c21b) = (TRegister.Fma(v2, first, c21a), TRegister.Fma(v2, second, c21b));
                b1 += 2 * TRegister.Width * TFormat.ValueBytes;
            }

            if (TPanels.Value > 2)
            {
                first = TFormat.First<TRegister, TVector>(b2);
                second = TFormat.Second<TRegister, TVector>(b2);
                Prefetch(b2);
                c02a = TRegister.Fma(v0, first, c02a);
                c02b = TRegister.Fma(v0, second, c02b);
                if (TRows.Value > 1) (c12a, c12b) = (TRegister.Fma(v1, first, c12a), TRegister.Fma(v1, second, c12b));
                if (TRows.Value > 2) (c22a, c22b) = (TRegister.Fma(v2, first, c22a), TRegister.Fma(v2, second, c22b));
                b2 += 2 * TRegister.Width * TFormat.ValueBytes;
                first = TFormat.First<TRegister, TVector>(b3);
                second = TFormat.Second<TRegister, TVector>(b3);
                Prefetch(b3);
                c03a = TRegister.Fma(v0, first, c03a);
                c03b = TRegister.Fma(v0, second, c03b);
                if (TRows.Value > 1) (c13a, c13b) = (TRegister.Fma(v1, first, c13a), TRegister.Fma(v1, second, c13b));
                if (TRows.Value > 2) (c23a, c23b) = (TRegister.Fma(v2, first, c23a), TRegister.Fma(v2, second, c23b));
                b3 += 2 * TRegister.Width * TFormat.ValueBytes;
            }
        }

        Store<TRegister, TVector>(c00a, c00b, c);
        if (TPanels.Value > 1) Store<TRegister, TVector>(c01a, c01b, c + (2 * TRegister.Width));
        if (TPanels.Value > 2)
        {
            Store<TRegister, TVector>(c02a, c02b, c + (4 * TRegister.Width));
            Store<TRegister, TVector>(c03a, c03b, c + (6 * TRegister.Width));
        }

        if (TRows.Value > 1)
        {
            c += stride;
            Store<TRegister, TVector>(c10a, c10b, c);
            if (TPanels.Value > 1) Store<TRegister, TVector>(c11a, c11b, c + (2 * TRegister.Width));
            if (TPanels.Value > 2)
            {
                Store<TRegister, TVector>(c12a, c12b, c + (4 * TRegister.Width));
                Store<TRegister, TVector>(c13a, c13b, c + (6 * TRegister.Width));
            }
        }

        if (TRows.Value > 2)
        {
            c += stride;
            Store<TRegister, TVector>(c20a, c20b, c);
            if (TPanels.Value > 1) Store<TRegister, TVector>(c21a, c21b, c + (2 * TRegister.Width));
            if (TPanels.Value > 2)
            {
                Store<TRegister, TVector>(c22a, c22b, c + (4 * TRegister.Width));
                Store<TRegister, TVector>(c23a, c23b, c + (6 * TRegister.Width));
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
    static void Store<TRegister, TVector>(TVector first, TVector second, float* destination)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
    {
        TRegister.Store(first, destination);
        TRegister.Store(second, destination + TRegister.Width);
    }
}
