using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Verify;

/// <summary>Products in flight: what they add to and read.</summary>
sealed record Flight(SourceLine Source, HashSet<int> Fragments, HashSet<int> Slots)
{
    public bool Committed { get; init; }
}

/// <summary>What may hold at a place of a thread's path.</summary>
sealed class FlowState
{
    /// <summary>Products that may be in flight, oldest first.</summary>
    public List<Flight> Flights { get; private init; } = [];

    /// <summary>Fragments not accessed since a wgmma fence on any path.</summary>
    public HashSet<int> Clean { get; private init; } = [];

    /// <summary>Regions stored to by these threads and not fenced since, with the line.</summary>
    public Dictionary<int, SourceLine> Unfenced { get; private init; } = [];

    /// <summary>Regions that threads stored to of which only some are here: a fence here does not cover them.</summary>
    public Dictionary<int, SourceLine> Foreign { get; private init; } = [];

    public FlowState Copy() => new() { Flights = [.. Flights], Clean = [.. Clean], Unfenced = new(Unfenced), Foreign = new(Foreign) };

    public static FlowState Join(FlowState left, FlowState right)
    {
        FlowState joined = left.Copy();
        foreach (Flight flight in right.Flights)
            if (!joined.Flights.Exists(f => f.Source == flight.Source && f.Committed == flight.Committed && f.Fragments.SetEquals(flight.Fragments) && f.Slots.SetEquals(flight.Slots))) joined.Flights.Add(flight);
        joined.Clean.IntersectWith(right.Clean);
        foreach ((int region, SourceLine line) in right.Unfenced) joined.Unfenced.TryAdd(region, line);
        foreach ((int region, SourceLine line) in right.Foreign) joined.Foreign.TryAdd(region, line);
        return joined;
    }
}
