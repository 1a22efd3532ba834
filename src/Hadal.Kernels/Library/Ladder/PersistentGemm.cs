using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 11: as rung 10, but one block a multiprocessor walks all its tiles: barriers are set up once, and the copies of the next tile run while a tile leaves.
/// Its definition is <see cref="LadderTile.Reference"/>.
/// </summary>
public static class PersistentGemm
{
    const int Warpgroups = 2, TileM = 64 * Warpgroups, TileN = 256, Stages = 4;

    /// <summary>The kernel. Parameters: maps a [M, K] and b [N, K], pointer d [M, N], BF16; K is a multiple of 8.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_11_persistent_gemm", 128 * (Warpgroups + 1), k =>
    {
        TensorMap a = k.TensorMap("a", ElementType.BF16, TileM, 64, Swizzle.Bytes128), b = k.TensorMap("b", ElementType.BF16, TileN, 64, Swizzle.Bytes128);
        U64 d = k.Pointer("d", ElementType.BF16);
        RingOperand rowsOfA = new(a, TileM), rowsOfB = new(b, TileN);
        Pipeline ring = k.Pipeline("ring", Stages, 4 * Warpgroups, [rowsOfA, rowsOfB]);
        int chunks = MatrixShape.Up(shape.K, 64);

        k.Consumers(Warpgroups, registers: 232, consumer =>
        {
            RingConsumer read = consumer.Read(ring);
            RingMatrix left = read.Matrix(rowsOfA, consumer.Index << 6), right = read.Matrix(rowsOfB);
            Accumulator sum = consumer.Accumulator(TileN, "sum");
            ForTiles(consumer, (row, column) =>
            {
                Fragment tile = consumer.Clear(sum);
                consumer.Repeat(chunks, () =>
                {
                    using ReadSlot full = read.Wait();
                    tile = consumer.Multiply(sum, full[left], full[right], accumulate: true).Wait();
                });
                LadderTile.Store(consumer, tile, d, row + (consumer.Index << 6), column, shape);
            });
        });

        k.Producer(registers: 40, producer =>
        {
            RingProducer fill = producer.Fill(ring);
            ForTiles(producer, (row, column) => producer.For(producer.Constant(chunks), chunk =>
            {
                using FillSlot empty = fill.Acquire();
                empty.Load(rowsOfA, chunk << 6, row);
                empty.Load(rowsOfB, chunk << 6, column);
            }));
        });

        // Both roles make the same walk: tiles b, b + blocks, b + 2·blocks, …
        void ForTiles(ThreadScope scope, Action<U32, U32> body)
        {
            Register<U32> tile = scope.Register("tile", k.BlockIndex());
            scope.While(() => tile.Value < shape.Tiles(TileM, TileN), () =>
            {
                (U32 row, U32 column) = LadderTile.Corner(tile.Value, shape, TileM, TileN);
                body(row, column);
                tile.Value = tile.Value + k.BlockCount();
            });
        }
    });

    /// <summary>A block for each multiprocessor, or fewer when there are fewer tiles.</summary>
    public static int Blocks(MatrixShape shape, int multiprocessors) => Math.Min(multiprocessors, shape.Tiles(TileM, TileN));
}
