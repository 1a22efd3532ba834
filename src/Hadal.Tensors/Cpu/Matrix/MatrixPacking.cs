using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Hadal.Tensors.Cpu.Matrix;

/// <summary>Moves matrix values into panels. Only moves and exact widenings, so the instructions used here touch no bit of any result.</summary>
static unsafe class MatrixPacking
{
    /// <summary>
    /// panel[d, i] = source[i, d]: <paramref name="rows"/> rows that lie <paramref name="stride"/> floats apart become a panel <paramref name="width"/> wide,
    /// columns from <paramref name="rows"/> on zero.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(float* source, nint stride, int rows, int depth, float* panel, int width)
    {
        int i = 0;
        for (; i + 4 <= rows; i += 4)
        {
            float* r0 = source + (i * stride), r1 = r0 + stride, r2 = r1 + stride, r3 = r2 + stride;
            float* to = panel + i;
            int d = 0;
            for (; d + 4 <= depth; d += 4, to += 4 * width)
            {
                Vector128<float> v0 = Vector128.Load(r0 + d), v1 = Vector128.Load(r1 + d), v2 = Vector128.Load(r2 + d), v3 = Vector128.Load(r3 + d);
                Transpose4(ref v0, ref v1, ref v2, ref v3);
                v0.Store(to);
                v1.Store(to + width);
                v2.Store(to + (2 * width));
                v3.Store(to + (3 * width));
            }

            for (; d < depth; d++, to += width) (to[0], to[1], to[2], to[3]) = (r0[d], r1[d], r2[d], r3[d]);
        }

        for (; i < rows; i++)
        {
            float* row = source + (i * stride), to = panel + i;
            for (int d = 0; d < depth; d++, to += width) *to = row[d];
        }

        for (; i < width; i++)
        {
            float* to = panel + i;
            for (int d = 0; d < depth; d++, to += width) *to = 0;
        }
    }

    /// <summary>panel[d, j] = source[d, j]: <paramref name="columns"/> columns of a matrix whose rows lie <paramref name="stride"/> floats apart, the rest of the panel zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Copy(float* source, nint stride, int columns, int depth, float* panel, int width)
    {
        for (int d = 0; d < depth; d++, source += stride, panel += width)
        {
            int j = 0;
            for (; j + 4 <= columns; j += 4) Vector128.Load(source + j).Store(panel + j);
            for (; j < columns; j++) panel[j] = source[j];
            for (; j < width; j++) panel[j] = 0;
        }
    }

    /// <summary>As <see cref="Transpose"/> for binary16 values, widened.</summary>
    public static void TransposeHalf(Half* source, nint stride, int rows, int depth, float* panel, int width)
    {
        for (int d = 0; d < depth; d++, panel += width)
        {
            for (int i = 0; i < width; i++) panel[i] = i < rows ? (float)source[(i * stride) + d] : 0;
        }
    }

    /// <summary>As <see cref="Copy"/> for binary16 values, widened.</summary>
    public static void CopyHalf(Half* source, nint stride, int columns, int depth, float* panel, int width)
    {
        for (int d = 0; d < depth; d++, source += stride, panel += width)
        {
            for (int j = 0; j < width; j++) panel[j] = j < columns ? (float)source[j] : 0;
        }
    }

    /// <summary>As <see cref="Transpose"/> for bfloat16 values in the layout of <see cref="BFloat16Panel"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void TransposeBFloat16(ushort* source, nint stride, int rows, int depth, ushort* panel, int width)
    {
        for (int i = 0; i < width; i++)
        {
            ushort* to = panel + BFloat16Place(i, width);
            if (i < rows)
            {
                ushort* row = source + (i * stride);
                for (int d = 0; d < depth; d++, to += width) *to = row[d];
            }
            else
            {
                for (int d = 0; d < depth; d++, to += width) *to = 0;
            }
        }
    }

    /// <summary>As <see cref="Copy"/> for bfloat16 values in the layout of <see cref="BFloat16Panel"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void CopyBFloat16(ushort* source, nint stride, int columns, int depth, ushort* panel, int width)
    {
        for (int d = 0; d < depth; d++, source += stride, panel += width)
        {
            for (int j = 0; j < width; j++) panel[BFloat16Place(j, width)] = j < columns ? source[j] : (ushort)0;
        }
    }

    // Word j is (column j, column width/2 + j); the lower half of a word comes first in memory on every processor .NET runs on.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static int BFloat16Place(int column, int width) => column < width / 2 ? 2 * column : (2 * (column - (width / 2))) + 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Transpose4(ref Vector128<float> v0, ref Vector128<float> v1, ref Vector128<float> v2, ref Vector128<float> v3)
    {
        Vector128<float> a = UnpackLow(v0, v1), b = UnpackHigh(v0, v1), c = UnpackLow(v2, v3), d = UnpackHigh(v2, v3);
        v0 = Vector128.Create(a.GetLower(), c.GetLower());
        v1 = Vector128.Create(a.GetUpper(), c.GetUpper());
        v2 = Vector128.Create(b.GetLower(), d.GetLower());
        v3 = Vector128.Create(b.GetUpper(), d.GetUpper());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> UnpackLow(Vector128<float> a, Vector128<float> b) =>
        System.Runtime.Intrinsics.X86.Sse.IsSupported ? System.Runtime.Intrinsics.X86.Sse.UnpackLow(a, b) : Vector128.Create(a[0], b[0], a[1], b[1]);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static Vector128<float> UnpackHigh(Vector128<float> a, Vector128<float> b) =>
        System.Runtime.Intrinsics.X86.Sse.IsSupported ? System.Runtime.Intrinsics.X86.Sse.UnpackHigh(a, b) : Vector128.Create(a[2], b[2], a[3], b[3]);
}
