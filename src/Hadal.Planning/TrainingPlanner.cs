using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>
/// Plans a training step: makes the schedule that the executor would run, gives its steps their times, runs it on the simulated clock, and counts memory and bytes. Nothing is
/// executed and no constant is fitted: what goes in are the costs, the cluster and the model.
/// </summary>
public static class TrainingPlanner
{
    /// <summary>Plans one layout.</summary>
    /// <exception cref="PlanException">It cannot be run; the message says why.</exception>
    public static TrainingPlan Plan(TrainingWork work, ClusterDescription cluster, CostDescription costs, TrainingLayout layout, ScheduleKind kind) =>
        Plan(work, cluster, costs, layout, kind, new Known(work, cluster));

    static TrainingPlan Plan(TrainingWork work, ClusterDescription cluster, CostDescription costs, TrainingLayout layout, ScheduleKind kind, Known known)
    {
        ArgumentNullException.ThrowIfNull(work);
        ArgumentNullException.ThrowIfNull(cluster);
        ArgumentNullException.ThrowIfNull(costs);
        if (layout.Refusal(work, cluster, kind) is { } reason) throw new PlanException(reason);
        PipelineSchedule schedule = PipelineSchedule.Create(kind, layout.Pipeline, work.MicroBatches / layout.Pipelines);
        StageContents[] stages = StageContents.Cut(work.Size, schedule.Placement.Stages);
        RoutingTraffic traffic = known.Traffic(layout.ExpertParallel);
        var prices = new StepPrices(work, cluster, costs, layout, stages, traffic, costs.IncludesExchange ? known.Traffic(costs.MeasuredExpertParallel, costs.MeasuredOn) : traffic);
        TimedSchedule timed = ScheduleClock.Run(schedule, prices.Average(), (rank, i) => prices.Of(schedule.Placement, rank, schedule.Steps[rank][i]));
        var memory = RankMemory.Of(work, layout, schedule, stages, known.Records);
        int longest = Enumerable.Range(0, schedule.Ranks).MaxBy(timed.Busy);
        LinkBytes[] links = [.. Enumerable.Range(0, schedule.Ranks).Select(rank => Links(work, layout, schedule, stages, traffic, memory[rank], rank))];
        LinkBytes most = links.MaxBy(link => link.ExchangeBetweenNodes + link.ExchangeInsideNodes + link.Pipeline + link.Gradients + link.Weights);
        return new()
        {
            Work = work, Cluster = cluster, Costs = costs, Layout = layout, Stages = stages, Timed = timed, Memory = memory, Traffic = traffic, Exchange = prices.Exchange(schedule, longest), Links = most,
            OptimizerSeconds = memory.Max(rank => costs.Optimizer(rank.Owned, cluster)),
            ReductionSeconds = links.Max(link => (link.Gradients + link.Weights) / (ReducesBetweenNodes(layout, cluster, schedule) ? cluster.NetworkBandwidth : cluster.NodeBandwidth)),
            CountsReduction = !costs.IncludesExchange, PairShare = prices.PairShare,
        };
    }

    /// <summary>Plans every layout that the cluster allows.</summary>
    /// <param name="work">The work.</param>
    /// <param name="cluster">The machines.</param>
    /// <param name="costs">Where times come from.</param>
    /// <param name="kinds">Schedules to try.</param>
    /// <param name="progress">Told how many were looked at, of how many.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/> between two of them.</param>
    public static PlanComparison Compare(
        TrainingWork work, ClusterDescription cluster, CostDescription costs, IReadOnlyList<ScheduleKind> kinds, Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(kinds);
        var known = new Known(work, cluster);
        (TrainingLayout Layout, ScheduleKind Kind)[] all = [.. Layouts(work, cluster).SelectMany(layout => kinds.Select(kind => (layout, kind)))];
        var rows = new List<PlanRow>();
        string? refusal = null;
        for (int i = 0; i < all.Length; i++)
        {
            cancel.ThrowIfCancellationRequested();
            progress?.Invoke(i, all.Length);
            if (all[i].Layout.Refusal(work, cluster, all[i].Kind) is { } reason) refusal ??= reason;
            else rows.Add(Plan(work, cluster, costs, all[i].Layout, all[i].Kind, known).Row);
        }

        return new([.. rows.OrderByDescending(row => row.Fits).ThenBy(row => row.StepSeconds).ThenBy(row => row.MemoryBytes)], all.Length, all.Length - rows.Count, refusal);
    }

