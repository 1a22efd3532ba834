namespace Hadal.Parallel.Serving;

/// <summary>The way of one step's tokens through one layer of redundant experts: made by a dispatch, followed by the combine. Arrays are worst case and used again.</summary>
/// <param name="unit">Nodes, GPUs, slots.</param>
/// <param name="path">How rows reach GPUs.</param>
/// <param name="tokens">Tokens of a rank, at most.</param>
/// <param name="topK">Experts of a token.</param>
sealed class ReplicaRoute(ExpertUnit unit, UnitPath path, int tokens, int topK)
{
    /// <summary>Tokens of a rank, at most.</summary>
    public int Tokens => tokens;

    /// <summary>Experts of a token.</summary>
    public int TopK => topK;

    /// <summary>[tokens, topK]: where each chosen expert's replica is: a rank, or a node where rows go through nodes; −1 for none.</summary>
    public int[] Goal { get; } = new int[tokens * topK];

    /// <summary>[goals]: own tokens that go to each.</summary>
    public int[] SendTokens { get; } = new int[Goals(unit, path)];

    /// <summary>[goals]: own pairs of token and expert that go to each; as many rows come back.</summary>
    public int[] SendPairs { get; } = new int[Goals(unit, path)];

    /// <summary>[goals]: tokens that come from each: for experts here, or to be handed on in this node.</summary>
    public int[] CameTokens { get; } = new int[Goals(unit, path)];

    /// <summary>[ranks]: tokens of each rank for experts here.</summary>
    public int[] OwnTokens { get; } = new int[unit.Gpus];

    /// <summary>[ranks]: their pairs.</summary>
    public int[] OwnPairs { get; } = new int[unit.Gpus];

    /// <summary>[ranks, tokens · topK]: the row of each pair in the sender's part, in the order in which they came.</summary>
    public int[] OwnRow { get; } = new int[unit.Gpus * tokens * topK];

    /// <summary>Rows of a sender's pairs.</summary>
    public Span<int> Rows(int source) => OwnRow.AsSpan(source * tokens * topK, tokens * topK);

    /// <summary>[nodes, tokens · topK], where rows go through nodes: the place in this node of each pair that came from a node, in the order in which they came.</summary>
    public byte[] PairPlace { get; } = path == UnitPath.ThroughNodes ? new byte[unit.Nodes * tokens * topK] : [];

    /// <summary>[nodes]: pairs that came from each node.</summary>
    public int[] CamePairs { get; } = new int[unit.Nodes];

    /// <summary>[places, nodes]: tokens of each node that were handed on to each place of this node.</summary>
    public int[] HandedTokens { get; } = new int[unit.GpusPerNode * unit.Nodes];

    /// <summary>[places]: pairs that were handed on to each place.</summary>
    public int[] HandedPairs { get; } = new int[unit.GpusPerNode];

    /// <summary>Places of the pairs that came from a node.</summary>
    public Span<byte> Places(int node) => PairPlace.AsSpan(node * tokens * topK, tokens * topK);

    /// <summary>Ranks or nodes that a token's row is sent to.</summary>
    public static int Goals(ExpertUnit unit, UnitPath path) => path == UnitPath.ThroughNodes ? unit.Nodes : unit.Gpus;
}
