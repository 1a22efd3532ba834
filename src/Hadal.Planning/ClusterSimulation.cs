using Hadal.Numerics;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Layouts;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Planning;

/// <summary>How tokens of one micro-batch of all ranks of an expert group fell onto those ranks, in one layer.</summary>
/// <param name="Loads">[ranks of the group]: rows that each rank's experts get, over their mean.</param>
/// <param name="RowsBetweenNodes">Most rows between nodes of one rank, a token.</param>
public sealed record LoadDraw(double[] Loads, double RowsBetweenNodes)
{
    /// <summary>The heaviest rank's load over the mean.</summary>
    public double Heaviest => Loads.Max();
}

/// <summary>
/// A planned step timed again with loads that differ: micro-batches fall onto the experts as the gate chooses for random tokens, and the ranks of an expert group go on together when the
/// slowest has its rows done, so the pipelines of a group share one schedule on the clock. No rank is executed. The plan itself has equal loads.
/// </summary>
public sealed record ClusterSimulation
{
    ClusterSimulation(TrainingPlan plan, IReadOnlyList<LoadDraw> draws, IReadOnlyList<TimedSchedule> groups, double[] busy)
    {
        (Plan, Draws, Groups, Busy) = (plan, draws, groups, busy);
    }

    /// <summary>What was planned with equal loads.</summary>
    public TrainingPlan Plan { get; }

    /// <summary>Loads that micro-batches were given.</summary>
    public IReadOnlyList<LoadDraw> Draws { get; }

    /// <summary>The pipelines of each expert group, which go in step, on the clock.</summary>
    public IReadOnlyList<TimedSchedule> Groups { get; }

    /// <summary>[ranks of the cluster]: seconds in which each computed.</summary>
    public IReadOnlyList<double> Busy { get; }

    /// <summary>Seconds of the slowest pipeline.</summary>
    public double PipelineSeconds => Groups.Max(group => group.Makespan);

    /// <summary>Seconds of the step.</summary>
    public double StepSeconds => Plan.StepSeconds - Plan.Timed.Makespan + PipelineSeconds;

    /// <summary>Seconds that a rank of the cluster waits, on average: for its pipeline, and for slower ranks of its expert group.</summary>
    public double MeanIdle => Busy.Average(busy => PipelineSeconds - busy);

    /// <summary>As <see cref="MeanIdle"/> for the rank that waits longest.</summary>
    public double MostIdle => Busy.Max(busy => PipelineSeconds - busy);

    /// <summary>Draws loads and puts the schedule of every expert group on the clock.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="backend">Runs the gate.</param>
    /// <param name="draws">Micro-batches that are routed; steps take them at random.</param>
    /// <param name="skew">Deviation of the experts' popularity, in logits; 0 for tokens that like all experts alike.</param>
    /// <param name="tokens">Tokens of a rank that are routed; at most those of a micro-batch.</param>
    /// <param name="seed">Of all random choices.</param>
    /// <param name="progress">Told how many micro-batches were routed, of how many.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    public static ClusterSimulation Run(
        TrainingPlan plan, IBackend backend, int draws = 16, double skew = 0, int tokens = int.MaxValue, ulong seed = 1, Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(backend);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(draws);
        tokens = Math.Min(tokens, plan.Work.Tokens);
        var loads = new LoadDraw[draws];
        for (int i = 0; i < draws; i++)
        {
            cancel.ThrowIfCancellationRequested();
            progress?.Invoke(i, draws);
            loads[i] = Draw(plan, backend, skew, tokens, seed, (uint)i);
        }

