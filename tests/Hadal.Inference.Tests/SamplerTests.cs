using Hadal.Numerics;

namespace Hadal.Inference.Tests;

/// <summary>The sampler against its slow twin, and what both promise.</summary>
public sealed class SamplerTests
{
    static readonly double[] Temperatures = [1e-320, 1e-9, 0.3, 0.6, 1, 2];
    static readonly double[] Nuclei = [1e-12, 0.1, 0.5, 0.9, 0.95, 0.9999, 1];

    /// <summary>Logits of several kinds; from 4 on hostile ones.</summary>
    static float[] Logits(CounterRandom random, int count, int kind, uint stream)
    {
        var logits = new float[count];
        random = new CounterRandom(random.Seed, random.Purpose, stream);
        random.FillNormal(logits, kind switch { 0 => 1, 1 => 4, 2 => 0.01, 3 => 12, _ => 3 });
        for (int v = 0; v < count; v++)
        {
            logits[v] = (kind, random.Below((ulong)v, 8)) switch
            {
                (4, _) => 0.25f, // all equal
                (5, < 6) => float.NegativeInfinity,
                (6, < 2) => float.NaN,
                (6, 2) => float.NegativeInfinity,
                (7, _) => logits[v] > 0 ? 1f : -1f, // two values: many equal ones at the border of the nucleus
                (8, _) => logits[v] * 1e38f, // some infinite
                (9, _) => logits[v] * 1e-44f, // subnormal
                (10, _) => float.NaN,
                (11, _) => float.NegativeInfinity,
                (12, _) => MathF.Round(logits[v]),
                _ => logits[v],
            };
        }

        return logits;
    }

    static void Compare(Sampler sampler, float[] logits, SamplingParameters how, ulong position, string name)
    {
        var plain = new PlainSampler();
        int defined = plain.Choose(logits, how, position), chosen = sampler.Choose(logits, how, position);
        if (defined != chosen) Assert.Fail($"{name}, {how}, position {position}: {chosen}, by the twin {defined}");
        var expected = new double[logits.Length];
        var actual = new double[logits.Length];
        plain.Distribution(logits, how, expected);
        sampler.Distribution(logits, how, actual);
        for (int v = 0; v < logits.Length; v++)
            if (expected[v] != actual[v]) Assert.Fail($"{name}, {how}: probability of {v} is {actual[v]:R}, by the twin {expected[v]:R}");
    }

    [Fact]
    public void Choices_and_distributions_are_those_of_the_slow_twin()
    {
        var random = new CounterRandom(11, RandomPurpose.TestData);
        uint stream = 0;
        foreach (int count in (int[])[1, 2, 15, 16, 17, 33, 100, 257])
        {
            var sampler = new Sampler(count);
            for (int kind = 0; kind <= 12; kind++)
            {
                float[] logits = Logits(random, count, kind, ++stream);
                foreach (double temperature in Temperatures)
                {
                    double nucleus = Nuclei[random.Below(stream, Nuclei.Length)];
                    Compare(sampler, logits, new SamplingParameters(temperature, nucleus, stream), stream * 3, $"{count} logits of kind {kind}");
                    Compare(sampler, logits, new SamplingParameters(temperature, 1, stream), stream * 5, $"{count} logits of kind {kind}");
                }

                Assert.Equal(new PlainSampler().Choose(logits, SamplingParameters.Greedy, 0), sampler.Choose(logits, SamplingParameters.Greedy, 0));
            }
        }
    }

    [Theory]
    [InlineData(4096, 0)]
    [InlineData(4096, 1)]
    [InlineData(4096, 7)]
    [InlineData(129280, 1)]
    public void Large_vocabularies_have_the_choices_of_the_slow_twin(int count, int kind)
    {
        float[] logits = Logits(new CounterRandom(12, RandomPurpose.TestData), count, kind, (uint)kind);
        Compare(new Sampler(count), logits, new SamplingParameters(0.6, 0.95, 1), 9, $"{count} logits of kind {kind}");
    }

