using System.Collections.Concurrent;
using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Tests.Experts;

/// <summary>Experts spread over ranks and nodes leave the bits of one rank that has them all.</summary>
public sealed class RankExpertExchangeTests
{
    /// <summary>What one rank sends and gets; all flat.</summary>
    sealed record Outcome(int[] Y, int[] RowGradients, int[] TokenGradients, int[] WeightGradients, int[] Counts);

    /// <summary>One random layer.</summary>
    sealed class Case
    {
        public required ExpertLayout Layout { get; init; }

        public required int Tokens { get; init; }

        public required int Hidden { get; init; }

        public required int TopK { get; init; }

        public required Recipe Recipe { get; init; }

        /// <summary>[ranks][tokens · topK], ascending, −1 for tokens that are not there.</summary>
        public required int[][] Experts { get; init; }

        public GateParameters Gate => new(Layout.Experts, TopK, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 1);

        public override string ToString() => $"{Layout.Nodes} nodes x {Layout.RanksPerNode} ranks x {Layout.ExpertsPerRank} experts, top {TopK}, {Tokens} tokens of {Hidden}, {Recipe.Name}";
    }

    static Case Random(int seed)
    {
        var random = new Random(seed);
        var layout = new ExpertLayout(0, random.Next(1, 5), random.Next(1, 5));
        layout = layout with { Experts = layout.Ranks * random.Next(1, 6) };
        int topK = random.Next(1, Math.Min(layout.Experts, 8) + 1), tokens = random.Next(1, 12), skew = random.Next(3);
        int[][] experts = new int[layout.Ranks][];
        for (int rank = 0; rank < layout.Ranks; rank++)
        {
            experts[rank] = new int[tokens * topK];
            bool absent = random.Next(4) == 0; // a rank without any token
            for (int t = 0; t < tokens; t++)
            {
                Span<int> list = experts[rank].AsSpan(t * topK, topK);
                if (absent || random.Next(6) == 0)
                {
                    list.Fill(-1);
                    continue;
                }

                // Skewed: everyone wants the first experts, the others get nothing.
                int range = skew == 0 ? layout.Experts : Math.Max(topK, layout.Experts / (1 + skew));
                int[] chosen = [.. Enumerable.Range(0, range).OrderBy(_ => random.Next()).Take(topK).Order()];
                chosen.CopyTo(list);
            }
        }

        return new() { Layout = layout, Tokens = tokens, Hidden = random.Next(1, 300), TopK = topK, Recipe = (seed % 3) switch { 0 => Recipe.Fp32, 1 => Recipe.Fp8, _ => Recipe.Bf16 }, Experts = experts };
    }

