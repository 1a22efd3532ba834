namespace Hadal.Numerics.Tests;

public sealed class RandomTests
{
    static readonly CounterRandom Random = new(42, RandomPurpose.TestData);

    /// <summary>The known-answer vectors published with Random123.</summary>
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void Philox_gives_the_published_blocks(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint w0, uint w1, uint w2, uint w3) =>
        Assert.Equal(new PhiloxBlock(w0, w1, w2, w3), Philox4x32.Block(c0, c1, c2, c3, k0, k1));

    [Fact]
    public void Draws_are_words_of_the_documented_blocks()
    {
        PhiloxBlock block = Philox4x32.Block(5, 0, (uint)RandomPurpose.TestData, 0, 42, 0);
        Assert.Equal((block.Word0, block.Word1, block.Word2, block.Word3), (Random.UInt32(20), Random.UInt32(21), Random.UInt32(22), Random.UInt32(23)));
    }

    [Fact]
    public void Seed_purpose_stream_and_kind_all_matter()
    {
        ulong[] draws =
        [
            Random.UInt64(7), Random.UInt64(8), new CounterRandom(43, RandomPurpose.TestData).UInt64(7), new CounterRandom(42 + (1UL << 40), RandomPurpose.TestData).UInt64(7),
            new CounterRandom(42, RandomPurpose.Shuffle).UInt64(7), new CounterRandom(42, RandomPurpose.TestData, 1).UInt64(7), Random.UInt64(7 + (1UL << 40)), Random.Below(7, ulong.MaxValue),
        ];
        Assert.Equal(draws.Length, draws.Distinct().Count());
    }

    [Fact]
    public void Fills_equal_single_draws_from_any_start()
    {
        foreach (ulong start in (ulong[])[0, 1, 2, 3, 5])
        {
            float[] uniform = new float[23], normal = new float[23];
            double[] uniformDouble = new double[23], normalDouble = new double[23];
            uint[] words = new uint[23];
            Random.FillUniform(uniform, -2, 3, start);
            Random.FillUniform(uniformDouble, -2, 3, start);
            Random.FillNormal(normal, 0.006, start);
            Random.FillNormal(normalDouble, 0.006, start);
            Random.Fill(words, start);
            for (int i = 0; i < 23; i++)
            {
                ulong index = start + (ulong)i;
                Assert.Equal(Random.UniformSingle(index) * 5f + -2f, uniform[i]);
                Assert.Equal(Random.Uniform(index) * 5 - 2, uniformDouble[i]);
                Assert.Equal((float)(Random.Normal(index) * 0.006), normal[i]);
                Assert.Equal(Random.Normal(index) * 0.006, normalDouble[i]);
                Assert.Equal(Random.UInt32(index), words[i]);
            }
        }
    }

    [Fact]
    public void Uniform_numbers_fill_their_interval_evenly()
    {
        const int Count = 200_000, Bins = 20;
        int[] bins = new int[Bins], binsSingle = new int[Bins];
        for (ulong i = 0; i < Count; i++)
        {
            double u = Random.Uniform(i);
            float s = Random.UniformSingle(i);
            Assert.True(u is >= 0 and < 1 && s is >= 0 and < 1);
            bins[(int)(u * Bins)]++;
            binsSingle[(int)(s * Bins)]++;
        }
        // χ² with 19 degrees of freedom exceeds 50 with probability 1.3e-4; the numbers are fixed, so this either always holds or never.
        Assert.True(ChiSquare(bins) < 50 && ChiSquare(binsSingle) < 50);
        static double ChiSquare(int[] bins) => bins.Sum(b => Math.Pow(b - Count / (double)Bins, 2) / (Count / (double)Bins));
    }

