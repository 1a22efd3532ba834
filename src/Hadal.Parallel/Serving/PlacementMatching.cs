using Hadal.Parallel.Experts;

namespace Hadal.Parallel.Serving;

/// <summary>
/// Names the nodes, GPUs and slots of a new plan so that as much as possible stays where it is. The balancer's numbers mean nothing: a plan with its GPUs exchanged has the same
/// loads, and an expert that already lies on a GPU need not travel there.
/// </summary>
public static class PlacementMatching
{
    /// <summary>The same plan with other numbers: nodes are matched with nodes, then GPUs with GPUs inside them, the largest overlap first.</summary>
    /// <param name="unit">Nodes, GPUs, slots.</param>
    /// <param name="now">Where experts lie.</param>
    /// <param name="next">Where the balancer wants them.</param>
    public static ReplicaPlan Match(ExpertUnit unit, ReplicaPlan now, ReplicaPlan next)
    {
        int perGpu = unit.SlotsPerGpu, perNode = perGpu * unit.GpusPerNode;
        int[] nodes = Assign(now.SlotExpert, next.SlotExpert, 0, 0, unit.Nodes, perNode, unit.Experts);
        int[] slots = new int[unit.Slots];
        for (int node = 0; node < unit.Nodes; node++)
        {
            int[] gpus = Assign(now.SlotExpert, next.SlotExpert, nodes[node] * perNode, node * perNode, unit.GpusPerNode, perGpu, unit.Experts);
            for (int gpu = 0; gpu < unit.GpusPerNode; gpu++)
            {
                int from = (node * perNode) + (gpu * perGpu), to = (nodes[node] * perNode) + (gpus[gpu] * perGpu);
                Keep(now.SlotExpert.AsSpan(to, perGpu), next.SlotExpert.AsSpan(from, perGpu), slots.AsSpan(to, perGpu));
            }
        }

        return FromSlots(slots, unit.Experts);
    }

    /// <summary>A plan from what each slot holds; replicas are counted in the order of their slots.</summary>
    public static ReplicaPlan FromSlots(int[] slotExpert, int experts)
    {
        var replicas = new List<int>[experts];
        for (int slot = 0; slot < slotExpert.Length; slot++) (replicas[slotExpert[slot]] ??= []).Add(slot);
        return new(slotExpert, [.. replicas.Select(r => r?.ToArray() ?? [])]);
    }

    // [part of next] → part of now: pairs of parts in order of what they have in common; ties go to the lower numbers.
    static int[] Assign(int[] now, int[] next, int nowStart, int nextStart, int parts, int size, int experts)
    {
        var pairs = new List<(int Common, int Next, int Now)>(parts * parts);
        int[] count = new int[experts];
        for (int a = 0; a < parts; a++)
        {
            for (int b = 0; b < parts; b++)
            {
                Array.Clear(count);
                foreach (int expert in now.AsSpan(nowStart + (b * size), size)) count[expert]++;
                int common = 0;
                foreach (int expert in next.AsSpan(nextStart + (a * size), size))
                    if (count[expert]-- > 0) common++;
                pairs.Add((common, a, b));
            }
        }

        int[] assigned = new int[parts];
        Array.Fill(assigned, -1);
        var taken = new bool[parts];
        foreach ((int _, int a, int b) in pairs.OrderByDescending(p => p.Common).ThenBy(p => p.Next).ThenBy(p => p.Now))
        {
            if (assigned[a] >= 0 || taken[b]) continue;
            assigned[a] = b;
            taken[b] = true;
        }

        return assigned;
    }

    // Experts that stay on the GPU keep their slot; the others fill what is free.
    static void Keep(ReadOnlySpan<int> now, ReadOnlySpan<int> next, Span<int> slots)
    {
        slots.Fill(-1);
        var rest = new List<int>(next.Length);
        foreach (int expert in next)
        {
            int slot = -1;
            for (int s = 0; s < now.Length && slot < 0; s++)
                if (now[s] == expert && slots[s] < 0) slot = s;
            if (slot >= 0) slots[slot] = expert;
            else rest.Add(expert);
        }

        int at = 0;
        for (int s = 0; s < slots.Length; s++)
            if (slots[s] < 0) slots[s] = rest[at++];
    }
}
