using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;
using Hadal.Numerics;
using BF16 = Hadal.Numerics.BF16;

namespace Hadal.Kernels.Library.Gemm;

/// <summary>Cases of <see cref="Fp8GemmKernel"/>.</summary>
static class Fp8GemmCases
{
    static readonly GemmConfig Small = new() { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2 };

    /// <summary>Small shapes with tails, checked completely; seconds in the interpreter.</summary>
    public static IEnumerable<KernelCase> Conformance()
    {
        yield return Dense(64, 32, 128, Small with { LateEpilogue = false }, OperandKind.UnevenScales);
        yield return Dense(100, 72, 272, Small, OperandKind.UnevenScales);
        yield return Dense(70, 33, 144, Small, OperandKind.UnevenScales);
        yield return Dense(200, 136, 272, new GemmConfig { TileN = 64, Stages = 2 }, OperandKind.UnevenScales);
        yield return Dense(100, 72, 272, Small with { Cluster = 2 }, OperandKind.UnevenScales);
        yield return Dense(70, 200, 272, Small with { TileN = 48 }, OperandKind.UnevenScales);
        yield return Dense(70, 330, 144, Small with { TileN = 112 }, OperandKind.UnevenScales);
        yield return Dense(70, 200, 144, Small with { TileN = 56, Residency = 2, BlocksEach = 2 }, OperandKind.UnevenScales);
        yield return Dense(70, 400, 144, Small with { TileN = 192, LateEpilogue = false }, OperandKind.UnevenScales);
        yield return Dense(70, 72, 512, Small with { Warpgroups = 2, SplitK = 2, Stages = 4, LateEpilogue = false }, OperandKind.UnevenScales);
        yield return Dense(150, 40, 1008, new GemmConfig { Warpgroups = 4, Waves = 1, TileN = 16, Stages = 4, SplitK = 2, LateEpilogue = false }, OperandKind.UnevenScales);
        yield return Dense(140, 200, 144, Small with { TileN = 64, BoxStores = true }, OperandKind.UnevenScales);
        yield return Dense(300, 136, 144, new GemmConfig { Stages = 2, BoxStores = true, LateEpilogue = false }, OperandKind.UnevenScales);
        foreach (OperandKind kind in new[] { OperandKind.Normal, OperandKind.Outliers, OperandKind.AllEqual, OperandKind.Subnormal, OperandKind.OneNaN })
        {
            yield return Dense(70, 40, 272, Small, kind);
            yield return Contiguous([0, 36, 36, 104], 40, 272, Small, kind);
            yield return Masked([35, 0, 65], 68, 40, 272, Small, kind);
        }

        yield return Contiguous([0, 68, 68, 132, 192], 48, 144, Small, OperandKind.UnevenScales);
        yield return Masked([65, 0, 80], 80, 40, 144, Small, OperandKind.UnevenScales);
    }

    /// <summary>Shapes with tails for a device, checked completely.</summary>
    public static IEnumerable<KernelCase> DeviceConformance()
    {
        GemmConfig[] configs =
        [
            new(), new() { LateEpilogue = false }, new() { Cluster = 2 }, new() { Warpgroups = 3, Waves = 1, Cluster = 2 }, new() { Waves = 1, TileN = 64, Stages = 8 }, new() { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 8 },
            new() { Warpgroups = 1, Waves = 1, TileN = 16, Stages = 8, Cluster = 2 }, new() { Warpgroups = 1, Waves = 1, TileN = 112, Stages = 8 }, new() { Waves = 1, TileN = 192, Stages = 5 },
            new() { Warpgroups = 1, Waves = 1, TileN = 56, Stages = 6, Residency = 2, BlocksEach = 2 }, new() { Waves = 1, TileN = 48, Stages = 4, Residency = 2, BlocksEach = 1 },
            new() { Warpgroups = 4, Waves = 1, TileN = 16, Stages = 8, SplitK = 2, LateEpilogue = false }, new() { Warpgroups = 4, Waves = 1, TileN = 32, Stages = 12, SplitK = 4, LateEpilogue = false },
        ];
        foreach (GemmConfig config in configs)
        {
            if (config.SplitK > 1)
            {
                yield return Dense(130, 1200, 3584, config, OperandKind.UnevenScales);
                continue;
            }

            yield return Dense(1000, 1200, 592, config, OperandKind.UnevenScales);
            if (config.TileN % 64 == 0 && config.Residency == 1) yield return Dense(1000, 1200, 592, config with { BoxStores = true, Stages = 3 }, OperandKind.UnevenScales);
            yield return Dense(300, 521, 1168, config, OperandKind.UnevenScales);
            foreach (OperandKind kind in new[] { OperandKind.Normal, OperandKind.Outliers, OperandKind.AllEqual, OperandKind.Subnormal, OperandKind.OneNaN })
                yield return Dense(260, 264, 1040, config, kind);
            yield return Dense(1, 1, 16, config, OperandKind.UnevenScales);
            yield return Contiguous([0, 300, 300, 432, 1000], 328, 528, config, OperandKind.UnevenScales);
            yield return Masked([400, 0, 1, 129], 400, 328, 528, config, OperandKind.UnevenScales);
        }
    }