    [Fact]
    public void Normal_numbers_have_the_moments_and_the_distribution_of_a_normal()
    {
        const int Count = 200_000;
        double sum = 0, squares = 0, fourths = 0, products = 0;
        int within1 = 0, beyond3 = 0;
        double previous = Random.Normal(Count);
        for (ulong i = 0; i < Count; i++)
        {
            double z = Random.Normal(i);
            sum += z;
            squares += z * z;
            fourths += z * z * z * z;
            products += z * previous;
            previous = z;
            if (Math.Abs(z) < 1) within1++;
            if (Math.Abs(z) > 3) beyond3++;
        }
        Assert.InRange(sum / Count, -0.01, 0.01);
        Assert.InRange(squares / Count, 0.985, 1.015);
        Assert.InRange(fourths / Count, 2.9, 3.1);
        Assert.InRange(products / Count, -0.01, 0.01);
        Assert.InRange(within1 / (double)Count, 0.6827 - 0.005, 0.6827 + 0.005);
        Assert.InRange(beyond3 / (double)Count, 0.0022, 0.0032);
    }

    /// <summary>Bits seen on x64; any other machine must give the same ones.</summary>
    [Fact]
    public void Normal_numbers_have_fixed_bits()
    {
        ulong hash = 14695981039346656037;
        for (ulong i = 0; i < 1000; i++) hash = (hash ^ (ulong)BitConverter.DoubleToInt64Bits(Random.Normal(i))) * 1099511628211;
        Assert.Equal(9348970591725551659UL, hash);
    }

    [Fact]
    public void Logarithm_and_angle_functions_are_accurate()
    {
        for (ulong i = 0; i < 20_000; i++)
        {
            double u = 1 - Random.Uniform(i);
            double x = (i % 3) switch { 0 => u, 1 => u * 1e300, _ => 1 + (u - 0.5) * 1e-3 };
            double expected = Math.Log(x);
            Assert.True(Math.Abs(ExactMath.Log(x) - expected) <= 4e-16 * Math.Abs(expected) + 1e-19, $"log {x:R}: {ExactMath.Log(x):R}, not {expected:R}");
            (double sin, double cos) = ExactMath.SinCosTurns(u);
            Assert.True(Math.Abs(sin - Math.Sin(2 * Math.PI * u)) < 2e-15 && Math.Abs(cos - Math.Cos(2 * Math.PI * u)) < 2e-15, $"turns {u:R}");
            Assert.True(Math.Abs(sin * sin + cos * cos - 1) < 1e-15);
        }
        Assert.Equal(0, ExactMath.Log(1));
        Assert.Equal((0.0, 1.0), ExactMath.SinCosTurns(0));
        Assert.Equal((1.0, 0.0), ExactMath.SinCosTurns(0.25));
        Assert.Throws<ArgumentOutOfRangeException>(() => ExactMath.Log(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => ExactMath.Log(double.NaN));
        Assert.Throws<ArgumentOutOfRangeException>(() => ExactMath.SinCosTurns(1.5));
    }

    [Fact]
    public void Permutations_hold_every_item_once_and_places_are_evenly_taken()
    {
        Assert.Equal(Enumerable.Range(0, 1000), Random.Permutation(1000).Order());
        Assert.NotEqual(Random.Permutation(1000), new CounterRandom(42, RandomPurpose.TestData, 1).Permutation(1000));
        Assert.Equal(Random.Permutation(1000), Random.Permutation(1000));
        Assert.Empty(Random.Permutation(0));
        int[] firstPlace = new int[5];
        for (uint stream = 0; stream < 20_000; stream++) firstPlace[new CounterRandom(9, RandomPurpose.Shuffle, stream).Permutation(5)[0]]++;
        Assert.All(firstPlace, n => Assert.InRange(n, 3750, 4250));
    }

    [Fact]
    public void Bounded_integers_reach_every_value_and_no_other()
    {
        HashSet<int> seen = [];
        for (ulong i = 0; i < 1000; i++) seen.Add(Random.Below(i, 7));
        Assert.Equal([0, 1, 2, 3, 4, 5, 6], seen.Order());
        Assert.Throws<ArgumentOutOfRangeException>(() => Random.Below(0, 0));
    }
}
