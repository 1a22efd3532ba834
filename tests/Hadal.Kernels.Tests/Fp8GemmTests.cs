using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;
using Hadal.Kernels.Library.Gemm;
using Hadal.Numerics;
using BF16 = Hadal.Numerics.BF16;

namespace Hadal.Kernels.Tests;

/// <summary>The FP8 GEMM against plain loops in double, run by the interpreter under several adversarial orders.</summary>
public sealed class Fp8GemmTests
{
    static readonly GemmConfig Small = new() { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2 };

    [Theory]
    [InlineData(64, 32, 128, false, 1, 1)]
    [InlineData(64, 32, 384, false, 1, 2)]
    [InlineData(100, 72, 400, true, 1, 3)]
    [InlineData(130, 104, 144, true, 3, 4)]
    [InlineData(70, 33, 272, true, 2, 5)]
    public void Dense_equals_the_reference(int m, int n, int k, bool late, int blocks, ulong seed) =>
        Check(m, n, k, Small with { LateEpilogue = late }, blocks, seed);

    [Theory]
    [InlineData(200, 136, 256, true, 6)]
    [InlineData(260, 128, 272, false, 7)]
    public void Two_waves_of_two_warpgroups_equal_the_reference(int m, int n, int k, bool late, ulong seed) =>
        Check(m, n, k, new GemmConfig { TileN = 64, Stages = 2, LateEpilogue = late }, 1, seed);

    [Theory]
    [InlineData(100, 72, 272, 8)]
    [InlineData(64, 96, 272, 9)]
    public void Clusters_that_share_rows_equal_the_reference(int m, int n, int k, ulong seed) =>
        Check(m, n, k, Small with { Cluster = 2 }, 2, seed);

    [Fact]
    public void Three_warpgroups_equal_the_reference() =>
        Check(200, 40, 144, new GemmConfig { Warpgroups = 3, Waves = 1, TileN = 16, Stages = 3 }, 1, 10);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Contiguous_groups_equal_the_reference(int blocks)
    {
        var problem = new Fp8Problem(192, 48, 144, groups: 4, seed: 11);
        uint[] offsets = [0, 68, 68, 132, 192];
        problem.RunGrouped(GemmGrouping.Contiguous, Small, blocks, offsets, 0, [.. Enumerable.Range(0, 4).Select(g => ((int)offsets[g], (int)(offsets[g + 1] - offsets[g])))]);
    }

    [Fact]
    public void A_contiguous_group_that_begins_between_multiples_of_4_rows_is_refused()
    {
        var problem = new Fp8Problem(128, 40, 144, groups: 2, seed: 15);
        KernelHazardException error = Assert.Throws<KernelHazardException>(() => problem.RunGrouped(GemmGrouping.Contiguous, Small, 1, [0, 70, 128], 0, [(0, 70), (70, 58)]));
        Assert.Contains("begins at column 70", error.Message, StringComparison.Ordinal);
    }

    /// <summary>Buffers of the worst case, tokens·k + 127·experts rows: NaN stands in what no group uses.</summary>
    [Theory]
    [InlineData(128, 256)]
    [InlineData(36, 104)]
    public void Rows_beyond_the_contiguous_groups_are_neither_used_nor_written(int second, int end)
    {
        const int Tokens = 24, Chosen = 2, Experts = 3, Rows = Tokens * Chosen + 127 * Experts, K = 144;
        var problem = new Fp8Problem(Rows, 40, K, Experts, seed: 16);
        problem.A.AsSpan(end * K).Fill(0x7F);
        int stride = problem.AScale.Length / ((K + 127) / 128);
        for (int chunk = 0; chunk < (K + 127) / 128; chunk++) problem.AScale.AsSpan(chunk * stride + end, stride - end).Fill(float.NaN);
        problem.RunGrouped(GemmGrouping.Contiguous, Small, 2, [0, (uint)second, (uint)second, (uint)end], 0, [(0, second), (second, 0), (second, end - second)]);
    }

    [Fact]
    public void Masked_groups_equal_the_reference()
    {
        var problem = new Fp8Problem(3 * 80, 40, 144, groups: 3, seed: 12);
        problem.RunGrouped(GemmGrouping.Masked, Small, 2, [65, 0, 80], 80, [(0, 65), (80, 0), (160, 80)]);
    }

    [Fact]
    public void The_order_of_events_does_not_change_a_bit()
    {
        var problem = new Fp8Problem(96, 40, 400, groups: 1, seed: 13);
        ushort[] first = problem.Run(Small, 1, seed: 100);
        for (ulong seed = 101; seed < 106; seed++) Assert.Equal(first, problem.Run(Small, 1, seed));
    }

    [Fact]
    public void Outliers_and_NaN_stay_in_their_row()
    {
        var problem = new Fp8Problem(64, 32, 256, groups: 1, seed: 14);
        problem.A[5 * 256 + 77] = 0x7F;
        problem.A[9 * 256 + 3] = 0x7E;
        ushort[] d = problem.Run(Small, 1, seed: 1);
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < 32; j++) Assert.Equal(i == 5, new BF16(d[i * 32 + j]).IsNaN);
    }

    static void Check(int m, int n, int k, GemmConfig config, int blocks, ulong seed)
    {
        var problem = new Fp8Problem(m, n, k, groups: 1, seed);
        ushort[] d = problem.Run(config, blocks, seed);
        problem.Compare(d, 0, m, 0);
    }
}

