using Hadal.Numerics;

namespace Hadal.Tensors.Conformance;

/// <summary>Embedding rows, cross-entropy, sums.</summary>
static class EmbeddingCases
{
    public static IEnumerable<ConformanceCase> All { get; } =
    [
        new("Embedding.Embed", "repeated tokens", c =>
        {
            int vocabulary = c.Pick(1, 9, 50), width = c.Pick(3, 16, 33), count = c.Pick(1, 20, 70);
            Operand tokens = Tokens(c, count, vocabulary), table = c.Normal("table", [vocabulary, width], apart: 2), y = c.Output("y", [count, width], apart: 1);
            c.Run((operations, of) => operations.Embedding.Embed(of(tokens), of(table), of(y)));
            c.Exact(y);
        }),
        EmbedBackward("overwrite", accumulate: false),
        EmbedBackward("accumulate", accumulate: true),
        CrossEntropy("gradient", 1, gradient: true, alias: false),
        CrossEntropy("gradient in place", 1, gradient: true, alias: true),
        CrossEntropy("loss alone", 1, gradient: false, alias: false),
        CrossEntropy("large logits", 60, gradient: true, alias: false),
        new("Embedding.CrossEntropy", "one token in the vocabulary", c =>
        {
            Operand logits = c.Normal("logits", [3, 1], type: ElementwiseCases.Statistics(c)), targets = c.Integers("targets", [3], [0, -1, 0]);
            Operand losses = c.Output("losses", [3], type: ElementwiseCases.Statistics(c)), gradient = c.Output("dLogits", [3, 1], type: ElementwiseCases.Statistics(c));
            c.Run((operations, of) => operations.Embedding.CrossEntropy(of(logits), of(targets), 0.5, of(losses), of(gradient)));
            c.Exact(losses);
            c.Exact(gradient);
        }),
        Sum("overwrite", accumulate: false),
        Sum("accumulate", accumulate: true),
    ];

    static Operand Tokens(ConformanceContext c, int count, int vocabulary)
    {
        CounterRandom random = c.Random();
        int[] tokens = new int[count];
        for (int t = 0; t < count; t++) tokens[t] = random.Below((ulong)t, vocabulary);
        return c.Integers("tokens", [count], tokens);
    }

    static ConformanceCase EmbedBackward(string variant, bool accumulate) => new("Embedding.EmbedBackward", variant, c =>
    {
        int vocabulary = c.Pick(1, 9, 50), width = c.Pick(3, 16, 33), count = c.Pick(1, 20, 70);
        Operand tokens = Tokens(c, count, vocabulary), dy = c.Normal("dy", [count, width], apart: 2);
        Operand dTable = c.NormalAccumulator("dTable", [vocabulary, width], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Embedding.EmbedBackward(of(tokens), of(dy), of(dTable), accumulate));
        c.Compare(dTable);
    });

    static ConformanceCase CrossEntropy(string variant, double deviation, bool gradient, bool alias) => new("Embedding.CrossEntropy", variant, c =>
    {
        int vocabulary = c.Pick(7, 16, 100, 1000), count = c.Pick(1, 5, 33);
        CounterRandom random = c.Random();
        int[] places = new int[count];
        for (int t = 0; t < count; t++) places[t] = t % 5 == 3 ? -1 : random.Below((ulong)t, vocabulary);
        Operand logits = c.Normal("logits", [count, vocabulary], deviation, type: ElementwiseCases.Statistics(c)), targets = c.Integers("targets", [count], places);
        Operand losses = c.Output("losses", [count], type: ElementwiseCases.Statistics(c));
        Operand? dLogits = !gradient ? null : alias ? logits : c.Output("dLogits", [count, vocabulary], apart: 3, type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Embedding.CrossEntropy(of(logits), of(targets), 0.25, of(losses), of(dLogits)));
        c.Compare(losses);
        if (dLogits is not null) c.Compare(dLogits);
    });

    static ConformanceCase Sum(string variant, bool accumulate) => new("Embedding.Sum", variant, c =>
    {
        Operand x = c.Input("x", [c.Pick(1, 7, 130), c.Pick(1, 17, 100)], i => 0.5 + (i % 11), apart: 2, type: ElementwiseCases.Statistics(c));
        Operand total = c.NormalAccumulator("total", [1], type: ElementwiseCases.Statistics(c));
        c.Run((operations, of) => operations.Embedding.Sum(of(x), 0.25, of(total), accumulate));
        c.Compare(total);
    });
}
