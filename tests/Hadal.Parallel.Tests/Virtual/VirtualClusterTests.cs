using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Parallel.Virtual;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Tests.Virtual;

/// <summary>The real lists, gate and exchange on clusters that do not exist.</summary>
public sealed class VirtualClusterTests
{
    static readonly TimeSpan Patience = TimeSpan.FromSeconds(120);

    static GateParameters Gate(int topK) => new(256, topK, 8, 4, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5);

    static VirtualCluster Instant(int ranks) => new(ranks, 1, LinkSpeed.Instant, LinkSpeed.Instant);

    /// <summary>The list that ranks execute takes the time that the clock of the schedule gives it.</summary>
    [Theory]
    [InlineData(ScheduleKind.OneForwardOneBackward, 8, 20, 0)]
    [InlineData(ScheduleKind.ZeroBubble, 8, 20, 0)]
    [InlineData(ScheduleKind.DualPipe, 8, 20, 0)]
    [InlineData(ScheduleKind.DualPipeV, 4, 20, 0)]
    [InlineData(ScheduleKind.DualPipe, 8, 20, 0.25)]
    [InlineData(ScheduleKind.OneForwardOneBackward, 8, 20, 0.25)]
    public void An_executed_list_takes_the_time_of_the_schedules_clock(ScheduleKind kind, int ranks, int microBatches, double latency)
    {
        var costs = new StepCosts(Forward: 1, BackwardInput: 1.25, BackwardWeights: 0.75, Communication: latency);
        VirtualReport report = new VirtualStep
        {
            Layout = new RankLayout(1, ranks, 1, 1, kind), Cluster = Instant(ranks) with { Between = new LinkSpeed(double.PositiveInfinity, latency) }, Costs = costs, MicroBatches = microBatches,
        }.Run(Patience);
        TimedSchedule timed = ScheduleClock.Run(PipelineSchedule.Create(kind, ranks, microBatches), costs);
        Assert.Equal(timed.Makespan, report.Makespan, 1e-9);
        Assert.Equal(timed.Bubble, report.Bubble, 1e-9);
    }

    [Fact]
    [Implements("V3 §3.2.1", "Executed on ranks with balanced chunks, DualPipe waits as long as its formula says, and less than half of 1F1B")]
    public void Executed_DualPipe_waits_as_its_formula_says()
    {
        VirtualReport Execute(ScheduleKind kind) => new VirtualStep { Layout = new RankLayout(1, 8, 1, 1, kind), Cluster = Instant(8), Costs = StepCosts.Unit, MicroBatches = 20 }.Run(Patience);
        double inTurns = Execute(ScheduleKind.OneForwardOneBackward).Bubble, dual = Execute(ScheduleKind.DualPipe).Bubble;
        Assert.Equal((8 - 1) * (1 + 2.0), inTurns, 1e-9);            // (stages − 1)(F + B)
        Assert.Equal(((8 / 2) - 1) * (3 + 2 - (3 * 1.0)), dual, 1e-9); // (stages/2 − 1)(F&B + B − 3W)
        Assert.True(dual < inTurns / 2);
    }