    /// <summary>The shapes of the models, with the tile that is chosen for a device of 132 multiprocessors. Checked by samples.</summary>
    public static IEnumerable<KernelCase> Benchmarks()
    {
        const int multiprocessors = 132;
        foreach (int m in new[] { 4096, 64, 128 })
        {
            foreach ((int n, int k) in new[] { (2112, 7168), (24576, 1536), (32768, 512), (7168, 16384), (4096, 7168), (7168, 2048) })
                yield return Dense(m, n, k, GemmChoice.ForFp8(m, new GemmShape(n, k), multiprocessors), OperandKind.Normal, sampled: true);
        }

        yield return Dense(8192, 8192, 8192, GemmChoice.ForFp8(8192, new GemmShape(8192, 8192), multiprocessors), OperandKind.Normal, sampled: true);
        foreach ((int[] sizes, int n, int k) in new (int[], int, int)[]
        {
            ([8448, 8320, 9088, 8448], 4096, 7168), ([8192, 7680, 8960, 8192], 7168, 2048),
            ([4224, 4096, 4480, 4352, 4096, 4480, 4224, 4224], 4096, 7168), ([4864, 4736, 4992, 4736, 4864, 4736, 4992, 4736], 7168, 2048),
        })
        {
            int[] offsets = [0, .. sizes.Select((_, i) => sizes.Take(i + 1).Sum())];
            yield return Contiguous(offsets, n, k, GemmChoice.ForFp8(sizes.Sum() / sizes.Length, new GemmShape(n, k, GemmGrouping.Contiguous, sizes.Length), multiprocessors), OperandKind.Normal, sampled: true);
        }

        foreach (int[] counts in new int[][] { [1006], [540, 497], [300, 256, 281, 248] })
            yield return Masked(counts, 4096, 4096, 7168, GemmChoice.ForFp8(counts.Sum() / counts.Length, new GemmShape(4096, 7168, GemmGrouping.Masked, counts.Length), multiprocessors), OperandKind.Normal, sampled: true);
    }

    /// <summary>What parts of a product cost: the chosen tile of three shapes, whole, with its epilogue at once, so without promotion, and without the epilogue. The latter two are not compared.</summary>
    public static IEnumerable<KernelCase> Diagnostics()
    {
        foreach ((int m, int n, int k) in new[] { (4096, 7168, 16384), (4096, 7168, 2048), (4096, 32768, 512) })
        {
            Fp8Problem problem = DenseProblem(m, n, k, OperandKind.Normal, sampled: true);
            GemmConfig whole = GemmChoice.ForFp8(m, new GemmShape(n, k), 132);
            yield return Dense(m, n, k, whole, OperandKind.Normal, sampled: true, problem);
            yield return Dense(m, n, k, whole with { LateEpilogue = false }, OperandKind.Normal, sampled: true, problem);
            foreach (GemmConfig part in new[] { whole with { LateEpilogue = false, Omits = GemmOmission.Promotion }, whole with { Omits = GemmOmission.Epilogue } })
                yield return Dense(m, n, k, part, OperandKind.Normal, sampled: true, problem) with { Check = _ => new CaseResult(true, 0, 0, "not compared") };
        }
    }

    /// <summary>One product.</summary>
    public static KernelCase Dense(int m, int n, int k, GemmConfig config, OperandKind kind, bool sampled = false, Fp8Problem? problem = null)
    {
        problem ??= DenseProblem(m, n, k, kind, sampled);
        return Make($"fp8_gemm_{m}x{n}x{k}_{kind}_{config.Specification}", new GemmShape(n, k), config, problem, [new CaseArgument.Word((uint)m)], null);
    }

    /// <summary>Groups that follow each other in the rows.</summary>
    public static KernelCase Contiguous(int[] offsets, int n, int k, GemmConfig config, OperandKind kind, bool sampled = false, Fp8Problem? problem = null)
    {
        int groups = offsets.Length - 1;
        problem ??= ContiguousProblem(offsets, n, k, kind, sampled);
        return Make($"fp8_gemm_contiguous_{groups}_{problem.Rows}x{n}x{k}_{kind}_{config.Specification}", new GemmShape(n, k, GemmGrouping.Contiguous, groups), config, problem, [new CaseArgument.Address("table")], offsets);
    }

