using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Tests;

/// <summary>The BF16 product against its definition in double, run by the interpreter under adversarial orders.</summary>
public sealed class Bf16GemmTests
{
    public static TheoryData<string> Names => new(Bf16GemmCases.Conformance().Select(c => c.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void Equals_the_reference(string name)
    {
        KernelCase it = Bf16GemmCases.Conformance().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal));
        for (ulong seed = 1; seed <= 2; seed++)
        {
            CaseResult result = it.Interpret(seed, multiprocessors: 2 + (int)seed);
            Assert.True(result.Passed, result.Detail);
            Assert.True(result.Error <= 1e-6, $"{result.Error} is more than the rounding of exact products leaves.");
        }
    }

    [Fact]
    public void A_changed_operand_is_noticed()
    {
        KernelCase it = Bf16GemmCases.Conformance().First();
        Assert.False((it with { Buffers = [.. it.Buffers.Select(b => b.Content is null ? b : b with { Content = () => new byte[b.Bytes] })] }).Interpret(1).Passed);
    }

    [Theory]
    [InlineData(8192, 8192, 8192, "wg2w2n128s4c2g16")]
    [InlineData(4096, 256, 7168, "wg1w1n128s8c1g16")]
    [InlineData(1, 32, 64, "wg1w1n32s8c1g16")]
    public void A_shape_has_its_tile(int m, int n, int k, string tile) => Assert.Equal(tile, GemmChoice.ForBf16(m, n, k, 132).Specification);

    [Theory]
    [InlineData(128, 4096, 512, 128)]
    [InlineData(128, 1, 128, 512)]
    [InlineData(16, 300, 96, 64)]
    public void A_head_is_whole_tiles(int heads, int m, int n, int k)
    {
        GemmConfig config = GemmChoice.ForBf16Batched(heads, m, n, k, 132);
        Assert.Equal(0, n % (config.TileN * config.Cluster));
        Assert.NotNull(Bf16GemmKernel.Build(new GemmShape(n, k, GemmGrouping.Batched, heads), config, Bf16GemmOutput.BF16));
    }

    [Fact]
    public void What_does_not_fit_is_refused()
    {
        var shape = new GemmShape(64, 64, GemmGrouping.Batched, 2);
        Assert.Contains("multiple of 64", Assert.Throws<ArgumentException>(() => Bf16GemmKernel.Build(shape with { K = 48 }, new GemmConfig { TileN = 64 }, Bf16GemmOutput.F32)).Message);
        Assert.Throws<ArgumentException>(() => GemmChoice.ForBf16Batched(2, 64, 40, 64, 132));
        Assert.Throws<ArgumentException>(() => Bf16GemmKernel.Build(new GemmShape(64, 64), new GemmConfig { TileN = 256 }, Bf16GemmOutput.F32));
    }
}
