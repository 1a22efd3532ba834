using System.Collections.Concurrent;
using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Serving;
using Hadal.Parallel.Virtual;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Serving;

/// <summary>A unit whose ranks really run, small, on a virtual cluster.</summary>
public sealed record UnitRunOptions
{
    /// <summary>The unit; as many ranks run as it has GPUs.</summary>
    public required ExpertUnit Unit { get; init; }

    /// <summary>How rows reach experts, which is also the order of stages: prefilling or decoding.</summary>
    public required UnitPath Path { get; init; }

    /// <summary>The gate; its experts and groups are the unit's.</summary>
    public required GateParameters Gate { get; init; }

    /// <summary>What a GPU does in a step of the model.</summary>
    public required StepWork Work { get; init; }

    /// <summary>Layers with routed experts that run.</summary>
    public int Layers { get; init; } = 3;

    /// <summary>Tokens of a rank in each of the two micro-batches; they stand for the model's.</summary>
    public int Tokens { get; init; } = 32;

    /// <summary>Elements of a token; they stand for the model's.</summary>
    public int Hidden { get; init; } = 64;

    /// <summary>Steps that run.</summary>
    public int Steps { get; init; } = 24;

    /// <summary>Time from one step to the next on the placement's clock: each stands for all steps of that time.</summary>
    public TimeSpan StepTime { get; init; } = TimeSpan.FromMinutes(2.5);

    /// <summary>Rounds of moves after a step.</summary>
    public int Rounds { get; init; } = 1;

    /// <summary>Numbers that experts compute in and rows travel as.</summary>
    public Recipe Recipe { get; init; } = Recipe.Fp8;

    /// <summary>When placements are looked at, and at what price.</summary>
    public PlacementPolicy Policy { get; init; } = new();

    /// <summary>How long a rank may be silent before the run is given up.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromMinutes(5);
}

/// <summary>A step of the unit, on the simulated clock.</summary>
/// <param name="Time">On the placement's clock.</param>
/// <param name="Balance">Pairs of the fullest GPU over the mean, average over layers.</param>
/// <param name="LayerSeconds">From one layer to the next, both micro-batches.</param>
/// <param name="PricedSeconds">The same by the cost model, for the traffic that the step had, results added on their nodes as published.</param>
/// <param name="PricedAloneSeconds">The same with every result coming back by itself and, through nodes, one hop after the other, as it is here.</param>
/// <param name="MoveSeconds">Time between this step and the next: experts that moved, or the word that none do.</param>
/// <param name="MovedBytes">Weights of the model that moved after it, in the layers that ran.</param>
/// <param name="Switched">Layers whose placement changed after it.</param>
public sealed record UnitRunStep(TimeSpan Time, double Balance, double LayerSeconds, double PricedSeconds, double PricedAloneSeconds, double MoveSeconds, double MovedBytes, int Switched);

/// <summary>What ran, and whether it was right.</summary>
/// <param name="Options">What was asked.</param>
/// <param name="Routing">Who chose experts.</param>
/// <param name="Steps">In order.</param>
/// <param name="Decisions">What rank 0 decided, in order.</param>
/// <param name="Ports">Bytes that the exchanges put on the ports of each GPU.</param>
/// <param name="Counted">The same by the formula.</param>
/// <param name="WrongRows">Token rows, over all layers and steps, whose bits differ from those of one rank with all experts once.</param>
/// <param name="CheckedRows">Token rows compared.</param>
/// <param name="WrongSlots">Slots whose weights differ in a bit from the expert that the placement puts there, over all ends of steps.</param>
/// <param name="CheckedSlots">Slots compared.</param>
/// <param name="NodesPerToken">Nodes that a token went to, at most.</param>
/// <param name="ExpertBytes">Weights of one of the model's experts.</param>
public sealed record UnitRunReport(
    UnitRunOptions Options, string Routing, IReadOnlyList<UnitRunStep> Steps, IReadOnlyList<PlacementDecision> Decisions, IReadOnlyList<PortBytes> Ports, IReadOnlyList<PortBytes> Counted,
    long WrongRows, long CheckedRows, long WrongSlots, long CheckedSlots, int NodesPerToken, double ExpertBytes)
{
    /// <summary>GPUs on one of whose ports the formula counts other bytes than passed.</summary>
    public int WrongPorts => Ports.Zip(Counted).Count(pair => pair.First != pair.Second);

    /// <summary>True when every bit and every byte is as it should be.</summary>
    public bool IsRight => WrongRows == 0 && WrongSlots == 0 && WrongPorts == 0;

    /// <summary>Steps before the first placement changed.</summary>
    public IEnumerable<UnitRunStep> Before => Steps.Take(Steps.TakeWhile(step => step.Switched == 0).Count() + 1);

    /// <summary>Steps after all layers of the first change had switched; none if nothing changed.</summary>
    public IEnumerable<UnitRunStep> After
    {
        get
        {
            int first = Steps.TakeWhile(step => step.Switched == 0).Count(), wanted = Decisions.FirstOrDefault(decision => decision.Pays)?.Change?.Layers.Count ?? 0;
            for (int switched = 0; first < Steps.Count && switched < wanted; first++) switched += Steps[first].Switched;
            return Steps.Skip(first);
        }
    }
}

