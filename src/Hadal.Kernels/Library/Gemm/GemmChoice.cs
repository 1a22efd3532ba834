namespace Hadal.Kernels.Library.Gemm;

/// <summary>Chooses tiles: pure functions of shape and device, so that a shape always runs the same kernel.</summary>
public static class GemmChoice
{
    static readonly GemmConfig[] Bf16Candidates =
    [
        new() { Waves = 1, TileN = 256, Stages = 4, LateEpilogue = false },
        new() { Waves = 2, TileN = 128, Stages = 4, LateEpilogue = false },
        new() { Waves = 1, TileN = 128, Stages = 6, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 256, Stages = 5, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 128, Stages = 8, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 64, Stages = 8, LateEpilogue = false },
        new() { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 8, LateEpilogue = false },
    ];

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

    /// <summary>Two blocks share rows of A when there is more than one turn of the device and every second tile column exists.</summary>
    static GemmConfig WithCluster(GemmConfig config, int m, int n, int multiprocessors)
    {
        int rows = (m + config.TileM - 1) / config.TileM, columns = (n + config.TileN - 1) / config.TileN;
        return columns % 2 == 0 && (long)rows * columns > multiprocessors && config.TileM >= 128 ? config with { Cluster = 2 } : config;
    }
}
