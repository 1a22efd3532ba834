namespace Hadal.Parallel.Experts;

/// <summary>
/// Which rank owns which expert, and the way a token takes there [V3 §3.2.2]: once to each node, to the rank with the sender's own place in the node, which
/// hands it on inside the node to the ranks that own the chosen experts.
/// </summary>
/// <param name="Experts">Routed experts; each rank owns as many, in order.</param>
/// <param name="Nodes">Nodes.</param>
/// <param name="RanksPerNode">Ranks of a node.</param>
public sealed record ExpertLayout(int Experts, int Nodes, int RanksPerNode)
{
    /// <summary>Ranks of all nodes.</summary>
    public int Ranks => Nodes * RanksPerNode;

    /// <summary>Experts of a rank.</summary>
    public int ExpertsPerRank => Experts / Ranks;

    /// <summary>The rank that owns an expert.</summary>
    public int Owner(int expert) => expert / ExpertsPerRank;

    /// <summary>The node of a rank.</summary>
    public int Node(int rank) => rank / RanksPerNode;

    /// <summary>The rank of <paramref name="node"/> that takes tokens of <paramref name="source"/> in; the source itself on its own node.</summary>
    public int Relay(int source, int node) => node * RanksPerNode + source % RanksPerNode;

    /// <summary>Refuses numbers that do not divide.</summary>
    /// <exception cref="ArgumentException">Ranks would own different numbers of experts.</exception>
    public void Validate()
    {
        if (Nodes < 1 || RanksPerNode < 1 || Experts < 1 || Experts % ((long)Nodes * RanksPerNode) != 0)
            throw new ArgumentException($"{Experts} experts on {Nodes} nodes of {RanksPerNode} ranks were given; expected a multiple of the ranks.");
    }
}

/// <summary>What one rank's tokens put on the links: counts of copies of one token's row.</summary>
public sealed class DispatchLoad
{
    readonly ExpertLayout _layout;
    readonly int _source;
    readonly bool[] _rankSeen;

    /// <summary>Nothing yet.</summary>
    /// <param name="layout">Where experts lie.</param>
    /// <param name="source">The rank whose tokens are counted.</param>
    public DispatchLoad(ExpertLayout layout, int source)
    {
        layout.Validate();
        if ((uint)source >= (uint)layout.Ranks) throw new ArgumentOutOfRangeException(nameof(source), source, $"Rank {source} was given; the layout has ranks 0 to {layout.Ranks - 1}.");
        _layout = layout;
        _source = source;
        _rankSeen = new bool[layout.Ranks];
        TokensPerRank = new int[layout.Ranks];
        TokensPerNode = new int[layout.Nodes];
        TokensPerExpert = new int[layout.Experts];
    }

    /// <summary>[ranks]: tokens with an expert there, each counted once.</summary>
    public int[] TokensPerRank { get; }

    /// <summary>[nodes]: tokens with an expert there, each counted once.</summary>
    public int[] TokensPerNode { get; }

    /// <summary>[experts]: tokens that chose it.</summary>
    public int[] TokensPerExpert { get; }

    /// <summary>Rows between nodes: one for each token and foreign node.</summary>
    public long RowsBetweenNodes { get; private set; }

    /// <summary>Rows inside nodes: from the relay to each owner on its node that is another rank.</summary>
    public long RowsInsideNodes { get; private set; }

    /// <summary>Rows between nodes if each went straight to every chosen expert's rank: what the relay saves.</summary>
    public long NaiveRowsBetweenNodes { get; private set; }

    /// <summary>Most foreign and own nodes that one token went to.</summary>
    public int MostNodes { get; private set; }

    /// <summary>Counts one token.</summary>
    /// <param name="experts">Its chosen experts; negative for none.</param>
    public void Add(ReadOnlySpan<int> experts)
    {
        int nodes = 0;
        foreach (int expert in experts)
        {
            if (expert < 0) continue;
            if (expert >= _layout.Experts) throw new ArgumentException($"Expert {expert} was chosen; the layout has experts 0 to {_layout.Experts - 1}.", nameof(experts));
            TokensPerExpert[expert]++;
            int rank = _layout.Owner(expert), node = _layout.Node(rank);
            bool foreign = node != _layout.Node(_source);
            if (foreign) NaiveRowsBetweenNodes++;
            if (_rankSeen[rank]) continue;
            bool nodeSeen = _rankSeen.AsSpan(node * _layout.RanksPerNode, _layout.RanksPerNode).Contains(value: true);
            _rankSeen[rank] = true;
            TokensPerRank[rank]++;
            if (rank != _layout.Relay(_source, node)) RowsInsideNodes++;
            if (nodeSeen) continue;
            TokensPerNode[node]++;
            nodes++;
            if (foreign) RowsBetweenNodes++;
        }

        MostNodes = Math.Max(MostNodes, nodes);
        foreach (int expert in experts)
            if (expert >= 0) _rankSeen[_layout.Owner(expert)] = false;
    }
}
