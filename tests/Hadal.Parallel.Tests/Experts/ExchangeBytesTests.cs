using System.Globalization;
using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Tests.Experts;

/// <summary>What the exchange puts on the links, in closed form from the routing alone (docs/parallel.md), against the counters of what was sent, and against all-to-alls without its two stages.</summary>
public sealed class ExchangeBytesTests
{
    const int Dispatch = 0, Combine = 1, CombineBackward = 2, DispatchBackward = 3;

    /// <summary>Bytes of one movement, by kind of link.</summary>
    readonly record struct Links(long Between, long Inside)
    {
        public static Links operator +(Links a, Links b) => new(a.Between + b.Between, a.Inside + b.Inside);
    }

    /// <summary>The sizes that the recipe and the row give.</summary>
    sealed record Sizes(int Hidden, int TopK, Recipe Recipe)
    {
        public long Head => 4 + (8L * TopK);

        public long Input => Payload(Recipe.ExpertInput);

        public long Gradient => Payload(Recipe.ExpertGradient);

        // FP8: a byte an element in whole words, and four for each scale of 128; else the number's own bytes.
        long Payload(QuantizationFormat format) => format.Number switch
        {
            NumberFormat.F32 => 4L * Hidden,
            NumberFormat.BF16 => Words(2 * Hidden),
            _ => Words(Hidden) + (4L * ((Hidden + 127) / 128)),
        };

        /// <summary>What was added to nothing goes back as the recipe rounds it, a sum in FP32.</summary>
        public long Result(int experts) => experts == 1 && Recipe.Forward.Output == NumberFormat.BF16 ? Words(2 * Hidden) : 4L * Hidden;

        static long Words(int bytes) => (bytes + 3L) & ~3L;
    }

    static Links[] TwoStages(ExpertLayout layout, int source, ReadOnlySpan<int> experts, Sizes sizes)
    {
        var all = new Links[4];
        foreach (IGrouping<int, int> node in experts.ToArray().GroupBy(expert => layout.Node(layout.Owner(expert))))
        {
            if (node.Key != layout.Node(source)) Add(all, node.Count(), between: true);
            foreach (IGrouping<int, int> owner in node.GroupBy(layout.Owner))
                if (owner.Key != layout.Relay(source, node.Key)) Add(all, owner.Count(), between: false);
        }

        return all;

        void Add(Links[] to, int count, bool between)
        {
            ReadOnlySpan<long> bytes = [sizes.Head + sizes.Input, sizes.Result(count), sizes.Gradient, sizes.Result(count) + (4L * count)];
            for (int i = 0; i < to.Length; i++) to[i] += between ? new(bytes[i], 0) : new(0, bytes[i]);
        }
    }

    /// <summary>Straight to every rank that has an expert of the token, or to every expert by itself; what comes back is added at the rank, or not at all.</summary>
    static Links[] Straight(ExpertLayout layout, int source, ReadOnlySpan<int> experts, Sizes sizes, bool eachExpert)
    {
        var all = new Links[4];
        foreach (IGrouping<int, int> owner in experts.ToArray().GroupBy(layout.Owner))
        {
            if (owner.Key == source) continue;
            int messages = eachExpert ? owner.Count() : 1, each = eachExpert ? 1 : owner.Count();
            long head = 4 + (8L * each);
            ReadOnlySpan<long> bytes = [head + sizes.Input, sizes.Result(each), sizes.Gradient, sizes.Result(each) + (4L * each)];
            bool between = layout.Node(owner.Key) != layout.Node(source);
            for (int i = 0; i < all.Length; i++) all[i] += between ? new(messages * bytes[i], 0) : new(0, messages * bytes[i]);
        }

        return all;
    }

