using System.Collections.Concurrent;

namespace Hadal.Parallel.Ranks;

/// <summary>What all in-process ranks share: who still works, who waits for whom, who was lost first.</summary>
sealed class InProcessWorld(int size, TimeSpan? patience)
{
    readonly int[] _waitsFor = NoOne(size);
    readonly bool[] _ended = new bool[size];
    readonly Lock _lossLock = new();
    RankLostException? _loss;

    /// <summary>Milliseconds between two looks of a waiting rank; more where many would look.</summary>
    public int Nap { get; } = Math.Max(20, size / 2);

    /// <summary>How long a rank may be silent before it counts as lost; null for ever.</summary>
    public TimeSpan? Patience => patience;

    /// <summary>The first loss, which everyone names.</summary>
    public RankLostException? Loss => Volatile.Read(ref _loss);

    /// <summary>The rank's work came to its end.</summary>
    public void End(int rank) => Volatile.Write(ref _ended[rank], value: true);

    /// <summary>True when no further message of the rank can come.</summary>
    public bool HasEnded(int rank) => Volatile.Read(ref _ended[rank]);

    /// <summary>Says whom a rank waits for; −1 when it works.</summary>
    public void Wait(int rank, int peer) => Volatile.Write(ref _waitsFor[rank], peer);

    /// <summary>Notes the first loss; later ones are its consequences.</summary>
    public RankLostException Lose(int rank, string reason, Exception? cause = null)
    {
        lock (_lossLock)
        {
            if (_loss is null) Volatile.Write(ref _loss, new RankLostException(rank, reason, cause));
            return _loss!;
        }
    }

    /// <summary>A rank waited longer than the patience: finds who is at the end of the chain of waiting.</summary>
    public RankLostException LoseSilent(int rank)
    {
        var chain = new List<int> { rank };
        while (true)
        {
            int next = Volatile.Read(ref _waitsFor[chain[^1]]);
            if (next < 0) return Lose(chain[^1], $"Rank {chain[^1]} was lost: it was silent for {patience!.Value.TotalSeconds:0.###} s while rank {chain[0]} waited.");
            int seen = chain.IndexOf(next);
            if (seen >= 0) return Lose(-1, $"Ranks wait for each other in a circle: {string.Join(" waits for ", chain[seen..].Append(next))}.");
            chain.Add(next);
        }
    }

    static int[] NoOne(int size)
    {
        var waits = new int[size];
        Array.Fill(waits, -1);
        return waits;
    }
}

/// <summary>The channels of one group, shared by its members' views.</summary>
sealed class InProcessHub(InProcessWorld world, int[] worldRanks)
{
    readonly InProcessChannel?[] _channels = new InProcessChannel?[worldRanks.Length * worldRanks.Length];
    readonly ConcurrentDictionary<(int Split, int Color), InProcessHub> _parts = new();

    public InProcessWorld World => world;

    public int[] WorldRanks => worldRanks;

    public InProcessChannel Channel(int from, int to)
    {
        ref InProcessChannel? channel = ref _channels[from * worldRanks.Length + to];
        return Volatile.Read(ref channel) ?? Interlocked.CompareExchange(ref channel, new InProcessChannel(world.Nap), comparand: null) ?? channel!;
    }

    public InProcessHub Part(int split, int color, int[] members) =>
        _parts.GetOrAdd((split, color), static (_, made) => new InProcessHub(made.World, [.. made.Members.Select(member => made.Ranks[member])]), (World: world, Members: members, Ranks: worldRanks));
}
