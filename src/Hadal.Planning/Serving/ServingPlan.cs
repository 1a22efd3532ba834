using Hadal.Parallel.Serving;

namespace Hadal.Planning.Serving;

/// <summary>How many slots a GPU gets, and what that brings.</summary>
/// <param name="Unit">Nodes, GPUs, slots.</param>
/// <param name="Traffic">Rows and pairs for each token, measured on tokens that came after those the placement was made from.</param>
/// <param name="StepSeconds">Seconds of a full step.</param>
/// <param name="TokensPerSecondPerNode">Tokens a second of a node in full steps.</param>
/// <param name="CachePositions">Positions that the cache of a GPU holds; negative where the weights do not fit.</param>
public sealed record RedundancyChoice(ExpertUnit Unit, TrafficPerToken Traffic, double StepSeconds, double TokensPerSecondPerNode, double CachePositions)
{
    /// <summary>Experts of a GPU in each layer.</summary>
    public int SlotsPerGpu => Unit.SlotsPerGpu;

    /// <summary>Of all slots of a layer, those beyond one for each expert.</summary>
    public int Redundant => Unit.RedundantSlots;

    /// <summary>Pairs of the fullest GPU over the mean.</summary>
    public double Balance => Traffic.Balance;

    /// <summary>The fewest slots within a hundredth of the most tokens a second: what more would bring is less than chance brings.</summary>
    /// <param name="choices">From the fewest slots on.</param>
    public static RedundancyChoice Best(IReadOnlyList<RedundancyChoice> choices)
    {
        RedundancyChoice[] fitting = [.. choices.Where(r => r.CachePositions > 0)];
        return fitting.Length == 0 ? choices[0] : fitting.First(r => r.TokensPerSecondPerNode >= 0.99 * fitting.Max(f => f.TokensPerSecondPerNode));
    }
}

/// <summary>A kind of unit under the load, as many of it as the load needs.</summary>
/// <param name="Role">What it does.</param>
/// <param name="Unit">Nodes, GPUs, slots.</param>
/// <param name="Chunk">Most prompt tokens of a GPU in a step; 0 where it reads none.</param>
/// <param name="RequestsPerSecond">What one unit carries within the goals, whatever the load is; 0 when none.</param>
/// <param name="Units">How many carry the load; 0 when the goals cannot be kept.</param>
/// <param name="Outcome">How requests fare in one of them when they share the load; at the lowest rate that was tried when the goals cannot be kept.</param>
public sealed record UnitChoice(UnitRole Role, ExpertUnit Unit, int Chunk, double RequestsPerSecond, long Units, ServiceOutcome Outcome)
{
    /// <summary>Nodes of all units.</summary>
    public long Nodes => Units * Unit.Nodes;

    /// <summary>Whether the goals can be kept.</summary>
    public bool IsPossible => Units > 0;
}

/// <summary>A published figure beside what the same prices give at the limits of the hardware.</summary>
/// <param name="What">For people.</param>
/// <param name="Published">Tokens a second of a node.</param>
/// <param name="Limit">What the prices allow.</param>
/// <param name="Note">What the published figure holds that the limit does not.</param>
public sealed record ServingCheck(string What, double Published, double Limit, string Note)
{
    /// <summary>Published over limit.</summary>
    public double Part => Published / Limit;
}

/// <summary>What a service needs at a load, and why.</summary>
public sealed record ServingPlan
{
    /// <summary>Name of the model.</summary>
    public required string Model { get; init; }

    /// <summary>The GPU and its links.</summary>
    public required ServingHardware Hardware { get; init; }

    /// <summary>Requests and goals.</summary>
    public required ServingLoad Load { get; init; }

    /// <summary>The routing that drove it.</summary>
    public required string Routing { get; init; }

    /// <summary>Slots of the prefilling unit that is proposed, from the fewest on; of the published size when none is.</summary>
    public required IReadOnlyList<RedundancyChoice> Redundancy { get; init; }

