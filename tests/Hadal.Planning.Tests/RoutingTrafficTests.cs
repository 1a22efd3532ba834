using Hadal.Planning.Layouts;

namespace Hadal.Planning.Tests;

public sealed class RoutingTrafficTests
{
    /// <summary>The published group of 64 ranks on 8 nodes: at most 4 nodes a token, about half of the naive rows between nodes.</summary>
    [Fact]
    public void Published_routing_agrees_with_the_reports_reasoning()
    {
        TrainingWork work = TrainingWork.PublishedV3;
        RoutingTraffic traffic = RoutingTraffic.Of(work, TrainingLayout.Published, gpusPerNode: 8);
        Assert.Equal((8, 8), (traffic.Layout.Nodes, traffic.Layout.RanksPerNode));
        Assert.Equal(4, traffic.MostNodes);
        Assert.InRange(traffic.NodesPerToken, 3.2, 4);
        Assert.InRange(traffic.ExpertsPerNode, 2, 3.2);
        Assert.InRange(traffic.RowsBetweenNodes, 2.8, 3.5);

        // Seven of eight chosen experts are on other nodes.
        Assert.InRange(traffic.NaiveRowsBetweenNodes, 6.9, 7.1);
        Assert.Equal(7168 + (4 * 56) + 4 + (8 * 8), traffic.OutBytes);
        Assert.Equal(2 * 7168, traffic.BackBytes);

        // With up to 3.2 experts a node the inside is not the slower link: the network decides.
        double rows = traffic.RowsBetweenNodes * work.Tokens;
        Assert.Equal((rows * traffic.OutBytes / 50e9) + 3.7e-6 + 3.33e-6, traffic.Seconds(work.Tokens, traffic.OutBytes, ClusterDescription.Published), 12);
    }

    [Fact]
    public void Inside_one_node_nothing_crosses()
    {
        RoutingTraffic traffic = RoutingTraffic.Of(TrainingWork.PublishedV3, new(16, 8, 16), gpusPerNode: 8);
        Assert.Equal((1, 8), (traffic.Layout.Nodes, traffic.Layout.RanksPerNode));
        Assert.Equal((0.0, 0.0, 1), (traffic.RowsBetweenNodes, traffic.NaiveRowsBetweenNodes, traffic.MostNodes));
        Assert.InRange(traffic.RowsInsideNodes, 3, 7);
        Assert.True(traffic.LayerSeconds(4096, ClusterDescription.Published) > 0);
    }

    [Fact]
    public void One_rank_has_no_traffic()
    {
        RoutingTraffic traffic = RoutingTraffic.Of(TrainingWork.PublishedV3, new(16, 1, 128), gpusPerNode: 8);
        Assert.Equal((0.0, 0.0), (traffic.BytesBetweenNodes(4096), traffic.BytesInsideNodes(4096)));
        Assert.Equal(0, traffic.LayerSeconds(4096, ClusterDescription.Published));
    }

    [Fact]
    public void The_same_numbers_every_time() => Assert.Equal(RoutingTraffic.Of(Shapes.Work(), new(1, 4, 1), 2), RoutingTraffic.Of(Shapes.Work(), new(1, 4, 1), 2));
}
