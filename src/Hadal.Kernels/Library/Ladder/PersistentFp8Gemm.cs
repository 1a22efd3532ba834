using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 12: the skeleton of rung 11 for E4M3 with a scale each 1×128 of A and 128×128 of B: every 128 of K the tensor cores' sum is scaled and added in float32
/// (promotion). Here the tensor cores wait meanwhile; <see cref="Gemm.Fp8GemmKernel"/> is this kernel with that gap filled.
/// </summary>
public static class PersistentFp8Gemm
{
    const int Warpgroups = 2, TileM = 64 * Warpgroups, TileN = 128, Stages = 6;

    /// <summary>The kernel. Parameters: maps a [M, K], b [N, K] e4m3 and a_scale [⌈K/128⌉, M padded to 4] f32; pointers b_scale [⌈N/128⌉, ⌈K/128⌉] f32 and d [M, N] bf16. K is a multiple of 16.</summary>
    public static Kernel Build(MatrixShape shape) => KernelBuilder.Define("ladder_12_persistent_fp8_gemm", 128 * (Warpgroups + 1), k =>
    {
        TensorMap a = k.TensorMap("a", ElementType.E4M3, TileM, 128, Swizzle.Bytes128), b = k.TensorMap("b", ElementType.E4M3, TileN, 128, Swizzle.Bytes128);
        TensorMap aScale = k.TensorMap("a_scale", ElementType.F32, 1, TileM);
        U64 bScale = k.Pointer("b_scale", ElementType.F32), d = k.Pointer("d", ElementType.BF16);
        RingOperand rowsOfA = new(a, TileM), rowsOfB = new(b, TileN), scalesOfA = new(aScale, 1);
        Pipeline ring = k.Pipeline("ring", Stages, 4 * Warpgroups, [rowsOfA, rowsOfB, scalesOfA]);
        int chunks = MatrixShape.Up(shape.K, 128);

        k.Consumers(Warpgroups, registers: 232, consumer =>
        {
            RingConsumer read = consumer.Read(ring);
            U32 ofWarpgroup = consumer.Index << 6;
            RingMatrix left = read.Matrix(rowsOfA, ofWarpgroup), right = read.Matrix(rowsOfB);
            RingVector scales = read.Vector(scalesOfA, ofWarpgroup + consumer.FragmentRow());
            Accumulator product = consumer.Accumulator(TileN, "product");
            Fragment sum = consumer.Fragment(TileN, "sum");
            ForTiles(consumer, (row, column) =>
            {
                sum.Fill(consumer.Constant(0f));
                U64 scaleOfB = bScale.At((column >> 7) * chunks, 4);
                consumer.For(consumer.Constant(chunks), chunk =>
                {
                    ReadSlot full = read.Wait();
                    PendingFragment pending = consumer.Multiply(product, full[left], full[right]);
                    U32 at = full[scales];
                    F32 b128 = consumer.Load<F32>(scaleOfB.At(chunk, 4), cache: CacheHint.ReadOnly);
                    F32 scale = consumer.LoadShared<F32>(at) * b128, below = consumer.LoadShared<F32>(at, 32) * b128;
                    Fragment made = pending.Wait();
                    full.Dispose();
                    sum.Promote(made, scale, below, accumulate: true);
                });
                LadderTile.Store(consumer, sum, d, row + ofWarpgroup, column, shape);
            });
        });

        k.Producer(registers: 40, producer =>
        {
            RingProducer fill = producer.Fill(ring);
            ForTiles(producer, (row, column) => producer.For(producer.Constant(chunks), chunk =>
            {
                using FillSlot empty = fill.Acquire();
                empty.Load(rowsOfA, chunk << 7, row);
                empty.Load(scalesOfA, row, chunk);
                empty.Load(rowsOfB, chunk << 7, column);
            }));
        });

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