    [Fact]
    [Implements("V3 §3.2.2", "On random routing a token crosses to at most 4 nodes, and the experts beside the first of each node ride along inside it")]
    public void Sixty_four_ranks_send_each_token_once_to_a_node()
    {
        VirtualReport report = new VirtualStep
        {
            Layout = new RankLayout(1, 1, 64, 8, ScheduleKind.OneForwardOneBackward), Cluster = VirtualCluster.Published(8), Costs = StepCosts.Unit, MicroBatches = 2,
            Gate = Gate(8), Tokens = 24, Hidden = 256,
        }.Run(Patience);
        Assert.Equal(4, report.MostNodes);
        Assert.InRange(report.RowsBetweenNodes, 3, 3.5);       // of 4 nodes, one in eight is the token's own
        Assert.InRange(report.NaiveRowsBetweenNodes, 6.5, 7.5); // each of 8 experts by itself
        long counted = report.Traffic.Sum(one => one.BytesBetweenNodes), sent = report.Clocks.Sum(clock => clock.BytesBetween);
        Assert.InRange(sent - counted, 0, 64 * 2 * 64 * 8L); // beside rows: counts of tokens, colours and keys of groups
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"a token: {report.RowsBetweenNodes:F2} rows between nodes instead of {report.NaiveRowsBetweenNodes:F2}, {report.RowsInsideNodes:F2} inside; {report.Makespan:F6} s");
    }

    /// <summary>With links of 160 and 50 GB/s a node's experts are free as long as there are about 3.2 of them: the inside port is then busy no longer than the one between nodes.</summary>
    [Theory]
    [InlineData(8, true)]
    [InlineData(12, true)]
    [InlineData(24, false)]
    [Implements("V3 §3.2.2", "About 3.2 experts of a node cost no more than one, for the links inside are that much faster")]
    public void Experts_ride_free_until_the_inside_links_are_the_slower_ones(int topK, bool free)
    {
        VirtualReport report = new VirtualStep
        {
            Layout = new RankLayout(1, 1, 64, 8, ScheduleKind.OneForwardOneBackward), Cluster = VirtualCluster.Published(8), Costs = StepCosts.Unit, MicroBatches = 1,
            Gate = Gate(topK), Tokens = 12, Hidden = 128,
        }.Run(Patience);
        double between = report.RowsBetweenNodes / 50, inside = report.RowsInsideNodes / 160;
        TestContext.Current.TestOutputHelper!.WriteLine($"top {topK}: {report.RowsBetweenNodes:F2} rows between nodes, {report.RowsInsideNodes:F2} inside; port inside is busy {inside / between:F2} times as long");
        Assert.Equal(free, inside <= between);
    }

    /// <summary>The layout of the report: 16 pipeline ranks, 64 that share experts on 8 nodes, twice.</summary>
    [Fact]
    [Trait("tier", "full")]
    public void Two_thousand_ranks_run_the_layout_of_the_report()
    {
        var costs = new StepCosts(Forward: 1, BackwardInput: 1, BackwardWeights: 1);
        VirtualReport report = new VirtualStep
        {
            Layout = new RankLayout(2, 16, 64, 8, ScheduleKind.DualPipe), Cluster = VirtualCluster.Published(256) with { Inside = LinkSpeed.Instant, Between = LinkSpeed.Instant }, Costs = costs, MicroBatches = 32,
            Gate = Gate(8), Tokens = 2, Hidden = 32,
        }.Run(TimeSpan.FromSeconds(240));
        Assert.Equal(2048, report.Clocks.Count);
        Assert.Equal(4096, report.Tokens);
        Assert.Equal(4, report.MostNodes);
        Assert.InRange(report.RowsBetweenNodes, 3, 3.5);
        Assert.Equal(((16 / 2) - 1) * (3 + 2 - 3.0), report.Bubble, 1e-9);
        TestContext.Current.TestOutputHelper!.WriteLine($"{report.RowsBetweenNodes:F2} rows between nodes a token instead of {report.NaiveRowsBetweenNodes:F2}; bubble {report.Bubble} F of {report.Makespan} F");
    }

    /// <summary>Ports are used one message after the other, latency comes on top, and threads decide nothing.</summary>
    [Fact]
    public void Messages_take_the_time_of_their_links()
    {
        var cluster = new VirtualCluster(2, 2, new LinkSpeed(200, 0.5), new LinkSpeed(100, 2));
        double[] first = Times(), second = Times();
        Assert.Equal(first, second);
        Assert.Equal(2 + 3, first[2], 1e-12);   // 300 bytes across, the port free at once
        Assert.Equal(2 + 3 + 1, first[3], 1e-12); // 100 more behind them on the sender's port
        Assert.Equal(0.5 + 1, first[1], 1e-12);  // 200 bytes inside
        Assert.Equal(0, first[0]);               // sending takes no time of the rank

        double[] Times()
        {
            double[] now = new double[4];
            cluster.Run((group, clock) =>
            {
                using var memory = new Hadal.Tensors.HostMemory(1000);
                nint at = memory.Address;
                if (group.Rank == 0) group.Exchange(new Transfer(true, 2, at, 300), new Transfer(true, 3, at, 100), new Transfer(true, 1, at, 200));
                else group.Exchange(new Transfer(false, 0, at, group.Rank switch { 1 => 200, 2 => 300, _ => 100 }));
                now[group.Rank] = clock.Now;
            }, Patience);
            return now;
        }
    }
}
