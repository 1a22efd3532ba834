using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Library.Cases;

/// <summary>
/// Every configuration that the choice functions return for the model's shapes, completely checked on shapes of a few tiles with tails. The list follows from the functions, so a choice
/// that changes is checked as it is then. A launch has few blocks: each walks several tiles, as it does on the large shapes, and a sanitizer is done with it soon.
/// </summary>
public static class ChosenCases
{
    const int Multiprocessors = 132, FewClusters = 2;

    /// <summary>N and K of the forward products; exchanged they are those of the gradients of inputs, and M and N of the gradients of weights.</summary>
    static readonly (int N, int K)[] Linears =
        [(2112, 7168), (576, 7168), (24576, 1536), (32768, 512), (7168, 16384), (4096, 7168), (7168, 2048), (36864, 7168), (7168, 18432), (7168, 14336), (8192, 8192)];

    static readonly (int N, int K)[] Experts = [(4096, 7168), (7168, 2048)];
    static readonly (int N, int K)[] Bf16Linears = [(256, 7168), (16160, 7168), (129280, 7168), (8192, 8192)];
    static readonly int[] Rows = [1, 16, 64, 128, 256, 512, 1024, 4096, 8192, 16384];

    /// <summary>The cases of all families.</summary>
    public static IEnumerable<KernelCase> All() => [.. Fp8(), .. Gradients(), .. Bf16(), .. Batched()];

    /// <summary>The FP8 products' configurations for dense and for grouped rows.</summary>
    internal static IEnumerable<(GemmGrouping Grouping, GemmConfig Config)> Fp8Choices() =>
    [
        .. Distinct(from shape in Both(Linears) from rows in Rows select GemmChoice.ForFp8(rows, new GemmShape(shape.N, shape.K), Multiprocessors)).Select(c => (GemmGrouping.Dense, c)),
        .. from grouping in (GemmGrouping[])[GemmGrouping.Contiguous, GemmGrouping.Masked]
           from config in Distinct(
               from shape in Both(Experts) from groups in (int[])[1, 2, 4, 8, 9] from rows in Rows select GemmChoice.ForFp8(rows, new GemmShape(shape.N, shape.K, grouping, groups), Multiprocessors))
           select (grouping, config),
    ];

    /// <summary>The weight gradients' configurations, dense and along K.</summary>
    internal static IEnumerable<(GradientGrouping Grouping, Fp8GradientConfig Config)> GradientChoices() =>
    [
        .. Linears.Select(l => GemmChoice.ForGradient(new GradientShape(l.N, l.K))).Distinct().Select(c => (GradientGrouping.Dense, c)),
        .. (from shape in Experts from groups in (int[])[4, 8, 16] select GemmChoice.ForGradient(new GradientShape(shape.N, shape.K, GradientGrouping.AlongK, groups))).Distinct()
            .Select(c => (GradientGrouping.AlongK, c)),
    ];

    /// <summary>The BF16 products' configurations.</summary>
    internal static IEnumerable<GemmConfig> Bf16Choices() =>
        Distinct(from shape in Both(Bf16Linears) from rows in Rows select GemmChoice.ForBf16(rows, shape.N, shape.K, Multiprocessors));

    /// <summary>Those of the batches of heads.</summary>
    internal static IEnumerable<GemmConfig> BatchedChoices() =>
        Distinct(from shape in Both([(512, 128)]) from rows in Rows select GemmChoice.ForBf16Batched(128, rows, shape.N, shape.K, Multiprocessors));

    static IEnumerable<KernelCase> Fp8()
    {
        foreach ((GemmGrouping grouping, GemmConfig config) in Fp8Choices())
        {
            // Three rows and columns of tiles, the last ones partly outside; the ring goes round at least once.
            int n = 3 * config.Cluster * config.TileN - 24, k = 128 * config.SplitK * ((config.Stages + config.SplitK) / config.SplitK) - 112, rows = config.TileM;
            foreach (OperandKind kind in (OperandKind[])[OperandKind.UnevenScales, OperandKind.Outliers, OperandKind.OneNaN])
            {
                KernelCase one = grouping switch
                {
                    GemmGrouping.Dense => Fp8GemmCases.Dense(2 * rows + rows / 2 + 3, n, k, config, kind),
                    GemmGrouping.Contiguous => Fp8GemmCases.Contiguous([0, rows + 12, rows + 12, rows + 16, rows + 16 + rows / 2], n, k, config, kind),
                    _ => Fp8GemmCases.Masked([2 * rows + 3, 0, 1, rows / 2 + 1], 2 * rows + 4, n, k, config, kind),
                };
                yield return one with { Name = "chosen " + one.Name, Blocks = _ => FewClusters * config.Cluster * config.BlocksEach };
            }
        }
    }

    static IEnumerable<KernelCase> Gradients()
    {
        ulong seed = 200;
        foreach ((GradientGrouping grouping, Fp8GradientConfig config) in GradientChoices())
        {
            int m = config.TileM + 80, n = config.TileN + 60;
            foreach (CaseValues values in (CaseValues[])[CaseValues.Normal, CaseValues.Outliers, CaseValues.NotFinite])
            {
                KernelCase one = grouping == GradientGrouping.Dense
                    ? GradientCases.Dense(m, n, 128 * (2 * config.Stages + 3) + 16, config, values, ++seed)
                    : GradientCases.Grouped(m, n, [256, 0, 128, 128 * (config.Stages + 2)], config, ++seed, values: values);
                foreach (int clusters in (int[])[1, 3]) yield return one with { Name = $"chosen {one.Name} on {clusters}", Blocks = _ => clusters * config.Cluster };
            }
        }
    }

    static IEnumerable<KernelCase> Bf16()
    {
        ulong seed = 300;
        foreach (GemmConfig config in Bf16Choices())
        {
            int m = config.TileM + config.TileM / 2 + 3, n = 3 * config.Cluster * config.TileN - 24, k = 64 * (config.Stages + 2) - 16;
            foreach (Bf16GemmOutput output in Enum.GetValues<Bf16GemmOutput>())
            {
                foreach (CaseValues values in (CaseValues[])[CaseValues.Normal, CaseValues.Outliers, CaseValues.NotFinite])
                    yield return Few(Bf16GemmCases.Dense(m, n, k, config, output, values, ++seed), config);
            }
        }
    }

    static IEnumerable<KernelCase> Batched()
    {
        ulong seed = 400;
        foreach (GemmConfig config in BatchedChoices())
        {
            foreach (CaseValues values in (CaseValues[])[CaseValues.Normal, CaseValues.Outliers, CaseValues.NotFinite])
                yield return Few(Bf16GemmCases.Batched(3, config.TileM + 7, config.Cluster * config.TileN, 64 * (config.Stages + 2), config, Bf16GemmOutput.BF16, ++seed, values: values), config);
        }
    }

    static KernelCase Few(KernelCase one, GemmConfig config) => one with { Name = "chosen " + one.Name, Blocks = _ => FewClusters * config.Cluster };

    static (int N, int K)[] Both((int N, int K)[] shapes) => [.. shapes, .. shapes.Select(s => (s.K, s.N))];

    static GemmConfig[] Distinct(IEnumerable<GemmConfig> configs) => [.. configs.DistinctBy(c => c.Specification, StringComparer.Ordinal)];
}
