using Hadal.Numerics;

namespace Hadal.Tensors.Conformance;

/// <summary>Element by element and row by row.</summary>
static class ElementwiseCases
{
    static readonly int[] Widths = [1, 2, 15, 16, 17, 31, 48, 64, 100, 320];

    public static IEnumerable<ConformanceCase> All { get; } =
    [
        .. CopyCases(),
        new("Elementwise.Fill", "rows apart", c =>
        {
            Operand y = c.Output("y", [c.Pick(1, 5, 33), c.Pick(Widths)], apart: 3);
            c.Run((operations, of) => operations.Elementwise.Fill(of(y), 0.3));
            c.Exact(y);
        }),
        new("Elementwise.Fill", "integers", c =>
        {
            Operand y = c.IntegerOutput("y", c.Pick(1, 7, 19));
            c.Run((operations, of) => operations.Elementwise.Fill(of(y), -1));
            c.Exact(y);
        }),
        Add("plain", 0, alias: false),
        Add("rows apart", 5, alias: false),
        Add("output is an input", 0, alias: true),
        new("Elementwise.Scale", "rows apart", c =>
        {
            int rows = c.Pick(1, 9, 40), columns = c.Pick(Widths);
            Operand x = c.Normal("x", [rows, columns], apart: 2), y = c.Output("y", [rows, columns], apart: 7);
            c.Run((operations, of) => operations.Elementwise.Scale(of(x), -1.7, of(y)));
            c.Compare(y);
        }),
        new("Elementwise.RepeatRows", "cycle", c =>
        {
            int rows = c.Pick(1, 3, 8), columns = c.Pick(Widths);
            Operand x = c.Normal("x", [rows, columns]), y = c.Output("y", [(rows * 3) + 1, columns], apart: 3);
            c.Run((operations, of) => operations.Elementwise.RepeatRows(of(x), 0, of(y)));
            c.Exact(y);
        }),
        new("Elementwise.RepeatRows", "a shared key into every head", c =>
        {
            int tokens = c.Pick(1, 5, 33), heads = c.Pick(1, 4, 5), rope = c.Pick(2, 8, 16, 24);
            Operand x = c.Normal("x", [tokens, rope], apart: 9), y = c.Output("y", [tokens, heads, rope], apart: 32);
            c.Run((operations, of) => operations.Elementwise.RepeatRows(of(x), heads, of(y)));
            c.Exact(y);
        }),
        SumRowGroups("overwrite", accumulate: false),
        SumRowGroups("accumulate", accumulate: true),
        RmsNorm("plain", 0, alias: false, keep: true),
        RmsNorm("rows apart", 5, alias: false, keep: true),
        RmsNorm("in place, statistics absent", 0, alias: true, keep: false),
        new("Elementwise.RmsNorm", "a row of zeros", c =>
        {
            Operand x = c.Input("x", [3, 37], i => i / 37 == 1 ? 0 : i - 50), weight = c.Normal("weight", [37]);
            Operand y = c.Output("y", [3, 37]), inverse = c.Output("inverseRms", [3], type: Statistics(c));
            c.Run((operations, of) => operations.Elementwise.RmsNorm(of(x), of(weight), 1e-6, of(y), of(inverse)));
            c.Compare(y);
            c.Compare(inverse);
        }),
        RmsNormBackwardInput("overwrite", 0, accumulate: false, alias: false),
        RmsNormBackwardInput("accumulate, rows apart", 3, accumulate: true, alias: false),
        RmsNormBackwardInput("in place", 0, accumulate: false, alias: true),
        RmsNormBackwardWeight("overwrite", accumulate: false),
        RmsNormBackwardWeight("accumulate", accumulate: true),
        Rope("heads", heads: true, inverse: false, alias: false),
        Rope("one key a token, rows apart", heads: false, inverse: false, alias: false),
        Rope("inverse, in place", heads: true, inverse: true, alias: true),
        SwiGlu("plain", weighted: false, counted: false, 0),
        SwiGlu("weighted rows, rows apart", weighted: true, counted: false, 6),
        SwiGlu("worst-case buffer", weighted: true, counted: true, 0),
        new("Elementwise.SwiGlu", "large gates", c =>
        {
            Operand gateUp = c.Input("gateUp", [2, 80], i => i % 80 < 40 ? (i % 40 * 10) - 200 : 1.5), y = c.Output("y", [2, 40]);
            c.Run((operations, of) => operations.Elementwise.SwiGlu(of(gateUp), default, default, of(y)));
            c.Compare(y);
        }),
        SwiGluBackward("plain", weighted: false, counted: false, alias: false),
        SwiGluBackward("weighted rows", weighted: true, counted: false, alias: false),
        SwiGluBackward("worst-case buffer, in place", weighted: true, counted: true, alias: true),
    ];

