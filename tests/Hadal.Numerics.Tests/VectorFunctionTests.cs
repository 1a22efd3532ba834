using System.Runtime.Intrinsics;

namespace Hadal.Numerics.Tests;

/// <summary>Functions of eight numbers at once have the bits of those of one.</summary>
public sealed class VectorFunctionTests
{
    static readonly CounterRandom Random = new(5, RandomPurpose.TestData);

    [Fact]
    public void The_exponential_is_accurate()
    {
        for (ulong i = 0; i < 20_000; i++)
        {
            double u = Random.Uniform(i);
            double x = (i % 3) switch { 0 => (u * 1417) - 708, 1 => -u * 40, _ => (u - 0.5) * 1e-3 };
            double expected = Math.Exp(x);
            Assert.True(Math.Abs(ExactMath.Exp(x) - expected) <= 5e-16 * expected, $"exp {x:R}: {ExactMath.Exp(x):R}, not {expected:R}");
        }

        Assert.Equal(1, ExactMath.Exp(0));
        Assert.Equal(0, ExactMath.Exp(double.NegativeInfinity));
        Assert.Equal(0, ExactMath.Exp(-708.5));
        Assert.True(ExactMath.Exp(-708) > 0);
        Assert.Equal(double.PositiveInfinity, ExactMath.Exp(709.1));
        Assert.True(double.IsFinite(ExactMath.Exp(709)));
        Assert.True(double.IsNaN(ExactMath.Exp(double.NaN)));
    }

    /// <summary>Bits seen on x64; any other machine, and any width of vectors, must give the same ones.</summary>
    [Fact]
    public void The_exponential_has_fixed_bits_alone_and_in_vectors()
    {
        ulong hash = 14695981039346656037;
        Span<double> x = stackalloc double[8];
        for (ulong i = 0; i < 2000; i += 8)
        {
            for (int lane = 0; lane < 8; lane++) x[lane] = (Random.Uniform(i + (ulong)lane) * 1417) - 708;
            Vector512<double> vector = ExactMath.Exp(Vector512.Create<double>(x));
            for (int lane = 0; lane < 8; lane++)
            {
                long bits = BitConverter.DoubleToInt64Bits(ExactMath.Exp(x[lane]));
                Assert.Equal(bits, BitConverter.DoubleToInt64Bits(vector[lane]));
                hash = (hash ^ (ulong)bits) * 1099511628211;
            }
        }

        Assert.Equal(14157488142315131763UL, hash);
    }

    [Fact]
    public void Many_random_words_are_the_words_one_by_one()
    {
        var random = new CounterRandom(0xFEDC_BA98_7654_3210, RandomPurpose.SamplingRace, 77);
        foreach (ulong first in (ulong[])[0, 1, 6, 0x1_FFFF_FFF0, 0x1_FFFF_FFF1, ulong.MaxValue - 100])
        {
            foreach (int count in (int[])[0, 1, 15, 16, 17, 100])
            {
                var words = new ulong[count];
                random.Fill(words, first);
                for (int i = 0; i < count; i++) Assert.Equal(random.UInt64(first + (ulong)i), words[i]);
            }
        }
    }
}
