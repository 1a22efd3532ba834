using Hadal.Parallel.Experts;

namespace Hadal.Parallel.Serving;

/// <summary>How rows reach the GPUs that hold their experts.</summary>
public enum UnitPath
{
    /// <summary>Once to each node, to the GPU of the sender's place there, which hands it on inside the node: prefilling [V3 §3.4.1].</summary>
    ThroughNodes,

    /// <summary>Straight to each GPU: decoding [V3 §3.4.2].</summary>
    Straight,
}

/// <summary>What one step of a unit puts on its GPUs and links in one layer, counted token by token on a placement with the replicas that a dispatch would choose.</summary>
public sealed class UnitTraffic
{
    readonly ExpertUnit _unit;
    readonly UnitPath _path;
    readonly bool[] _gpuSeen;

    /// <summary>Nothing yet.</summary>
    public UnitTraffic(ExpertUnit unit, UnitPath path)
    {
        (_unit, _path) = (unit, path);
        _gpuSeen = new bool[unit.Gpus];
        Pairs = new long[unit.Gpus];
        (BetweenOut, BetweenIn, InsideOut, InsideIn) = (new long[unit.Gpus], new long[unit.Gpus], new long[unit.Gpus], new long[unit.Gpus]);
    }

    /// <summary>[GPUs]: pairs of token and expert that each computes.</summary>
    public long[] Pairs { get; }

    /// <summary>[GPUs]: rows that dispatch sends to other nodes; combine brings as many back the same way.</summary>
    public long[] BetweenOut { get; }

    /// <summary>[GPUs]: rows that dispatch gets from other nodes.</summary>
    public long[] BetweenIn { get; }

    /// <summary>[GPUs]: rows that dispatch sends inside the node.</summary>
    public long[] InsideOut { get; }

    /// <summary>[GPUs]: rows that dispatch gets inside the node.</summary>
    public long[] InsideIn { get; }

    /// <summary>Tokens counted.</summary>
    public long Tokens { get; private set; }

    /// <summary>Pairs of the fullest GPU over the mean.</summary>
    public double Balance => Tokens == 0 ? 1 : Pairs.Max() * (double)Pairs.Length / Pairs.Sum();

    /// <summary>Most rows that one GPU has on its port between nodes, in either direction.</summary>
    public long MostBetween => Math.Max(BetweenOut.Max(), BetweenIn.Max());

    /// <summary>The same inside a node.</summary>
    public long MostInside => Math.Max(InsideOut.Max(), InsideIn.Max());

    /// <summary>Counts the tokens of one GPU.</summary>
    /// <param name="plan">Where experts lie.</param>
    /// <param name="source">The GPU that has the tokens.</param>
    /// <param name="choices">[tokens · topK]: their experts.</param>
    /// <param name="topK">Experts of a token.</param>
    public void Add(ReplicaPlan plan, int source, ReadOnlySpan<int> choices, int topK)
    {
        int perNode = _unit.GpusPerNode, place = source % perNode, home = source / perNode;
        Span<int> gpus = stackalloc int[topK];
        for (int t = 0; t * topK < choices.Length; t++)
        {
            int reached = 0;
            for (int k = 0; k < topK; k++)
            {
                int expert = choices[(t * topK) + k];
                if (expert < 0) continue;
                int gpu = _unit.GpuOf(ReplicaChoice.Slot(plan, expert, source, t));
                Pairs[gpu]++;
                if (_gpuSeen[gpu]) continue;
                int node = gpu / perNode, relay = (node * perNode) + place;
                bool nodeSeen = false;
                for (int i = 0; i < reached; i++) nodeSeen |= gpus[i] / perNode == node;
                _gpuSeen[gpu] = true;
                gpus[reached++] = gpu;
                if (_path == UnitPath.Straight)
                {
                    if (gpu == source) continue;
                    Count(node == home, source, gpu);
                    continue;
                }

                if (!nodeSeen && node != home) Count(inside: false, source, relay);
                if (gpu != relay) Count(inside: true, relay, gpu);
            }

            foreach (int gpu in gpus[..reached]) _gpuSeen[gpu] = false;
            Tokens++;
        }
    }

    void Count(bool inside, int from, int to)
    {
        (inside ? InsideOut : BetweenOut)[from]++;
        (inside ? InsideIn : BetweenIn)[to]++;
    }
}