    internal static DType Statistics(ConformanceContext c) => c.Type == DType.F64 ? DType.F64 : DType.F32;

    static IEnumerable<ConformanceCase> CopyCases()
    {
        DType[] types = [DType.F32, DType.BF16, DType.F16, DType.E4M3, DType.E5M2];
        foreach (DType from in types)
        {
            foreach (DType to in types)
            {
                yield return new("Elementwise.Copy", $"{from} to {to}", c =>
                {
                    int rows = c.Pick(1, 4, 13), columns = c.Pick(Widths);
                    CounterRandom random = c.Random();
                    Operand x = c.Input("x", [rows, columns], i => random.Normal((ulong)i) * Math.Pow(2, random.Below((ulong)i, 40) - 25), apart: 4, type: from);
                    Operand y = c.Output("y", [rows, columns], apart: 1, type: to);
                    c.Run((operations, of) => operations.Elementwise.Copy(of(x), of(y)));
                    c.Exact(y);
                });
            }
        }
    }

    static ConformanceCase Add(string variant, int apart, bool alias) => new("Elementwise.Add", variant, c =>
    {
        int[] shape = [c.Pick(1, 9, 40), c.Pick(Widths)];
        Operand a = c.Normal("a", shape, apart: apart), b = c.Normal("b", shape, apart: apart * 2), y = alias ? b : c.Output("y", shape, apart: apart);
        c.Run((operations, of) => operations.Elementwise.Add(of(a), of(b), of(y)));
        c.Compare(y);
    });

    static ConformanceCase SumRowGroups(string variant, bool accumulate) => new("Elementwise.SumRowGroups", variant, c =>
    {
        int groups = c.Pick(1, 6, 33), size = c.Pick(1, 4, 7), columns = c.Pick(Widths);
        Operand x = c.Normal("x", [groups, size, columns], apart: 11), y = c.NormalAccumulator("y", [groups, columns], apart: 2);
        c.Run((operations, of) => operations.Elementwise.SumRowGroups(of(x), size, of(y), accumulate));
        c.Compare(y);
    });

    static ConformanceCase RmsNorm(string variant, int apart, bool alias, bool keep) => new("Elementwise.RmsNorm", variant, c =>
    {
        int rows = c.Pick(1, 7, 50), columns = c.Pick(Widths);
        Operand x = c.Normal("x", [rows, columns], 3, apart), weight = c.Normal("weight", [columns]);
        Operand y = alias ? x : c.Output("y", [rows, columns], apart);
        Operand? inverse = keep ? c.Output("inverseRms", [rows], type: Statistics(c)) : null;
        c.Run((operations, of) => operations.Elementwise.RmsNorm(of(x), of(weight), 1e-6, of(y), of(inverse)));
        c.Compare(y);
        if (inverse is not null) c.Compare(inverse);
    });

    static ConformanceCase RmsNormBackwardInput(string variant, int apart, bool accumulate, bool alias) => new("Elementwise.RmsNormBackwardInput", variant, c =>
    {
        int rows = c.Pick(1, 7, 50), columns = c.Pick(Widths);
        Operand dy = c.Normal("dy", [rows, columns], apart: apart), x = c.Normal("x", [rows, columns], 2, apart), weight = c.Normal("weight", [columns]);
        Operand inverse = c.Input("inverseRms", [rows], i => 0.5 + (i % 5 * 0.01), type: Statistics(c));
        Operand dx = alias ? dy : c.NormalAccumulator("dx", [rows, columns], apart);
        c.Run((operations, of) => operations.Elementwise.RmsNormBackwardInput(of(dy), of(x), of(weight), of(inverse), of(dx), accumulate));
        c.Compare(dx, 2);
    });

