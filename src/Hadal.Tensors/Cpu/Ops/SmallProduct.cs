using System.Runtime.CompilerServices;
using Hadal.Tensors.Cpu.Matrix;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>Products of blocks inside an operation, on the calling thread, with the kernels of the matrix products: operands are read where they lie.</summary>
static unsafe class SmallProduct
{
    /// <summary>Longest contraction of a product whose columns do not fill registers.</summary>
    public const int MostStepsOfTail = 64;

    const int MostHalf = 16;

    /// <summary>c[m, n] = (c[m, n] or 0) + Σ_d a[m·aRow + d·aStep]·b[d, n], d ascending in one chain.</summary>
    /// <param name="kernels">Of the instruction set, for binary32.</param>
    /// <param name="c">[rows, columns], <paramref name="strideC"/> floats from row to row.</param>
    /// <param name="depth">Steps; at most <see cref="MostStepsOfTail"/> unless the columns fill registers.</param>
    /// <param name="a">Left operand.</param>
    /// <param name="aRow">Floats from row to row.</param>
    /// <param name="aStep">Floats from step to step.</param>
    /// <param name="b">[depth, columns], <paramref name="strideB"/> floats from row to row.</param>
    /// <param name="continues">Start the chains from the values in <paramref name="c"/>.</param>
    public static void Multiply(
        MatrixKernels* kernels, float* c, nint strideC, int rows, int columns, int depth, float* a, nint aRow, nint aStep, float* b, nint strideB, bool continues)
    {
        int width = kernels->ColumnsPerPanel, half = width / 2, panels = (rows + kernels->RowsPerPanel - 1) / kernels->RowsPerPanel, column = 0;
        nint stepBytes = strideB * sizeof(float);
        while (column + half <= columns)
        {
            bool full = column + width <= columns;
            for (int panel = 0, row = 0; panel < panels; panel++)
            {
                int next = rows * (panel + 1) / panels, count = next - row;
                float* from = a + (row * aRow);
                (full ? kernels->Panel(count) : kernels->Half(count))(
                    depth, from, aRow, aStep, (byte*)(b + column), stepBytes, c + (row * strideC) + column, strideC, continues, (byte*)from, 0);
                row = next;
            }

            column += full ? width : half;
        }

        if (column < columns) Tail(kernels, c + column, strideC, rows, columns - column, depth, a, aRow, aStep, b + column, strideB, continues);
    }

    /// <summary>Fewer columns than a register: through copies that are wide enough, since nothing past the operands may be touched.</summary>
    [SkipLocalsInit]
    static void Tail(
        MatrixKernels* kernels, float* c, nint strideC, int rows, int columns, int depth, float* a, nint aRow, nint aStep, float* b, nint strideB, bool continues)
    {
        float* wide = stackalloc float[MostStepsOfTail * MostHalf], corner = stackalloc float[MatrixKernels.MostRows * MostHalf];
        MatrixPacking.Copy(b, strideB, columns, depth, wide, MostHalf);
        for (int row = 0; row < rows; row += kernels->RowsPerPanel)
        {
            int count = Math.Min(kernels->RowsPerPanel, rows - row);
            if (continues) MatrixPacking.Copy(c + (row * strideC), strideC, columns, count, corner, MostHalf);
            float* from = a + (row * aRow);
            for (int column = 0; column < columns; column += kernels->ColumnsPerPanel / 2)
            {
                kernels->Half(count)(
                    depth, from, aRow, aStep, (byte*)(wide + column), MostHalf * sizeof(float), corner + column, MostHalf, continues, (byte*)from, 0);
            }

            for (int r = 0; r < count; r++) new ReadOnlySpan<float>(corner + (r * MostHalf), columns).CopyTo(new Span<float>(c + ((row + r) * strideC), columns));
        }
    }
}
