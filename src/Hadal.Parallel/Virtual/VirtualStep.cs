using Hadal.Model;
using Hadal.Numerics;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
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

    /// <summary>Dispatches and combines of each rank, in its first forwards.</summary>
    public int Dispatches { get; init; } = 1;

    /// <summary>Runs the real lists, the real gate and the real exchange.</summary>
    /// <param name="patience">Real time that a rank may be silent.</param>
    public VirtualReport Run(TimeSpan? patience = null)
    {
        if (Layout.Ranks != Cluster.Ranks) throw new ArgumentException($"The layout {Layout} has {Layout.Ranks} ranks and the cluster {Cluster.Ranks}; expected the same.");
        PipelineSchedule schedule = PipelineSchedule.Create(Layout.Schedule, Layout.Pipeline, MicroBatches);
        var clocks = new VirtualClock[Cluster.Ranks];
        var traffic = new ExchangeTraffic?[Cluster.Ranks];
        int[] mostNodes = new int[Cluster.Ranks];
        Cluster.Run((world, clock) =>
        {
            clocks[world.Rank] = clock;
            using ProcessGroup pipeline = world.Split(Layout.Stream(world.Rank), world.Rank)!;
            using ProcessGroup expert = world.Split((Layout.PipelineRank(world.Rank) * Layout.Data) + Layout.Group(world.Rank), world.Rank)!;
            using Router? router = Gate is null ? null : new Router(this, expert, world.Rank);
            clock.Restart();
            RunList(schedule.Steps[pipeline.Rank], pipeline, clock, router);
            traffic[world.Rank] = router?.Traffic;
            mostNodes[world.Rank] = router?.MostNodes ?? 0;
        }, patience);
        return new VirtualReport(clocks, [.. traffic.OfType<ExchangeTraffic>()], mostNodes.Max());
    }

    void RunList(IReadOnlyList<ScheduleStep> steps, ProcessGroup pipeline, VirtualClock clock, Router? router)
    {
        using var memory = new HostMemory(2 * Math.Max(StageBytes, 1));
        var batch = new List<Transfer>();
        int forwards = 0;
        for (int at = 0; at < steps.Count; at++)
        {
            if (!steps[at].IsCommunication)
            {
                clock.Work(Costs.Of(steps[at].Kind));
                if (router is not null && steps[at].HasForward && forwards++ < Dispatches) router.Go();
                continue;
            }

            batch.Clear();
            for (; at < steps.Count && steps[at].IsCommunication; at++)
                batch.Add(new Transfer(steps[at].Kind == StepKind.Send, steps[at].Peer, memory.Address + (steps[at].Kind == StepKind.Send ? 0 : (nint)StageBytes), StageBytes));
            at--;
            pipeline.Exchange(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(batch));
        }
    }

    /// <summary>The gate and the exchange of one rank, on random logits.</summary>
    sealed class Router : IDisposable
    {
        readonly VirtualStep _step;
        readonly CpuBackend _backend;
        readonly TensorArena _arena, _scratch;
        readonly RankExpertExchange _exchange;
        readonly ChunkContext _chunk;
        readonly ExpertRows _movement = new();
        readonly Tensor _logits, _scores, _weights, _x, _rows, _rowWeights, _y;
        readonly CounterRandom _random;
        ulong _drawn;

        internal Router(VirtualStep step, ProcessGroup group, int rank)
        {
            _step = step;
            _backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
            (_arena, _scratch) = (new TensorArena(_backend, 1 << 12), new TensorArena(_backend, 1 << 12));
            GateParameters gate = step.Gate!.Value;
            _exchange = new RankExpertExchange(group, new ExpertLayout(gate.Experts, step.Layout.Nodes, step.Layout.Expert / step.Layout.Nodes));
            _chunk = new ChunkContext { Operations = _backend.Operations, Scratch = _scratch, DType = DType.F32, Recipe = Recipe.Fp8, Exchange = _exchange };
            _movement.Allocate(_arena, gate, step.Tokens, _exchange.PlacementOf(gate.Experts));
            _logits = _arena.Allocate(DType.F32, step.Tokens, gate.Experts);
            _scores = _arena.Allocate(DType.F32, step.Tokens, gate.Experts);
            _weights = _arena.Allocate(DType.F32, step.Tokens, gate.TopK);
            _x = _arena.Allocate(DType.F32, step.Tokens, step.Hidden);
            _rows = _arena.Allocate(DType.F32, _movement.Capacity, step.Hidden);
            _rowWeights = _arena.Allocate(DType.F32, _movement.Capacity);
            _y = _arena.Allocate(DType.F32, step.Tokens, step.Hidden);
            _random = new CounterRandom(0, RandomPurpose.Simulation, (uint)rank);
        }

        internal ExchangeTraffic Traffic => _exchange.Traffic;

        /// <summary>Nodes that one token went to, at most.</summary>
        internal int MostNodes { get; private set; }

        internal void Go()
        {
            _random.FillUniform(_logits.AsSpan<float>(), -4, 4, _drawn);
            _drawn += (ulong)_logits.Length;
            _backend.Operations.Routing.Gate(_logits, default, _step.Gate!.Value, _scores, _movement.Experts, _weights);
            int perNode = _step.Gate.Value.Experts / _step.Layout.Nodes;
            for (int t = 0; t < _step.Tokens; t++)
            {
                int nodes = 0, before = -1;
                foreach (int expert in _movement.Experts.Row<int>(t))
                {
                    if (expert / perNode != before) nodes++;
                    before = expert / perNode;
                }

                MostNodes = Math.Max(MostNodes, nodes);
            }

            _exchange.Dispatch(_chunk, _movement, _x, _weights, _rows, _rowWeights);
            _exchange.Combine(_chunk, _movement, _rows, _y);
        }

        public void Dispose()
        {
            _exchange.Dispose();
            _arena.Dispose();
            _scratch.Dispose();
            _backend.Dispose();
        }
    }
}

/// <summary>What a step on the simulated clock came to.</summary>
/// <param name="Clocks">Of each rank.</param>
/// <param name="Traffic">Rows and bytes of each rank's exchange; empty without.</param>
/// <param name="MostNodes">Nodes that one token went to, at most.</param>
public sealed record VirtualReport(IReadOnlyList<VirtualClock> Clocks, IReadOnlyList<ExchangeTraffic> Traffic, int MostNodes)
{
    /// <summary>Seconds until the last rank is done.</summary>
    public double Makespan => Clocks.Max(clock => clock.Now);

    /// <summary>Seconds that the rank which waits longest waits: the bubble.</summary>
    public double Bubble => Clocks.Max(clock => Makespan - clock.Busy);

    /// <summary>Tokens that were dispatched.</summary>
    public long Tokens => Traffic.Sum(one => one.Tokens);

    /// <summary>Rows between nodes of a token's dispatch.</summary>
    public double RowsBetweenNodes => (double)Traffic.Sum(one => one.RowsBetweenNodes) / Tokens;

    /// <summary>Rows that would cross if each went straight to the rank of every chosen expert.</summary>
    public double NaiveRowsBetweenNodes => (double)Traffic.Sum(one => one.NaiveRowsBetweenNodes) / Tokens;

    /// <summary>Rows handed on inside nodes.</summary>
    public double RowsInsideNodes => (double)Traffic.Sum(one => one.RowsInsideNodes) / Tokens;
}
