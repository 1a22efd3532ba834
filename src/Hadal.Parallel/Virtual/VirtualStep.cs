using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Virtual;

/// <summary>A step on a cluster that does not exist.</summary>
public sealed record VirtualStep
{
    /// <summary>Layout of the ranks.</summary>
    public required RankLayout Layout { get; init; }

    /// <summary>The cluster; as many ranks.</summary>
    public required VirtualCluster Cluster { get; init; }

    /// <summary>Seconds of each kind of step.</summary>
    public required StepCosts Costs { get; init; }

    /// <summary>Micro-batches of each stream.</summary>
    public required int MicroBatches { get; init; }

    /// <summary>Bytes of a message between stages.</summary>
    public long StageBytes { get; init; } = sizeof(float);

    /// <summary>Routing of the layer whose tokens are dispatched and combined; null for none.</summary>
    public GateParameters? Gate { get; init; }

    /// <summary>Tokens of a rank in that dispatch.</summary>
    public int Tokens { get; init; } = 4;

    /// <summary>Elements of a token.</summary>
    public int Hidden { get; init; } = 128;

    /// <summary>Forwards of each rank whose tokens are dispatched and combined, the first ones; their backwards send gradients the same ways.</summary>
    public int Dispatches { get; init; } = 1;

    /// <summary>How many bytes a byte of the exchange stands for: few small tokens for the layers of a chunk.</summary>
    public double ExchangeScale { get; init; } = 1;

    /// <summary>How many bytes a byte between stages stands for.</summary>
    public double StageScale { get; init; } = 1;

    /// <summary>
    /// Runs the real lists, the real gate and the real exchange, forward and backward. What a step exchanges goes on beside its cost, which measured costs include: a step takes as long as the
    /// longer of the two.
    /// </summary>
    /// <param name="patience">Real time that a rank may be silent.</param>
    public VirtualReport Run(TimeSpan? patience = null)
    {
        if (Layout.Ranks != Cluster.Ranks) throw new ArgumentException($"The layout {Layout} has {Layout.Ranks} ranks and the cluster {Cluster.Ranks}; expected the same.");
        PipelineSchedule schedule = PipelineSchedule.Create(Layout.Schedule, Layout.Pipeline, MicroBatches);
        var clocks = new VirtualClock[Cluster.Ranks];
        var traffic = new ExchangeTraffic?[Cluster.Ranks];
        int[] mostNodes = new int[Cluster.Ranks], backwards = new int[Cluster.Ranks];
        Cluster.Run((world, clock) =>
        {
            clocks[world.Rank] = clock;
            using ProcessGroup pipeline = world.Split(Layout.Stream(world.Rank), world.Rank)!;
            using ProcessGroup expert = world.Split((Layout.PipelineRank(world.Rank) * Layout.Data) + Layout.Group(world.Rank), world.Rank)!;
            using VirtualRouter? router = Gate is null ? null : new VirtualRouter(this, expert, world.Rank);
            clock.Restart();
            RunList(schedule.Steps[pipeline.Rank], pipeline, clock, router);
            traffic[world.Rank] = router?.Traffic;
            (mostNodes[world.Rank], backwards[world.Rank]) = (router?.MostNodes ?? 0, router?.Backwards ?? 0);
        }, patience);
        return new VirtualReport(clocks, [.. traffic.OfType<ExchangeTraffic>()], mostNodes.Max(), backwards.Sum());
    }

    void RunList(IReadOnlyList<ScheduleStep> steps, ProcessGroup pipeline, VirtualClock clock, VirtualRouter? router)
    {
        using var memory = new HostMemory(2 * Math.Max(StageBytes, 1));
        var batch = new List<Transfer>();
        for (int at = 0; at < steps.Count; at++)
        {
            if (!steps[at].IsCommunication)
            {
                double since = clock.Now;
                clock.Scale = ExchangeScale;
                router?.Run(steps[at]);
                clock.WorkBeside(since, Costs.Of(steps[at].Kind));
                continue;
            }

            batch.Clear();
            for (; at < steps.Count && steps[at].IsCommunication; at++)
                batch.Add(new Transfer(steps[at].Kind == StepKind.Send, steps[at].Peer, memory.Address + (steps[at].Kind == StepKind.Send ? 0 : (nint)StageBytes), StageBytes));
            at--;
            clock.Scale = StageScale;
            pipeline.Exchange(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(batch));
        }
    }
}

/// <summary>What a step on the simulated clock came to.</summary>
/// <param name="Clocks">Of each rank.</param>
/// <param name="Traffic">Rows and bytes of each rank's exchange; empty without.</param>
/// <param name="MostNodes">Nodes that one token went to, at most.</param>
/// <param name="Backwards">Backwards that sent gradients to experts and back, over all ranks.</param>
public sealed record VirtualReport(IReadOnlyList<VirtualClock> Clocks, IReadOnlyList<ExchangeTraffic> Traffic, int MostNodes, int Backwards)
{
    /// <summary>Seconds until the last rank is done.</summary>
    public double Makespan => Clocks.Max(clock => clock.Now);

    /// <summary>Seconds that the rank which waits longest waits: the bubble.</summary>
    public double Bubble => Clocks.Max(clock => Makespan - clock.Busy);

    /// <summary>Seconds that the busiest port of all ranks was held: no step can be shorter.</summary>
    public double BusiestPort => Clocks.Max(clock => clock.LongestHeld);

    /// <summary>Tokens that were dispatched.</summary>
    public long Tokens => Traffic.Sum(one => one.Tokens);

    /// <summary>Rows between nodes of a token's dispatch.</summary>
    public double RowsBetweenNodes => (double)Traffic.Sum(one => one.RowsBetweenNodes) / Tokens;

    /// <summary>Rows that would cross if each went straight to the rank of every chosen expert.</summary>
    public double NaiveRowsBetweenNodes => (double)Traffic.Sum(one => one.NaiveRowsBetweenNodes) / Tokens;

    /// <summary>Rows handed on inside nodes.</summary>
    public double RowsInsideNodes => (double)Traffic.Sum(one => one.RowsInsideNodes) / Tokens;
}
