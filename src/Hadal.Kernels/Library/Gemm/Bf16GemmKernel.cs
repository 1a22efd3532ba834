using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>What a BF16 product leaves.</summary>
public enum Bf16GemmOutput
{
    /// <summary>BF16, rounded to nearest even.</summary>
    BF16,

    /// <summary>Float32.</summary>
    F32,

    /// <summary>Float32, added to what is there.</summary>
    F32Accumulated,
}

/// <summary>
/// D[M, N] bf16 or f32 = A[M, K] bf16 · B[N, K]ᵀ bf16, summed over K in float32 by the tensor cores. Dense, or batched over heads
/// (<see cref="GemmGrouping.Batched"/>): output head, gate, absorbed attention matrices.
/// </summary>
/// <remarks>
/// The skeleton is that of <see cref="Fp8GemmKernel"/>, without scales: a stage holds 64 of K, the accumulators are the sums, and one stage's products are in
/// flight while the next one's are issued.
/// Parameters, in order: maps a [M, G·K], b [G·N, K] bf16; pointer d [M, G·N]; word m.
/// </remarks>
public static class Bf16GemmKernel
{
    /// <summary>Elements of K in a stage.</summary>
    public const int ChunkK = 64;

    /// <summary>Stages between two complete waits: products of neighbouring stages overlap inside such a block.</summary>
    const int Unroll = 4;

