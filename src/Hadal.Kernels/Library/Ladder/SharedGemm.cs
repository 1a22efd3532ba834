using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 5: D = A·Bᵀ of float32 in tiles of 64×64: a block copies 16 of K to shared memory, then each thread makes 4×4 elements from there, so that one load feeds
/// many products. Its definition is <see cref="LadderTile.Reference"/>.
/// </summary>
public static class SharedGemm
{
    // A row of shared memory holds one k; four floats of padding spread the transposing stores over the banks.
    const int Threads = 256, Tile = 64, Depth = 16, RowBytes = 4 * (Tile + 4);

    /// <summary>The kernel. Parameters: pointers a [M, K], b [N, K] and d [M, N], float32.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_05_shared_gemm", Threads, k =>
    {
        U64 a = k.Pointer("a", ElementType.F32), b = k.Pointer("b", ElementType.F32), d = k.Pointer("d", ElementType.F32);
        U32 sharedA = k.Address(k.Shared("a", Depth * RowBytes)), sharedB = k.Address(k.Shared("b", Depth * RowBytes));
        (U32 row, U32 column) = LadderTile.Corner(k.BlockIndex(), shape, Tile, Tile);
        U32 down = k.ThreadIndex >> 4, across = k.ThreadIndex & 15;
        Register<F32>[] sums = [.. Enumerable.Range(0, 16).Select(_ => k.Register("sum", k.Constant(0f)))];
        k.For(k.Constant(MatrixShape.Up(shape.K, Depth)), chunk =>
        {
            U32 inK = (chunk << 4) + across;
            Fetch(a, row, shape.M, sharedA, inK);
            Fetch(b, column, shape.N, sharedB, inK);
            k.Sync();
            for (int i = 0; i < Depth; i++)
            {
                F32[] left = k.LoadShared<F32>(4, sharedA + (down << 4), i * RowBytes), right = k.LoadShared<F32>(4, sharedB + (across << 4), i * RowBytes);
                for (int e = 0; e < 16; e++) sums[e].Value = left[e / 4].MultiplyAdd(right[e % 4], sums[e].Value);
            }

            k.Sync();
        });
        U32 firstRow = row + (down << 2), firstColumn = column + (across << 2);
        for (int e = 0; e < 16; e++)
        {
            U32 r = firstRow + e / 4, c = firstColumn + e % 4;
            k.Store(d.At(r * shape.N + c, 4), sums[e].Value, where: r < shape.M & c < shape.N);
        }

        // Thread (down, across) brings element `across` of rows down, down + 16, … of the tile; zeros outside.
        void Fetch(U64 matrix, U32 first, int rows, U32 shared, U32 inK)
        {
            for (int i = 0; i < Tile; i += 16)
            {
                U32 r = first + down + i;
                Predicate inside = r < rows & inK < shape.K;
                F32 v = k.Load<F32>(matrix.At(r * shape.K + inK, 4), where: inside);
                k.StoreShared(shared + across * RowBytes + (down << 2), inside.Select(v, k.Constant(0f)), 4 * i);
            }
        }
    });

    /// <summary>One block a tile.</summary>
    public static int Blocks(MatrixShape shape) => shape.Tiles(Tile, Tile);
}
