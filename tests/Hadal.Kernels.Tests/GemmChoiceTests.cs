using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Tests;

/// <summary>The tile of a shape is part of the product: a change of the rule shows here.</summary>
public sealed class GemmChoiceTests
{
    [Theory]
    [InlineData(4096, 2112, 7168, "?")]
    [InlineData(4096, 24576, 1536, "?")]
    [InlineData(4096, 32768, 512, "?")]
    [InlineData(4096, 7168, 16384, "?")]
    [InlineData(4096, 4096, 7168, "?")]
    [InlineData(4096, 7168, 2048, "?")]
    [InlineData(8192, 8192, 8192, "?")]
    [InlineData(64, 2112, 7168, "?")]
    [InlineData(64, 24576, 1536, "?")]
    [InlineData(64, 32768, 512, "?")]
    [InlineData(64, 7168, 16384, "?")]
    [InlineData(64, 4096, 7168, "?")]
    [InlineData(64, 7168, 2048, "?")]
    [InlineData(128, 2112, 7168, "?")]
    [InlineData(128, 24576, 1536, "?")]
    [InlineData(128, 32768, 512, "?")]
    [InlineData(128, 7168, 16384, "?")]
    [InlineData(128, 4096, 7168, "?")]
    [InlineData(128, 7168, 2048, "?")]
    [InlineData(1, 1, 16, "?")]
    public void A_shape_has_its_tile(int m, int n, int k, string tile) => Assert.Equal(tile, GemmChoice.ForFp8(m, new GemmShape(n, k), 132).Specification);

    [Theory]
    [InlineData(GemmGrouping.Contiguous, 8576, 4, 4096, 7168, "?")]
    [InlineData(GemmGrouping.Contiguous, 8256, 4, 7168, 2048, "?")]
    [InlineData(GemmGrouping.Contiguous, 4272, 8, 4096, 7168, "?")]
    [InlineData(GemmGrouping.Masked, 1006, 1, 4096, 7168, "?")]
    [InlineData(GemmGrouping.Masked, 519, 2, 4096, 7168, "?")]
    [InlineData(GemmGrouping.Masked, 271, 4, 4096, 7168, "?")]
    public void Groups_have_their_tile(GemmGrouping grouping, int rows, int groups, int n, int k, string tile) =>
        Assert.Equal(tile, GemmChoice.ForFp8(rows, new GemmShape(n, k, grouping, groups), 132).Specification);
}