    static void Fill(Tensor tensor, int seed, bool narrow)
    {
        var random = new Random(seed);
        foreach (ref float value in tensor.AsSpan<float>())
        {
            value = (float)((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-6, 7)));
            if (narrow) value = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) & 0xFFFF0000);
        }
    }

    static int[] Bits(Tensor tensor) => [.. tensor.AsSpan<float>().ToArray().Select(BitConverter.SingleToInt32Bits)];

    static ChunkContext Chunk(IBackend backend, TensorArena arena, Recipe recipe, IExpertExchange exchange) => new()
    {
        Operations = backend.Operations, Scratch = arena, DType = DType.F32, Recipe = recipe, Exchange = exchange,
    };

    // A stand-in for experts: expert e multiplies by a number of its own; what comes out is rounded as products round.
    static void Experts(ExpertRows movement, Tensor rows, Tensor rowWeights, Tensor results, int source, bool narrow)
    {
        Span<int> offsets = movement.OffsetsOf(source).AsSpan<int>();
        Span<float> weights = rowWeights.IsEmpty ? default : movement.Part(rowWeights, source).AsSpan<float>();
        Tensor from = movement.Part(rows, source), to = movement.Part(results, source);
        for (int expert = 0; expert + 1 < offsets.Length; expert++)
            for (int row = offsets[expert]; row < offsets[expert + 1]; row++)
                for (int c = 0; c < rows.Columns; c++)
                {
                    float value = from.Row<float>(row)[c] * (1 + (expert * 0.37f)) * (weights.IsEmpty ? 1 : weights[row]);
                    to.Row<float>(row)[c] = narrow ? BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(value) + 0x8000) & 0xFFFF0000) : value;
                }
    }

    static Outcome Run(Case one, int rank, IBackend backend, IExpertExchange exchange, int[] experts, int tokens, int[] present)
    {
        using var arena = new TensorArena(backend);
        using var scratch = new TensorArena(backend);
        ChunkContext chunk = Chunk(backend, scratch, one.Recipe, exchange);
        var movement = new ExpertRows();
        movement.Allocate(arena, one.Gate, tokens, exchange.PlacementOf(one.Layout.Experts));
        bool narrow = one.Recipe.Forward.Output == NumberFormat.BF16;
        experts.CopyTo(movement.Experts.AsSpan<int>());
        Tensor all = arena.Allocate(DType.F32, one.Tokens, one.Hidden), gates = arena.Allocate(DType.F32, one.Tokens, one.TopK), gradient = arena.Allocate(DType.F32, one.Tokens, one.Hidden);
        Fill(all, 1000 + rank, narrow);
        Fill(gates, 2000 + rank, narrow: false);
        Fill(gradient, 3000 + rank, narrow);
        Tensor Present(Tensor from)
        {
            Tensor to = arena.Allocate(DType.F32, tokens, from.Columns);
            for (int t = 0; t < tokens; t++) from.Row<float>(present[t]).CopyTo(to.Row<float>(t));
            return to;
        }

        Tensor x = Present(all), w = Present(gates), dy = Present(gradient);
        Tensor rows = arena.Allocate(DType.F32, movement.Capacity, one.Hidden), weights = arena.Allocate(DType.F32, movement.Capacity), results = arena.Allocate(DType.F32, movement.Capacity, one.Hidden);
        Tensor y = arena.Allocate(DType.F32, tokens, one.Hidden), dRows = arena.Allocate(DType.F32, movement.Capacity, one.Hidden), dx = arena.Allocate(DType.F32, tokens, one.Hidden);
        Tensor dWeights = arena.Allocate(DType.F32, tokens, one.TopK), dRowWeights = arena.Allocate(DType.F32, movement.Capacity);

        exchange.Dispatch(chunk, movement, x, w, rows, weights);
        for (int s = 0; s < movement.Sources; s++)
        {
            Carry(chunk, movement.Part(rows, s), one.Recipe.ExpertInput, movement.RowCountOf(s));
            Experts(movement, rows, weights, results, s, narrow);
        }

        exchange.Combine(chunk, movement, results, y);
        exchange.CombineBackward(chunk, movement, dy, dRows);
        for (int s = 0; s < movement.Sources; s++)
        {
            Carry(chunk, movement.Part(dRows, s), one.Recipe.ExpertGradient, movement.RowCountOf(s));
            Experts(movement, dRows, default, results, s, narrow);
            Span<float> numbers = movement.Part(dRowWeights, s).AsSpan<float>();
            for (int row = 0; row < movement.RowCountOf(s).AsSpan<int>()[0]; row++) numbers[row] = movement.Part(dRows, s).Row<float>(row)[0];
        }

        exchange.DispatchBackward(chunk, movement, results, dRowWeights, dx, dWeights);
        return new(Bits(y), [], Bits(dx), Bits(dWeights), movement.Counts.AsSpan<int>().ToArray());
    }

    static void Carry(ChunkContext chunk, Tensor rows, QuantizationFormat format, Tensor count)
    {
        if (format.Number == NumberFormat.F32) return;
        (int scaleRows, int scaleColumns) = format.StorageScales(rows.Rows, rows.Columns);
        Tensor codes = chunk.Scratch.Allocate(format.StorageType, rows.Rows, format.StorageColumns(rows.Columns)), scales = scaleRows == 0 ? default : chunk.Scratch.Allocate(DType.F32, scaleRows, scaleColumns);
        chunk.Operations.Quantization.Encode(rows, format, codes, scales, count);
        chunk.Operations.Quantization.Decode(codes, scales, format, rows, count);
    }

    static CpuBackend Backend() => new(new CpuOptions(1, InstructionSets.Best));

    static void Compare(Case one)
    {
        var outcomes = new ConcurrentDictionary<int, Outcome>();
        InProcessRanks.Run(one.Layout.Ranks, group =>
        {
            using CpuBackend backend = Backend();
            using var exchange = new RankExpertExchange(group, one.Layout);
            outcomes[group.Rank] = Run(one, group.Rank, backend, exchange, one.Experts[group.Rank], one.Tokens, [.. Enumerable.Range(0, one.Tokens)]);
        }, TimeSpan.FromSeconds(60));
        using CpuBackend local = Backend();
        for (int rank = 0; rank < one.Layout.Ranks; rank++)
        {
            int[] experts = one.Experts[rank];
            int[] present = [.. Enumerable.Range(0, one.Tokens).Where(t => experts[t * one.TopK] >= 0)];
            Outcome found = outcomes[rank];
            foreach (int t in Enumerable.Range(0, one.Tokens).Except(present)) Assert.Equal(-1, found.Y.AsSpan(t * one.Hidden, one.Hidden).IndexOfAnyExcept(0));
            if (present.Length == 0) continue;
            Outcome expected = Run(one, rank, local, new LocalExpertExchange(), [.. present.SelectMany(t => experts[(t * one.TopK)..((t + 1) * one.TopK)])], present.Length, present);
            Assert.Equal(expected.Counts, found.Counts);
            for (int i = 0; i < present.Length; i++)
            {
                int t = present[i];
                Same(expected.Y, found.Y, i, t, one.Hidden, "result");
                Same(expected.TokenGradients, found.TokenGradients, i, t, one.Hidden, "gradient");
                Same(expected.WeightGradients, found.WeightGradients, i, t, one.TopK, "weight gradient");
            }

            void Same(int[] mine, int[] theirs, int i, int t, int columns, string what) =>
                Assert.True(mine.AsSpan(i * columns, columns).SequenceEqual(theirs.AsSpan(t * columns, columns)), $"{what} of token {t} on rank {rank}: {one}");
        }
    }

    [Fact]
    [Implements("V3 §3.2.2", "Dispatch and combine across ranks and nodes leave the bits of one rank, for any split and any load")]
    public void Any_ranks_nodes_and_experts_leave_the_bits_of_one_rank()
    {
        for (int seed = 0; seed < 60; seed++) Compare(Random(seed));
    }

    [Theory]
    [InlineData(1, 1, 8)]
    [InlineData(2, 1, 4)]
    [InlineData(1, 2, 4)]
    [InlineData(2, 4, 1)]
    public void No_token_at_all_is_fine(int nodes, int ranksPerNode, int expertsPerRank)
    {
        var layout = new ExpertLayout(nodes * ranksPerNode * expertsPerRank, nodes, ranksPerNode);
        int[] none = [-1, -1, -1, -1];
        Compare(new Case { Layout = layout, Tokens = 2, Hidden = 5, TopK = 2, Recipe = Recipe.Fp32, Experts = [.. Enumerable.Range(0, layout.Ranks).Select(_ => none)] });
    }

    /// <summary>The counters of what was really sent agree with what <see cref="DispatchLoad"/> derives from the choice, and the relay saves what it should.</summary>
    [Fact]
    [Implements("V3 §3.2.2", "A token crosses once to each node, to the rank of the same index, which forwards inside the node")]
    public void Rows_on_the_links_are_those_of_the_report()
    {
        const int tokens = 24, topK = 8, hidden = 16;
        var layout = new ExpertLayout(256, 8, 8);
        var gate = new GateParameters(256, topK, 8, 4, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5);
        var traffic = new ConcurrentDictionary<int, (ExchangeTraffic Sent, DispatchLoad Derived)>();
        InProcessRanks.Run(layout.Ranks, group =>
        {
            using CpuBackend backend = Backend();
            using var arena = new TensorArena(backend);
            using var exchange = new RankExpertExchange(group, layout);
            ChunkContext chunk = Chunk(backend, arena, Recipe.Fp8, exchange);
            var movement = new ExpertRows();
            movement.Allocate(arena, gate, tokens, exchange.PlacementOf(256));
            Tensor logits = arena.Allocate(DType.F32, tokens, 256), scores = arena.Allocate(DType.F32, tokens, 256), weights = arena.Allocate(DType.F32, tokens, topK), x = arena.Allocate(DType.F32, tokens, hidden);
            Fill(logits, group.Rank, narrow: false);
            backend.Operations.Routing.Gate(logits, default, gate, scores, movement.Experts, weights);
            exchange.Dispatch(chunk, movement, x, weights, arena.Allocate(DType.F32, movement.Capacity, hidden), arena.Allocate(DType.F32, movement.Capacity));
            var derived = new DispatchLoad(layout, group.Rank);
            for (int t = 0; t < tokens; t++) derived.Add(movement.Experts.Row<int>(t));
            traffic[group.Rank] = (exchange.Traffic, derived);
        }, TimeSpan.FromSeconds(60));
        Assert.All(traffic.Values, one =>
        {
            Assert.Equal(one.Derived.RowsBetweenNodes, one.Sent.RowsBetweenNodes);
            Assert.Equal(one.Derived.NaiveRowsBetweenNodes, one.Sent.NaiveRowsBetweenNodes);
            Assert.InRange(one.Derived.MostNodes, 1, 4);
        });
        Assert.Equal(traffic.Values.Sum(one => one.Derived.RowsInsideNodes), traffic.Values.Sum(one => one.Sent.RowsInsideNodes));
        double nodes = traffic.Values.Sum(one => one.Sent.RowsBetweenNodes) / (64.0 * tokens), pairs = traffic.Values.Sum(one => one.Sent.NaiveRowsBetweenNodes) / (64.0 * tokens);
        Assert.InRange(nodes, 2.4, 4);
        Assert.True(pairs / nodes > 1.7, $"{pairs:F2} pairs and {nodes:F2} rows between nodes a token");
        TestContext.Current.TestOutputHelper!.WriteLine($"{nodes:F2} rows between nodes a token instead of {pairs:F2}");
    }

    [Fact]
    public void After_the_first_use_nothing_is_allocated()
    {
        var layout = new ExpertLayout(6, 1, 1);
        InProcessRanks.Run(1, group =>
        {
            using CpuBackend backend = Backend();
            using var arena = new TensorArena(backend);
            using var scratch = new TensorArena(backend);
            using var exchange = new RankExpertExchange(group, layout);
            ChunkContext chunk = Chunk(backend, scratch, Recipe.Fp8, exchange);
            var movement = new ExpertRows();
            movement.Allocate(arena, new GateParameters(6, 2, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 1), 4, exchange.PlacementOf(6));
            ((ReadOnlySpan<int>)[0, 3, 1, 2, 0, 5, 2, 4]).CopyTo(movement.Experts.AsSpan<int>());
            Tensor x = arena.Allocate(DType.F32, 4, 130), w = arena.Allocate(DType.F32, 4, 2), rows = arena.Allocate(DType.F32, movement.Capacity, 130), rowWeights = arena.Allocate(DType.F32, movement.Capacity), y = arena.Allocate(DType.F32, 4, 130);
            long before = 0;
            for (int i = 0; i < 4; i++)
            {
                if (i == 3) before = GC.GetAllocatedBytesForCurrentThread();
                exchange.Dispatch(chunk, movement, x, w, rows, rowWeights);
                exchange.Combine(chunk, movement, rows, y);
                exchange.CombineBackward(chunk, movement, y, rows);
                exchange.DispatchBackward(chunk, movement, rows, rowWeights, y, w);
            }

            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        });
    }

    [Fact]
    public void Wrong_layouts_and_recipes_are_refused() => InProcessRanks.Run(1, group =>
    {
        Assert.Contains("4 ranks and the group 1", Assert.Throws<ArgumentException>(() => new RankExpertExchange(group, new ExpertLayout(8, 2, 2))).Message, StringComparison.Ordinal);
        using var exchange = new RankExpertExchange(group, new ExpertLayout(8, 1, 1));
        Assert.Contains("made for 8", Assert.Throws<ArgumentException>(() => exchange.PlacementOf(9)).Message, StringComparison.Ordinal);
        using CpuBackend backend = Backend();
        using var arena = new TensorArena(backend);
        ChunkContext chunk = Chunk(backend, arena, Recipe.Fp8 with { ExpertInput = QuantizationFormat.WholeTensor() }, exchange);
        var movement = new ExpertRows();
        movement.Allocate(arena, new GateParameters(8, 1, 1, 1, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 1), 1, exchange.PlacementOf(8));
        Tensor one = arena.Allocate(DType.F32, 1, 4), weight = arena.Allocate(DType.F32, 1, 1);
        Assert.Contains("share a scale", Assert.Throws<NotSupportedException>(() => exchange.Dispatch(chunk, movement, one, weight, one, weight)).Message, StringComparison.Ordinal);
        Assert.Throws<InvalidOperationException>(() => exchange.Combine(chunk, movement, one, one));
    });
}