    /// <summary>The kernel for a shape and a tile. It is verified by the caller that compiles or interprets it.</summary>
    public static Kernel Build(GemmShape shape, GemmConfig config, Bf16GemmOutput output)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(config);
        Check(shape, config);
        string kind = (shape.Grouping == GemmGrouping.Dense ? "" : $"_batched{shape.Groups}") + output switch { Bf16GemmOutput.BF16 => "_bf16", Bf16GemmOutput.F32 => "_f32", _ => "_f32_add" };
        return KernelBuilder.Define($"sm90_bf16_gemm_nt{kind}_n{shape.N}_k{shape.K}_{config}", config.Threads, kernel =>
        {
            TensorMap a = kernel.TensorMap("a", ElementType.BF16, config.TileM / config.Cluster, ChunkK, Swizzle.Bytes128);
            TensorMap b = kernel.TensorMap("b", ElementType.BF16, config.TileN, ChunkK, Swizzle.Bytes128);
            U64 d = kernel.Pointer("d", output == Bf16GemmOutput.BF16 ? ElementType.BF16 : ElementType.F32);
            GemmRows rows = GemmRows.Declare(kernel, shape);
            RingOperand rowsOfA = new(a, config.TileM, config.Cluster > 1), rowsOfB = new(b, config.TileN);
            Pipeline ring = kernel.Pipeline("ring", config.Stages, 4 * config.Warpgroups, [rowsOfA, rowsOfB]);
            SharedRegion? buffers = output == Bf16GemmOutput.BF16 ? kernel.Shared("epilogue", Bf16Epilogue.SharedBytes(config), 128) : null;
            int chunks = (shape.K + ChunkK - 1) / ChunkK;

            kernel.Consumers(config.Warpgroups, config.ConsumerRegisters, consumer =>
            {
                Action<Fragment, TilePosition, U32> leave = Epilogue(kernel, consumer, d, shape, config, output, buffers);
                Consume(consumer, new TileWalk(kernel, consumer, shape, config, rows), ring, rowsOfA, rowsOfB, chunks, config, leave);
            });

            kernel.Producer(config.ProducerRegisters, producer =>
            {
                RingProducer fill = producer.Fill(ring);
                var walk = new TileWalk(kernel, producer, shape, config, rows);
                producer.While(() => walk.Running, () =>
                {
                    TilePosition tile = walk.Current();
                    U32 aColumn = shape.Groups == 1 ? producer.Constant(0) : tile.Group * shape.K;
                    U32 bRow = shape.Groups == 1 ? tile.Column : tile.Group * shape.N + tile.Column;
                    producer.For(producer.Constant(chunks), chunk =>
                    {
                        using FillSlot slot = fill.Acquire();
                        slot.Load(rowsOfA, aColumn + (chunk << 6), tile.Row);
                        slot.Load(rowsOfB, chunk << 6, bRow);
                    });
                    walk.Advance();
                });
            });
        }, config.Cluster);
    }

    static void Consume(
        ConsumerScope scope, TileWalk walk, Pipeline ring, RingOperand rowsOfA, RingOperand rowsOfB, int chunks, GemmConfig config, Action<Fragment, TilePosition, U32> leave)
    {
        RingConsumer read = scope.Read(ring);
        RingMatrix a = read.Matrix(rowsOfA, scope.Index << 6), b = read.Matrix(rowsOfB);
        CarriedSlot slot = read.Carry(a, b);
        Accumulator[] sums = [.. Enumerable.Range(0, config.Waves).Select(_ => scope.Accumulator(config.TileN, "sum"))];
        scope.While(() => walk.Running, () =>
        {
            TilePosition tile = walk.Current();
            int head = chunks % Unroll == 0 ? Unroll : chunks % Unroll;
            Fragment[] fragments = Block(head, first: true);
            scope.Repeat((chunks - head) / Unroll, () => Block(Unroll, first: false));
            for (int wave = 0; wave < config.Waves; wave++) leave(fragments[wave], tile, (scope.Index << 6) + 64 * config.Warpgroups * wave);
            walk.Advance();
        });

        // Multiplies a number of stages; a stage goes back when the next one's products have been issued and its own are done.
        Fragment[] Block(int stages, bool first)
        {
            var pending = new PendingFragment[config.Waves];
            SlotRelease? before = null;
            for (int stage = 0; stage < stages; stage++)
            {
                slot.Enter();
                for (int wave = 0; wave < config.Waves; wave++)
                    pending[wave] = scope.Multiply(sums[wave], slot[a].Below(64 * config.Warpgroups * wave), slot[b], accumulate: !first || stage > 0);
                if (before is not null)
                {
                    pending[^1].Wait(younger: config.Waves);
                    before.Release();
                }

                before = slot.Leave();
            }

            Fragment[] fragments = [.. pending.Reverse().Select(p => p.Wait())];
            before!.Release();
            return [.. fragments.Reverse()];
        }
    }

    static Action<Fragment, TilePosition, U32> Epilogue(
        KernelScope kernel, ConsumerScope scope, U64 d, GemmShape shape, GemmConfig config, Bf16GemmOutput output, SharedRegion? buffers)
    {
        // Heads lie beside each other in a row of D; their tiles do not reach into the next one.
        GemmShape all = shape.Grouping == GemmGrouping.Batched ? new GemmShape(shape.N * shape.Groups, shape.K) : shape;
        if (output == Bf16GemmOutput.BF16)
        {
            var rounded = new Bf16Epilogue(kernel, scope, d, all, config, buffers!);
            return (tile, place, below) => rounded.Store(0, tile, place.Row + below, Column(place), place.RowEnd);
        }

        var direct = new F32Epilogue(scope, d, all.N, config.TileN, all.N % (config.TileN * config.Cluster) != 0, output == Bf16GemmOutput.F32Accumulated);
        return (tile, place, below) => direct.Write(tile, place.Row + below, Column(place), place.RowEnd);

        U32 Column(TilePosition place) => shape.Groups == 1 ? place.Column : place.Group * shape.N + place.Column;
    }

    static void Check(GemmShape shape, GemmConfig config)
    {
        shape.Validate();
        if (shape.Grouping is not (GemmGrouping.Dense or GemmGrouping.Batched)) throw new ArgumentException($"The BF16 product is dense or batched, not {shape.Grouping}.", nameof(shape));
        if (shape.Grouping == GemmGrouping.Batched && (shape.K % ChunkK != 0 || shape.N % (config.TileN * config.Cluster) != 0))
            throw new ArgumentException($"Batched with K = {shape.K}, N = {shape.N}: heads lie beside each other, so K is a multiple of {ChunkK} and N of a tile's {config.TileN * config.Cluster} columns.", nameof(shape));
        if (config.Warpgroups is < 1 or > 3 || config.Waves is < 1 or > 2 || config.TileM > 256)
            throw new ArgumentException($"{config.Waves} waves of {config.Warpgroups} warpgroups: 1 to 3 warpgroups, 1 or 2 waves, at most 256 rows.", nameof(config));
        if (config.TileN is not (16 or 32) && (config.TileN % 64 != 0 || config.TileN is < 64 or > 256)) throw new ArgumentException($"TileN = {config.TileN}: 16, 32 or a multiple of 64 up to 256.", nameof(config));
        if (config.Waves * config.TileN / 2 > config.ConsumerRegisters - 32)
            throw new ArgumentException($"{config.Waves} waves of {config.TileN} columns need {config.Waves * config.TileN / 2} accumulators of {config.ConsumerRegisters} registers: make the tile smaller.", nameof(config));
        if (config.Stages < 2 || config.Cluster is not (1 or 2) || config.RasterGroup < 1) throw new ArgumentException($"{config}: at least 2 stages, clusters of 1 or 2 blocks, a positive raster group.", nameof(config));
    }
}
