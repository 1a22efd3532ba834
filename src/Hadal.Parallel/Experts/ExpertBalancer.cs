namespace Hadal.Parallel.Experts;

/// <summary>Where the replicas of one layer's experts lie. A slot is a place for one expert; a GPU's slots follow each other, a node's GPUs too.</summary>
/// <param name="SlotExpert">[slots]: the expert in each slot.</param>
/// <param name="ExpertSlots">[experts]: the slots of each expert's replicas, in the order in which they were made.</param>
public sealed record ReplicaPlan(int[] SlotExpert, int[][] ExpertSlots)
{
    /// <summary>Load of each GPU when an expert's load spreads evenly over its replicas.</summary>
    /// <param name="load">[experts].</param>
    /// <param name="gpus">Number of GPUs.</param>
    public double[] LoadPerGpu(ReadOnlySpan<double> load, int gpus)
    {
        var sums = new double[gpus];
        int perGpu = SlotExpert.Length / gpus;
        for (int slot = 0; slot < SlotExpert.Length; slot++) sums[slot / perGpu] += load[SlotExpert[slot]] / ExpertSlots[SlotExpert[slot]].Length;
        return sums;
    }
}

/// <summary>
/// Balancing of experts for serving [V3 §3.4; the EPLB repository]: experts with much load get more replicas, and replicas are packed onto GPUs so that
/// the GPUs' loads are close. Layers are balanced one by one. Everything is greedy and deterministic: ties go to the lower index.
/// </summary>
public static class ExpertBalancer
{
    /// <summary>
    /// Plans one layer. With groups that divide evenly over nodes the plan is hierarchical: a group's experts stay on one node, as node-limited routing wants
    /// (prefilling). Otherwise it is global (decoding).
    /// </summary>
    /// <param name="load">[experts]: estimated load; any unit.</param>
    /// <param name="slots">Replicas in all; a multiple of <paramref name="gpus"/>, at least the experts.</param>
    /// <param name="groups">Groups of experts.</param>
    /// <param name="nodes">Nodes.</param>
    /// <param name="gpus">GPUs of all nodes; a multiple of <paramref name="nodes"/>.</param>
    /// <exception cref="ArgumentException">The numbers do not divide, or a load is negative or not finite.</exception>
    public static ReplicaPlan Plan(ReadOnlySpan<double> load, int slots, int groups, int nodes, int gpus)
    {
        int experts = load.Length;
        Require(experts > 0 && groups > 0 && experts % groups == 0, $"{experts} experts in {groups} groups were given; expected groups of one size.");
        Require(nodes > 0 && gpus > 0 && gpus % nodes == 0, $"{gpus} GPUs on {nodes} nodes were given; expected as many on each node.");
        Require(slots >= experts && slots % gpus == 0, $"{slots} slots were given for {experts} experts on {gpus} GPUs; expected a multiple of the GPUs, at least the experts.");
        foreach (double value in load) Require(value >= 0 && double.IsFinite(value), $"The load {value} was given; expected a number from 0 up.");
        bool hierarchical = groups % nodes == 0;
        if (!hierarchical) groups = nodes = 1;

        // 1: groups onto nodes; experts are renumbered node by node.
        int groupSize = experts / groups, groupsPerNode = groups / nodes, expertsPerNode = experts / nodes, slotsPerNode = slots / nodes, gpusPerNode = gpus / nodes;
        var groupLoad = new double[groups];
        for (int expert = 0; expert < experts; expert++) groupLoad[expert / groupSize] += load[expert];
        (int[] node, int[] place) = Pack(groupLoad, nodes);
        var renumbered = new int[experts];
        for (int expert = 0; expert < experts; expert++)
        {
            int group = expert / groupSize;
            renumbered[(node[group] * groupsPerNode + place[group]) * groupSize + expert % groupSize] = expert;
        }

        var slotExpert = new int[slots];
        var expertSlots = new int[experts][];
        for (int n = 0; n < nodes; n++)
        {
            // 2: replicas inside the node.
            ReadOnlySpan<int> own = renumbered.AsSpan(n * expertsPerNode, expertsPerNode);
            var ownLoad = new double[expertsPerNode];
            for (int i = 0; i < expertsPerNode; i++) ownLoad[i] = load[own[i]];
            (int[] replicaOf, int[] number, int[] count) = Replicate(ownLoad, slotsPerNode);

            // 3: replicas onto the node's GPUs.
            var share = new double[slotsPerNode];
            for (int replica = 0; replica < slotsPerNode; replica++) share[replica] = ownLoad[replicaOf[replica]] / count[replicaOf[replica]];
            (int[] gpu, int[] position) = Pack(share, gpusPerNode);
            for (int i = 0; i < expertsPerNode; i++) expertSlots[own[i]] = new int[count[i]];
            for (int replica = 0; replica < slotsPerNode; replica++)
            {
                int slot = n * slotsPerNode + gpu[replica] * (slotsPerNode / gpusPerNode) + position[replica], expert = own[replicaOf[replica]];
                slotExpert[slot] = expert;
                expertSlots[expert][number[replica]] = slot;
            }
        }

        return new(slotExpert, expertSlots);
    }

    /// <summary>Puts items into bins of one size: the heaviest first, each into the lightest bin that has room.</summary>
    static (int[] Bin, int[] Place) Pack(double[] weights, int bins)
    {
        int room = weights.Length / bins;
        int[] bin = new int[weights.Length], place = new int[weights.Length], used = new int[bins];
        var sums = new double[bins];
        bool one = room == 1;
        int[] order = [.. one ? Enumerable.Range(0, weights.Length) : Enumerable.Range(0, weights.Length).OrderByDescending(item => weights[item])];
        foreach (int item in order)
        {
            int lightest = -1;
            for (int b = 0; b < bins; b++)
                if (used[b] < room && (lightest < 0 || (!one && sums[b] < sums[lightest]))) lightest = b;
            bin[item] = lightest;
            place[item] = used[lightest]++;
            sums[lightest] += weights[item];
        }

        return (bin, place);
    }

    /// <summary>Gives every expert one replica, then each further one to the expert with the most load a replica.</summary>
    static (int[] Expert, int[] Number, int[] Count) Replicate(double[] load, int replicas)
    {
        int[] expert = new int[replicas], number = new int[replicas], count = new int[load.Length];
        Array.Fill(count, 1);
        for (int replica = 0; replica < replicas; replica++)
        {
            if (replica < load.Length)
            {
                expert[replica] = replica;
                continue;
            }

            int most = 0;
            for (int e = 1; e < load.Length; e++)
                if (load[e] / count[e] > load[most] / count[most]) most = e;
            expert[replica] = most;
            number[replica] = count[most]++;
        }

        return (expert, number, count);
    }

    static void Require(bool condition, string message)
    {
        if (!condition) throw new ArgumentException(message);
    }
}
