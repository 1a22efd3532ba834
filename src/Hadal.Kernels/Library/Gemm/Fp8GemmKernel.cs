using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>
/// D[M, N] bf16 = A[M, K] e4m3 (a scale each 1×128) · B[N, K]ᵀ e4m3 (a scale each 128×128); products of 128 along K are summed by the tensor cores, scaled and
/// added in float32 in ascending K (promotion, report §3.3.2). Dense or grouped.
/// </summary>
/// <remarks>
/// A block owns one tile at a time and walks all its tiles (persistent). One warpgroup copies: a stage of the ring holds 128 bytes of K of the tile's rows of A,
/// of B and the row scales. The others multiply, each <c>Waves</c> times 64 rows: while the tensor cores make one product, the warpgroup waits for the next stage,
/// reads its scales and stores the tile before; between products it only promotes. Two warpgroups promote while the other multiplies.
/// Parameters, in order: maps a, b, a_scale ([⌈K/128⌉, rows padded to 4] f32); pointers b_scale ([groups, ⌈N/128⌉, ⌈K/128⌉] f32), d ([rows, N] bf16; a map with <c>BoxStores</c>); the rows
/// (m; or offsets; or capacity and counts).
/// </remarks>
public static class Fp8GemmKernel
{
    /// <summary>Blocks of the grid: one a multiprocessor (or <see cref="GemmConfig.BlocksEach"/>), fewer when there are fewer tiles; a multiple of the cluster.</summary>
    /// <param name="tileRows">Rows of tiles, or an upper bound where counts are known on the device only.</param>
    /// <param name="shape">The shape.</param>
    /// <param name="config">The tile.</param>
    /// <param name="multiprocessors">Multiprocessors of the device.</param>
    public static int Blocks(int tileRows, GemmShape shape, GemmConfig config, int multiprocessors)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(config);
        int columns = (shape.N + config.TileN - 1) / config.TileN;
        long tiles = (long)tileRows * ((columns + config.Cluster - 1) / config.Cluster);
        return (int)Math.Clamp(tiles, 1, Math.Max(1, multiprocessors * config.BlocksEach / config.Cluster)) * config.Cluster;
    }

    /// <summary>The kernel for a shape and a tile. It is verified by the caller that compiles or interprets it.</summary>
    public static Kernel Build(GemmShape shape, GemmConfig config)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(config);
        shape.Validate();
        config.Validate();
        if (shape.Grouping == GemmGrouping.Batched) throw new ArgumentException("The FP8 product is not batched over heads: its grouping is Dense, Contiguous or Masked.", nameof(shape));
        if ((shape.K + 127) / 128 % config.SplitK != 0)
            throw new ArgumentException($"K = {shape.K} has {(shape.K + 127) / 128} chunks of 128, which {config.SplitK} warpgroups cannot share equally: choose another SplitK.");
        string kind = shape.Grouping switch { GemmGrouping.Dense => "", GemmGrouping.Contiguous => "_contiguous", _ => "_masked" };
        return KernelBuilder.Define($"sm90_fp8_gemm_nt_1x128_128x128{kind}_n{shape.N}_k{shape.K}_{config}", config.Threads, kernel =>
        {
            TensorMap a = kernel.TensorMap("a", ElementType.E4M3, config.TileM / config.Cluster, 128, Swizzle.Bytes128);
            TensorMap b = kernel.TensorMap("b", ElementType.E4M3, config.TileN, 128, Swizzle.Bytes128);
            TensorMap aScale = kernel.TensorMap("a_scale", ElementType.F32, 1, config.TileM);
            U64 bScale = kernel.Pointer("b_scale", ElementType.F32), d = default;
            TensorMap? boxes = null;
            if (config.BoxStores) boxes = kernel.TensorMap("d", ElementType.BF16, 16, 64, Swizzle.Bytes128);
            else d = kernel.Pointer("d", ElementType.BF16);
            GemmRows rows = GemmRows.Declare(kernel, shape);
            RingOperand rowsOfA = new(a, config.TileM, config.Cluster > 1), rowsOfB = new(b, config.TileN), scalesOfA = new(aScale, 1);
            Pipeline ring = kernel.Pipeline("ring", config.Stages, 4 * config.RowWarpgroups, [rowsOfA, rowsOfB, scalesOfA]);
            SharedRegion buffers = config.BoxStores ? kernel.Shared("epilogue", Bf16BoxEpilogue.SharedBytes(config), 1024) : kernel.Shared("epilogue", Bf16Epilogue.SharedBytes(config), 128);
            SharedRegion? parts = config.SplitK == 1 ? null : kernel.Shared("parts", SplitSum.SharedBytes(config), 16);
            int chunks = (shape.K + 127) / 128;

            // What came before runs out beside the set-up of this grid, when the launch allows it; the next one may be set up beside this one.
            kernel.GridDependencyLaunch();
            kernel.GridDependencyWait();

            kernel.Consumers(config.Warpgroups, config.ConsumerRegisters, consumer =>
            {
                IEpilogue epilogue = boxes is null ? new Bf16Epilogue(kernel, consumer, d, shape, config, buffers) : new Bf16BoxEpilogue(kernel, consumer, boxes, config, buffers);
                SplitSum? split = parts is null ? null : new SplitSum(kernel, consumer, config, parts);
                new Fp8GemmConsumer(kernel, consumer, shape, config, rows, ring, rowsOfA, rowsOfB, scalesOfA, bScale, epilogue, split).Run();
            });

            kernel.Producer(config.ProducerRegisters, producer =>
            {
                RingProducer fill = producer.Fill(ring);
                var walk = new TileWalk(kernel, producer, shape, config, rows);
                producer.While(() => walk.Running, () =>
                {
                    TilePosition tile = walk.Current();
                    U32 bRow = shape.Groups == 1 ? tile.Column : tile.Group * shape.N + tile.Column;
                    producer.For(producer.Constant(chunks), chunk =>
                    {
                        using FillSlot slot = fill.Acquire();
                        slot.Load(rowsOfA, chunk << 7, tile.Row);
                        slot.Load(scalesOfA, tile.Row, chunk);
                        slot.Load(rowsOfB, chunk << 7, bRow);
                    });
                    walk.Advance();
                });
            });
        }, config.Cluster, config.Residency);
    }
}