        PipelineSchedule schedule = plan.Timed.Schedule;
        int members = plan.Layout.ExpertParallel;
        var groups = new TimedSchedule[plan.Layout.DataParallel];
        var busy = new double[plan.Cluster.Gpus];
        var choice = new CounterRandom(seed, RandomPurpose.Simulation, stream: uint.MaxValue);
        double[] shares = [.. plan.Stages.Select(stage => RoutedShare(plan, stage))];
        for (int group = 0; group < groups.Length; group++)
        {
            var own = new double[schedule.Ranks * members];
            ulong place = (ulong)(group * schedule.Ranks) << 20;
            groups[group] = ScheduleClock.Run(schedule, plan.Timed.Costs, (rank, i) =>
            {
                double planned = plan.Timed.Duration(rank, i);
                ScheduleStep step = schedule.Steps[rank][i];
                LoadDraw load = loads[choice.Below(place + ((ulong)rank << 20) + (ulong)i, draws)];
                double share = shares[schedule.Placement.Stage(rank, step.Phase)];
                if (step.Kind == StepKind.ForwardBackward) share = (share + shares[schedule.Placement.Stage(rank, step.BackwardPhase)]) / 2;
                for (int member = 0; member < members; member++) own[(rank * members) + member] += planned * (1 + (share * (load.Loads[member] - 1)));
                return planned * (1 + (share * (load.Heaviest - 1)));
            });
            for (int rank = 0; rank < schedule.Ranks; rank++)
                for (int member = 0; member < members; member++) busy[(((rank * groups.Length) + group) * members) + member] = own[(rank * members) + member];
        }

        return new(plan, loads, groups, busy);
    }

    /// <summary>Part of a stage's arithmetic that routed experts do: what an uneven load stretches.</summary>
    static double RoutedShare(TrainingPlan plan, StageContents stage)
    {
        GateParameters gate = plan.Work.Shape.Gate;
        double routed = 0, all = 0, attention = plan.Work.Size.AttentionFlops(plan.Work.SequenceLength, causal: true);
        foreach (LayerSize layer in stage.Layers)
        {
            if (layer.IsSparse) routed += 2.0 * layer.Experts * gate.TopK / gate.Experts;
            all += (2 * layer.Multiplied(plan.Work.Shape)) + attention;
        }

        if (stage.IsLast) all += 2.0 * (plan.Work.Size.Head == 0 ? plan.Work.Size.Embedding : plan.Work.Size.Head) * (1 + plan.Work.Size.Mtp.Count);
        return all == 0 ? 0 : routed / all;
    }

    static LoadDraw Draw(TrainingPlan plan, IBackend backend, double skew, int tokens, ulong seed, uint draw)
    {
        GateParameters gate = plan.Work.Shape.Gate;
        int members = plan.Layout.ExpertParallel;
        if (gate.Experts == 0 || members == 1) return new([.. Enumerable.Repeat(1.0, members)], 0);
        ExpertLayout layout = plan.Traffic.Layout;
        using var arena = new TensorArena(backend);
        Tensor logits = arena.Allocate(DType.F32, tokens, gate.Experts), scores = arena.Allocate(DType.F32, tokens, gate.Experts);
        Tensor choice = arena.Allocate(DType.I32, tokens, gate.TopK), weights = arena.Allocate(DType.F32, tokens, gate.TopK);
        var random = new CounterRandom(seed, RandomPurpose.Simulation, draw);
        var popularity = new float[gate.Experts];
        random.FillNormal(popularity, skew);
        var rows = new long[members];
        double between = 0;
        for (int source = 0; source < members; source++)
        {
            Span<float> values = logits.AsSpan<float>();
            random.FillUniform(values, -2, 2, (ulong)source * (ulong)values.Length);
            if (skew > 0)
                for (int i = 0; i < values.Length; i++) values[i] += popularity[i % gate.Experts];
            backend.Operations.Routing.Gate(logits, default, gate, scores, choice, weights);
            var load = new DispatchLoad(layout, source);
            for (int token = 0; token < tokens; token++) load.Add(choice.Row<int>(token));
            for (int expert = 0; expert < gate.Experts; expert++) rows[layout.Owner(expert)] += load.TokensPerExpert[expert];
            between = Math.Max(between, load.RowsBetweenNodes / (double)tokens);
        }

        double mean = rows.Average();
        return new([.. rows.Select(count => count / mean)], between);
    }
}
