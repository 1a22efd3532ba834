using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 8: as rung 7, but one thread asks TMA for whole tiles, swizzled and with zeros outside, and a barrier counts their bytes: a ring of one stage, so copies
/// and products still take turns. Its definition is <see cref="LadderTile.Reference"/>.
/// </summary>
public static class TmaGemm
{
    const int Threads = 128, TileM = 64, TileN = 128;

    /// <summary>The kernel. Parameters: maps a [M, K] and b [N, K], pointer d [M, N], BF16; K is a multiple of 8.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_08_tma_gemm", Threads, k =>
    {
        TensorMap a = k.TensorMap("a", ElementType.BF16, TileM, 64, Swizzle.Bytes128), b = k.TensorMap("b", ElementType.BF16, TileN, 64, Swizzle.Bytes128);
        U64 d = k.Pointer("d", ElementType.BF16);
        RingOperand rowsOfA = new(a, TileM), rowsOfB = new(b, TileN);
        Pipeline ring = k.Pipeline("ring", 1, Threads / 32, [rowsOfA, rowsOfB]);
        RingProducer fill = k.AsProducer().Fill(ring);
        ConsumerScope warpgroup = k.AsConsumer();
        RingConsumer read = warpgroup.Read(ring);
        RingMatrix left = read.Matrix(rowsOfA), right = read.Matrix(rowsOfB);
        Accumulator sum = warpgroup.Accumulator(TileN, "sum");
        Fragment tile = warpgroup.Clear(sum);
        (U32 row, U32 column) = LadderTile.Corner(k.BlockIndex(), shape, TileM, TileN);
        k.For(k.Constant(MatrixShape.Up(shape.K, 64)), chunk =>
        {
            k.If(k.ThreadIndex.Is(0), () =>
            {
                using FillSlot empty = fill.Acquire();
                empty.Load(rowsOfA, chunk << 6, row);
                empty.Load(rowsOfB, chunk << 6, column);
            });
            k.WarpSync();
            using ReadSlot full = read.Wait();
            tile = warpgroup.Multiply(sum, full[left], full[right], accumulate: true).Wait();
        });
        LadderTile.Store(warpgroup, tile, d, row, column, shape);
    });

    /// <summary>One block a tile.</summary>
    public static int Blocks(MatrixShape shape) => shape.Tiles(TileM, TileN);
}
