using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>Rung 4: D = A·Bᵀ of float32, one thread an element, every operand from global memory. Its definition is <see cref="LadderTile.Reference"/>.</summary>
public static class NaiveGemm
{
    const int Rows = 8, Columns = 32;

    /// <summary>The kernel. Parameters: pointers a [M, K], b [N, K] and d [M, N], float32.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_04_naive_gemm", Rows * Columns, k =>
    {
        U64 a = k.Pointer("a", ElementType.F32), b = k.Pointer("b", ElementType.F32), d = k.Pointer("d", ElementType.F32);
        (U32 row, U32 column) = LadderTile.Corner(k.BlockIndex(), shape, Rows, Columns);
        row += k.Warp;
        column += k.Lane;

        // Threads outside read the last row and column, and store nothing.
        U64 rowOfA = a.At(row.Minimum(shape.M - 1), 4 * shape.K), rowOfB = b.At(column.Minimum(shape.N - 1), 4 * shape.K);
        Register<F32> sum = k.Register("sum", k.Constant(0f));
        k.For(k.Constant(shape.K), i => sum.Value = k.Load<F32>(rowOfA.At(i, 4)).MultiplyAdd(k.Load<F32>(rowOfB.At(i, 4)), sum.Value));
        k.Store(d.At(row * shape.N + column, 4), sum.Value, where: row < shape.M & column < shape.N);
    });

    /// <summary>One block a tile.</summary>
    public static int Blocks(MatrixShape shape) => shape.Tiles(Rows, Columns);
}
