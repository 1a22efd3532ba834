using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>
/// D[M, N] f32 += A[M, K] e4m3 · B[N, K]ᵀ e4m3, both with a scale each 1×128 along K (the weight gradient dYᵀ·X, K = tokens, report §3.3.2): products of 128 along K
/// are summed by the tensor cores, multiplied by both scales (<see cref="GradientPromotion"/>), and added in float32 in ascending K; the sum is added to D once.
/// Balanced, a tile's contraction may be cut in two (more where tiles are few); the pieces are added from the last to the first, so the bits depend on shape,
/// configuration and number of blocks alone.
/// Dense, or grouped along K: matrix g of D takes the tokens of group g; an empty group leaves its matrix as it is.
/// </summary>
/// <remarks>
/// The skeleton is that of <see cref="Fp8GemmKernel"/>. A stage also holds the scales of the tile's rows of B: each thread multiplies its two row scales with the
/// scales of its columns.
/// Parameters, in order: maps a [M, K], b [N, K] e4m3 (K = all tokens); maps a_scale [⌈K/128⌉, M], b_scale [⌈K/128⌉, N] f32, rows padded to 4 places (b_scale to 16
/// when interleaved); pointer d [groups, M, N] f32 (with
/// TensorEpilogue a map of [groups·M, N], with MixedEpilogue the map and the pointer); the tokens (k; or offsets, groups + 1 words, multiples of 128: the kernel ends with an error on others);
/// balanced: pointer flags (<see cref="Fp8GradientConfig.FlagWords"/>).
/// </remarks>
public static class Fp8GradientKernel
{
    /// <summary>The kernel for a shape and a tile. It is verified by the caller that compiles or interprets it.</summary>
    public static Kernel Build(GradientShape shape, Fp8GradientConfig config)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(config);
        shape.Validate();
        config.Validate();
        if (config.TensorEpilogue && (shape.N % 4 != 0 || (shape.Groups > 1 && shape.M % 16 != 0)))
            throw new ArgumentException($"D is {shape.Groups} x {shape.M} x {shape.N}: TMA adds rows of a multiple of 4 columns, and of several groups a multiple of 16 rows; choose a configuration without TensorEpilogue.", nameof(config));
        string kind = shape.Grouping == GradientGrouping.Dense ? "" : $"_along_k{shape.Groups}";
        return KernelBuilder.Define($"sm90_fp8_gradient_1x128_1x128{kind}_m{shape.M}_n{shape.N}_{config}", config.Threads, kernel =>
        {
            TensorMap a = kernel.TensorMap("a", ElementType.E4M3, config.TileM / config.Cluster, 128, Swizzle.Bytes128);
            TensorMap b = kernel.TensorMap("b", ElementType.E4M3, config.TileN, 128, Swizzle.Bytes128);
            TensorMap aScale = kernel.TensorMap("a_scale", ElementType.F32, 1, config.TileM);
            TensorMap bScale = kernel.TensorMap("b_scale", ElementType.F32, 1, config.TileN);
            TensorMap? map = config.TensorEpilogue ? F32BoxEpilogue.Map(kernel, "d") : null;
            var result = new GradientResult(map is null || config.MixedEpilogue ? kernel.Pointer(map is null ? "d" : "d_elements", ElementType.F32) : default, map);
            GradientTokens tokens = GradientTokens.Declare(kernel, shape);
            tokens.Check(kernel, shape);
            U64 flags = config.Balanced ? kernel.Pointer("flags", ElementType.F32) : default;
            var operands = new GradientOperands(
                new RingOperand(a, config.TileM, config.Cluster > 1), new RingOperand(b, config.TileN), new RingOperand(aScale, 1), new RingOperand(bScale, 1));
            Pipeline ring = kernel.Pipeline("ring", config.Stages, 4 * config.Warpgroups, [operands.A, operands.B, operands.AScale, operands.BScale]);
            SharedRegion? buffers = config.TensorEpilogue ? kernel.Shared("epilogue", F32BoxEpilogue.SharedBytes(config.Warpgroups, config.TileN), 1024) : null;

            kernel.Consumers(config.Warpgroups, config.ConsumerRegisters, consumer =>
                new Fp8GradientConsumer(kernel, consumer, shape, config, tokens, ring, operands, result, buffers, flags).Run());

            kernel.Producer(config.ProducerRegisters, producer =>
            {
                RingProducer fill = producer.Fill(ring);
                var walk = new GradientWalk(kernel, producer, shape, config, tokens);
                producer.While(() => walk.Running, () =>
                {
                    GradientTile tile = walk.Current();
                    producer.For(tile.Chunks, index =>
                    {
                        U32 chunk = tile.FirstChunk + index;
                        using FillSlot slot = fill.Acquire();
                        slot.Load(operands.A, chunk << 7, tile.Row);
                        slot.Load(operands.AScale, tile.Row, chunk);
                        slot.Load(operands.B, chunk << 7, tile.Column);
                        slot.Load(operands.BScale, tile.Column, chunk);
                    });
                    walk.Advance();
                });
            });
        }, config.Cluster);
    }
}

/// <summary>Where the sums go: a pointer, or a map, or both.</summary>
sealed record GradientResult(U64 Pointer, TensorMap? Map);

/// <summary>What a stage of the ring holds.</summary>
sealed record GradientOperands(RingOperand A, RingOperand B, RingOperand AScale, RingOperand BScale);
