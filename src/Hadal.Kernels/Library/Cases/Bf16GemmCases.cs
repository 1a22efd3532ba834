using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Gemm;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Cases;

/// <summary>Cases of <see cref="Bf16GemmKernel"/>.</summary>
public static class Bf16GemmCases
{
    /// <summary>Small shapes, completely checked.</summary>
    public static IEnumerable<KernelCase> Conformance()
    {
        var small = new GemmConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2 };
        yield return Dense(64, 32, 64, small, Bf16GemmOutput.BF16, CaseValues.Normal, 1);
        yield return Dense(100, 72, 400, small, Bf16GemmOutput.BF16, CaseValues.Normal, 2);
        yield return Dense(70, 33, 336, small with { Stages = 3 }, Bf16GemmOutput.F32, CaseValues.Normal, 3);
        yield return Dense(130, 104, 144, small with { Cluster = 2 }, Bf16GemmOutput.F32, CaseValues.Normal, 4);
        yield return Dense(96, 64, 576, small with { Cluster = 2, TileN = 16, Stages = 4 }, Bf16GemmOutput.F32Accumulated, CaseValues.Normal, 5);
        yield return Dense(260, 136, 208, new GemmConfig { TileN = 64, Stages = 2 }, Bf16GemmOutput.BF16, CaseValues.Normal, 6);
        yield return Dense(200, 192, 272, new GemmConfig { Waves = 1, TileN = 192, Stages = 2 }, Bf16GemmOutput.BF16, CaseValues.Normal, 7);
        yield return Dense(64, 32, 256, small, Bf16GemmOutput.F32, CaseValues.Outliers, 8);
        yield return Dense(64, 32, 256, small, Bf16GemmOutput.F32, CaseValues.Zeros, 9);
        yield return Dense(64, 32, 256, small, Bf16GemmOutput.F32, CaseValues.Tiny, 10);
        yield return Dense(100, 32, 256, small, Bf16GemmOutput.BF16, CaseValues.NotFinite, 11);
        yield return Batched(3, 70, 64, 128, small, Bf16GemmOutput.BF16, 12);
        yield return Batched(4, 100, 64, 64, small with { Cluster = 2 }, Bf16GemmOutput.F32, 13);
        yield return Dense(64, 32, 256, small, Bf16GemmOutput.BF16, CaseValues.AllEqual, 14);
        foreach (CaseValues values in Enum.GetValues<CaseValues>().Where(v => v != CaseValues.Normal)) yield return Batched(2, 70, 32, 128, small, Bf16GemmOutput.BF16, 15, values: values);
    }

    /// <summary>The square that PyTorch is measured on, and the products of the model that stay in BF16 (of the output head an eighth).</summary>
    public static IEnumerable<KernelCase> Benchmarks()
    {
        foreach (GemmConfig config in Rivals()) yield return Dense(8192, 8192, 8192, config, Bf16GemmOutput.BF16, CaseValues.Normal, 1, samples: 1000);
        foreach ((int m, int n, int k) in ((int, int, int)[])[(4096, 256, 7168), (4096, 16160, 7168), (64, 16160, 7168)])
            yield return Dense(m, n, k, GemmChoice.ForBf16(m, n, k, 132), Bf16GemmOutput.F32, CaseValues.Normal, 1, samples: 1000);

        // What the peer leaves: BF16.
        foreach ((int m, int n, int k) in ((int, int, int)[])[(4096, 16160, 7168), (64, 16160, 7168)])
            yield return Dense(m, n, k, GemmChoice.ForBf16(m, n, k, 132), Bf16GemmOutput.BF16, CaseValues.Normal, 1, samples: 1000);
        foreach ((int m, int n, int k) in ((int, int, int)[])[(128, 512, 128), (128, 128, 512), (4096, 512, 128), (4096, 128, 512)])
            yield return Batched(128, m, n, k, GemmChoice.ForBf16Batched(128, m, n, k, 132), Bf16GemmOutput.BF16, 1, samples: 1000);
    }

    /// <summary>
    /// Why the head is slower than its peer, one suspect after the other: the stores (BF16 out instead of float32), the last turn (16,896 columns are 16 whole turns of 132 blocks, 16,160 are 15.4),
    /// the tile, the cluster, the order in which tiles are walked, and the stages.
    /// </summary>
    public static IEnumerable<KernelCase> Diagnostics()
    {
        const int Rows = 4096, Columns = 16160, WholeTurns = 16896, K = 7168;
        GemmConfig chosen = GemmChoice.ForBf16(Rows, Columns, K, 132);
        foreach ((int n, Bf16GemmOutput output) in ((int, Bf16GemmOutput)[])[(Columns, Bf16GemmOutput.F32), (Columns, Bf16GemmOutput.BF16), (WholeTurns, Bf16GemmOutput.F32), (WholeTurns, Bf16GemmOutput.BF16)])
            yield return Head(n, chosen, output);
        foreach (GemmConfig config in (GemmConfig[])
            [
                chosen with { Cluster = 3 - chosen.Cluster }, chosen with { RasterGroup = 4 }, chosen with { RasterGroup = 8 }, chosen with { RasterGroup = 32 }, chosen with { Stages = 3 },
                .. Rivals().Where(r => r.RasterGroup == chosen.RasterGroup),
                new GemmConfig { Waves = 1, TileN = 192, Stages = 5, LateEpilogue = false }, new GemmConfig { Waves = 1, TileN = 192, Stages = 5, LateEpilogue = false, Cluster = 2 },
                new GemmConfig { Warpgroups = 3, Waves = 1, TileN = 128, Stages = 5, LateEpilogue = false },
            ])
        {
            if (!string.Equals(config.Specification, chosen.Specification, StringComparison.Ordinal)) yield return Head(Columns, config, Bf16GemmOutput.F32);
        }

        KernelCase few = Dense(64, Columns, K, GemmChoice.ForBf16(64, Columns, K, 132), Bf16GemmOutput.BF16, CaseValues.Normal, 1, samples: 500);
        yield return few with { Name = "head " + few.Name };

        static KernelCase Head(int n, GemmConfig config, Bf16GemmOutput output)
        {
            KernelCase one = Dense(Rows, n, K, config, output, CaseValues.Normal, 1, samples: 500);
            return one with { Name = "head " + one.Name };
        }
    }

    static IEnumerable<GemmConfig> Rivals()
    {
        var wide = new GemmConfig { Waves = 1, TileN = 256, LateEpilogue = false };
        var tall = new GemmConfig { LateEpilogue = false };
        yield return wide with { Cluster = 2 };
        yield return wide;
        yield return wide with { Cluster = 2, RasterGroup = 8 };
        yield return tall with { Cluster = 2 };
        yield return tall;
        yield return tall with { TileN = 192, Stages = 3, Cluster = 2 };
    }

    /// <summary>One dense product.</summary>
    public static KernelCase Dense(int m, int n, int k, GemmConfig config, Bf16GemmOutput output, CaseValues values, ulong seed, int samples = 0) =>
        Make(string.Create(CultureInfo.InvariantCulture, $"bf16_gemm {m}x{n}x{k} {output} {values} {config.Specification}"), new GemmShape(n, k), m, config, output, values, seed, samples);

    /// <summary>One product for each head.</summary>
    public static KernelCase Batched(int heads, int m, int n, int k, GemmConfig config, Bf16GemmOutput output, ulong seed, int samples = 0, CaseValues values = CaseValues.Normal) => Make(
        string.Create(CultureInfo.InvariantCulture, $"bf16_gemm_batched {heads}x({m}x{n}x{k}) {output} {values} {config.Specification}"),
        new GemmShape(n, k, GemmGrouping.Batched, heads), m, config, output, values, seed, samples);

    static KernelCase Make(string name, GemmShape shape, int m, GemmConfig config, Bf16GemmOutput output, CaseValues values, ulong seed, int samples)
    {
        int groups = shape.Groups, columns = groups * shape.N, depth = groups * shape.K, bytes = output == Bf16GemmOutput.BF16 ? 2 : 4;
        long elements = (long)m * columns;
        var a = new Lazy<ushort[]>(() => CaseData.BFloat16(CaseData.Matrix(m, depth, values, seed)));
        var b = new Lazy<ushort[]>(() => CaseData.BFloat16(CaseData.Matrix(columns, shape.K, CaseValues.Normal, seed + 1000)));
        var before = new Lazy<float[]>(() => CaseData.Matrix(m, columns, CaseValues.Normal, seed + 2000));
        bool accumulates = output == Bf16GemmOutput.F32Accumulated;
        return new KernelCase
        {
            Name = name,
            Build = () => Bf16GemmKernel.Build(shape, config, output),
            Blocks = multiprocessors => Math.Max(multiprocessors / config.Cluster, 1) * config.Cluster,
            Buffers =
            [
                CaseBuffer.Of("a", (long)m * depth, () => a.Value),
                CaseBuffer.Of("b", (long)columns * shape.K, () => b.Value),
                accumulates ? CaseBuffer.Of("d", elements, () => before.Value) : new CaseBuffer("d", bytes * elements),
            ],
            Arguments =
            [
                new CaseArgument.Matrix("a", ElementType.BF16, m, depth, 2L * depth),
                new CaseArgument.Matrix("b", ElementType.BF16, columns, shape.K, 2L * shape.K),
                new CaseArgument.Address("d"),
                new CaseArgument.Word((uint)m),
            ],
            Check = read =>
            {
                byte[] d = read("d");

                // A tensor core adds its products to the sum with few bits more than float32 has: 2^−16 of the sum of magnitudes covers it; BF16 rounds at 2^−9.
                double tolerance = 1.0 / 65536, rounding = output == Bf16GemmOutput.BF16 ? 1.0 / 256 : 0, worst = 0;
                var random = new CounterRandom(seed, RandomPurpose.TestData, 7);
                for (long i = 0; i < (samples == 0 ? elements : samples); i++)
                {
                    long at = samples == 0 ? i : (long)random.Below((ulong)i, (ulong)elements);
                    (int row, int column) = ((int)(at / columns), (int)(at % columns));
                    double sum = accumulates ? before.Value[at] : 0, magnitude = Math.Abs(sum);
                    long rowOfA = (long)row * depth + (long)(column / shape.N) * shape.K, rowOfB = (long)column * shape.K;
                    for (int x = 0; x < shape.K; x++)
                    {
                        double term = (double)new BF16(a.Value[rowOfA + x]).ToSingle() * new BF16(b.Value[rowOfB + x]).ToSingle();
                        sum += term;
                        magnitude += Math.Abs(term);
                    }

                    double got = bytes == 2 ? new BF16(MemoryMarshal.Cast<byte, ushort>(d)[(int)at]).ToSingle() : Number(d, at);
                    bool right = double.IsFinite(sum) ? Math.Abs(got - sum) <= rounding * Math.Abs(sum) + tolerance * magnitude : double.IsNaN(sum) ? double.IsNaN(got) : got == sum;
                    if (!right) return new CaseResult(false, Math.Abs(got - sum) / magnitude, tolerance, string.Create(CultureInfo.InvariantCulture, $"D[{row}, {column}] = {got}, the reference is {sum}."));
                    if (double.IsFinite(sum) && magnitude > 0) worst = Math.Max(worst, (Math.Abs(got - sum) - rounding * Math.Abs(sum)) / magnitude);
                }

                return new CaseResult(true, worst, tolerance, "");
            },
            Operations = 2.0 * m * shape.N * shape.K * groups,
            Bytes = 2.0 * ((double)m * depth + (double)columns * shape.K) + (accumulates ? 2 : 1) * (double)bytes * elements,
            Accumulates = accumulates,
        };
    }

    static double Number(byte[] bytes, long at)
    {
        ReadOnlySpan<byte> four = new(bytes, checked((int)(4 * at)), 4);
        return MemoryMarshal.Read<float>(four);
    }
}
