namespace Hadal.Kernels.Library.Gemm;

/// <summary>Chooses tiles: pure functions of shape and device, so that a shape always runs the same kernel.</summary>
public static class GemmChoice
{
    static readonly GemmConfig[] Bf16Candidates =
    [
        new() { Waves = 2, TileN = 128, Stages = 4, LateEpilogue = false },
        new() { Waves = 1, TileN = 256, Stages = 4, LateEpilogue = false },
        new() { Waves = 1, TileN = 128, Stages = 6, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 256, Stages = 5, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 128, Stages = 8, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 64, Stages = 8, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 8, LateEpilogue = false },
    ];

    static readonly GemmConfig[] Fp8Candidates =
    [
        new(),
        new() { Waves = 1, TileN = 192, Stages = 5 },
        new() { Waves = 1, Stages = 6 },
        .. Few(new GemmConfig { Waves = 1 }, [(96, 7), (64, 8), (56, 8), (32, 10), (16, 11)]),
        .. Few(new GemmConfig { Waves = 1, SplitK = 2, LateEpilogue = false }, [(96, 8), (64, 12), (56, 12), (48, 12), (32, 16), (16, 20)]),
        .. Few(new GemmConfig { Warpgroups = 1, Waves = 1 }, [(96, 10), (64, 12), (56, 14), (48, 14), (32, 16), (16, 20)]),
        .. Few(new GemmConfig { Warpgroups = 1, Waves = 1, Residency = 2 }, [(128, 4)]),
        .. Few(new GemmConfig { Warpgroups = 1, Residency = 2, BlocksEach = 2 }, [(64, 4)]),
    ];

    /// <summary>Few rows (up to 64, up to 128) of the models' shapes on 132 multiprocessors, as measured best: there a microsecond is a tenth, which no model predicts.</summary>
    static readonly Dictionary<(int Rows, int Columns, int K), string> MeasuredFp8 = new()
    {
        [(64, 2112, 7168)] = "wg2w1n16s20c1g16k2",
        [(64, 24576, 1536)] = "wg1w1n48s7c1g16r2b2late",
        [(64, 32768, 512)] = "wg1w1n128s4c1g16r2b1late",
        [(64, 7168, 16384)] = "wg2w1n56s12c1g16k2",
        [(64, 4096, 7168)] = "wg2w1n32s16c1g16k2",
        [(64, 7168, 2048)] = "wg1w1n32s8c1g16r2b2late",
        [(128, 2112, 7168)] = "wg2w1n32s16c1g16k2",
        [(128, 24576, 1536)] = "wg2w1n96s7c1g16late",
        [(128, 32768, 512)] = "wg1w2n64s4c1g16r2b2late",
        [(128, 7168, 16384)] = "wg2w1n56s8c1g16late",
        [(128, 4096, 7168)] = "wg2w1n32s10c1g16late",
        [(128, 7168, 2048)] = "wg2w1n64s8c1g16late",
    };

    /// <summary>The tile of an FP8 product with scales of 1×128 and 128×128.</summary>
    /// <param name="rows">Rows of the product, or rows a group is expected to have: the counts themselves are known on the device only.</param>
    /// <param name="shape">Columns, length of the contraction and grouping.</param>
    /// <param name="multiprocessors">Multiprocessors of the device.</param>
    public static GemmConfig ForFp8(int rows, GemmShape shape, int multiprocessors)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentOutOfRangeException.ThrowIfLessThan(rows, 1);
        if (shape.Grouping == GemmGrouping.Dense && multiprocessors == 132 && rows <= 128 && MeasuredFp8.TryGetValue((rows <= 64 ? 64 : 128, shape.N, shape.K), out string? measured))
            return GemmConfig.Parse(measured);
        GemmConfig best = Fp8Candidates.MinBy(c => Fp8Clocks(c, rows, shape, multiprocessors))!;

