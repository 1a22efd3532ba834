using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Tests;

/// <summary>The tile of a shape is part of the product: a change of the rule shows here.</summary>
public sealed class GemmChoiceTests
{
    [Theory]
    [InlineData(4096, 2112, 7168, "wg2w1n192s5c1g16late")]
    [InlineData(4096, 24576, 1536, "wg2w2n128s4c1g16late")]
    [InlineData(4096, 32768, 512, "wg2w2n128s4c1g16late")]
    [InlineData(4096, 7168, 16384, "wg2w2n128s4c2g16late")]
    [InlineData(4096, 4096, 7168, "wg2w2n128s4c2g16late")]
    [InlineData(4096, 7168, 2048, "wg2w2n128s4c1g16late")]
    [InlineData(8192, 8192, 8192, "wg2w2n128s4c2g16late")]
    [InlineData(64, 2112, 7168, "wg2w1n16s20c1g16k2")]
    [InlineData(64, 24576, 1536, "wg1w1n48s7c1g16r2b2late")]
    [InlineData(64, 32768, 512, "wg1w1n128s4c1g16r2b1late")]
    [InlineData(64, 7168, 16384, "wg2w1n56s12c1g16k2")]
    [InlineData(64, 4096, 7168, "wg2w1n32s16c1g16k2")]
    [InlineData(64, 7168, 2048, "wg1w1n32s8c1g16r2b2late")]
    [InlineData(128, 2112, 7168, "wg2w1n32s16c1g16k2")]
    [InlineData(128, 24576, 1536, "wg2w1n96s7c1g16late")]
    [InlineData(128, 32768, 512, "wg1w2n64s4c1g16r2b2late")]
    [InlineData(128, 7168, 16384, "wg2w1n56s8c1g16late")]
    [InlineData(128, 4096, 7168, "wg2w1n32s10c1g16late")]
    [InlineData(128, 7168, 2048, "wg2w1n64s8c1g16late")]
    [InlineData(64, 4096, 1024, "wg2w1n32s16c1g16k2")]
    [InlineData(128, 4096, 1024, "wg2w1n32s10c1g16late")]
    [InlineData(2048, 1024, 1024, "wg2w1n128s6c1g16late")]
    [InlineData(1, 1, 16, "wg1w1n16s20c1g16late")]
    public void A_shape_has_its_tile(int m, int n, int k, string tile) => Assert.Equal(tile, GemmChoice.ForFp8(m, new GemmShape(n, k), 132).Specification);

    [Theory]
    [InlineData(GemmGrouping.Contiguous, 8576, 4, 4096, 7168, "wg2w2n128s4c2g16late")]
    [InlineData(GemmGrouping.Contiguous, 8256, 4, 7168, 2048, "wg2w2n128s4c2g16late")]
    [InlineData(GemmGrouping.Contiguous, 4272, 8, 4096, 7168, "wg2w2n128s4c2g16late")]
    [InlineData(GemmGrouping.Masked, 1006, 1, 4096, 7168, "wg2w2n128s4c1g16late")]
    [InlineData(GemmGrouping.Masked, 519, 2, 4096, 7168, "wg2w1n192s5c1g16late")]
    [InlineData(GemmGrouping.Masked, 271, 4, 4096, 7168, "wg2w1n192s5c1g16late")]
    public void Groups_have_their_tile(GemmGrouping grouping, int rows, int groups, int n, int k, string tile) =>
        Assert.Equal(tile, GemmChoice.ForFp8(rows, new GemmShape(n, k, grouping, groups), 132).Specification);
}
