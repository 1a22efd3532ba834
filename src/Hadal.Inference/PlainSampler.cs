using Hadal.Numerics;

namespace Hadal.Inference;

/// <summary>
/// The slow twin of <see cref="Sampler"/> and the definition of every choice. Temperature 0: the largest logit. Otherwise weights of all tokens, the most likely ones until they reach
/// top-p of the sum (of equals the lowest ids), and a race between these: each arrives after an exponential time over its weight, and the first is chosen.
/// </summary>
sealed class PlainSampler : ISampler
{
    /// <inheritdoc/>
    public int Choose(ReadOnlySpan<float> logits, SamplingParameters parameters, ulong position)
    {
        int winner = Largest(logits);
        if (parameters.Temperature == 0) return winner;
        var random = new CounterRandom(parameters.Seed, RandomPurpose.SamplingRace, checked((uint)position));
        double best = double.PositiveInfinity;
        long[] weights = Nucleus(logits, logits[winner], parameters);
        for (int v = 0; v < weights.Length; v++)
        {
            if (weights[v] == 0) continue;
            double finish = IntegerWeights.Finish(random.UInt64((ulong)v), weights[v]);
            if (finish >= best) continue;
            best = finish;
            winner = v;
        }

        return winner;
    }

    /// <inheritdoc/>
    public void Distribution(ReadOnlySpan<float> logits, SamplingParameters parameters, Span<double> probabilities)
    {
        int largest = Largest(logits);
        long[] weights = parameters.Temperature == 0 ? new long[logits.Length] : Nucleus(logits, logits[largest], parameters);
        double sum = weights.Sum();
        for (int v = 0; v < weights.Length; v++) probabilities[v] = sum > 0 ? weights[v] / sum : v == largest ? 1 : 0;
    }

    static int Largest(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int v = 1; v < logits.Length; v++)
            if (logits[v] > logits[best] || (float.IsNaN(logits[best]) && logits[v] > float.NegativeInfinity)) best = v;
        return best;
    }

    static long[] Nucleus(ReadOnlySpan<float> logits, float largest, SamplingParameters parameters)
    {
        var weights = new long[logits.Length];
        for (int v = 0; v < weights.Length; v++) weights[v] = float.IsNegativeInfinity(largest) ? 0 : IntegerWeights.Of(logits[v], largest, parameters.Temperature);
        long goal = IntegerWeights.Goal(weights.Sum(), parameters.TopP), sum = 0;
        var kept = new long[weights.Length];
        foreach (int v in Enumerable.Range(0, weights.Length).OrderByDescending(v => weights[v]).ThenBy(v => v))
        {
            if (sum >= goal) break;
            sum += kept[v] = weights[v];
        }

        return kept;
    }
}
