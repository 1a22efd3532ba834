namespace Hadal.Tensors.Operations.Checks;

/// <summary>Shapes that <see cref="IAttentionOperations"/> asks for; one method an operation.</summary>
static class AttentionChecks
{
    /// <summary>Positions in one page of the latent cache, and keys in one block of the online softmax.</summary>
    public const int PageSize = 64;

    public static void Causal(Tensor q, Tensor k, Tensor v, Tensor sequences, Tensor o, Tensor logSumExp)
    {
        Require.Rank(q, 3);
        Require.Rank(k, 3);
        Require.Rank(v, 3);
        Require.Rank(o, 3);
        Require.That(k[0] == q[0] && k[1] == q[1] && k[2] == q[2], $"k is {k}; expected the shape of q, {q}.");
        Require.That(v[0] == q[0] && v[1] == q[1], $"v is {v}; expected [tokens, heads, valueDim] with the tokens and heads of q, {q}.");
        Require.That(o[0] == v[0] && o[1] == v[1] && o[2] == v[2], $"o is {o}; expected the shape of v, {v}.");
        Require.VectorOrAbsent(logSumExp, (long)q[0] * q[1]);
        Sequences(sequences);
    }

    public static void CausalBackward(Tensor dOutput, Tensor q, Tensor k, Tensor v, Tensor o, Tensor logSumExp, Tensor sequences, Tensor dq, Tensor dk, Tensor dv)
    {
        Causal(q, k, v, sequences, o, logSumExp);
        Require.Present(logSumExp);
        Require.Shape(dOutput, o.Rows, o.Columns);
        Require.Shape(dq, q.Rows, q.Columns);
        Require.Shape(dk, k.Rows, k.Columns);
        Require.Shape(dv, v.Rows, v.Columns);
    }

    public static void Latent(Tensor q, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths, Tensor o)
    {
        Require.Rank(q, 3);
        Require.Rank(o, 3);
        Require.That(o[0] == q[0] && o[1] == q[1] && o[2] <= q[2], $"o is {o}; expected [tokens, heads, latent] for q {q}.");
        Cache(cache, q[2], pageTable, queryOffsets, contextLengths);
    }

    public static void AppendLatent(Tensor rows, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths)
    {
        Require.Rank(rows, 2);
        Cache(cache, rows[1], pageTable, queryOffsets, contextLengths);
    }

    /// <summary>Token offsets start at 0, ascend and end at the number of tokens; read on the host.</summary>
    public static void SequenceOffsets(ReadOnlySpan<int> offsets, int tokens)
    {
        Require.That(offsets[0] == 0 && offsets[^1] == tokens, $"Offsets run from {offsets[0]} to {offsets[^1]}; expected 0 to {tokens} tokens.");
        for (int i = 1; i < offsets.Length; i++)
            Require.That(offsets[i] >= offsets[i - 1], $"Offsets descend from {offsets[i - 1]} to {offsets[i]} at place {i}.");
    }

    static void Sequences(Tensor sequences)
    {
        Require.Integers(sequences, sequences.Length);
        Require.That(sequences.Length >= 1, $"sequences is empty; expected token offsets that start at 0.");
    }

    static void Cache(Tensor cache, int width, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths)
    {
        Require.Rank(cache, 3);
        Require.That(cache[1] == PageSize && cache[2] == width, $"cache is {cache}; expected [pages, {PageSize}, {width}].");
        Require.Rank(pageTable, 2);
        Require.That(pageTable.DType == DType.I32, $"pageTable is {pageTable}; expected I32 [requests, pages per request].");
        Require.Integers(queryOffsets, pageTable[0] + 1);
        Require.Integers(contextLengths, pageTable[0]);
    }
}
