using Hadal.Parallel.Experts;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Reference;

namespace Hadal.Parallel.Tests.Experts;

public sealed class DispatchLoadTests
{
    [Fact]
    public void A_token_by_hand()
    {
        // 3 nodes of 2 ranks with 2 experts each; rank 0 sends. Experts 0–3 are on its node, 4–7 on node 1, 8–11 on node 2.
        var load = new DispatchLoad(new ExpertLayout(12, 3, 2), source: 0);
        load.Add([1, 2, 4, 5, 7, -1]);
        Assert.Equal([1, 1, 1, 1, 0, 0], load.TokensPerRank);
        Assert.Equal([1, 1, 0], load.TokensPerNode);
        Assert.Equal(1, load.RowsBetweenNodes);
        Assert.Equal(3, load.NaiveRowsBetweenNodes);

        // From rank 0 to rank 1 for expert 2, and from the relay, rank 2, to rank 3 for expert 7.
        Assert.Equal(2, load.RowsInsideNodes);
        Assert.Equal(5, load.TokensPerExpert.Sum());
        load.Add([-1, -1]);
        Assert.Equal(2, load.TokensPerNode.Sum());
        Assert.Equal(2, load.MostNodes);
    }

    [Theory]
    [InlineData(0, 2, 4)]
    [InlineData(3, 1, 3)]
    [InlineData(3, 2, 5)]
    public void The_relay_has_the_senders_place_in_its_node(int source, int node, int relay) => Assert.Equal(relay, new ExpertLayout(12, 3, 2).Relay(source, node));

    /// <summary>
    /// The published setting, chosen by the gate itself: 256 experts on 8 nodes of 8 GPUs, 8 of them in the 4 best of 8 groups. A token goes to at most four nodes, and handing it on
    /// inside the node takes less time than bringing it there when the inside is 3.2 times as fast (160 against 50 GB/s).
    /// </summary>
    [Fact]
    [Implements("V3 §3.2.2", "Node-limited routing: a token is sent to at most four nodes")]
    public void Random_routing_agrees_with_the_reports_reasoning()
    {
        const int tokens = 4000;
        (double nodes, double forwards, int most, double naive) = Route(tokens, chosen: 8);
        Assert.Equal(4, most);
        Assert.InRange(nodes, 3.0, 4.0);
        Assert.True(forwards / 160 < nodes / 50, $"{forwards:F2} rows inside and {nodes:F2} between nodes a token");
        Assert.True(naive / nodes > 1.9, $"straight to the ranks {naive:F2} rows would cross, {nodes:F2} do");

        // With 13 experts, 3.2 a node, both links are about equally busy; beyond it the inside is the longer way.
        (nodes, forwards, most, _) = Route(tokens, chosen: 13);
        Assert.Equal(4, most);
        Assert.InRange(forwards / 160 / (nodes / 50), 0.6, 1.05);
        TestContext.Current.TestOutputHelper!.WriteLine($"13 experts: {nodes:F2} rows between nodes, {forwards:F2} inside");
    }

    /// <summary>Without the limit the same gate spreads a token over more nodes: the limit is what keeps it.</summary>
    [Fact]
    public void Without_the_limit_tokens_go_to_more_nodes()
    {
        (double nodes, _, int most, _) = Route(2000, chosen: 8, topGroups: 8);
        Assert.InRange(most, 7, 8);
        Assert.True(nodes > 4.5, $"{nodes:F2} nodes a token");
    }

    // Per token: rows between nodes, rows inside foreign nodes, most nodes, rows between nodes without a relay.
    static (double Nodes, double Forwards, int Most, double Naive) Route(int tokens, int chosen, int topGroups = 4)
    {
        const int experts = 256;
        var random = new Random(chosen);
        using var backend = new ReferenceBackend();
        using var arena = new TensorArena(backend);
        Tensor logits = arena.Allocate(DType.F32, tokens, experts), scores = arena.Allocate(DType.F32, tokens, experts);
        Tensor choice = arena.Allocate(DType.I32, tokens, chosen), weights = arena.Allocate(DType.F32, tokens, chosen);
        foreach (ref float logit in logits.AsSpan<float>()) logit = (float)(4 * random.NextDouble() - 2);
        backend.Operations.Routing.Gate(logits, default, new GateParameters(experts, chosen, 8, topGroups, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5), scores, choice, weights);

        // The sender stands on a ninth node whose experts nobody chooses: every node is foreign, as in the report's sum.
        var load = new DispatchLoad(new ExpertLayout(288, 9, 8), source: 67);
        for (int token = 0; token < tokens; token++) load.Add(choice.Row<int>(token));
        return ((double)load.RowsBetweenNodes / tokens, (double)load.RowsInsideNodes / tokens, load.MostNodes, (double)load.NaiveRowsBetweenNodes / tokens);
    }

    [Fact]
    public void What_does_not_divide_is_refused()
    {
        Assert.Contains("multiple of the ranks", Assert.Throws<ArgumentException>(() => new ExpertLayout(10, 3, 2).Validate()).Message, StringComparison.Ordinal);
        Assert.Contains("Expert 12", Assert.Throws<ArgumentException>(() => new DispatchLoad(new ExpertLayout(12, 3, 2), 0).Add([12])).Message, StringComparison.Ordinal);
    }
}
