using Hadal.Parallel.Experts;
using Hadal.Parallel.Serving;

namespace Hadal.Planning.Serving;

/// <summary>A unit on a simulated clock.</summary>
public sealed record UnitSimulationOptions
{
    /// <summary>The unit.</summary>
    public required ExpertUnit Unit { get; init; }

    /// <summary>How rows reach experts.</summary>
    public required UnitPath Path { get; init; }

    /// <summary>What a GPU does in a step.</summary>
    public required StepWork Work { get; init; }

    /// <summary>Layers that are simulated; the model's others are taken to be like them.</summary>
    public int Layers { get; init; } = 4;

    /// <summary>Tokens of each GPU whose choices are drawn for a sample.</summary>
    public int TokensPerGpu { get; init; } = 128;

    /// <summary>How long.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromHours(1);

    /// <summary>Time between two samples.</summary>
    public TimeSpan Tick { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>When placements are looked at, and at what price.</summary>
    public PlacementPolicy Policy { get; init; } = new();
}

/// <summary>One sample, averages over the layers.</summary>
/// <param name="Time">When.</param>
/// <param name="Plain">Balance of experts in order without redundant ones.</param>
/// <param name="First">Balance with redundant experts that are never rearranged.</param>
/// <param name="Kept">Balance with the placement kept up to date.</param>
/// <param name="PlainSeconds">Seconds of a step in order, without redundant ones.</param>
/// <param name="KeptSeconds">Seconds of a step with the placement kept up to date.</param>
public readonly record struct UnitSample(TimeSpan Time, double Plain, double First, double Kept, double PlainSeconds, double KeptSeconds);

/// <summary>A look at the placement at a time.</summary>
/// <param name="Time">When.</param>
/// <param name="Decision">What was decided.</param>
/// <param name="MoveSeconds">Link time of the change for all layers of the model.</param>
/// <param name="MovedBytes">Bytes for all layers of the model.</param>
public sealed record UnitLook(TimeSpan Time, PlacementDecision Decision, double MoveSeconds, double MovedBytes);

/// <summary>What came of it.</summary>
/// <param name="Options">What was simulated.</param>
/// <param name="Routing">By which routing.</param>
/// <param name="Samples">In order of time.</param>
/// <param name="Looks">In order of time.</param>
/// <param name="Plain">Traffic of the last sample without redundancy, summed over layers; for one token.</param>
/// <param name="Kept">The same with the placement kept up to date.</param>
public sealed record UnitOutcome(UnitSimulationOptions Options, string Routing, IReadOnlyList<UnitSample> Samples, IReadOnlyList<UnitLook> Looks, TrafficPerToken Plain, TrafficPerToken Kept)
{
    /// <summary>Samples after the first look, when there is something to compare.</summary>
    public IEnumerable<UnitSample> Settled => Looks.Count == 0 ? Samples : Samples.Where(s => s.Time > Looks[0].Time);

