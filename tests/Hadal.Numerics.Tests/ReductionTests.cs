using CsCheck;

namespace Hadal.Numerics.Tests;

public sealed class ReductionTests
{
    static double TreeSum(ReadOnlySpan<double> x)
    {
        if (x.Length == 0) return 0;
        if (x.Length == 1) return x[0];
        int left = (int)FixedTree.LeftLength(x.Length);
        return TreeSum(x[..left]) + TreeSum(x[left..]);
    }

    [Fact]
    public void The_sum_follows_the_documented_tree() =>
        Gen.Double[-1e9, 1e9].Array[0, 70].Sample(x => BitConverter.DoubleToInt64Bits(TreeSum(x)) == BitConverter.DoubleToInt64Bits(FixedTree.Sum<double>(x)));

    [Fact]
    public void Aligned_subtrees_join_with_the_same_bits()
    {
        float[] x = new float[64];
        new CounterRandom(3, RandomPurpose.TestData).FillNormal(x);
        float whole = FixedTree.Sum<float>(x);
        float[] parts = new float[8];
        for (int rank = 0; rank < 8; rank++) parts[rank] = FixedTree.Sum<float>(x.AsSpan(rank * 8, 8));
        Assert.Equal(whole, FixedTree.Sum<float>(parts));
    }

    [Fact]
    public void Each_addition_rounds_to_the_element_type()
    {
        Assert.Equal(16777216f, FixedTree.Sum<float>([16777216f, 1f]));
        Assert.Equal(16777218f, FixedTree.Sum<float>([16777216f, 0f, 1f, 1f]));
        Assert.Equal(0, FixedTree.Sum<double>([]));
    }

    [Theory]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    [InlineData(4, 2)]
    [InlineData(5, 4)]
    [InlineData(1024, 512)]
    [InlineData(1025, 1024)]
    public void The_left_part_is_the_largest_power_of_two_below(long count, long left) => Assert.Equal(left, FixedTree.LeftLength(count));

    [Fact]
    public void Differences_have_their_known_values()
    {
        Assert.Equal(0, RelativeDifference.Cosine<float>([1, 2, 3], [1, 2, 3]), 15);
        Assert.Equal(1, RelativeDifference.Cosine<float>([1, 0], [0, 1]), 15);
        Assert.Equal(2, RelativeDifference.Cosine<double>([1, 2], [-1, -2]), 15);
        Assert.Equal(1 - 2 * 2.0 / (1 + 4), RelativeDifference.Cosine<double>([1], [2]), 15);
        Assert.Equal(0, RelativeDifference.Cosine<float>([0, 0], [0, 0]));
        Assert.Equal(0.5, RelativeDifference.Frobenius<float>([3, 6], [2, 4]), 15);
        Assert.Equal(0.5, RelativeDifference.Frobenius([3f, 6f], [2.0, 4.0]), 15);
        Assert.Equal(0, RelativeDifference.Frobenius<float>([0], [0]));
        Assert.Equal(double.PositiveInfinity, RelativeDifference.Frobenius<float>([1], [0]));
        Assert.True(double.IsNaN(RelativeDifference.Frobenius<float>([float.NaN], [1])));
        Assert.True(double.IsNaN(RelativeDifference.Cosine<float>([float.NaN], [1])));
        Assert.Throws<ArgumentException>(() => RelativeDifference.Cosine<float>([1], [1, 2]));
    }
}
