using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 10: as rung 9 with roles: one warpgroup only copies and gives its registers to two that only multiply, so that their tile may grow to 128×256.
/// Its definition is <see cref="LadderTile.Reference"/>.
/// </summary>
public static class SpecialisedGemm
{
    const int Warpgroups = 2, TileM = 64 * Warpgroups, TileN = 256, Stages = 4;

    /// <summary>The kernel. Parameters: maps a [M, K] and b [N, K], pointer d [M, N], BF16; K is a multiple of 8.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_10_specialised_gemm", 128 * (Warpgroups + 1), k =>
    {
        TensorMap a = k.TensorMap("a", ElementType.BF16, TileM, 64, Swizzle.Bytes128), b = k.TensorMap("b", ElementType.BF16, TileN, 64, Swizzle.Bytes128);
        U64 d = k.Pointer("d", ElementType.BF16);
        RingOperand rowsOfA = new(a, TileM), rowsOfB = new(b, TileN);
        Pipeline ring = k.Pipeline("ring", Stages, 4 * Warpgroups, [rowsOfA, rowsOfB]);
        (U32 row, U32 column) = LadderTile.Corner(k.BlockIndex(), shape, TileM, TileN);
        int chunks = MatrixShape.Up(shape.K, 64);

        k.Consumers(Warpgroups, registers: 232, consumer =>
        {
            RingConsumer read = consumer.Read(ring);
            RingMatrix left = read.Matrix(rowsOfA, consumer.Index << 6), right = read.Matrix(rowsOfB);
            Accumulator sum = consumer.Accumulator(TileN, "sum");
            Fragment tile = consumer.Clear(sum);
            consumer.Repeat(chunks, () =>
            {
                using ReadSlot full = read.Wait();
                tile = consumer.Multiply(sum, full[left], full[right], accumulate: true).Wait();
            });
            LadderTile.Store(consumer, tile, d, row + (consumer.Index << 6), column, shape);
        });

        k.Producer(registers: 40, producer =>
        {
            RingProducer fill = producer.Fill(ring);
            producer.For(producer.Constant(chunks), chunk =>
            {
                using FillSlot empty = fill.Acquire();
                empty.Load(rowsOfA, chunk << 6, row);
                empty.Load(rowsOfB, chunk << 6, column);
            });
        });
    });

    /// <summary>One block a tile.</summary>
    public static int Blocks(MatrixShape shape) => shape.Tiles(TileM, TileN);
}
