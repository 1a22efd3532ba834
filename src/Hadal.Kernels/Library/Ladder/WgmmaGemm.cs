using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 7: D = A·Bᵀ of BF16 by wgmma: one instruction of a warpgroup multiplies 64×128×16 straight from shared memory, later. What the threads stored must be
/// fenced for it, and its result waited for. Its definition is <see cref="LadderTile.Reference"/>.
/// </summary>
public static class WgmmaGemm
{
    const int Threads = 128, TileM = 64, TileN = 128;

    /// <summary>The kernel. Parameters: pointers a [M, K], b [N, K] and d [M, N], BF16; K is a multiple of 8.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_07_wgmma_gemm", Threads, k =>
    {
        U64 a = k.Pointer("a", ElementType.BF16), b = k.Pointer("b", ElementType.BF16), d = k.Pointer("d", ElementType.BF16);
        SharedRegion sharedA = k.Shared("a", TileM * 128, 1024), sharedB = k.Shared("b", TileN * 128, 1024);
        ConsumerScope warpgroup = k.AsConsumer();
        MatrixOperand left = warpgroup.Matrix(sharedA, ElementType.BF16), right = warpgroup.Matrix(sharedB, ElementType.BF16);
        Accumulator sum = warpgroup.Accumulator(TileN, "sum");
        Fragment tile = warpgroup.Clear(sum);
        (U32 row, U32 column) = LadderTile.Corner(k.BlockIndex(), shape, TileM, TileN);
        k.For(k.Constant(MatrixShape.Up(shape.K, SwizzledTile.Depth)), chunk =>
        {
            SwizzledTile.Fetch(k, Threads, a, row, TileM, shape.M, shape, k.Address(sharedA), chunk);
            SwizzledTile.Fetch(k, Threads, b, column, TileN, shape.N, shape, k.Address(sharedB), chunk);
            k.FenceProxyAsync();
            k.Sync();
            tile = warpgroup.Multiply(sum, left, right, accumulate: true).Wait();
            k.Sync();
        });
        LadderTile.Store(warpgroup, tile, d, row, column, shape);
    });

    /// <summary>One block a tile.</summary>
    public static int Blocks(MatrixShape shape) => shape.Tiles(TileM, TileN);
}
