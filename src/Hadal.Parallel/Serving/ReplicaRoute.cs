namespace Hadal.Parallel.Serving;

/// <summary>The way of one step's tokens through one layer of redundant experts: made by a dispatch, followed by the combine. Arrays are worst case and used again.</summary>
sealed class ReplicaRoute(int ranks, int tokens, int topK)
{
    /// <summary>Tokens of a rank, at most.</summary>
    public int Tokens => tokens;

    /// <summary>Experts of a token.</summary>
    public int TopK => topK;

    /// <summary>[tokens, topK]: the rank of each chosen expert's replica; −1 for none.</summary>
    public int[] Rank { get; } = new int[tokens * topK];

    /// <summary>[ranks]: own tokens that go to each rank.</summary>
    public int[] SendTokens { get; } = new int[ranks];

    /// <summary>[ranks]: own pairs of token and expert that go to each rank; as many rows come back.</summary>
    public int[] SendPairs { get; } = new int[ranks];

    /// <summary>[ranks]: tokens of each rank for experts here.</summary>
    public int[] OwnTokens { get; } = new int[ranks];

    /// <summary>[ranks]: their pairs.</summary>
    public int[] OwnPairs { get; } = new int[ranks];

    /// <summary>[ranks, tokens · topK]: the row of each pair in the sender's part, in the order in which they came.</summary>
    public int[] OwnRow { get; } = new int[ranks * tokens * topK];

    /// <summary>Rows of a sender's pairs.</summary>
    public Span<int> Rows(int source) => OwnRow.AsSpan(source * tokens * topK, tokens * topK);
}