    /// <summary>Groups in equal rooms, each partly filled.</summary>
    public static KernelCase Masked(int[] counts, int capacity, int n, int k, GemmConfig config, OperandKind kind, bool sampled = false, Fp8Problem? problem = null)
    {
        problem ??= MaskedProblem(counts, capacity, n, k, kind, sampled);
        return Make($"fp8_gemm_masked_{counts.Length}_{counts.Sum()}x{n}x{k}_{kind}_{config.Specification}", new GemmShape(n, k, GemmGrouping.Masked, counts.Length), config, problem,
            [new CaseArgument.Word((uint)capacity), new CaseArgument.Address("table")], counts);
    }

    public static Fp8Problem DenseProblem(int m, int n, int k, OperandKind kind, bool sampled) => new(kind, m, n, k, 1, [new GroupRows(0, m, 0)], sampled);

    /// <summary>Groups of rows between offsets, in buffers of as many rows as the last group ends at, or of <paramref name="capacity"/>.</summary>
    public static Fp8Problem ContiguousProblem(int[] offsets, int n, int k, OperandKind kind, bool sampled, int? capacity = null)
    {
        int groups = offsets.Length - 1;
        return new(kind, capacity ?? offsets[^1], n, k, groups, [.. Enumerable.Range(0, groups).Select(g => new GroupRows(offsets[g], offsets[g + 1] - offsets[g], g))], sampled);
    }

    public static Fp8Problem MaskedProblem(int[] counts, int capacity, int n, int k, OperandKind kind, bool sampled) =>
        new(kind, counts.Length * capacity, n, k, counts.Length, [.. counts.Select((count, g) => new GroupRows(g * capacity, count, g))], sampled);

    static KernelCase Make(string name, GemmShape shape, GemmConfig config, Fp8Problem problem, CaseArgument[] rows, int[]? table)
    {
        double m = problem.Groups.Sum(g => (double)g.Rows), n = shape.N, k = shape.K, filled = problem.Groups.Count(g => g.Rows > 0);
        return new KernelCase
        {
            Name = name,
            Build = () => Fp8GemmKernel.Build(shape, config),
            Blocks = multiprocessors => Fp8GemmKernel.Blocks(problem.Groups.Sum(g => (g.Rows + config.TileM - 1) / config.TileM), shape, config, multiprocessors),
            Buffers = problem.Buffers(table),
            Arguments =
            [
                new CaseArgument.Matrix("a", ElementType.E4M3, problem.Rows, shape.K, shape.K),
                new CaseArgument.Matrix("b", ElementType.E4M3, (long)shape.Groups * shape.N, shape.K, shape.K),
                new CaseArgument.Matrix("a_scale", ElementType.F32, problem.Chunks, problem.Rows, 4L * problem.ScaleStride),
                new CaseArgument.Address("b_scale"),
                config.BoxStores ? new CaseArgument.Matrix("d", ElementType.BF16, problem.Rows, shape.N, 2L * shape.N) : new CaseArgument.Address("d"),
                .. rows,
            ],
            Check = bytes => problem.Check(MemoryMarshal.Cast<byte, ushort>(bytes("d")).ToArray()),
            Operations = 2 * m * n * k,
            Bytes = m * k + filled * n * k + 2 * m * n + 4 * m * problem.Chunks + 4 * filled * ((n + 127) / 128) * problem.Chunks,
        };
    }
}

/// <summary>Operands that several cases share, made when first asked for, and the comparison with the definition.</summary>
sealed class Fp8Problem(OperandKind kind, int m, int n, int k, int groups, GroupRows[] rows, bool sampled)
{
    const int SampledRows = 8;

    /// <summary>Largest relative Frobenius error: rounding to BF16 alone makes 1.66e-3 of spread numbers, and up to 1/256 of one number.</summary>
    readonly double _tolerance = kind == OperandKind.AllEqual ? 1.0 / 256 : 2.2e-3;
    readonly Lazy<Fp8Operands> _operands = new(() => Fp8Operands.Make(kind, m, n, k, groups, seed: 1));
    readonly Lock _gate = new();
    IReadOnlyList<CaseBuffer>? _buffers;
    (GroupRows Group, int Row, double[] Values, double[] Magnitudes)[]? _reference;

    public int Rows => m;

    public int Chunks => (k + 127) / 128;

    public int ScaleStride => (m + 3) / 4 * 4;

    public IReadOnlyList<GroupRows> Groups => rows;

