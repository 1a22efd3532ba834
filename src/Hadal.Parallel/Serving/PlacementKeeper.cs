using System.Globalization;
using Hadal.Parallel.Experts;

namespace Hadal.Parallel.Serving;

/// <summary>When placements are looked at again, and what that may cost.</summary>
public sealed record PlacementPolicy
{
    /// <summary>Time between two looks; ten minutes as in the report.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>After how long a count weighs half.</summary>
    public TimeSpan HalfLife { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Counts, decayed, that a layer needs for each of its experts before they say anything.</summary>
    public double LeastCountsPerExpert { get; init; } = 50;

    /// <summary>How many times its cost a change must gain. Above 1, since the load of the next interval is not the last one's.</summary>
    public double LeastReturn { get; init; } = 2;

    /// <summary>Refuses numbers that mean nothing.</summary>
    public void Validate()
    {
        if (Interval <= TimeSpan.Zero || HalfLife <= TimeSpan.Zero || !(LeastCountsPerExpert >= 0) || !(LeastReturn >= 0))
            throw new ArgumentException($"The policy {this} was given; expected times above nothing and numbers from 0 up.");
    }
}

/// <summary>What a step costs, as far as it hangs on balance; measured by whoever runs the steps, or predicted.</summary>
/// <param name="LayerSeconds">Seconds a step waits for the fullest GPU of one layer, if all were equally full. With load max/mean = b it waits b times as long.</param>
/// <param name="StepsPerSecond">Steps in a second.</param>
public readonly record struct WaitingPrices(double LayerSeconds, double StepsPerSecond);

/// <summary>What one layer would win and pay.</summary>
/// <param name="Layer">Which layer.</param>
/// <param name="Before">Load of the fullest GPU over the mean, in the present placement.</param>
/// <param name="After">The same in the proposed one, for the same load.</param>
/// <param name="GainSeconds">Waiting saved until the next look.</param>
/// <param name="CostSeconds">Seconds of link time for its weights.</param>
/// <param name="Pays">Whether the layer changes.</param>
public readonly record struct LayerDecision(int Layer, double Before, double After, double GainSeconds, double CostSeconds, bool Pays);

/// <summary>A look at the placement: whether it changes, and why.</summary>
/// <param name="Change">What is to be moved; null when nothing pays.</param>
/// <param name="Layers">Layer by layer; empty when there was too little to go by.</param>
/// <param name="Reason">For people.</param>
public sealed record PlacementDecision(PlacementChange? Change, IReadOnlyList<LayerDecision> Layers, string Reason)
{
    /// <summary>Whether something moves.</summary>
    public bool Pays => Change is not null;

    /// <summary>Fullest GPU over the mean, averaged over layers, now.</summary>
    public double Before => Layers.Count == 0 ? 0 : Layers.Average(l => l.Before);

    /// <summary>The same after the change.</summary>
    public double After => Layers.Count == 0 ? 0 : Layers.Average(l => l.Pays ? l.After : l.Before);
}

/// <summary>
/// Keeps the placement of all layers: takes counts in, looks every so often whether a new placement pays, and says what it decided [V3 §3.4.1]. Looking changes nothing; whoever
/// carries the change out reports each layer with <see cref="Adopt"/>. Deterministic: the same counts at the same times give the same decisions.
/// </summary>
public sealed class PlacementKeeper
{
    readonly TimeProvider _clock;
    readonly ReplicaPlan[] _plans;
    readonly long _expertBytes;
    long _last;

    /// <summary>Begins with a placement for every layer.</summary>
    /// <param name="unit">Nodes, GPUs, slots.</param>
    /// <param name="plans">One for each layer.</param>
    /// <param name="expertBytes">Weights of one expert of one layer.</param>
    /// <param name="links">What the links carry.</param>
    /// <param name="policy">When and at what price; null for defaults.</param>
    /// <param name="clock">The time; null for the system's.</param>
    public PlacementKeeper(ExpertUnit unit, IReadOnlyList<ReplicaPlan> plans, long expertBytes, LinkSpeeds links, PlacementPolicy? policy = null, TimeProvider? clock = null)
    {
        unit.Validate();
        Unit = unit;
        Policy = policy ?? new PlacementPolicy();
        Policy.Validate();
        Links = links;
        _plans = [.. plans];
        _expertBytes = expertBytes;
        _clock = clock ?? TimeProvider.System;
        _last = _clock.GetTimestamp();
        Statistics = new ExpertLoadStatistics(_plans.Length, unit.Experts, Policy.HalfLife, _clock);
    }