/// <summary>Random operands of a block-scaled product, and its definition.</summary>
sealed class Fp8Problem
{
    readonly int _m, _n, _k, _chunks, _scaleStride;

    public Fp8Problem(int m, int n, int k, int groups, ulong seed)
    {
        (_m, _n, _k, _chunks, Groups, _scaleStride) = (m, n, k, (k + 127) / 128, groups, (m + 3) / 4 * 4);
        var random = new CounterRandom(seed, RandomPurpose.TestData);
        A = Codes(random, 0, m * k);
        B = Codes(random, 1UL << 32, groups * n * k);
        AScale = new float[_chunks * _scaleStride];
        random.FillUniform(AScale, 0.5f, 1.5f, 2UL << 32);
        BScale = new float[groups * ((n + 127) / 128) * _chunks];
        random.FillUniform(BScale, 0.5f, 1.5f, 3UL << 32);
    }

    public int Groups { get; }

    public byte[] A { get; }

    public byte[] B { get; }

    public float[] AScale { get; }

    public float[] BScale { get; }

    public ushort[] Run(GemmConfig config, int blocks, ulong seed)
    {
        (Kernel kernel, SimulatedMemory memory, List<LaunchArgument> arguments, ulong d) = Prepare(new GemmShape(_n, _k), config);
        arguments.Add((uint)_m);
        KernelInterpreter.Run(kernel, blocks, memory, arguments, new InterpreterOptions { Seed = seed });
        return memory.Download<ushort>(d, (long)_m * _n);
    }

    public void RunGrouped(GemmGrouping grouping, GemmConfig config, int blocks, uint[] table, int capacity, (int First, int Rows)[] groups)
    {
        (Kernel kernel, SimulatedMemory memory, List<LaunchArgument> arguments, ulong d) = Prepare(new GemmShape(_n, _k, grouping, Groups), config);
        if (grouping == GemmGrouping.Masked) arguments.Add((uint)capacity);
        arguments.Add(memory.Upload<uint>(table));
        KernelInterpreter.Run(kernel, blocks, memory, arguments, new InterpreterOptions { Seed = 1 });
        ushort[] result = memory.Download<ushort>(d, (long)_m * _n);
        var written = new bool[_m];
        for (int g = 0; g < groups.Length; g++)
        {
            Compare(result, groups[g].First, groups[g].Rows, g);
            written.AsSpan(groups[g].First, groups[g].Rows).Fill(true);
        }

        for (int i = 0; i < _m; i++)
            if (!written[i])
                for (int j = 0; j < _n; j++) Assert.Equal(0xFFFF, result[i * _n + j]);
    }

    public void Compare(ushort[] d, int firstRow, int rows, int group)
    {
        int columnBlocks = (_n + 127) / 128;
        for (int i = firstRow; i < firstRow + rows; i++)
        {
            for (int j = 0; j < _n; j++)
            {
                double sum = 0, magnitude = 0;
                for (int x = 0; x < _k; x++)
                {
                    double term = (double)new Numerics.E4M3(A[i * _k + x]).ToSingle() * new Numerics.E4M3(B[(group * _n + j) * _k + x]).ToSingle()
                        * AScale[x / 128 * _scaleStride + i] * BScale[(group * columnBlocks + j / 128) * _chunks + x / 128];
                    sum += term;
                    magnitude += Math.Abs(term);
                }

                double got = new BF16(d[i * _n + j]).ToSingle();
                Assert.True(Math.Abs(got - sum) <= Math.Abs(sum) / 256 + magnitude * 1e-6, $"D[{i}, {j}] = {got}, the reference is {sum}.");
            }
        }
    }

    (Kernel Kernel, SimulatedMemory Memory, List<LaunchArgument> Arguments, ulong D) Prepare(GemmShape shape, GemmConfig config)
    {
        Kernel kernel = Fp8GemmKernel.Build(shape, config);
        var memory = new SimulatedMemory();
        ulong d = memory.Allocate((long)_m * _n * 2);
        List<LaunchArgument> arguments =
        [
            new TensorDescription(memory.Upload<byte>(A), ElementType.E4M3, _m, _k, _k),
            new TensorDescription(memory.Upload<byte>(B), ElementType.E4M3, (long)Groups * _n, _k, _k),
            new TensorDescription(memory.Upload<float>(AScale), ElementType.F32, _chunks, _m, 4 * _scaleStride),
            memory.Upload<float>(BScale),
            d,
        ];
        return (kernel, memory, arguments, d);
    }

    static byte[] Codes(CounterRandom random, ulong first, int count)
    {
        var values = new float[count];
        random.FillNormal(values, 60, first);
        return [.. values.Select(v => Numerics.E4M3.FromSingle(Math.Clamp(v, -448, 448)).Bits)];
    }
}
