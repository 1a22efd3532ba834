using Hadal.Numerics;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Conformance;

/// <summary>The gate, the balance loss, and the movement of rows.</summary>
static class RoutingCases
{
    static readonly GateParameters Small = new(8, 2, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, 2.5);
    static readonly GateParameters V3 = new(256, 8, 8, 4, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, 2.5);
    static readonly GateParameters V2 = new(64, 6, 1, 1, GateScoring.Softmax, GroupScoring.Maximum, Normalize: false, 1);
    static readonly GateParameters V2Groups = new(160, 6, 8, 3, GateScoring.Softmax, GroupScoring.Maximum, Normalize: false, 16);
    static readonly GateParameters Odd = new(13, 3, 1, 1, GateScoring.Softmax, GroupScoring.Maximum, Normalize: true, 1);
    static readonly GateParameters One = new(1, 1, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, 1);
    static readonly GateParameters SingleGroups = new(4, 2, 4, 3, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, 1);

    public static IEnumerable<ConformanceCase> All { get; } =
    [
        Gate("V3", V3, bias: 0.1, 33),
        Gate("V2", V2, bias: 0, 19),
        Gate("V2 with groups", V2Groups, bias: 0, 9),
        Gate("13 experts", Odd, bias: 0.05, 21),
        Gate("one expert", One, bias: 0.5, 5),
        Gate("groups of one expert", SingleGroups, bias: 0.3, 17),
        Gate("one token", Small, bias: 0.1, 1),
        new("Routing.Gate", "ties go to the lower index", c =>
        {
            CounterRandom random = c.Random();
            GateOf(c, Small with { Groups = 4, TopGroups = 2 }, c.Input("logits", [64, 8], i => (random.Below((ulong)i, 3) * 0.7) - 0.4, type: ElementwiseCases.Statistics(c)), null);
        }),
        new("Routing.Gate", "negative bias: groups left out count as minus infinity", c =>
        {
            Operand bias = c.Input("bias", [8], e => -3 - (e * 0.25), type: ElementwiseCases.Statistics(c));
            GateOf(c, Small with { Groups = 4, TopGroups = 1 }, c.Normal("logits", [40, 8], type: ElementwiseCases.Statistics(c)), bias);
        }),
        GateBackward("V3 with balance", V3, balance: true),
        GateBackward("V2", V2, balance: false),
        GateBackward("13 experts, normalised softmax", Odd, balance: true),
        BalanceLoss("V3", V3, gradient: true, 5, 1, 30),
        BalanceLoss("13 experts", Odd, gradient: true, 64, 0, 3),
        BalanceLoss("loss alone", Small, gradient: false, 17),
        .. Movement("random", 37, 8, 2, 1, (random, t, k) => random.Below((ulong)((t * 2) + k), 4) + (4 * k)),
        .. Movement("all tokens to one expert", 20, 5, 1, 1, (_, _, _) => 3),
        .. Movement("one token", 1, 8, 3, 1, (_, _, k) => 1 + (3 * k)),
        .. Movement("starts at multiples of 128", 50, 12, 2, 128, (random, t, k) => random.Below((ulong)((t * 2) + k), 6) + (6 * k)),
        .. Movement("13 experts", 30, 13, 4, 1, (random, t, k) => random.Below((ulong)((t * 4) + k), 3) + (3 * k)),
        UpdateBias("integers", DType.I32),
        UpdateBias("FP32", DType.F32),
    ];

    static ConformanceCase Gate(string variant, GateParameters parameters, double bias, int tokens) => new("Routing.Gate", variant, c =>
        GateOf(c, parameters, c.Normal("logits", [tokens, parameters.Experts], type: ElementwiseCases.Statistics(c)),
            bias == 0 ? null : c.Normal("bias", [parameters.Experts], bias, type: ElementwiseCases.Statistics(c))));

    static void GateOf(ConformanceContext c, GateParameters parameters, Operand logits, Operand? bias)
    {
        int tokens = logits.Reference[0];
        Operand scores = c.Output("scores", [tokens, parameters.Experts], type: ElementwiseCases.Statistics(c));
        Operand experts = c.IntegerOutput("experts", tokens, parameters.TopK);
        Operand weights = c.Output("weights", [tokens, parameters.TopK], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Routing.Gate(of(logits), of(bias), parameters, of(scores), of(experts), of(weights)));
        c.Exact(experts);
        c.Compare(scores);
        c.Compare(weights);
    }

    static ConformanceCase GateBackward(string variant, GateParameters parameters, bool balance) => new("Routing.GateBackward", variant, c =>
    {
        int tokens = c.Pick(1, 9, 34);
        CounterRandom random = c.Random();
        Operand scores = Scores(c, parameters, tokens);
        Operand experts = c.Integers("experts", [tokens, parameters.TopK],
            Chosen(tokens, parameters.TopK, (t, k) => random.Below((ulong)((t * 16) + k), parameters.Experts / parameters.TopK) + (parameters.Experts / parameters.TopK * k)));
        Operand dWeights = c.Normal("dWeights", [tokens, parameters.TopK], type: ElementwiseCases.Statistics(c));
        Operand? dScores = balance ? c.Normal("dScores", [tokens, parameters.Experts], 0.1, type: ElementwiseCases.Statistics(c)) : null;
        Operand dLogits = c.Output("dLogits", [tokens, parameters.Experts], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Routing.GateBackward(of(dWeights), of(dScores), of(scores), of(experts), parameters, of(dLogits)));
        c.Compare(dLogits, 2);
    });