    /// <summary>The same for decoding.</summary>
    public required IReadOnlyList<RedundancyChoice> DecodeRedundancy { get; init; }

    /// <summary>Prefilling units that were tried.</summary>
    public required IReadOnlyList<UnitChoice> Prefill { get; init; }

    /// <summary>Decoding units that were tried.</summary>
    public required IReadOnlyList<UnitChoice> Decode { get; init; }

    /// <summary>Units that do both, that were tried.</summary>
    public required IReadOnlyList<UnitChoice> Together { get; init; }

    /// <summary>The prefilling unit over time, its placement kept up to date.</summary>
    public required UnitOutcome PrefillUnit { get; init; }

    /// <summary>The decoding unit over time.</summary>
    public required UnitOutcome DecodeUnit { get; init; }

    /// <summary>Published figures; only for the published model.</summary>
    public required IReadOnlyList<ServingCheck> Checks { get; init; }

    /// <summary>What was taken for granted.</summary>
    public required IReadOnlyList<string> Assumptions { get; init; }

    /// <summary>Nodes there are; null for as many as needed.</summary>
    public int? NodesThere { get; init; }

    /// <summary>Slots of the prefilling unit.</summary>
    public RedundancyChoice BestRedundancy => RedundancyChoice.Best(Redundancy);

    /// <summary>Slots of the decoding unit.</summary>
    public RedundancyChoice BestDecodeRedundancy => RedundancyChoice.Best(DecodeRedundancy);

    /// <summary>The prefilling unit with the fewest nodes; null when none keeps the goal.</summary>
    public UnitChoice? BestPrefill => Best(Prefill);

    /// <summary>The decoding unit with the fewest nodes; null when none keeps the goal.</summary>
    public UnitChoice? BestDecode => Best(Decode);

    /// <summary>The unit for both with the fewest nodes; null when none keeps the goals.</summary>
    public UnitChoice? BestTogether => Best(Together);

    /// <summary>Nodes of prefilling and decoding apart; null when a goal cannot be kept so.</summary>
    public long? NodesApart => BestPrefill is { } prefill && BestDecode is { } decode ? prefill.Nodes + decode.Nodes : null;

    /// <summary>Nodes with both in the same units; null when the goals cannot be kept so.</summary>
    public long? NodesTogether => BestTogether?.Nodes;

    /// <summary>Whether splitting takes fewer nodes; null when neither way keeps the goals.</summary>
    public bool? SplittingPays => (NodesApart, NodesTogether) switch
    {
        (null, null) => null,
        (null, _) => false,
        (_, null) => true,
        var (apart, together) => apart < together,
    };

    /// <summary>Requests a second that so many nodes carry within the goals in units that do both; 0 when none.</summary>
    /// <param name="nodes">Nodes.</param>
    public double CarriedTogether(int nodes) => Together.Where(c => c.IsPossible).Select(c => nodes / c.Unit.Nodes * c.RequestsPerSecond).DefaultIfEmpty().Max();

    /// <summary>Requests a second that so many nodes carry within the goals, prefilling apart from decoding; 0 when none.</summary>
    /// <param name="nodes">Nodes.</param>
    public double CarriedApart(int nodes)
    {
        double most = 0;
        foreach (UnitChoice prefill in Prefill.Where(c => c.IsPossible))
        {
            foreach (UnitChoice decode in Decode.Where(c => c.IsPossible))
            {
                for (int units = 1; units * prefill.Unit.Nodes < nodes; units++)
                    most = Math.Max(most, Math.Min(units * prefill.RequestsPerSecond, (nodes - (units * prefill.Unit.Nodes)) / decode.Unit.Nodes * decode.RequestsPerSecond));
            }
        }

        return most;
    }

    static UnitChoice? Best(IEnumerable<UnitChoice> choices) => choices.Where(c => c.IsPossible).OrderBy(c => c.Nodes).ThenByDescending(c => c.RequestsPerSecond / c.Unit.Nodes).FirstOrDefault();
}