/// <summary>
/// Runs a serving unit on a virtual cluster: every GPU is a rank with its own slots of real, small experts; the real gate chooses by recorded or synthetic routing; two micro-batches go through
/// dispatch, experts and combine in the published order of stages; between steps <see cref="PlacementLoop"/> gathers counts, decides and moves experts. Links and arithmetic take the time that
/// the model's would. Each rank compares every row with what one rank that has all experts once computes, and every slot with the checkpoint.
/// </summary>
public static class UnitRun
{
    /// <summary>Runs it.</summary>
    /// <param name="options">What to run.</param>
    /// <param name="routing">Who chooses which experts.</param>
    /// <param name="costs">What parts of a layer cost, with the unit's slots.</param>
    /// <param name="progress">Told how many steps have ended.</param>
    /// <param name="cancel">Ends it early.</param>
    /// <exception cref="ArgumentException">Routing, gate and unit have different experts.</exception>
    public static UnitRunReport Run(UnitRunOptions options, IRoutingSource routing, ServingCosts costs, Action<int>? progress = null, CancellationToken cancel = default)
    {
        ExpertUnit unit = options.Unit;
        unit.Validate();
        options.Policy.Validate();
        if (routing.Experts != unit.Experts || routing.TopK != options.Gate.TopK || options.Gate.Experts != unit.Experts || options.Gate.Groups != unit.Groups)
            throw new ArgumentException($"The routing has {routing.Experts} experts, {routing.TopK} of them for a token, the gate {options.Gate.Experts} in {options.Gate.Groups} groups, {options.Gate.TopK} for a token, and the unit {unit.Experts} in {unit.Groups}; expected the same.", nameof(routing));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Layers, 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Tokens, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Steps, 1);
        using var backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        using Transformer checkpoint = Checkpoint(options, backend);
        var shared = new UnitShared(options, routing, costs, checkpoint, FirstPrices(options, routing, costs));
        LinkSpeeds links = costs.Hardware.Links;
        double latency = costs.Hardware.NetworkLatency;
        var cluster = new VirtualCluster(unit.Nodes, unit.GpusPerNode, new(links.InsideNode, latency), new(links.BetweenNodes, latency));
        var ranks = new ConcurrentDictionary<int, UnitRank>();
        cluster.Run((group, clock) =>
        {
            using var rank = new UnitRank(shared, group, clock);
            ranks[group.Rank] = rank;
            for (int step = 0; step < options.Steps; step++)
            {
                cancel.ThrowIfCancellationRequested();
                rank.Step(step);
                if (group.Rank == 0) progress?.Invoke(step + 1);
            }
        }, options.Patience);
        return Report(shared, [.. Enumerable.Range(0, unit.Gpus).Select(rank => ranks[rank])]);
    }

    // All experts once, and nothing else that is used.
    static Transformer Checkpoint(UnitRunOptions options, CpuBackend backend)
    {
        var shape = new TransformerShape
        {
            Vocabulary = 16, Hidden = options.Hidden, Layers = options.Layers, DenseLayers = 0, DenseIntermediate = 16, ExpertIntermediate = 16, Heads = 1, QueryLoraRank = 0, KeyValueLoraRank = 16,
            QkNopeHeadDim = 8, QkRopeHeadDim = 8, ValueHeadDim = 8, SharedExperts = 0, Gate = options.Gate, GateBias = false, MtpDepth = 0, NormEpsilon = 1e-6, RotaryTheta = 10_000, MaxPositions = 16,
        };
        var model = new Transformer(backend, shape, options.Recipe);
        Initialization.Normal(model, 11, 0.1);
        return model;
    }

    // What rank 0's keeper believes a step to cost: the cost model on the first tokens.
    static WaitingPrices FirstPrices(UnitRunOptions options, IRoutingSource routing, ServingCosts costs)
    {
        var traffic = new UnitTraffic(options.Unit, options.Path);
        int[] choices = new int[options.Tokens * options.Gate.TopK];
        ReplicaPlan plan = options.Unit.FirstPlan();
        for (int gpu = 0; gpu < options.Unit.Gpus; gpu++)
        {
            routing.Choose(TimeSpan.Zero, 0, 2 * gpu, choices);
            traffic.Add(plan, gpu, choices, options.Gate.TopK);
        }

        return costs.Prices(options.Work, TrafficPerToken.Of(traffic, options.Unit.Gpus), options.Path);
    }

    static UnitRunReport Report(UnitShared shared, UnitRank[] ranks)
    {
        UnitRunOptions options = shared.Options;
        ExpertUnit unit = options.Unit;
        var counted = new PortBytes[unit.Gpus];
        var steps = new UnitRunStep[options.Steps];
        int most = 0;
        for (int step = 0; step < steps.Length; step++)
        {
            double balance = 0, between = 0, inside = 0, resultsBetween = 0, resultsInside = 0;
            int parts = 2 * options.Layers;
            for (int part = 0; part < parts; part++)
            {
                var traffic = new UnitTraffic(unit, options.Path);
                ReplicaPlan plan = shared.Plans[step, part / 2];
                foreach (UnitRank rank in ranks)
                {
                    int[] choices = rank.Choices(step, part);
                    traffic.Add(plan, rank.Rank, choices, options.Gate.TopK);
                    most = Math.Max(most, MostNodes(unit, plan, rank.Rank, choices, options.Gate.TopK));
                }

                for (int gpu = 0; gpu < counted.Length; gpu++) counted[gpu] += traffic.Bytes(gpu, ranks[0].RowBytes, ranks[0].ResultBytes);
                TrafficPerToken one = TrafficPerToken.Of(traffic, unit.Gpus);
                (balance, between, inside) = (balance + (one.Balance / parts), between + (one.Between / parts), inside + (one.Inside / parts));
                resultsBetween += (double)Math.Max(traffic.ResultsBetweenOut.Max(), traffic.ResultsBetweenIn.Max()) / options.Tokens / parts;
                resultsInside += (double)Math.Max(traffic.ResultsInsideOut.Max(), traffic.ResultsInsideIn.Max()) / options.Tokens / parts;
            }

            double Slowest(Func<UnitRankStep, double> of) => ranks.Max(rank => of(rank.Steps[step]));
            LayerParts priced = shared.Costs.Parts(options.Work, new(balance, between, inside), options.Path);
            LayerParts alone = options.Path == UnitPath.Straight
                ? priced with { Combine = shared.Costs.Parts(options.Work, new(balance, resultsBetween, resultsInside), options.Path).Combine }
                : priced with { Dispatch = HopByHop(options.Work, shared.Costs.Hardware, between, inside, shared.Costs.Model.OutBytes), Combine = HopByHop(options.Work, shared.Costs.Hardware, resultsBetween, resultsInside, shared.Costs.Model.BackBytes) };
            double Priced(LayerParts of) => options.Path == UnitPath.ThroughNodes ? of.Prefilling : of.Decoding;
            steps[step] = new(
                step * options.StepTime, balance, (Slowest(s => s.LastLayer) - Slowest(s => s.FirstLayer)) / (options.Layers - 1), Priced(priced), Priced(alone),
                Slowest(s => s.Moved) - Slowest(s => s.Ended), ranks.Sum(rank => (double)rank.Steps[step].MovedBytes) / ranks[0].ExpertBytes * shared.Costs.Model.ExpertBytes, ranks[0].Steps[step].Switched);
        }

        return new(options, shared.Routing.Description, steps, ranks[0].Decisions, [.. ranks.Select(rank => rank.Exchanged)], counted,
            ranks.Sum(rank => rank.WrongRows), ranks.Sum(rank => rank.CheckedRows), ranks.Sum(rank => rank.WrongSlots), ranks.Sum(rank => rank.CheckedSlots), most, shared.Costs.Model.ExpertBytes);
    }

    // The second hop begins when the first has ended. Rows are for each token of a rank; its micro-batch is half of the step's work.
    static double HopByHop(StepWork work, ServingHardware hardware, double between, double inside, double bytes) =>
        (work.Tokens / 2 * bytes * ((between / hardware.Links.BetweenNodes) + (inside / hardware.Links.InsideNode))) + (2 * hardware.NetworkLatency);

    static int MostNodes(ExpertUnit unit, ReplicaPlan plan, int source, int[] choices, int topK)
    {
        int most = 0;
        Span<int> nodes = stackalloc int[topK];
        for (int t = 0; t * topK < choices.Length; t++)
        {
            int found = 0;
            for (int k = 0; k < topK; k++)
            {
                int node = unit.NodeOf(ReplicaChoice.Slot(plan, choices[(t * topK) + k], source, t));
                if (!nodes[..found].Contains(node)) nodes[found++] = node;
            }

            most = Math.Max(most, found);
        }

        return most;
    }
}