    [Theory]
    [InlineData(8, 8, 256, 8, "fp8")]
    [InlineData(2, 2, 16, 3, "fp32")]
    [InlineData(4, 1, 8, 2, "bf16")]
    [InlineData(1, 4, 32, 4, "fp8")]
    [Implements("V3 §3.2.2", "A token crosses once to each node, to the rank of the same index, which forwards inside the node")]
    public void Counted_bytes_are_those_of_the_closed_form(int nodes, int ranksPerNode, int experts, int topK, string name)
    {
        const int tokens = 6, hidden = 130;
        var layout = new ExpertLayout(experts, nodes, ranksPerNode);
        Recipe recipe = name switch { "fp8" => Recipe.Fp8, "bf16" => Recipe.Bf16, _ => Recipe.Fp32 };
        int groups = Math.Max(nodes, 2), most = Math.Min(4, groups);
        var gate = new GateParameters(experts, topK, groups, most, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5);
        int[][] chosen = new int[layout.Ranks][];
        var counted = new Links[layout.Ranks][];
        InProcessRanks.Run(layout.Ranks, group =>
        {
            using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
            using var arena = new TensorArena(backend);
            using var scratch = new TensorArena(backend);
            using var exchange = new RankExpertExchange(group, layout);
            var chunk = new ChunkContext { Operations = backend.Operations, Scratch = scratch, DType = DType.F32, Recipe = recipe, Exchange = exchange };
            var movement = new ExpertRows();
            movement.Allocate(arena, gate, tokens, exchange.PlacementOf(experts));
            Tensor logits = arena.Allocate(DType.F32, tokens, experts), scores = arena.Allocate(DType.F32, tokens, experts), weights = arena.Allocate(DType.F32, tokens, topK), x = arena.Allocate(DType.F32, tokens, hidden);
            Tensor rows = arena.Allocate(DType.F32, movement.Capacity, hidden), numbers = arena.Allocate(DType.F32, movement.Capacity), y = arena.Allocate(DType.F32, tokens, hidden), dWeights = arena.Allocate(DType.F32, tokens, topK);
            var random = new Random(group.Rank);
            foreach (ref float logit in logits.AsSpan<float>()) logit = (float)random.NextDouble();
            backend.Operations.Routing.Gate(logits, default, gate, scores, movement.Experts, weights);
            chosen[group.Rank] = movement.Experts.AsSpan<int>().ToArray();
            var before = new Links(0, 0);
            Links Since()
            {
                var now = new Links(exchange.Traffic.BytesBetweenNodes, exchange.Traffic.BytesInsideNodes);
                var since = new Links(now.Between - before.Between, now.Inside - before.Inside);
                before = now;
                return since;
            }

            exchange.Dispatch(chunk, movement, x, weights, rows, numbers);
            Links dispatch = Since();
            exchange.Combine(chunk, movement, rows, y);
            Links combine = Since();
            exchange.CombineBackward(chunk, movement, y, rows);
            Links combineBackward = Since();
            exchange.DispatchBackward(chunk, movement, rows, numbers, x, dWeights);
            counted[group.Rank] = [dispatch, combine, combineBackward, Since()];
        }, TimeSpan.FromSeconds(60));

        var sizes = new Sizes(hidden, topK, recipe);
        Links[] derived = Sum(layout, chosen, topK, (source, list) => TwoStages(layout, source, list, sizes));
        derived[Dispatch] += new Links(4L * (nodes - 1) * layout.Ranks, 4L * nodes * (ranksPerNode - 1) * layout.Ranks); // counts: to plane peers one, to node peers one for each node
        for (int i = 0; i < derived.Length; i++) Assert.Equal(derived[i], counted.Aggregate(default(Links), (sum, one) => sum + one[i]));
        if (nodes < 8) return;

        // The same routing with rows of V3, for the table in docs/parallel.md.
        var published = new Sizes(7168, topK, recipe);
        Action<string> write = TestContext.Current.TestOutputHelper!.WriteLine;
        Links[] ours = Sum(layout, chosen, topK, (source, list) => TwoStages(layout, source, list, published));
        Write("two stages", ours);
        Links[] ranks = Sum(layout, chosen, topK, (source, list) => Straight(layout, source, list, published, eachExpert: false));
        Write("straight to each rank", ranks);
        Links[] each = Sum(layout, chosen, topK, (source, list) => Straight(layout, source, list, published, eachExpert: true));
        Write("straight to each expert", each);
        Assert.True(ours[Dispatch].Between < ranks[Dispatch].Between && ranks[Dispatch].Between < each[Dispatch].Between);

        void Write(string what, Links[] links) => write(string.Create(CultureInfo.InvariantCulture,
            $"{what}: KB a token between nodes {string.Join(' ', links.Select(one => Kilobytes(one.Between)))}, inside {string.Join(' ', links.Select(one => Kilobytes(one.Inside)))}"));
        string Kilobytes(long bytes) => (bytes / 1000.0 / (tokens * layout.Ranks)).ToString("0.0", CultureInfo.InvariantCulture);
    }

    static Links[] Sum(ExpertLayout layout, int[][] chosen, int topK, Func<int, int[], Links[]> of)
    {
        var sums = new Links[4];
        for (int source = 0; source < layout.Ranks; source++)
            for (int t = 0; t < chosen[source].Length; t += topK)
            {
                Links[] one = of(source, chosen[source][t..(t + topK)]);
                for (int i = 0; i < sums.Length; i++) sums[i] += one[i];
            }

        return sums;
    }
}