    static ConformanceCase BalanceLoss(string variant, GateParameters parameters, bool gradient, params int[] lengths) => new("Routing.BalanceLoss", variant, c =>
    {
        int[] offsets = new int[lengths.Length + 1];
        for (int s = 0; s < lengths.Length; s++) offsets[s + 1] = offsets[s] + lengths[s];
        Operand scores = Scores(c, parameters, offsets[^1]), sequences = c.Integers("sequences", [offsets.Length], offsets);
        Operand loss = c.Output("loss", [1], type: ElementwiseCases.Statistics(c));
        Operand? dScores = gradient ? c.Output("dScores", [offsets[^1], parameters.Experts], type: ElementwiseCases.Statistics(c)) : null;
        c.Run((operations, of) => operations.Routing.BalanceLoss(of(scores), of(sequences), parameters, 0.01, 0.5, of(loss), of(dScores)));
        c.Compare(loss);
        if (dScores is not null) c.Compare(dScores, 20); // f − mean(f) cancels where the load is even
    });

    static IEnumerable<ConformanceCase> Movement(string variant, int tokens, int experts, int topK, int alignment, Func<CounterRandom, int, int, int> expert)
    {
        yield return new("Routing.Plan", variant, c =>
        {
            Moved moved = Plan(c, tokens, experts, topK, alignment, expert);
            c.Run((operations, of) => operations.Routing.Plan(
                of(moved.Experts), experts, alignment, of(moved.Counts), of(moved.Offsets), of(moved.RowToken), of(moved.TokenRow)));
            foreach (Operand output in new[] { moved.Counts, moved.Offsets, moved.RowToken, moved.TokenRow }) c.Exact(output);
        });

        yield return new("Routing.Movement", variant, c =>
        {
            Moved moved = Plan(c, tokens, experts, topK, alignment, expert);
            int capacity = moved.RowToken.Reference.Columns, width = c.Pick(3, 16, 33, 64);
            Operand x = c.Normal("x", [tokens, width], apart: 3), rows = c.NormalAccumulator("rows", [capacity, width]);
            Operand weights = c.Normal("weights", [tokens, topK], type: ElementwiseCases.Statistics(c));
            Operand rowWeights = c.NormalAccumulator("rowWeights", [capacity], type: ElementwiseCases.Statistics(c));
            Operand back = c.Output("weights back", [tokens, topK], type: ElementwiseCases.Statistics(c));
            Operand expertRows = c.Normal("expert rows", [capacity, width], apart: 1);
            Operand y = c.Output("y", [tokens, width], apart: 5), added = c.NormalAccumulator("y accumulated", [tokens, width]);
            c.Run((operations, of) =>
            {
                operations.Routing.Plan(of(moved.Experts), experts, alignment, of(moved.Counts), of(moved.Offsets), of(moved.RowToken), of(moved.TokenRow));
                Tensor rowCount = of(moved.Offsets).Slice(experts, 1);
                operations.Routing.GatherRows(of(x), of(moved.RowToken), rowCount, of(rows));
                operations.Routing.GatherWeights(of(weights), of(moved.TokenRow), of(moved.RowToken), rowCount, of(rowWeights));
                operations.Routing.ScatterWeights(of(rowWeights), of(moved.TokenRow), of(back));
                operations.Routing.CombineRows(of(expertRows), of(moved.Experts), of(moved.TokenRow), experts, of(y), accumulate: false);
                operations.Routing.CombineRows(of(expertRows), of(moved.Experts), of(moved.TokenRow), experts, of(added), accumulate: true);
            });
            c.Exact(rows);
            c.Exact(rowWeights);
            c.Exact(back);
            c.Compare(y);
            c.Compare(added);
        });
    }

    sealed record Moved(Operand Experts, Operand Counts, Operand Offsets, Operand RowToken, Operand TokenRow);

    static Moved Plan(ConformanceContext c, int tokens, int experts, int topK, int alignment, Func<CounterRandom, int, int, int> expert)
    {
        CounterRandom random = c.Random();
        return new Moved(
            c.Integers("experts", [tokens, topK], Chosen(tokens, topK, (t, k) => expert(random, t, k))),
            c.IntegerOutput("counts", experts),
            c.IntegerOutput("offsets", experts + 1),
            c.IntegerOutput("rowToken", (tokens * topK) + (experts * (alignment - 1)) + 3),
            c.IntegerOutput("tokenRow", tokens, topK));
    }

    static ConformanceCase UpdateBias(string variant, DType type) => new("Routing.UpdateBias", variant, c =>
    {
        int[] load = [5, 7, 3, 5, 5, 0, 10, 5];
        Operand counts = type == DType.I32 ? c.Integers("counts", [8], load) : c.Input("counts", [8], i => load[i], type: type);
        Operand bias = c.NormalAccumulator("bias", [8], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Routing.UpdateBias(of(counts), 0.001, of(bias)));
        c.Compare(bias);
    });

    static Operand Scores(ConformanceContext c, GateParameters parameters, int tokens)
    {
        CounterRandom random = c.Random();
        double scale = parameters.Scoring == GateScoring.Softmax ? 1.0 / parameters.Experts : 1;
        return c.Input("scores", [tokens, parameters.Experts], i => scale / (1 + Math.Exp(-random.Normal((ulong)i))), type: ElementwiseCases.Statistics(c));
    }

    static int[] Chosen(int tokens, int topK, Func<int, int, int> expert)
    {
        int[] chosen = new int[tokens * topK];
        for (int t = 0; t < tokens; t++)
            for (int k = 0; k < topK; k++) chosen[(t * topK) + k] = expert(t, k);
        return chosen;
    }
}
