namespace Hadal.Tensors.Conformance;

/// <summary>Causal attention forward and backward over sequences of many lengths.</summary>
static class AttentionCases
{
    public static IEnumerable<ConformanceCase> All { get; } =
    [
        .. Both("one token", 1, 24, 16, 0, 1),
        .. Both("63 tokens", 2, 48, 32, 0, 63),
        .. Both("64 tokens", 2, 32, 32, 0, 64),
        .. Both("65 tokens", 3, 40, 24, 0, 65),
        .. Both("130 tokens", 2, 24, 16, 0, 130),
        .. Both("many sequences, one empty", 3, 20, 12, 0, 1, 63, 0, 64, 65, 2, 130),
        .. Both("rows apart, odd widths", 2, 37, 21, 5, 70, 17),
        .. Both("wide heads", 1, 192, 128, 0, 100),
        new("Attention.Causal", "large scores", c =>
        {
            Operand q = c.Normal("q", [90, 2, 32], 6), k = c.Normal("k", [90, 2, 32], 6), v = c.Normal("v", [90, 2, 16]);
            Operand sequences = c.Integers("sequences", [2], [0, 90]), o = c.Output("o", [90, 2, 16]);
            c.Run((operations, of) => operations.Attention.Causal(of(q), of(k), of(v), of(sequences), 0.7, of(o), default));
            c.Compare(o, 20); // rounding of scores near 300 is multiplied by the exponential
        }),
    ];

    static IEnumerable<ConformanceCase> Both(string variant, int heads, int queryKeyDim, int valueDim, int apart, params int[] lengths)
    {
        int[] offsets = new int[lengths.Length + 1];
        for (int s = 0; s < lengths.Length; s++) offsets[s + 1] = offsets[s] + lengths[s];
        int tokens = offsets[^1];
        int[] keyShape = [tokens, heads, queryKeyDim], valueShape = [tokens, heads, valueDim];
        double scale = 1 / Math.Sqrt(queryKeyDim);

        yield return new("Attention.Causal", variant, c =>
        {
            Operand q = c.Normal("q", keyShape, apart: apart), k = c.Normal("k", keyShape, apart: apart * 2), v = c.Normal("v", valueShape, apart: apart);
            Operand sequences = c.Integers("sequences", [offsets.Length], offsets), o = c.Output("o", valueShape, apart);
            Operand logSumExp = c.Output("logSumExp", [tokens, heads], type: ElementwiseCases.Statistics(c));
            c.Run((operations, of) => operations.Attention.Causal(of(q), of(k), of(v), of(sequences), scale, of(o), of(logSumExp)));
            c.Compare(o);
            c.Compare(logSumExp);
        });

        yield return new("Attention.CausalBackward", variant, c =>
        {
            Operand q = c.Normal("q", keyShape, apart: apart), k = c.Normal("k", keyShape, apart: apart * 2), v = c.Normal("v", valueShape, apart: apart);
            Operand dOutput = c.Normal("dOutput", valueShape, apart: apart), sequences = c.Integers("sequences", [offsets.Length], offsets);
            (Func<long, double> output, Func<long, double> normalizer) = Definition(q, k, v, offsets, scale);
            Operand o = c.Input("o", valueShape, output, apart), logSumExp = c.Input("logSumExp", [tokens, heads], normalizer, type: ElementwiseCases.Statistics(c));
            Operand dq = c.Output("dq", keyShape, apart), dk = c.Output("dk", keyShape, apart), dv = c.Output("dv", valueShape, apart);
            c.Run((operations, of) => operations.Attention.CausalBackward(
                of(dOutput), of(q), of(k), of(v), of(o), of(logSumExp), of(sequences), scale, of(dq), of(dk), of(dv)));

            // Of a sequence of one token dq and dk are zero but for rounding: nothing to be relative to.
            if (tokens > 1)
            {
                c.Compare(dq, 2);
                c.Compare(dk, 2);
            }

            c.Compare(dv, 2);
        });
    }

    /// <summary>Output and normaliser by definition, so that both sides of a backward case start from the same values.</summary>
    static (Func<long, double> Output, Func<long, double> Normalizer) Definition(Operand q, Operand k, Operand v, int[] offsets, double scale)
    {
        using var reference = new Reference.ReferenceBackend();
        using var arena = new TensorArena(reference);
        Tensor o = arena.Allocate(DType.F64, v.Reference[0], v.Reference[1], v.Reference[2]), normalizer = arena.Allocate(DType.F64, q.Reference[0], q.Reference[1]);
        Tensor sequences = arena.Allocate(DType.I32, offsets.Length);
        offsets.CopyTo(sequences.AsSpan<int>());
        reference.Operations.Attention.Causal(q.Reference, k.Reference, v.Reference, sequences, scale, o, normalizer);
        double[] outputs = o.AsSpan<double>().ToArray(), normalizers = normalizer.AsSpan<double>().ToArray();
        return (i => outputs[i], i => normalizers[i]);
    }
}