    [Fact]
    public void The_nucleus_is_the_smallest_set_that_reaches_top_p_and_the_lowest_ids_of_equals()
    {
        var sampler = new Sampler(5);
        float[] logits = [MathF.Log(0.2f), MathF.Log(0.4f), MathF.Log(0.1f), MathF.Log(0.2f), MathF.Log(0.1f)];
        foreach ((double topP, int[] kept) in ((double, int[])[])[(0.3, [1]), (0.41, [1, 0]), (0.61, [1, 0, 3]), (0.81, [1, 0, 3, 2]), (0.91, [1, 0, 3, 2, 4]), (1, [0, 1, 2, 3, 4])])
        {
            var probabilities = new double[5];
            sampler.Distribution(logits, new SamplingParameters(1, topP, 0), probabilities);
            Assert.Equal(kept.Order(), Enumerable.Range(0, 5).Where(v => probabilities[v] > 0));
            Assert.Equal(1, probabilities.Sum(), 12);
        }
    }

    [Fact]
    public void Tokens_come_as_often_as_their_probabilities_say()
    {
        const int Draws = 20_000;
        var sampler = new Sampler(40);
        float[] logits = Logits(new CounterRandom(13, RandomPurpose.TestData), 40, 0, 1);
        foreach (SamplingParameters how in (SamplingParameters[])[new(1, 1, 21), new(0.6, 0.9, 22)])
        {
            var probabilities = new double[40];
            sampler.Distribution(logits, how, probabilities);
            var counts = new int[40];
            for (ulong position = 0; position < Draws; position++) counts[sampler.Choose(logits, how, position)]++;
            for (int v = 0; v < 40; v++)
            {
                double deviation = Math.Sqrt(Draws * probabilities[v] * (1 - probabilities[v]));
                Assert.True(Math.Abs(counts[v] - (Draws * probabilities[v])) <= 4.5 * deviation, $"{how}: token {v} came {counts[v]} times of {Draws}, expected {Draws * probabilities[v]:F0} ± {deviation:F0}");
            }
        }
    }

    /// <summary>For two distributions with total variation d, races with common times have the same winner with a probability of at least (1 − d) / (1 + d).</summary>
    [Fact]
    public void Alike_distributions_mostly_give_the_same_token()
    {
        const int Draws = 4000;
        var random = new CounterRandom(14, RandomPurpose.TestData);
        float[] model = Logits(random, 300, 1, 1), draft = Logits(random, 300, 2, 2);
        for (int v = 0; v < 300; v++) draft[v] = model[v] + (40 * draft[v]); // noise of deviation 0.4
        var sampler = new Sampler(300);
        var how = new SamplingParameters(1, 1, 5);
        var p = new double[300];
        var q = new double[300];
        sampler.Distribution(model, how, p);
        sampler.Distribution(draft, how, q);
        double distance = 0;
        for (int v = 0; v < 300; v++) distance += Math.Abs(p[v] - q[v]) / 2;
        int same = 0;
        for (ulong position = 0; position < Draws; position++)
            if (sampler.Choose(model, how, position) == sampler.Choose(draft, how, position)) same++;
        Assert.InRange(distance, 0.05, 0.4);
        Assert.True(same / (double)Draws >= ((1 - distance) / (1 + distance)) - 0.03, $"{same / (double)Draws:F3} alike at a distance of {distance:F3}");
    }

    [Fact]
    public void A_choice_allocates_nothing()
    {
        var sampler = new Sampler(1000);
        float[] logits = Logits(new CounterRandom(15, RandomPurpose.TestData), 1000, 0, 1);
        var how = new SamplingParameters(0.7, 0.9, 5);
        for (ulong position = 0; position < 100; position++) sampler.Choose(logits, how, position);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (ulong position = 0; position < 100; position++) sampler.Choose(logits, how, position);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void A_sampler_refuses_other_vocabularies()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new Sampler(0));
        Assert.Throws<ArgumentOutOfRangeException>(() => new Sampler((1 << 20) + 1));
        Assert.Throws<ArgumentException>(() => new Sampler(3).Choose([1f, 2f], SamplingParameters.Greedy, 0));
    }
}
