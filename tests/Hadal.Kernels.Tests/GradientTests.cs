using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Tests;

/// <summary>The FP8 weight gradient against its definition in double, run by the interpreter under adversarial orders.</summary>
public sealed class GradientTests
{
    public static TheoryData<string> Names => new(GradientCases.Conformance().Select(c => c.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void Equals_the_reference(string name)
    {
        KernelCase it = GradientCases.Conformance().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal));
        foreach ((ulong seed, int multiprocessors) in ((ulong, int)[])[(1, 3), (2, 4), (3, 1)])
        {
            CaseResult result = it.Interpret(seed, multiprocessors);
            Assert.True(result.Passed, result.Detail);

            // The interpreter's products are exact: what is left is the rounding of the chunks' sums.
            Assert.InRange(result.Error, 0, 1e-6);
        }
    }

    /// <summary>With the arithmetic of the tensor core the sums of 128 lose bits, and promotion keeps the loss at what one chunk has.</summary>
    [Fact]
    public void The_tensor_cores_rounding_stays_within_the_tolerance()
    {
        var config = new Fp8GradientConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2 };
        KernelCase it = GradientCases.Dense(64, 32, 128 * 16, config, CaseValues.Normal, 41);
        CaseResult result = it.Interpret(1, accumulation: new TensorCoreArithmetic());
        Assert.True(result.Passed, result.Detail);
        Assert.InRange(result.Error, 1e-7, 1.0 / 2048);
    }

    /// <summary>Every chunk of every tile belongs to one piece, whatever the number of blocks.</summary>
    [Theory]
    [InlineData(5)]
    [InlineData(7)]
    [InlineData(16)]
    public void Balanced_walks_cover_tiles_once(int multiprocessors)
    {
        var config = new Fp8GradientConfig { Warpgroups = 1, Waves = 1, TileN = 32, Stages = 2, Balanced = true };
        CaseResult result = GradientCases.Dense(190, 90, 128 * 9, config, CaseValues.Normal, 31).Interpret(1, multiprocessors);
        Assert.True(result.Passed, result.Detail);
        result = GradientCases.Grouped(100, 60, [256, 0, 384, 128], config, 32).Interpret(1, multiprocessors);
        Assert.True(result.Passed, result.Detail);
    }

    [Theory]
    [InlineData(7168, 4096, 1, "2x2x64x128_s3_c1_g16_a0_k_i_balanced_tma")]
    [InlineData(2048, 7168, 16, "2x2x64x128_s3_c1_g16_a0_k_i_balanced_tma")]
    [InlineData(100, 64, 1, "2x1x64x64_s6_c1_g16_a0_i_late_balanced_tma")]
    [InlineData(40, 30, 1, "1x1x64x32_s6_c1_g16_a0_i_late_balanced")]
    [InlineData(200, 36, 4, "2x2x64x64_s5_c1_g16_a0_k_i_balanced")]
    public void A_shape_has_its_tile(int m, int n, int groups, string tile)
    {
        var shape = new GradientShape(m, n, groups == 1 ? GradientGrouping.Dense : GradientGrouping.AlongK, groups);
        Fp8GradientConfig config = GemmChoice.ForGradient(shape);
        Assert.Equal(tile, config.ToString());
        Assert.True(Fp8GradientKernel.Build(shape, config).SharedBytes <= config.SharedBytes);
    }

    [Fact]
    public void A_wrong_scale_is_noticed()
    {
        KernelCase it = GradientCases.Conformance().First();
        KernelCase wrong = it with { Buffers = [.. it.Buffers.Select(b => string.Equals(b.Name, "b_scale", StringComparison.Ordinal) ? CaseBuffer.Of("b_scale", b.Bytes / 4, () => new float[b.Bytes / 4]) : b)] };
        Assert.False(wrong.Interpret(1).Passed);
    }

    [Fact]
    public void Offsets_that_are_no_multiples_of_128_are_refused()
    {
        var refused = Assert.Throws<KernelHazardException>(() => GradientCases.Misaligned().Interpret(1));
        Assert.Equal(HazardKind.Refused, refused.Kind);
        Assert.Contains("multiples of 128", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Interleaved_places_are_a_permutation_that_puts_a_threads_columns_together()
    {
        int[] places = [.. Enumerable.Range(0, 32).Select(n => GradientScales.Place(ColumnScaleOrder.Interleaved, n))];
        Assert.Equal(Enumerable.Range(0, 32), places.Order());
        for (int q = 0; q < 4; q++)
            Assert.Equal(Enumerable.Range(4 * q, 4), ((int[])[2 * q, 2 * q + 1, 8 + 2 * q, 9 + 2 * q]).Select(n => places[n]));
    }
}
