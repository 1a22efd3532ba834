using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 6: D = A·Bᵀ of BF16 on the tensor cores by mma.sync: a block makes 64×64, each of its four warps 16 rows, from swizzled shared memory through ldmatrix.
/// Its definition is <see cref="LadderTile.Reference"/>.
/// </summary>
public static class MmaGemm
{
    const int Threads = 128, Tile = 64;

    /// <summary>The kernel. Parameters: pointers a [M, K], b [N, K] and d [M, N], BF16; K is a multiple of 8.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_06_mma_gemm", Threads, k =>
    {
        U64 a = k.Pointer("a", ElementType.BF16), b = k.Pointer("b", ElementType.BF16), d = k.Pointer("d", ElementType.BF16);
        U32 sharedA = k.Address(k.Shared("a", Tile * 128, 1024)), sharedB = k.Address(k.Shared("b", Tile * 128, 1024));
        (U32 row, U32 column) = LadderTile.Corner(k.BlockIndex(), shape, Tile, Tile);
        Register<F32>[][] sums = [.. Enumerable.Range(0, Tile / 8).Select(_ => Enumerable.Range(0, 4).Select(_ => k.Register("sum", k.Constant(0f))).ToArray())];

        // Lane l addresses row l mod 8 of matrix l / 8: of A rows 0–7, 8–15 of 8 columns, then of the next 8; of B 8 rows of both halves of K, then the next 8 rows.
        U32 lane = k.Lane, swizzle = lane & 7;
        U32 fromA = sharedA + (((k.Warp << 4) + (lane & 15)) << 7) + (((lane >> 4) ^ swizzle) << 4);
        U32 fromB = sharedB + (((lane & 7) + ((lane >> 4) << 3)) << 7) + ((((lane >> 3) & 1) ^ swizzle) << 4);
        k.For(k.Constant(MatrixShape.Up(shape.K, SwizzledTile.Depth)), chunk =>
        {
            SwizzledTile.Fetch(k, Threads, a, row, Tile, shape.M, shape, sharedA, chunk);
            SwizzledTile.Fetch(k, Threads, b, column, Tile, shape.N, shape, sharedB, chunk);
            k.Sync();
            for (int step = 0; step < 4; step++)
            {
                U32[] left = k.LoadMatrix(4, fromA ^ (step << 5));
                for (int group = 0; group < Tile / 8; group += 2)
                {
                    U32[] right = k.LoadMatrix(4, fromB ^ (step << 5), group << 10);
                    Add(sums[group], left, right.AsSpan(0, 2));
                    Add(sums[group + 1], left, right.AsSpan(2, 2));
                }
            }

            k.Sync();
        });
        U32 firstRow = row + (k.Warp << 4) + (lane >> 2), firstColumn = column + ((lane & 3) << 1);
        for (int group = 0; group < Tile / 8; group++)
            for (int half = 0; half < 2; half++)
                LadderTile.StorePair(k, d, firstRow + 8 * half, firstColumn + 8 * group, k.PackBF16(sums[group][2 * half].Value, sums[group][2 * half + 1].Value), shape);

        void Add(Register<F32>[] to, U32[] left, ReadOnlySpan<U32> right)
        {
            F32[] next = k.MultiplySync(left, right, [to[0].Value, to[1].Value, to[2].Value, to[3].Value]);
            for (int e = 0; e < 4; e++) to[e].Value = next[e];
        }
    });

    /// <summary>One block a tile.</summary>
    public static int Blocks(MatrixShape shape) => shape.Tiles(Tile, Tile);
}
