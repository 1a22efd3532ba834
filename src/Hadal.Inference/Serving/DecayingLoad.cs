namespace Hadal.Inference.Serving;

/// <summary>
/// Counts of tokens per layer and expert in which a token of one half-life ago counts half [V3 §3.4: redundant experts follow the load of late]. Instead of shrinking the old
/// counts, new ones are entered larger; when they become too large, all are scaled back. One thread adds; any may read, and sees at worst a step half entered.
/// </summary>
sealed class DecayingLoad
{
    const double MostWeight = 1 << 30;
    readonly Lock _gate = new();
    readonly double[][] _counts;
    readonly double _halfLife;
    double _begun, _weight = 1;

    /// <summary>Begins at zero.</summary>
    /// <param name="layers">Layers of routed experts.</param>
    /// <param name="experts">Of each.</param>
    /// <param name="halfLife">Seconds; above 0.</param>
    public DecayingLoad(int layers, int experts, double halfLife)
    {
        _counts = new double[layers][];
        for (int layer = 0; layer < layers; layer++) _counts[layer] = new double[experts];
        _halfLife = halfLife;
    }

    /// <summary>Moves the clock on.</summary>
    /// <param name="now">Seconds since the beginning; never less than before.</param>
    public void Advance(double now)
    {
        double weight = Math.Pow(2, (now - _begun) / _halfLife);
        if (weight > MostWeight)
        {
            lock (_gate)
            {
                foreach (double[] layer in _counts)
                    for (int e = 0; e < layer.Length; e++) layer[e] /= weight;
                _begun = now;
            }

            weight = 1;
        }

        _weight = weight;
    }

    /// <summary>Tokens of this moment.</summary>
    public void Add(int layer, ReadOnlySpan<int> tokens)
    {
        double[] counts = _counts[layer];
        for (int e = 0; e < counts.Length; e++) counts[e] += tokens[e] * _weight;
    }

    /// <summary>The counts as they are worth now: [layer][expert].</summary>
    /// <param name="now">Seconds since the beginning.</param>
    public IReadOnlyList<IReadOnlyList<double>> Present(double now)
    {
        lock (_gate)
        {
            double scale = Math.Pow(2, (_begun - now) / _halfLife);
            return [.. _counts.Select(layer => (IReadOnlyList<double>)[.. layer.Select(count => count * scale)])];
        }
    }
}