    /// <summary>Averages of <see cref="Settled"/>.</summary>
    public (double Plain, double First, double Kept, double PlainSeconds, double KeptSeconds) Mean =>
        (Settled.Average(s => s.Plain), Settled.Average(s => s.First), Settled.Average(s => s.Kept), Settled.Average(s => s.PlainSeconds), Settled.Average(s => s.KeptSeconds));
}

/// <summary>
/// Runs the placement and the routing of a unit on a simulated clock: every tick draws tokens, counts where they go on three placements (in order, redundant but never rearranged, kept up to
/// date), and gives the counts to the keeper, which looks when its interval is over. The balancer, the replica choice, the keeper and the plan of moves are those that ranks execute.
/// </summary>
public static class UnitSimulation
{
    /// <summary>Runs it.</summary>
    /// <param name="options">The unit and for how long.</param>
    /// <param name="routing">Who chooses what.</param>
    /// <param name="costs">What a step costs, with the unit's slots.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <exception cref="ArgumentException">The routing has another number of experts.</exception>
    public static UnitOutcome Run(UnitSimulationOptions options, IRoutingSource routing, ServingCosts costs, CancellationToken cancel = default)
    {
        ExpertUnit unit = options.Unit;
        unit.Validate();
        if (routing.Experts != unit.Experts) throw new ArgumentException($"The routing has {routing.Experts} experts and the unit {unit.Experts}; expected the same.", nameof(routing));
        var clock = new SimulatedClock();
        ReplicaPlan first = unit.FirstPlan(), plain = Spread(unit);
        ExpertUnit plainUnit = Plain(unit);
        var keeper = new PlacementKeeper(unit, [.. Enumerable.Repeat(first, options.Layers)], (long)costs.Model.ExpertBytes, costs.Hardware.Links, options.Policy, clock);
        var samples = new List<UnitSample>();
        var looks = new List<UnitLook>();
        int[] choices = new int[options.TokensPerGpu * routing.TopK], counts = new int[unit.Experts];
        double scale = (double)costs.Model.SparseLayers / options.Layers;
        TrafficPerToken plainTraffic = default, keptTraffic = default;
        while (clock.Now < options.Duration)
        {
            cancel.ThrowIfCancellationRequested();
            Totals inOrder = new(), unmoved = new(), kept = new();
            for (int layer = 0; layer < options.Layers; layer++)
            {
                Array.Clear(counts);
                var traffic = (new UnitTraffic(plainUnit, options.Path), new UnitTraffic(unit, options.Path), new UnitTraffic(unit, options.Path));
                for (int gpu = 0; gpu < unit.Gpus; gpu++)
                {
                    routing.Choose(clock.Now, layer, gpu, choices);
                    foreach (int expert in choices) counts[expert]++;
                    traffic.Item1.Add(plain, gpu, choices, routing.TopK);
                    traffic.Item2.Add(first, gpu, choices, routing.TopK);
                    traffic.Item3.Add(keeper.Plans[layer], gpu, choices, routing.TopK);
                }

                keeper.Statistics.Add(layer, counts);
                inOrder.Add(traffic.Item1, unit.Gpus);
                unmoved.Add(traffic.Item2, unit.Gpus);
                kept.Add(traffic.Item3, unit.Gpus);
            }

            (plainTraffic, keptTraffic) = (inOrder.Mean, kept.Mean);
            samples.Add(new(clock.Now, plainTraffic.Balance, unmoved.Mean.Balance, keptTraffic.Balance,
                costs.StepSeconds(options.Work, plainTraffic, options.Path), costs.StepSeconds(options.Work, keptTraffic, options.Path)));
            if (keeper.IsDue)
            {
                PlacementDecision decision = keeper.Consider(costs.Prices(options.Work, keptTraffic, options.Path));
                looks.Add(new(clock.Now, decision, scale * (decision.Change?.Seconds(keeper.Links) ?? 0), scale * ((decision.Change?.BytesInsideNodes ?? 0) + (decision.Change?.BytesBetweenNodes ?? 0))));
                foreach (LayerChange change in decision.Change?.Layers ?? []) keeper.Adopt(change);
            }

            clock.Advance(options.Tick);
        }

        return new(options, routing.Description, samples, looks, plainTraffic, keptTraffic);
    }

    /// <summary>The unit without redundant slots: as many GPUs, and as few slots as hold all experts.</summary>
    static ExpertUnit Plain(ExpertUnit unit) => unit with { SlotsPerGpu = (unit.Experts + unit.Gpus - 1) / unit.Gpus };

    // Experts in order; where GPUs and experts do not divide, the last slots repeat the first experts, which is what there is room for.
    static ReplicaPlan Spread(ExpertUnit unit)
    {
        ExpertUnit plain = Plain(unit);
        int[] slots = [.. Enumerable.Range(0, plain.Slots).Select(slot => slot % unit.Experts)];
        return PlacementMatching.FromSlots(slots, unit.Experts);
    }

    sealed class Totals
    {
        double _balance, _between, _inside;
        int _count;

        public TrafficPerToken Mean => new(_balance / _count, _between / _count, _inside / _count);

        public void Add(UnitTraffic traffic, int gpus)
        {
            TrafficPerToken one = TrafficPerToken.Of(traffic, gpus);
            (_balance, _between, _inside, _count) = (_balance + one.Balance, _between + one.Between, _inside + one.Inside, _count + 1);
        }
    }
}
