using Hadal.Parallel.Ranks;
using Hadal.Parallel.Serving;

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

    /// <summary>Whether every rank keeps a list of the messages that it got: <see cref="VirtualClock.Passed"/>.</summary>
    public bool KeepsMessages { get; init; }

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
        var clock = new VirtualClock(KeepsMessages);
        using var group = new VirtualGroup(inner, this, clock);
        work(group, clock);
    }, patience);
}

/// <summary>A message that came, on the simulated clock.</summary>
/// <param name="From">Rank that sent it.</param>
/// <param name="To">Rank that got it.</param>
/// <param name="Bytes">Its bytes, as many as they stand for.</param>
/// <param name="Left">When its first byte left the sender's port.</param>
/// <param name="Began">When its first byte was at the receiver's port.</param>
/// <param name="Ended">When its last byte was.</param>
public readonly record struct PassedMessage(int From, int To, double Bytes, double Left, double Began, double Ended);

/// <summary>The simulated time of one rank, and what it has put on its links.</summary>
/// <param name="keepsMessages">Whether messages are listed.</param>
public sealed class VirtualClock(bool keepsMessages = false)
{
    internal const int InsideOut = 0, BetweenOut = 1, InsideIn = 2, BetweenIn = 3;
    readonly long[] _bytes = new long[4];
    readonly double[] _held = new double[4];
    readonly List<PassedMessage>? _passed = keepsMessages ? [] : null;

    /// <summary>Seconds since the beginning.</summary>
    public double Now { get; private set; }

    /// <summary>Seconds that the rank worked.</summary>
    public double Busy { get; private set; }

    /// <summary>Bytes sent inside the node, to other ranks.</summary>
    public long BytesInside => _bytes[InsideOut];

    /// <summary>Bytes sent to other nodes.</summary>
    public long BytesBetween => _bytes[BetweenOut];

    /// <summary>Bytes on each port.</summary>
    public PortBytes Bytes => new(_bytes[InsideOut], _bytes[BetweenOut], _bytes[InsideIn], _bytes[BetweenIn]);

    /// <summary>Seconds that the rank's busiest port was held: nothing that it sent or got can have taken less.</summary>
    public double LongestHeld => _held.Max();

    /// <summary>Messages sent.</summary>
    public long Messages { get; private set; }

    /// <summary>Messages that came, in order; none unless the cluster keeps them.</summary>
    public IReadOnlyList<PassedMessage> Passed => _passed ?? [];

    /// <summary>How many bytes each byte of a message stands for, where a small run stands for a large one. Sender and receiver have the same.</summary>
    public double Scale { get; set; } = 1;

    /// <summary>When each port is free again: out inside the node and between nodes, then in.</summary>
    internal double[] Free { get; } = new double[4];

    /// <summary>The rank works.</summary>
    public void Work(double seconds)
    {
        Now += seconds;
        Busy += seconds;
    }

    /// <summary>The rank has worked beside what went on since a moment, such as messages that wait for nobody's arithmetic.</summary>
    /// <param name="since">When it began.</param>
    /// <param name="seconds">How long it worked.</param>
    public void WorkBeside(double since, double seconds)
    {
        Busy += seconds;
        WaitUntil(since + seconds);
    }

    /// <summary>Begins anew: what came before, such as finding groups, does not count. All ranks call it, with no message on the way.</summary>
    public void Restart()
    {
        (Now, Busy, Messages) = (0, 0, 0);
        foreach (Array array in (Array[])[Free, _bytes, _held]) Array.Clear(array);
        _passed?.Clear();
    }

    internal void WaitUntil(double time) => Now = Math.Max(Now, time);

    // A message on the way out: when it leaves.
    internal double Send(long bytes, bool crosses, in LinkSpeed link)
    {
        int port = crosses ? BetweenOut : InsideOut;
        double left = Math.Max(Now, Free[port]);
        Hold(port, left, bytes, link);
        Messages++;
        return left;
    }

    // A message on the way in: when its last byte is there.
    internal double Receive(int from, int to, double left, long bytes, bool crosses, in LinkSpeed link)
    {
        int port = crosses ? BetweenIn : InsideIn;
        double began = Math.Max(left + link.LatencySeconds, Free[port]);
        Hold(port, began, bytes, link);
        _passed?.Add(new(from, to, bytes * Scale, left, began, Free[port]));
        return Free[port];
    }

    void Hold(int port, double since, long bytes, in LinkSpeed link)
    {
        double seconds = bytes * Scale / link.BytesPerSecond;
        Free[port] = since + seconds;
        _bytes[port] += bytes;
        _held[port] += seconds;
    }
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

    internal override RankLostException? Loss => inner.Loss;

    internal override RankLostException Lose(int rank, string reason) => inner.Lose(rank, reason);

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
            heads[i] = peer == self ? clock.Now : clock.Send(transfer.Bytes, cluster.Crosses(self, peer), Link(self, peer));
        }

        inner.Exchange(_batch.AsSpan(0, 2 * batch.Length));
        double last = clock.Now;
        for (int i = 0; i < batch.Length; i++)
        {
            if (batch[i].IsSend) continue;
            int peer = WorldRank(batch[i].Peer);
            if (peer == self) continue;
            last = Math.Max(last, clock.Receive(peer, self, heads[i], batch[i].Bytes, cluster.Crosses(self, peer), Link(self, peer)));
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

    LinkSpeed Link(int self, int peer) => cluster.Crosses(self, peer) ? cluster.Between : cluster.Inside;
}
