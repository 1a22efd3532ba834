using System.Globalization;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>A plan with one thing changed.</summary>
/// <param name="What">What was changed: <c>network between nodes</c>.</param>
/// <param name="From">As it is in the plan.</param>
/// <param name="To">As it would be.</param>
/// <param name="Plan">The plan then; null when it cannot be run.</param>
/// <param name="Refusal">Why not.</param>
public sealed record PlanVariant(string What, string From, string To, TrainingPlan? Plan, string? Refusal);

/// <summary>What a plan depends on: the same plan with halves and doubles of links, batch, expert ranks and pipeline ranks, one at a time.</summary>
public static class PlanVariants
{
    /// <summary>Plans them, in the order of a table.</summary>
    public static IReadOnlyList<PlanVariant> Of(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        TrainingWork work = plan.Work;
        ClusterDescription cluster = plan.Cluster;
        TrainingLayout layout = plan.Layout;
        var variants = new List<PlanVariant>();
        if (layout.PipelineCrossesNodes(cluster) || plan.Traffic.Layout.Nodes > 1)
            foreach (double factor in (double[])[0.5, 2])
                Add("network between nodes", Rate(cluster.NetworkBandwidth), Rate(factor * cluster.NetworkBandwidth), work, cluster with { NetworkBandwidth = factor * cluster.NetworkBandwidth }, layout);
        if (plan.Traffic.Layout.RanksPerNode > 1)
            foreach (double factor in (double[])[0.5, 2])
                Add("links inside nodes", Rate(cluster.NodeBandwidth), Rate(factor * cluster.NodeBandwidth), work, cluster with { NodeBandwidth = factor * cluster.NodeBandwidth }, layout);
        Add("micro-batches of a pipeline", Number(plan.MicroBatches), Number(plan.MicroBatches / 2), work with { MicroBatches = work.MicroBatches / 2 }, cluster, layout);
        Add("micro-batches of a pipeline", Number(plan.MicroBatches), Number(2 * plan.MicroBatches), work with { MicroBatches = checked(2 * work.MicroBatches) }, cluster, layout);
        if (layout.ExpertParallel > 1)
            Add("ranks that share experts", Number(layout.ExpertParallel), $"{Number(layout.ExpertParallel / 2)}, copies {Number(2 * layout.DataParallel)}", work, cluster, layout with { ExpertParallel = layout.ExpertParallel / 2, DataParallel = 2 * layout.DataParallel });
        if (layout.DataParallel % 2 == 0)
        {
            Add("ranks that share experts", Number(layout.ExpertParallel), $"{Number(2 * layout.ExpertParallel)}, copies {Number(layout.DataParallel / 2)}", work, cluster, layout with { ExpertParallel = 2 * layout.ExpertParallel, DataParallel = layout.DataParallel / 2 });
            Add("ranks of a pipeline", Number(layout.Pipeline), $"{Number(2 * layout.Pipeline)}, copies {Number(layout.DataParallel / 2)}", work, cluster, layout with { Pipeline = 2 * layout.Pipeline, DataParallel = layout.DataParallel / 2 });
        }

        if (layout.Pipeline % 2 == 0)
            Add("ranks of a pipeline", Number(layout.Pipeline), $"{Number(layout.Pipeline / 2)}, copies {Number(2 * layout.DataParallel)}", work, cluster, layout with { Pipeline = layout.Pipeline / 2, DataParallel = 2 * layout.DataParallel });
        Add("sequences of a micro-batch", Number(work.Rows), $"{Number(2 * work.Rows)}, half as many", work with { Rows = checked(2 * work.Rows), MicroBatches = work.MicroBatches / 2 }, cluster, layout);
        return variants;

        void Add(string what, string from, string to, TrainingWork changed, ClusterDescription machines, TrainingLayout other) => variants.Add(Try(plan, what, from, to, changed, machines, other, plan.Schedule));
    }

    /// <summary>
    /// Bytes a second between nodes, or inside, below which the exchange of a pair takes longer than its arithmetic, so that pairs wait for the links; latencies are not counted. Null where there are no pairs or nothing is exchanged.
    /// </summary>
    public static double? LeastBandwidth(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        bool pairs = plan.Schedule is ScheduleKind.DualPipe or ScheduleKind.DualPipeV;
        return !pairs || plan.PairShare == 0 ? null : plan.PairShare * (BoundByNetwork(plan) ? plan.Cluster.NetworkBandwidth : plan.Cluster.NodeBandwidth);
    }

    /// <summary>True when rows between nodes take longer than those inside.</summary>
    public static bool BoundByNetwork(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        return plan.Traffic.RowsBetweenNodes / plan.Cluster.NetworkBandwidth >= plan.Traffic.RowsInsideNodes / plan.Cluster.NodeBandwidth;
    }

    /// <summary>Plans one change; its times stay those that were taken on the machines of the plan.</summary>
    internal static PlanVariant Try(TrainingPlan plan, string what, string from, string to, TrainingWork work, ClusterDescription cluster, TrainingLayout layout, ScheduleKind kind)
    {
        if (work.MicroBatches < 1) return new(what, from, to, null, "no micro-batch would be left.");
        if (layout.Refusal(work, cluster, kind) is { } reason) return new(what, from, to, null, reason);
        CostDescription costs = plan.Costs is StepTotals { Machines: null } totals ? totals with { Machines = plan.Cluster } : plan.Costs;
        return new(what, from, to, TrainingPlanner.Plan(work, cluster, costs, layout, kind), null);
    }

    static string Number(int value) => value.ToString("N0", CultureInfo.InvariantCulture);

    static string Rate(double bytesPerSecond) => PlanText.Bytes(bytesPerSecond) + "/s";
}