    static IEnumerable<TrainingLayout> Layouts(TrainingWork work, ClusterDescription cluster)
    {
        ArgumentNullException.ThrowIfNull(work);
        ArgumentNullException.ThrowIfNull(cluster);
        int gpus = cluster.Gpus;
        for (int pipeline = 1; pipeline <= Math.Min(gpus, work.Shape.Layers); pipeline++)
        {
            if (gpus % pipeline != 0) continue;
            int rest = gpus / pipeline;
            for (int experts = 1; experts <= Math.Min(rest, Math.Max(1, work.Shape.Gate.Experts)); experts++)
                if (rest % experts == 0) yield return new(pipeline, experts, rest / experts);
        }
    }

    /// <summary>What several layouts have in common.</summary>
    sealed class Known(TrainingWork work, ClusterDescription cluster)
    {
        readonly Dictionary<(int ExpertParallel, int GpusPerNode), RoutingTraffic> _traffic = [];
        RecordMemory? _records;

        public RecordMemory Records => _records ??= RecordMemory.Of(work.Shape, work.Recipe, work.Tokens);

        public RoutingTraffic Traffic(int expertParallel, ClusterDescription? machines = null)
        {
            int node = (machines ?? cluster).GpusPerNode;
            if (!_traffic.TryGetValue((expertParallel, node), out RoutingTraffic? traffic)) _traffic.Add((expertParallel, node), traffic = RoutingTraffic.Of(work, new(1, expertParallel, 1), node));
            return traffic;
        }
    }

    // A stage's copies are the GPUs of its pipelines; under DualPipe the other half of the pipeline has as many.
    static bool ReducesBetweenNodes(TrainingLayout layout, ClusterDescription cluster, PipelineSchedule schedule) =>
        layout.Pipelines > cluster.GpusPerNode || (schedule.Kind == ScheduleKind.DualPipe && layout.PipelineCrossesNodes(cluster));

    static LinkBytes Links(TrainingWork work, TrainingLayout layout, PipelineSchedule schedule, StageContents[] stages, RoutingTraffic traffic, RankMemory memory, int rank)
    {
        PipelinePlacement placement = schedule.Placement;
        double movements = 0, messages = 0;
        foreach (ScheduleStep step in schedule.Steps[rank])
        {
            if (step.HasForward) movements += StepPrices.Exchanging(stages[placement.Stage(rank, step.Phase)]);
            if (step.HasBackward) movements += StepPrices.Exchanging(stages[placement.Stage(rank, step.BackwardPart.Phase)]);

            // With the gradient of the activations travels that of the tokens which MTP modules embedded.
            if (step.Kind == StepKind.Send) messages += step.Cargo == Cargo.Gradient ? 1 + work.Shape.MtpDepth : 1;
        }

        double copies = ScheduleFormulas.ParameterCopies(schedule.Kind), dense = Part(copies * layout.Pipelines), experts = Part(copies * layout.DataParallel);
        (double projection, _) = RankMemory.WeightBytes(work.Recipe);
        double weight = memory.DenseParameters == 0 ? 0 : (memory.Weights - (memory.ExpertParameters * projection)) / memory.DenseParameters;
        return new(
            movements * traffic.BytesBetweenNodes(work.Tokens), movements * traffic.BytesInsideNodes(work.Tokens), movements * traffic.NaiveBytesBetweenNodes(work.Tokens),
            messages * StepPrices.MessageBytes(work), 4 * ((memory.DenseParameters * dense) + (memory.ExpertParameters * experts)),
            (memory.DenseParameters * weight * dense) + (memory.ExpertParameters * projection * experts));

        // Each of n copies sends what it does not own, and gets it back.
        static double Part(double copies) => (copies - 1) / copies;
    }
}
