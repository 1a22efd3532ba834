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

    // A chunk's tokens over four layers with experts, 4,096 of 7,168 elements in FP8, and one stage's output in BF16, stand behind few small ones.
    static VirtualStep Report(RankLayout layout, int nodes, int microBatches, StepCosts costs, int dispatches = 2) => new()
    {
        Layout = layout, Cluster = VirtualCluster.Published(nodes), Costs = costs, MicroBatches = microBatches, Gate = Gate(8), Tokens = 2, Hidden = 32, Dispatches = dispatches,
        ExchangeScale = 4 * (4096.0 / 2) * (7168.0 / 32), StageBytes = 64, StageScale = 4096 * 7168 * 2.0 / 64,
    };

    // What no step can be shorter than: its busiest port, its longest rank, and the lists with messages that find their ports free. Returns the last.
    static double WithinBounds(VirtualStep step, VirtualReport report)
    {
        double message = (step.StageBytes * step.StageScale / Math.Max(step.Cluster.Inside.BytesPerSecond, step.Cluster.Between.BytesPerSecond)) + Math.Min(step.Cluster.Inside.LatencySeconds, step.Cluster.Between.LatencySeconds);
        double path = ScheduleClock.Run(PipelineSchedule.Create(step.Layout.Schedule, step.Layout.Pipeline, step.MicroBatches), step.Costs with { Communication = message }).Makespan;
        TestContext.Current.TestOutputHelper!.WriteLine(FormattableString.Invariant(
            $"{report.Clocks.Count} ranks: {report.Makespan:F4} s; busiest port {report.BusiestPort:F4} s, lists alone {path:F4} s, longest rank {report.Clocks.Max(c => c.Busy):F4} s; {report.RowsBetweenNodes:F2} rows between nodes a token instead of {report.NaiveRowsBetweenNodes:F2}"));
        Assert.True(report.BusiestPort > 0);
        Assert.True(report.Makespan >= report.BusiestPort, $"{report.Makespan} s is shorter than {report.BusiestPort} s of the busiest port");
        Assert.True(report.Makespan >= path - 1e-9, $"{report.Makespan} s is shorter than {path} s of the lists");
        Assert.Equal(2L * step.Layout.Ranks, report.Backwards); // every forward that exchanged, and its backward
        Assert.Equal(4, report.MostNodes);
        return path;
    }

    /// <summary>A pipeline of two, 32 ranks that share experts on 4 nodes: every message, forward and backward, against its links.</summary>
    [Fact]
    public void No_message_is_faster_than_its_links()
    {
        VirtualStep step = Report(new RankLayout(1, 2, 32, 4, ScheduleKind.DualPipe), 8, 4, new StepCosts(1e-3, 1e-3, 1e-3));
        step = step with { Cluster = step.Cluster with { KeepsMessages = true } };
        VirtualReport report = step.Run(Patience);
        WithinBounds(step, report);
        PassedMessage[] passed = [.. report.Clocks.SelectMany(clock => clock.Passed)];
        Assert.Equal(report.Clocks.Sum(clock => clock.Messages), passed.Length);
        double Seconds(PassedMessage message) => message.Bytes / Link(message).BytesPerSecond;
        LinkSpeed Link(PassedMessage message) => step.Cluster.Crosses(message.From, message.To) ? step.Cluster.Between : step.Cluster.Inside;
        Assert.All(passed, message => Assert.True(message.Began >= message.Left + Link(message).LatencySeconds && message.Ended - message.Began >= Seconds(message) - 1e-12, $"{message}"));

        // One message at a time on each port, either way.
        foreach (IGrouping<(int, bool), PassedMessage> port in passed.GroupBy(message => (message.From, step.Cluster.Crosses(message.From, message.To)))) Apart(port.Select(message => (message.Left, message.Left + Seconds(message))));
        foreach (IGrouping<(int, bool), PassedMessage> port in passed.GroupBy(message => (message.To, step.Cluster.Crosses(message.From, message.To)))) Apart(port.Select(message => (message.Began, message.Ended)));

        static void Apart(IEnumerable<(double Since, double Until)> held)
        {
            double free = 0;
            foreach ((double since, double until) in held.Order())
            {
                Assert.True(since >= free - 1e-12, $"a port is held from {since} and was free from {free}");
                free = until;
            }
        }
    }

    /// <summary>When links are slow, the busiest port decides, and the step is not much longer than it must be.</summary>
    [Fact]
    public void Slow_links_make_the_step_as_long_as_their_bytes()
    {
        VirtualStep step = Report(new RankLayout(1, 1, 64, 8, ScheduleKind.OneForwardOneBackward), 8, 2, new StepCosts(1e-6, 1e-6, 1e-6));
        VirtualReport fast = step.Run(Patience), slow = (step with { Cluster = step.Cluster with { Between = new(5e9, 3.7e-6) } }).Run(Patience);
        WithinBounds(step, fast);
        WithinBounds(step, slow);
        Assert.True(slow.BusiestPort > 5 * fast.BusiestPort);
        Assert.InRange(slow.Makespan, slow.BusiestPort, 3 * slow.BusiestPort);
    }

    /// <summary>The layout of the report: 16 pipeline ranks, 64 that share experts on 8 nodes, twice; lists, gate and exchange both ways, links with their times.</summary>
    [Fact]
    [Trait("tier", "full")]
    public void Two_thousand_ranks_run_the_layout_of_the_report()
    {
        VirtualStep step = Report(new RankLayout(2, 16, 64, 8, ScheduleKind.DualPipe), 256, 32, new StepCosts(0.0354, 0.0354, 0.0226));
        VirtualReport report = step.Run(TimeSpan.FromSeconds(240));
        double lists = WithinBounds(step, report);
        Assert.InRange(report.Makespan, lists, 1.5 * (lists + report.BusiestPort)); // simulated seconds; a clock that counts twice is outside
        Assert.Equal(2048, report.Clocks.Count);
        Assert.Equal(2 * 4096, report.Tokens);
        Assert.InRange(report.RowsBetweenNodes, 3, 3.7);
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