    static ConformanceCase RmsNormBackwardWeight(string variant, bool accumulate) => new("Elementwise.RmsNormBackwardWeight", variant, c =>
    {
        int rows = c.Pick(1, 7, 130), columns = c.Pick(Widths);
        Operand dy = c.Normal("dy", [rows, columns], apart: 3), x = c.Normal("x", [rows, columns], 2, apart: 1);
        Operand inverse = c.Input("inverseRms", [rows], i => 0.5 + (i % 5 * 0.01), type: Statistics(c));
        Operand dWeight = c.NormalAccumulator("dWeight", [columns], type: Statistics(c));
        c.Run((operations, of) => operations.Elementwise.RmsNormBackwardWeight(of(dy), of(x), of(inverse), of(dWeight), accumulate));
        c.Compare(dWeight, 4);
    });

    static ConformanceCase Rope(string variant, bool heads, bool inverse, bool alias) => new("Elementwise.Rope", variant, c =>
    {
        int tokens = c.Pick(1, 6, 33), dim = c.Pick(2, 6, 16, 32, 40), positions = 70;
        int[] shape = heads ? [tokens, c.Pick(1, 3, 4), dim] : [tokens, dim];
        CounterRandom random = c.Random();
        int[] places = new int[tokens];
        for (int t = 0; t < tokens; t++) places[t] = random.Below((ulong)t, positions);
        Operand position = c.Integers("positions", [tokens], places);
        Operand table = c.Input("table", [positions, dim],
            i => (i % 2 == 0 ? Math.Cos(Angle(i, dim)) : Math.Sin(Angle(i - 1, dim))), type: Statistics(c));
        Operand x = c.Normal("x", shape, apart: heads ? 8 : 5), y = alias ? x : c.Output("y", shape, apart: 2);
        c.Run((operations, of) => operations.Elementwise.Rope(of(x), of(position), of(table), inverse, of(y)));
        c.Compare(y);
    });

    static double Angle(long place, int dim) => place / dim * Math.Pow(10000, -(double)(place % dim) / dim);

    static ConformanceCase SwiGlu(string variant, bool weighted, bool counted, int apart) => new("Elementwise.SwiGlu", variant, c =>
    {
        int rows = c.Pick(1, 8, 45), intermediate = c.Pick(Widths);
        Operand gateUp = c.Normal("gateUp", [rows, 2 * intermediate], 2, apart), y = c.NormalAccumulator("y", [rows, intermediate], apart);
        Operand? weight = weighted ? c.Normal("rowWeight", [rows], type: Statistics(c)) : null;
        Operand? count = counted ? c.Integers("rowCount", [1], [rows / 2]) : null;
        c.Run((operations, of) => operations.Elementwise.SwiGlu(of(gateUp), of(weight), of(count), of(y)));
        c.Compare(y);
    });

    static ConformanceCase SwiGluBackward(string variant, bool weighted, bool counted, bool alias) => new("Elementwise.SwiGluBackward", variant, c =>
    {
        int rows = c.Pick(1, 8, 45), intermediate = c.Pick(Widths);
        Operand dy = c.Normal("dy", [rows, intermediate]), gateUp = c.Normal("gateUp", [rows, 2 * intermediate], 2);
        Operand? weight = weighted ? c.Normal("rowWeight", [rows], type: Statistics(c)) : null;
        Operand? count = counted ? c.Integers("rowCount", [1], [rows / 2]) : null;
        Operand dGateUp = alias ? gateUp : c.NormalAccumulator("dGateUp", [rows, 2 * intermediate]);
        Operand? dWeight = weighted ? c.NormalAccumulator("dRowWeight", [rows], type: Statistics(c)) : null;
        c.Run((operations, of) => operations.Elementwise.SwiGluBackward(of(dy), of(gateUp), of(weight), of(count), of(dGateUp), of(dWeight)));
        c.Compare(dGateUp);
        if (dWeight is not null) c.Compare(dWeight, 4);
    });
}
