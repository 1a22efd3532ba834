using Hadal.Numerics;

namespace Hadal.Inference;

/// <summary>How the next token is chosen.</summary>
/// <param name="Temperature">0: the largest logit, lowest id on a tie. Otherwise logits are divided by it.</param>
/// <param name="TopP">Smallest set of most likely tokens whose probability reaches this; 1 for all.</param>
/// <param name="Seed">Draws are a function of (seed, position).</param>
public readonly record struct SamplingParameters(double Temperature, double TopP, ulong Seed)
{
    /// <summary>Greedy.</summary>
    public static SamplingParameters Greedy { get; } = new(0, 1, 0);

    /// <summary>Refuses values outside their range.</summary>
    /// <exception cref="ArgumentException">Temperature below 0 or above 2, or top-p outside (0, 1].</exception>
    public SamplingParameters Validate()
    {
        if (!(Temperature is >= 0 and <= 2)) throw new ArgumentException($"temperature {Temperature} is out of range; expected 0 to 2.");
        if (!(TopP is > 0 and <= 1)) throw new ArgumentException($"top-p {TopP} is out of range; expected above 0 and up to 1.");
        return this;
    }
}

/// <summary>Chooses tokens from logits. Holds its buffers; not thread safe.</summary>
public sealed class Sampler
{
    readonly double[] _weights;
    readonly int[] _order;
    readonly Comparison<int> _moreLikelyFirst; // made once: a lambda in the loop would be an allocation per token

    /// <summary>Takes buffers for logits of <paramref name="vocabulary"/> tokens.</summary>
    public Sampler(int vocabulary)
    {
        _weights = new double[vocabulary];
        _order = new int[vocabulary];
        _moreLikelyFirst = (a, b) => _weights[a] != _weights[b] ? _weights[b].CompareTo(_weights[a]) : a.CompareTo(b);
    }

    /// <summary>The largest logit, lowest id on a tie.</summary>
    public static int Largest(ReadOnlySpan<float> logits)
    {
        int best = 0;
        for (int v = 1; v < logits.Length; v++)
            if (logits[v] > logits[best]) best = v;
        return best;
    }

    /// <summary>The token at <paramref name="position"/>; a pure function of its arguments.</summary>
    public int Choose(ReadOnlySpan<float> logits, SamplingParameters parameters, ulong position)
    {
        if (logits.Length != _weights.Length) throw new ArgumentException($"{logits.Length} logits were given, expected {_weights.Length}.", nameof(logits));
        if (parameters.Temperature == 0) return Largest(logits);

        double draw = new CounterRandom(parameters.Seed, RandomPurpose.Sampling).Uniform(position);
        (double kept, int count) = Nucleus(logits, logits[Largest(logits)], parameters);
        return Walk(draw * kept, count, sorted: parameters.TopP < 1);
    }

    // What is kept: its summed weight and how many; with a nucleus the ids are the first of _order, otherwise all ids in order.
    (double Kept, int Count) Nucleus(ReadOnlySpan<float> logits, double top, SamplingParameters parameters)
    {
        // 1. Unnormalised probabilities in id order, so that sums have one order.
        double total = 0;
        for (int v = 0; v < logits.Length; v++) total += _weights[v] = Math.Exp((logits[v] - top) / parameters.Temperature);
        if (parameters.TopP >= 1) return (total, logits.Length);

        // 2. Most likely first, ids break ties; cut where the sum reaches top-p. Only tokens above a bound are sorted; where they do not reach top-p, all are.
        double bound = 1.0 / 1024;
        while (true)
        {
            int candidates = 0;
            for (int v = 0; v < logits.Length; v++)
                if (_weights[v] >= bound) _order[candidates++] = v;
            _order.AsSpan(0, candidates).Sort(_moreLikelyFirst);
            double kept = 0;
            int count = 0;
            while (count < candidates && kept < parameters.TopP * total) kept += _weights[_order[count++]];
            if (kept >= parameters.TopP * total || candidates == logits.Length) return (kept, count);
            bound = bound > 1e-12 ? bound / 4096 : 0;
        }
    }

    /// <summary>The distribution from which <see cref="Choose"/> draws: probabilities [vocabulary], those outside the nucleus 0.</summary>
    public void Distribution(ReadOnlySpan<float> logits, SamplingParameters parameters, Span<double> probabilities)
    {
        int largest = Largest(logits);
        probabilities.Clear();
        if (parameters.Temperature == 0)
        {
            probabilities[largest] = 1;
            return;
        }

        (double total, int count) = Nucleus(logits, logits[largest], parameters);
        for (int i = 0; i < count; i++)
        {
            int id = parameters.TopP >= 1 ? i : _order[i];
            probabilities[id] = _weights[id] / total;
        }
    }

    int Walk(double target, int count, bool sorted)
    {
        double sum = 0;
        int last = 0;
        for (int i = 0; i < count; i++)
        {
            int id = sorted ? _order[i] : i;
            if (_weights[id] > 0) last = id;
            sum += _weights[id];
            if (target < sum) return id;
        }

        return last; // rounding left the target at the very end
    }
}