    public IReadOnlyList<CaseBuffer> Buffers(int[]? table)
    {
        lock (_gate)
        {
            return _buffers ??=
            [
                new CaseBuffer("a", (long)m * k, () => _operands.Value.A),
                new CaseBuffer("b", (long)groups * n * k, () => _operands.Value.B),
                CaseBuffer.Of("a_scale", (long)Chunks * ScaleStride, () => _operands.Value.AScale),
                CaseBuffer.Of("b_scale", (long)groups * ((n + 127) / 128) * Chunks, () => _operands.Value.BScale),
                new CaseBuffer("d", (long)m * n * 2),
                .. table is null ? (CaseBuffer[])[] : [CaseBuffer.Of("table", table.Length, () => table)],
            ];
        }
    }

    public CaseResult Check(ushort[] d)
    {
        double tolerance = _tolerance;
        if (Unwritten(d) is { } fault) return new CaseResult(false, double.NaN, tolerance, fault);
        double errors = 0, sizes = 0;
        foreach ((GroupRows _, int row, double[] values, double[] magnitudes) in Reference())
        {
            for (int j = 0; j < n; j++)
            {
                double got = new BF16(d[(long)row * n + j]).ToSingle(), want = values[j];
                if (double.IsNaN(want) != double.IsNaN(got) || Math.Abs(got - want) > Math.Abs(want) / 256 + magnitudes[j] / 512 + 1e-38)
                    return new CaseResult(false, double.NaN, tolerance, string.Create(CultureInfo.InvariantCulture, $"D[{row}, {j}] = {got}, the definition gives {want}."));
                if (double.IsNaN(want)) continue;
                errors += (got - want) * (got - want);
                sizes += want * want;
            }
        }

        double error = sizes == 0 ? Math.Sqrt(errors) : Math.Sqrt(errors / sizes);
        if (sampled) error = Math.Max(error, Projected(d));
        return new CaseResult(error <= tolerance, error, tolerance, error <= tolerance ? "" : "The error is above the tolerance.");
    }

    /// <summary>Every row of a group is written, no other is.</summary>
    string? Unwritten(ushort[] d)
    {
        var owned = new bool[m];
        foreach (GroupRows group in rows) owned.AsSpan(group.First, group.Rows).Fill(true);
        for (int i = 0; i < m; i++)
        {
            ReadOnlySpan<ushort> row = d.AsSpan(i * n, n);
            if (owned[i] && row.Contains((ushort)0xFFFF)) return $"D[{i}, {row.IndexOf((ushort)0xFFFF)}] was not written.";
            if (!owned[i] && row.ContainsAnyExcept((ushort)0xFFFF)) return $"D[{i}, {row.IndexOfAnyExcept((ushort)0xFFFF)}] belongs to no group and was written.";
        }

        return null;
    }

    /// <summary>D·x against A·(Bᵀx) for a vector of signs: every element of D takes part.</summary>
    double Projected(ushort[] d)
    {
        var random = new CounterRandom(7, RandomPurpose.TestData);
        var signs = new double[n];
        for (int j = 0; j < n; j++) signs[j] = random.UInt32((ulong)j) % 2 == 0 ? 1 : -1;
        double errors = 0, sizes = 0;
        foreach (GroupRows group in rows.Where(g => g.Rows > 0))
        {
            double[] vector = _operands.Value.Project(group.Group, signs);
            var error = new double[group.Rows];
            var size = new double[group.Rows];
            Parallel.For(0, group.Rows, r =>
            {
                int row = group.First + r;
                double want = _operands.Value.RowTimes(row, vector), got = 0;
                for (int j = 0; j < n; j++) got += signs[j] * new BF16(d[(long)row * n + j]).ToSingle();
                (error[r], size[r]) = ((got - want) * (got - want), want * want);
            });
            errors += error.Sum();
            sizes += size.Sum();
        }

        return Math.Sqrt(errors / sizes);
    }

    (GroupRows Group, int Row, double[] Values, double[] Magnitudes)[] Reference()
    {
        lock (_gate)
        {
            if (_reference is not null) return _reference;
            var chosen = new List<(GroupRows Group, int Row)>();
            foreach (GroupRows group in rows)
            {
                int count = sampled ? Math.Min(group.Rows, Math.Max(2, SampledRows / groups)) : group.Rows;
                for (int i = 0; i < count; i++) chosen.Add((group, group.First + (int)((long)i * group.Rows / count) + (sampled ? i % Math.Max(1, group.Rows / count) : 0)));
            }

            var reference = new (GroupRows, int, double[], double[])[chosen.Count];
            Parallel.For(0, chosen.Count, i =>
            {
                (double[] values, double[] magnitudes) = (new double[n], new double[n]);
                _operands.Value.Row(chosen[i].Row, chosen[i].Group.Group, values, magnitudes);
                reference[i] = (chosen[i].Group, chosen[i].Row, values, magnitudes);
            });
            return _reference = reference;
        }
    }
}