    /// <summary>Nodes, GPUs, slots.</summary>
    public ExpertUnit Unit { get; }

    /// <summary>When and at what price.</summary>
    public PlacementPolicy Policy { get; }

    /// <summary>What the links carry.</summary>
    public LinkSpeeds Links { get; }

    /// <summary>The load of late; counts are added to it.</summary>
    public ExpertLoadStatistics Statistics { get; }

    /// <summary>The present placement of each layer.</summary>
    public IReadOnlyList<ReplicaPlan> Plans => _plans;

    /// <summary>Whether it is time to look.</summary>
    public bool IsDue => _clock.GetElapsedTime(_last) >= Policy.Interval;

    /// <summary>Looks now, whether it is due or not.</summary>
    /// <param name="prices">What a step costs.</param>
    public PlacementDecision Consider(WaitingPrices prices)
    {
        _last = _clock.GetTimestamp();
        var layers = new LayerDecision[_plans.Length];
        var changes = new List<LayerChange>();
        double[] load = new double[Unit.Experts];
        double steps = prices.StepsPerSecond * Policy.Interval.TotalSeconds;
        for (int layer = 0; layer < layers.Length; layer++)
        {
            double counts = Statistics.Read(layer, load);
            if (counts < Policy.LeastCountsPerExpert * Unit.Experts)
                return new(null, [], Text($"no: layer {layer} has {counts / Unit.Experts:0.#} counts an expert, expected at least {Policy.LeastCountsPerExpert:0.#}"));
            ReplicaPlan now = _plans[layer];
            ReplicaPlan next = PlacementMatching.Match(Unit, now, ExpertBalancer.Plan(load, Unit.Slots, Unit.Groups, Unit.Nodes, Unit.Gpus));
            LayerChange change = LayerChange.Plan(Unit, layer, now, next);
            double before = Balance(now, load), after = Balance(next, load), gain = prices.LayerSeconds * (before - after) * steps, cost = PlacementChange.Seconds(change, _expertBytes, Links);
            bool pays = gain > 0 && gain >= Policy.LeastReturn * cost;
            layers[layer] = new(layer, before, after, gain, cost, pays);
            if (pays) changes.Add(change);
        }

        PlacementChange? all = changes.Count == 0 ? null : new(Unit, changes, _expertBytes);
        return new(all, layers, Reason(all, layers));
    }

    /// <summary>A layer has switched to its new placement.</summary>
    public void Adopt(LayerChange change) => _plans[change.Layer] = change.Next;

    /// <summary>Load of the fullest GPU over the mean.</summary>
    public double Balance(ReplicaPlan plan, ReadOnlySpan<double> load)
    {
        double[] gpus = plan.LoadPerGpu(load, Unit.Gpus);
        double sum = gpus.Sum();
        return sum == 0 ? 1 : gpus.Max() * gpus.Length / sum;
    }

    string Reason(PlacementChange? change, LayerDecision[] layers)
    {
        if (change is null)
        {
            LayerDecision best = layers.MaxBy(l => l.GainSeconds - (Policy.LeastReturn * l.CostSeconds));
            return Text($"no: the best layer, {best.Layer}, would go from {best.Before:0.###} to {best.After:0.###} of the mean, saving {best.GainSeconds:0.####} s in {Policy.Interval.TotalMinutes:0.#} minutes for {best.CostSeconds:0.####} s of link time; expected at least {Policy.LeastReturn:0.#} times that");
        }

        LayerDecision[] moving = [.. layers.Where(l => l.Pays)];
        return Text($"yes: {moving.Length} of {layers.Length} layers go from {moving.Average(l => l.Before):0.###} to {moving.Average(l => l.After):0.###} of the mean, saving {moving.Sum(l => l.GainSeconds):0.####} s in {Policy.Interval.TotalMinutes:0.#} minutes for {moving.Sum(l => l.CostSeconds):0.####} s of link time; {change.Moved} experts travel, {change.BytesInsideNodes / 1e9:0.###} GB inside nodes and {change.BytesBetweenNodes / 1e9:0.###} GB between them");
    }

    static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
