using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 9: as rung 8 with four stages: while two warpgroups multiply one, three are being filled. The thread that asks for them also multiplies.
/// Its definition is <see cref="LadderTile.Reference"/>.
/// </summary>
public static class PipelinedGemm
{
    const int Threads = 256, Tile = 128, Stages = 4;

    /// <summary>The kernel. Parameters: maps a [M, K] and b [N, K], pointer d [M, N], BF16; K is a multiple of 8.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_09_pipelined_gemm", Threads, k =>
    {
        TensorMap a = k.TensorMap("a", ElementType.BF16, Tile, 64, Swizzle.Bytes128), b = k.TensorMap("b", ElementType.BF16, Tile, 64, Swizzle.Bytes128);
        U64 d = k.Pointer("d", ElementType.BF16);
        RingOperand rowsOfA = new(a, Tile), rowsOfB = new(b, Tile);
        Pipeline ring = k.Pipeline("ring", Stages, Threads / 32, [rowsOfA, rowsOfB]);
        RingProducer fill = k.AsProducer().Fill(ring);
        ConsumerScope warpgroup = k.AsConsumer();
        RingConsumer read = warpgroup.Read(ring);
        RingMatrix left = read.Matrix(rowsOfA, warpgroup.Index << 6), right = read.Matrix(rowsOfB);
        Accumulator sum = warpgroup.Accumulator(Tile, "sum");
        Fragment tile = warpgroup.Clear(sum);
        (U32 row, U32 column) = LadderTile.Corner(k.BlockIndex(), shape, Tile, Tile);
        int chunks = MatrixShape.Up(shape.K, 64);
        for (int ahead = 0; ahead < Stages - 1; ahead++) Fetch(k.Constant(ahead));
        k.For(k.Constant(chunks), chunk =>
        {
            Fetch(chunk + (Stages - 1));
            using ReadSlot full = read.Wait();
            tile = warpgroup.Multiply(sum, full[left], full[right], accumulate: true).Wait();
        });
        LadderTile.Store(warpgroup, tile, d, row + (warpgroup.Index << 6), column, shape);

        void Fetch(U32 chunk)
        {
            k.If(k.ThreadIndex.Is(0) & chunk < chunks, () =>
            {
                using FillSlot empty = fill.Acquire();
                empty.Load(rowsOfA, chunk << 6, row);
                empty.Load(rowsOfB, chunk << 6, column);
            });
            k.WarpSync();
        }
    });

    /// <summary>One block a tile.</summary>
    public static int Blocks(MatrixShape shape) => shape.Tiles(Tile, Tile);
}
