using Hadal.Parallel.Experts;

namespace Hadal.Parallel.Serving;

/// <summary>How far an expert's weights go.</summary>
public enum MovePath
{
    /// <summary>They are on the GPU already and are copied there.</summary>
    OnGpu,

    /// <summary>From another GPU of the node.</summary>
    InsideNode,

    /// <summary>From another node.</summary>
    BetweenNodes,
}

/// <summary>One expert's weights on their way into a slot of the coming placement.</summary>
/// <param name="Expert">Which expert.</param>
/// <param name="FromSlot">A slot of the present placement that holds it.</param>
/// <param name="ToSlot">The slot of the coming placement.</param>
/// <param name="Path">How far.</param>
public readonly record struct ExpertMove(int Expert, int FromSlot, int ToSlot, MovePath Path);

/// <summary>
/// One layer's way from its placement to the next. The weights of the coming placement are gathered beside the present one, which serves until all are there; then the layer switches
/// between two steps. So every expert has a live replica at any moment. In a round no GPU sends or receives more than one expert.
/// </summary>
/// <param name="Layer">Which layer.</param>
/// <param name="Now">The present placement.</param>
/// <param name="Next">The coming one.</param>
/// <param name="Rounds">Moves over links, in the order in which they are made.</param>
/// <param name="Local">Slots that are filled from the GPU itself, before the switch.</param>
public sealed record LayerChange(int Layer, ReplicaPlan Now, ReplicaPlan Next, IReadOnlyList<IReadOnlyList<ExpertMove>> Rounds, IReadOnlyList<ExpertMove> Local)
{
    /// <summary>Experts that travel.</summary>
    public int Moved => Rounds.Sum(r => r.Count);

    /// <summary>Plans one layer.</summary>
    /// <param name="unit">Nodes, GPUs, slots.</param>
    /// <param name="layer">Which layer.</param>
    /// <param name="now">The present placement.</param>
    /// <param name="next">The coming one.</param>
    /// <exception cref="ArgumentException">A plan is not one of this unit, or an expert has no slot now.</exception>
    public static LayerChange Plan(ExpertUnit unit, int layer, ReplicaPlan now, ReplicaPlan next)
    {
        if (now.SlotExpert.Length != unit.Slots || next.SlotExpert.Length != unit.Slots)
            throw new ArgumentException($"Placements of {now.SlotExpert.Length} and {next.SlotExpert.Length} slots were given; the unit has {unit.Slots}.", nameof(next));
        var local = new List<ExpertMove>();
        var travel = new List<ExpertMove>();
        int[] sent = new int[unit.Gpus];
        for (int slot = 0; slot < unit.Slots; slot++)
        {
            int expert = next.SlotExpert[slot];
            (int from, MovePath path) = Source(unit, now, expert, slot, sent);
            if (path == MovePath.OnGpu)
            {
                local.Add(new(expert, from, slot, path));
                continue;
            }

            sent[unit.GpuOf(from)]++;
            travel.Add(new(expert, from, slot, path));
        }

        return new(layer, now, next, Rounded(unit, travel), local);
    }

    // The nearest replica; among equally near ones, the GPU that has sent least.
    static (int Slot, MovePath Path) Source(ExpertUnit unit, ReplicaPlan now, int expert, int slot, int[] sent)
    {
        int best = -1, bestCost = int.MaxValue;
        MovePath bestPath = MovePath.BetweenNodes;
        foreach (int candidate in now.ExpertSlots[expert])
        {
            MovePath path = unit.GpuOf(candidate) == unit.GpuOf(slot) ? MovePath.OnGpu : unit.NodeOf(candidate) == unit.NodeOf(slot) ? MovePath.InsideNode : MovePath.BetweenNodes;
            int cost = ((int)path * (unit.Slots + 1)) + sent[unit.GpuOf(candidate)];
            if (cost >= bestCost) continue;
            (best, bestCost, bestPath) = (candidate, cost, path);
        }

        if (best < 0) throw new ArgumentException($"Expert {expert} has no slot in the present placement: its weights are nowhere.", nameof(now));
        return (best, bestPath);
    }

    // The busiest senders and receivers first, so that few rounds are enough.
    static List<List<ExpertMove>> Rounded(ExpertUnit unit, List<ExpertMove> moves)
    {
        int[] send = new int[unit.Gpus], receive = new int[unit.Gpus];
        foreach (ExpertMove move in moves)
        {
            send[unit.GpuOf(move.FromSlot)]++;
            receive[unit.GpuOf(move.ToSlot)]++;
        }

        var rounds = new List<List<ExpertMove>>();
        var left = new List<ExpertMove>(moves);
        while (left.Count > 0)
        {
            bool[] sends = new bool[unit.Gpus], receives = new bool[unit.Gpus];
            var round = new List<ExpertMove>();
            foreach (ExpertMove move in left.OrderByDescending(m => Math.Max(send[unit.GpuOf(m.FromSlot)], receive[unit.GpuOf(m.ToSlot)])).ThenBy(m => m.ToSlot))
            {
                int from = unit.GpuOf(move.FromSlot), to = unit.GpuOf(move.ToSlot);
                if (sends[from] || receives[to]) continue;
                sends[from] = receives[to] = true;
                round.Add(move);
            }

            foreach (ExpertMove move in round)
            {
                send[unit.GpuOf(move.FromSlot)]--;
                receive[unit.GpuOf(move.ToSlot)]--;
                left.Remove(move);
            }

            rounds.Add(round);
        }

        return rounds;
    }
}

/// <summary>A change of placement in some layers, one after the other: they share one set of spare slots.</summary>
/// <param name="Unit">Nodes, GPUs, slots.</param>
/// <param name="Layers">In the order in which they change.</param>
/// <param name="ExpertBytes">Weights of one expert of one layer.</param>
public sealed record PlacementChange(ExpertUnit Unit, IReadOnlyList<LayerChange> Layers, long ExpertBytes)
{
    /// <summary>Bytes between GPUs of a node.</summary>
    public long BytesInsideNodes => Bytes(MovePath.InsideNode);

    /// <summary>Bytes between nodes.</summary>
    public long BytesBetweenNodes => Bytes(MovePath.BetweenNodes);

    /// <summary>Experts that travel.</summary>
    public int Moved => Layers.Sum(l => l.Moved);

    /// <summary>Rounds of all layers.</summary>
    public int Rounds => Layers.Sum(l => l.Rounds.Count);

    /// <summary>Seconds for which links carry the weights, when rounds follow each other: a round takes as long as its slowest link.</summary>
    public double Seconds(LinkSpeeds links) => Layers.Sum(l => Seconds(l, ExpertBytes, links));

    /// <summary>As <see cref="Seconds(LinkSpeeds)"/>, of one layer.</summary>
    public static double Seconds(LayerChange layer, long expertBytes, LinkSpeeds links) =>
        layer.Rounds.Sum(round => expertBytes / (round.Any(m => m.Path == MovePath.BetweenNodes) ? links.BetweenNodes : links.InsideNode));

    /// <summary>[GPUs]: bytes that each sends over a kind of link.</summary>
    public long[] BytesSent(MovePath path)
    {
        long[] bytes = new long[Unit.Gpus];
        foreach (ExpertMove move in Layers.SelectMany(l => l.Rounds).SelectMany(r => r))
            if (move.Path == path) bytes[Unit.GpuOf(move.FromSlot)] += ExpertBytes;
        return bytes;
    }

    long Bytes(MovePath path) => ExpertBytes * Layers.Sum(l => l.Rounds.Sum(r => r.Count(m => m.Path == path)));
}
