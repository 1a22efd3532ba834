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

/// <summary>Bytes on the ports of a GPU.</summary>
/// <param name="InsideOut">To GPUs of its node.</param>
/// <param name="BetweenOut">To other nodes.</param>
/// <param name="InsideIn">From GPUs of its node.</param>
/// <param name="BetweenIn">From other nodes.</param>
public readonly record struct PortBytes(long InsideOut, long BetweenOut, long InsideIn, long BetweenIn)
{
    /// <summary>Port by port.</summary>
    public static PortBytes operator +(PortBytes left, PortBytes right) =>
        new(left.InsideOut + right.InsideOut, left.BetweenOut + right.BetweenOut, left.InsideIn + right.InsideIn, left.BetweenIn + right.BetweenIn);

    /// <summary>Port by port.</summary>
    public static PortBytes operator -(PortBytes left, PortBytes right) =>
        new(left.InsideOut - right.InsideOut, left.BetweenOut - right.BetweenOut, left.InsideIn - right.InsideIn, left.BetweenIn - right.BetweenIn);
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
        (ResultsBetweenOut, ResultsBetweenIn, ResultsInsideOut, ResultsInsideIn) = (new long[unit.Gpus], new long[unit.Gpus], new long[unit.Gpus], new long[unit.Gpus]);
    }

    /// <summary>[GPUs]: pairs of token and expert that each computes.</summary>
    public long[] Pairs { get; }

    /// <summary>[GPUs]: rows that dispatch sends to other nodes; a combine that adds a node's results on their way brings as many back.</summary>
    public long[] BetweenOut { get; }

    /// <summary>[GPUs]: rows that dispatch gets from other nodes.</summary>
    public long[] BetweenIn { get; }

    /// <summary>[GPUs]: rows that dispatch sends inside the node.</summary>
    public long[] InsideOut { get; }

    /// <summary>[GPUs]: rows that dispatch gets inside the node.</summary>
    public long[] InsideIn { get; }

    /// <summary>[GPUs]: results that a combine sends to other nodes when each comes back by itself, as those of <see cref="ReplicaExchange"/> do: one for each pair.</summary>
    public long[] ResultsBetweenOut { get; }

    /// <summary>[GPUs]: such results from other nodes.</summary>
    public long[] ResultsBetweenIn { get; }

    /// <summary>[GPUs]: such results sent inside the node.</summary>
    public long[] ResultsInsideOut { get; }

    /// <summary>[GPUs]: such results from inside the node.</summary>
    public long[] ResultsInsideIn { get; }

    /// <summary>Dispatches counted: calls of <see cref="Add"/> for each GPU.</summary>
    public long Dispatches { get; private set; }

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
        if (source == 0) Dispatches++;
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
                CountResult(source, gpu);
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

    /// <summary>Bytes that <see cref="ReplicaExchange"/> puts on the ports of a GPU for the tokens counted: rows out, results back, and before each dispatch the numbers of rows.</summary>
    /// <param name="gpu">Which GPU.</param>
    /// <param name="rowBytes">Of a token on its way out.</param>
    /// <param name="resultBytes">Of a result on its way back.</param>
    public PortBytes Bytes(int gpu, long rowBytes, long resultBytes)
    {
        long nodes = _unit.Nodes, perNode = _unit.GpusPerNode;
        (long inside, long between) = _path == UnitPath.Straight
            ? (Dispatches * sizeof(int) * (perNode - 1), Dispatches * sizeof(int) * (_unit.Gpus - perNode))
            : (Dispatches * sizeof(int) * nodes * (perNode - 1), Dispatches * sizeof(int) * (nodes - 1));
        return new(
            inside + (InsideOut[gpu] * rowBytes) + (ResultsInsideOut[gpu] * resultBytes), between + (BetweenOut[gpu] * rowBytes) + (ResultsBetweenOut[gpu] * resultBytes),
            inside + (InsideIn[gpu] * rowBytes) + (ResultsInsideIn[gpu] * resultBytes), between + (BetweenIn[gpu] * rowBytes) + (ResultsBetweenIn[gpu] * resultBytes));
    }

    // The way back: straight, or to the GPU of the sender's place inside the node and across from there.
    void CountResult(int source, int gpu)
    {
        int perNode = _unit.GpusPerNode, home = source / perNode, node = gpu / perNode, relay = _path == UnitPath.Straight ? gpu : (node * perNode) + (source % perNode);
        if (gpu != relay) Result(inside: true, gpu, relay);
        if (relay != source) Result(node == home, relay, source);

        void Result(bool inside, int from, int to)
        {
            (inside ? ResultsInsideOut : ResultsBetweenOut)[from]++;
            (inside ? ResultsInsideIn : ResultsBetweenIn)[to]++;
        }
    }

    void Count(bool inside, int from, int to)
    {
        (inside ? InsideOut : BetweenOut)[from]++;
        (inside ? InsideIn : BetweenIn)[to]++;
    }
}
