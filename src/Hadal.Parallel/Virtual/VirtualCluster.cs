using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Virtual;

/// <summary>A kind of link.</summary>
/// <param name="BytesPerSecond">Of one rank, each way; infinity for a link that takes no time.</param>
/// <param name="LatencySeconds">From the first byte sent to its arrival.</param>
public readonly record struct LinkSpeed(double BytesPerSecond, double LatencySeconds)
{
    /// <summary>A link that takes no time.</summary>
    public static LinkSpeed Instant { get; } = new(double.PositiveInfinity, 0);
}

/// <summary>
/// Nodes of GPUs that do not exist: ranks are threads of this process, their messages really travel, and a simulated clock says when each would have arrived. Every rank
/// has a port of its own inside its node and one between nodes (NVLink and a network card [V3 §3.1]).
/// </summary>
/// <param name="Nodes">Nodes.</param>
/// <param name="RanksPerNode">GPUs of a node; ranks are numbered node by node.</param>
/// <param name="Inside">Links inside a node.</param>
/// <param name="Between">Links between nodes.</param>
public sealed record VirtualCluster(int Nodes, int RanksPerNode, LinkSpeed Inside, LinkSpeed Between)
{
    /// <summary>The bandwidths of the report: 160 GB/s over NVLink, 50 GB/s over InfiniBand [V3 §3.2.2]; latencies of the hardware paper, 3.33 and 3.7 µs.</summary>
    public static VirtualCluster Published(int nodes) => new(nodes, 8, new(160e9, 3.33e-6), new(50e9, 3.7e-6));

    /// <summary>All ranks.</summary>
    public int Ranks => Nodes * RanksPerNode;

    /// <summary>True when a message leaves its node.</summary>
    public bool Crosses(int from, int to) => from / RanksPerNode != to / RanksPerNode;

    /// <summary>Runs <paramref name="work"/> on every rank.</summary>
    /// <param name="work">The program; it is given the group of all ranks and its clock.</param>
    /// <param name="patience">Real time that a rank may be silent; null: as long as it likes.</param>
    /// <exception cref="RankLostException">A rank was lost.</exception>
    public void Run(Action<ProcessGroup, VirtualClock> work, TimeSpan? patience = null) => InProcessRanks.Run(Ranks, inner =>
    {
        var clock = new VirtualClock();
        using var group = new VirtualGroup(inner, this, clock);
        work(group, clock);
    }, patience);
}

/// <summary>The simulated time of one rank, and what it has put on its links.</summary>
public sealed class VirtualClock
{
    /// <summary>Seconds since the beginning.</summary>
    public double Now { get; private set; }

    /// <summary>Seconds that the rank worked.</summary>
    public double Busy { get; private set; }

    /// <summary>Bytes sent inside the node, to other ranks.</summary>
    public long BytesInside { get; internal set; }

    /// <summary>Bytes sent to other nodes.</summary>
    public long BytesBetween { get; internal set; }

    /// <summary>Messages sent.</summary>
    public long Messages { get; internal set; }

    /// <summary>When each port is free again: out and in, inside the node and between nodes.</summary>
    internal double[] Free { get; } = new double[4];

    /// <summary>The rank works.</summary>
    public void Work(double seconds)
    {
        Now += seconds;
        Busy += seconds;
    }

    /// <summary>Begins anew: what came before, such as finding groups, does not count. All ranks call it, with no message on the way.</summary>
    public void Restart()
    {
        (Now, Busy, BytesInside, BytesBetween, Messages) = (0, 0, 0, 0, 0);
        Array.Clear(Free);
    }

    internal void WaitUntil(double time) => Now = Math.Max(Now, time);
}

/// <summary>
/// A group on the simulated clock. A message leaves when its sender has come so far and the port is free, and keeps both ports for its length; sending takes no time of the
/// rank, receiving waits for the last byte. Its head carries when it left. Times depend on the order of messages alone, never on the threads.
/// </summary>
sealed unsafe class VirtualGroup(ProcessGroup inner, VirtualCluster cluster, VirtualClock clock, bool ownsInner = false) : ProcessGroup(inner.Rank, inner.Size)
{
    Transfer[] _batch = [];
    Hadal.Tensors.HostMemory _heads = new(64);

    public override string Transport => $"virtual cluster of {cluster.Nodes} x {cluster.RanksPerNode}";

    public override int WorldRank(int rank) => inner.WorldRank(rank);

    internal override void ThrowIfLost() => inner.ThrowIfLost();

    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        if (_batch.Length < 2 * batch.Length)
        {
            _batch = new Transfer[2 * batch.Length];
            _heads.Dispose();
            _heads = new Hadal.Tensors.HostMemory((long)batch.Length * sizeof(double));
        }

        int self = WorldRank(Rank);
        double* heads = (double*)_heads.Address;
        for (int i = 0; i < batch.Length; i++)
        {
            Transfer transfer = batch[i];
            _batch[2 * i] = new(transfer.IsSend, transfer.Peer, (nint)(heads + i), sizeof(double));
            _batch[(2 * i) + 1] = transfer;
            int peer = WorldRank(transfer.Peer);
            if (!transfer.IsSend) continue;
            heads[i] = clock.Now;
            if (peer == self) continue;
            bool crosses = cluster.Crosses(self, peer);
            ref double free = ref clock.Free[crosses ? 1 : 0];
            heads[i] = Math.Max(clock.Now, free);
            free = heads[i] + Duration(transfer.Bytes, crosses);
            clock.Messages++;
            if (crosses) clock.BytesBetween += transfer.Bytes;
            else clock.BytesInside += transfer.Bytes;
        }

        inner.Exchange(_batch.AsSpan(0, 2 * batch.Length));
        double last = clock.Now;
        for (int i = 0; i < batch.Length; i++)
        {
            if (batch[i].IsSend) continue;
            int peer = WorldRank(batch[i].Peer);
            if (peer == self) continue;
            bool crosses = cluster.Crosses(self, peer);
            ref double free = ref clock.Free[crosses ? 3 : 2];
            double begins = Math.Max(heads[i] + (crosses ? cluster.Between : cluster.Inside).LatencySeconds, free);
            free = begins + Duration(batch[i].Bytes, crosses);
            last = Math.Max(last, free);
        }

        clock.WaitUntil(last);
    }

    protected override ProcessGroup CreatePart(int split, int color, int[] members) =>
        new VirtualGroup(inner.Split(color, Array.IndexOf(members, Rank))!, cluster, clock, ownsInner: true);

    protected override void Dispose(bool disposing)
    {
        _heads.Dispose();
        if (ownsInner) inner.Dispose();
    }

    double Duration(long bytes, bool crosses) => bytes / (crosses ? cluster.Between : cluster.Inside).BytesPerSecond;
}
