namespace Hadal.Parallel.Serving;

/// <summary>
/// How many tokens choose each expert of each layer of late: counts that lose half of their weight in every half-life [V3 §3.4.1: statistics collected during the online deployment].
/// Safe to use from several threads.
/// </summary>
public sealed class ExpertLoadStatistics
{
    readonly Lock _lock = new();
    readonly TimeProvider _clock;
    readonly double[][] _counts;
    readonly long[] _since;

    /// <summary>Nothing yet.</summary>
    /// <param name="layers">Layers with routed experts.</param>
    /// <param name="experts">Experts of a layer.</param>
    /// <param name="halfLife">After how long a count weighs half.</param>
    /// <param name="clock">The time; null for the system's.</param>
    public ExpertLoadStatistics(int layers, int experts, TimeSpan halfLife, TimeProvider? clock = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(layers, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(experts, 1);
        if (halfLife <= TimeSpan.Zero) throw new ArgumentOutOfRangeException(nameof(halfLife), halfLife, $"A half-life of {halfLife} was given; expected more than nothing.");
        _clock = clock ?? TimeProvider.System;
        HalfLife = halfLife;
        _counts = [.. Enumerable.Range(0, layers).Select(_ => new double[experts])];
        _since = [.. Enumerable.Repeat(_clock.GetTimestamp(), layers)];
    }

    /// <summary>Layers.</summary>
    public int Layers => _counts.Length;

    /// <summary>Experts of a layer.</summary>
    public int Experts => _counts[0].Length;

    /// <summary>After how long a count weighs half.</summary>
    public TimeSpan HalfLife { get; }

    /// <summary>Adds what a step counted.</summary>
    /// <param name="layer">Which layer, from 0.</param>
    /// <param name="counts">[experts]: tokens that chose each.</param>
    /// <exception cref="ArgumentException">Another number of experts, or a negative count.</exception>
    public void Add(int layer, ReadOnlySpan<int> counts)
    {
        if (counts.Length != Experts) throw new ArgumentException($"{counts.Length} counts were given; expected one for each of {Experts} experts.", nameof(counts));
        if (counts.IndexOfAnyInRange(int.MinValue, -1) is >= 0 and int at) throw new ArgumentException($"The count {counts[at]} of expert {at} was given; expected a number from 0 up.", nameof(counts));
        lock (_lock)
        {
            double[] sums = Decay(layer);
            for (int expert = 0; expert < sums.Length; expert++) sums[expert] += counts[expert];
        }
    }

    /// <summary>The load of a layer as of now.</summary>
    /// <param name="layer">Which layer.</param>
    /// <param name="load">[experts]: receives the counts, decayed.</param>
    /// <returns>Their sum.</returns>
    public double Read(int layer, Span<double> load)
    {
        lock (_lock)
        {
            double[] sums = Decay(layer);
            sums.CopyTo(load);
            return sums.Sum();
        }
    }

    double[] Decay(int layer)
    {
        long now = _clock.GetTimestamp();
        double[] sums = _counts[layer];
        double factor = double.Exp2(-(_clock.GetElapsedTime(_since[layer], now) / HalfLife));
        _since[layer] = now;
        if (factor < 1)
            for (int expert = 0; expert < sums.Length; expert++) sums[expert] *= factor;
        return sums;
    }
}
