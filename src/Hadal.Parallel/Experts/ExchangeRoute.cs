using System.Runtime.CompilerServices;

namespace Hadal.Parallel.Experts;

/// <summary>
/// The way of one chunk's tokens through one layer, from three points of view: what this rank sends, what it hands on inside its node, what its experts get.
/// Made by a dispatch; combine and both backward movements follow it without telling each other anything again. Arrays are worst case.
/// </summary>
sealed class ExchangeRoute(ExpertLayout layout, int tokens, int topK)
{
    /// <summary>Tokens of a rank, at most.</summary>
    public int Tokens => tokens;

    /// <summary>Experts of a token.</summary>
    public int TopK => topK;

    /// <summary>[nodes]: own tokens that go to each node.</summary>
    public int[] SendCount { get; } = new int[layout.Nodes];

    /// <summary>[nodes, tokens]: which.</summary>
    public int[] SendToken { get; } = new int[layout.Nodes * tokens];

    /// <summary>[nodes, tokens, topK]: their experts there, then −1.</summary>
    public int[] SendExperts { get; } = new int[layout.Nodes * tokens * topK];

    /// <summary>[nodes]: tokens that came from the rank of this index on each node, to be handed on here.</summary>
    public int[] RelayCount { get; } = new int[layout.Nodes];

    /// <summary>[nodes, tokens, topK]: their experts on this node.</summary>
    public int[] RelayExperts { get; } = new int[layout.Nodes * tokens * topK];

    /// <summary>[ranks of a node, nodes]: how many of them go to each rank of this node.</summary>
    public int[] ForwardCount { get; } = new int[layout.RanksPerNode * layout.Nodes];

    /// <summary>[ranks of a node, nodes, tokens]: which, as indices among those of their node.</summary>
    public int[] ForwardToken { get; } = new int[layout.RanksPerNode * layout.Nodes * tokens];

    /// <summary>[ranks]: tokens of each rank for this rank's experts.</summary>
    public int[] OwnCount { get; } = new int[layout.Ranks];

    /// <summary>[ranks, tokens, topK]: their experts here, then −1.</summary>
    public int[] OwnExperts { get; } = new int[layout.Ranks * tokens * topK];

    /// <summary>[ranks, tokens, topK]: the row of each inside the rank's part.</summary>
    public int[] OwnRow { get; } = new int[layout.Ranks * tokens * topK];

    /// <summary>Experts of a token that lie in [low, high): place and count in an ascending list that may end in −1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (int Start, int Count) Within(ReadOnlySpan<int> experts, int low, int high)
    {
        int start = 0;
        while (start < experts.Length && experts[start] >= 0 && experts[start] < low) start++;
        int end = start;
        while (end < experts.Length && experts[end] >= 0 && experts[end] < high) end++;
        return (start, end - start);
    }

    /// <summary>Experts of a list before its −1.</summary>
    public static ReadOnlySpan<int> Used(ReadOnlySpan<int> experts)
    {
        int end = experts.IndexOf(-1);
        return end < 0 ? experts : experts[..end];
    }

    /// <summary>A list of <see cref="SendExperts"/>.</summary>
    public Span<int> Sent(int node, int i) => SendExperts.AsSpan(((node * tokens) + i) * topK, topK);

    /// <summary>A list of <see cref="RelayExperts"/>.</summary>
    public Span<int> Relayed(int node, int i) => RelayExperts.AsSpan(((node * tokens) + i) * topK, topK);

    /// <summary>A list of <see cref="OwnExperts"/>.</summary>
    public Span<int> Owned(int source, int i) => OwnExperts.AsSpan(((source * tokens) + i) * topK, topK);
}

/// <summary>What one rank has put on the links, counted as it is sent.</summary>
public sealed record ExchangeTraffic
{
    /// <summary>Token rows sent to other nodes by dispatch: one for each token and node.</summary>
    public long RowsBetweenNodes { get; internal set; }

    /// <summary>Token rows handed on inside the node by dispatch, to other ranks.</summary>
    public long RowsInsideNodes { get; internal set; }

    /// <summary>Rows that would cross between nodes if each went straight to the rank of every chosen expert.</summary>
    public long NaiveRowsBetweenNodes { get; internal set; }

    /// <summary>Bytes sent to other nodes, both ways, forward and backward, places, weights and counts included.</summary>
    public long BytesBetweenNodes { get; internal set; }

    /// <summary>Bytes sent to other ranks of the node.</summary>
    public long BytesInsideNodes { get; internal set; }

    /// <summary>Tokens that were dispatched.</summary>
    public long Tokens { get; internal set; }

    /// <summary>Chosen experts of all tokens.</summary>
    public long Pairs { get; internal set; }
}