        // Sharing rows of A saves power where products are long, and costs a wait for the peer at each end of a tile. Groups of few rows gain too: one group after
        // the other, their tiles end together.
        int columns = (shape.N + best.TileN - 1) / best.TileN, tileRows = (rows + best.TileM - 1) / best.TileM * shape.Groups;
        bool grouped = shape.Grouping != GemmGrouping.Dense;
        if (best.TileM >= 128 && best.TileN == 128 && columns % 2 == 0 && (long)tileRows * columns > multiprocessors && (shape.K >= 4096 || grouped)) best = best with { Cluster = 2 };
        return best;
    }

    static IEnumerable<GemmConfig> Few(GemmConfig kind, (int Columns, int Stages)[] tiles) => tiles.Select(t => kind with { TileN = t.Columns, Stages = t.Stages });

    /// <summary>
    /// Clocks of a product, roughly: turns of the device times what one tile takes. A tile is bound by its products (4,096 a clock, with promotion a tenth less) or by
    /// what a multiprocessor takes in (48 bytes a clock); at its ends it stores. The whole is bound by memory (13 bytes a clock and multiprocessor, 15 for one
    /// alone, the average of all turns); where that is the bound, all tiles are equal and what stands at the ends decides.
    /// </summary>
    static double Fp8Clocks(GemmConfig config, int rows, GemmShape shape, int multiprocessors)
    {
        if ((shape.K + 127) / 128 % config.SplitK != 0) return double.PositiveInfinity;
        double tileRows = Math.Ceiling((double)rows / config.TileM), columns = Math.Ceiling((double)shape.N / config.TileN);
        double tiles = tileRows * shape.Groups * columns, turns = Math.Ceiling(tiles / (multiprocessors * config.BlocksEach));
        double multiply = (double)config.TileM * config.TileN * shape.K / 3700;

        // Wide tiles of few rows bring more for each product, which costs power (measured).
        if (config.TileN > 128) multiply *= 1.06;

        // A lone warpgroup waits for one product after the other: some 250 clocks a chunk.
        multiply = Math.Max(multiply, config.Waves * 250.0 / config.SplitK * shape.K / 128);
        double bring = (double)shape.K * (config.TileM + config.TileN) / 48;
        double tile = config.BlocksEach * Math.Max(multiply, bring) + 300 + config.TileM * config.TileN / 64.0;

        // Rows of tiles beside each other read B again, mostly from the cache.
        double weights = (double)shape.Groups * shape.N * shape.K * (1 + 0.3 * (Math.Min(tileRows, 2) - 1));
        double memory = ((double)rows * shape.Groups * shape.K + weights + 2.0 * rows * shape.Groups * shape.N)
            / Math.Min(13.0 * multiprocessors, 15.0 * tiles / turns);
        return Math.Max(turns * tile, memory) + turns * 100 + config.TileM * config.TileN / 32.0 + (config.ScaleBlocks > 1 ? 300 : 0);
    }

    /// <summary>The tile of a dense BF16 product.</summary>
    /// <param name="m">Rows.</param>
    /// <param name="n">Columns.</param>
    /// <param name="k">Length of the contraction.</param>
    /// <param name="multiprocessors">Multiprocessors of the device.</param>
    public static GemmConfig ForBf16(int m, int n, int k, int multiprocessors)
    {
        GemmConfig best = Bf16Candidates.MinBy(c => Cost(c, m, n, k, 1, multiprocessors))!;
        return WithCluster(best, m, n, multiprocessors);
    }

    /// <summary>The tile of a BF16 product batched over heads: a head's columns are whole tiles.</summary>
    public static GemmConfig ForBf16Batched(int heads, int m, int n, int k, int multiprocessors)
    {
        GemmConfig[] fitting = [.. Bf16Candidates.Where(c => n % c.TileN == 0)];
        return fitting.MinBy(c => Cost(c, m, n, k, heads, multiprocessors))
            ?? throw new ArgumentException($"{n} columns a head: a multiple of 32 is needed, so that tiles end with the head.", nameof(n));
    }

    /// <summary>The tile of a weight gradient, whose column scales lie interleaved. K need not be known: balanced walks share the tiles of any K evenly.</summary>
    public static Fp8GradientConfig ForGradient(GradientShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        shape.Validate();
        var config = new Fp8GradientConfig
        {
            Warpgroups = shape.M > 64 ? 2 : 1,
            Waves = shape.M > 128 ? 2 : 1,
            TileN = shape.N > 64 ? 128 : shape.N > 32 ? 64 : 32,
            ScaleOrder = ColumnScaleOrder.Interleaved,
            KeepsScales = shape.M > 128,
            LateEpilogue = shape.M <= 128,
            Balanced = true,
            TensorEpilogue = shape.N % 4 == 0 && (shape.Groups == 1 || shape.M % 16 == 0),
        };

        // As many stages as fit, up to six.
        int stages = 6;
        while ((config with { Stages = stages }).SharedBytes > Ir.Kernel.MaximumSharedBytes) stages--;
        return config with { Stages = stages };
    }

    /// <summary>
    /// Clocks, roughly: turns of the device times the longer of multiplying a tile (2,048 products a clock) and bringing it (40 bytes a clock), plus what a tile costs at
    /// its ends.
    /// </summary>
    static double Cost(GemmConfig config, int m, int n, int k, int heads, int multiprocessors)
    {
        double tiles = (double)heads * ((m + config.TileM - 1) / config.TileM) * ((n + config.TileN - 1) / config.TileN);
        double multiply = (double)config.TileM * config.TileN * k / 2048;
        double bring = 2.0 * k * (config.TileM + config.TileN) / 40;

        // One warpgroup waits for its own products.
        if (config.Warpgroups == 1) multiply *= 1.15;
        return Math.Ceiling(tiles / multiprocessors) * (Math.Max(multiply, bring) + 1000 + config.TileM * config.TileN / 32.0);
    }

    /// <summary>
    /// Two blocks share rows of A when there is more than one turn of the device and every second tile column exists, or so many that a missing one costs less than sharing gains (1.8 % of the head).
    /// </summary>
    static GemmConfig WithCluster(GemmConfig config, int m, int n, int multiprocessors)
    {
        int rows = (m + config.TileM - 1) / config.TileM, columns = (n + config.TileN - 1) / config.TileN;
        return (columns % 2 == 0 || columns > 100) && (long)rows * columns > multiprocessors && config.TileM >= 128 ? config with { Cluster = 2 } : config;
    }
}
