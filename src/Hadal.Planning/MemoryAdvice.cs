using System.Globalization;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>What fills the fullest rank, and what would make it fit: every remedy was planned.</summary>
public static class MemoryAdvice
{
    /// <summary>Sentences: who is full of what, and remedies with their step times.</summary>
    public static IEnumerable<string> Of(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        RankMemory fullest = plan.Memory.MaxBy(rank => rank.Total)!;
        double usable = plan.Cluster.UsableBytes;
        (string Name, double Bytes)[] parts = [("weights", fullest.Weights), ("gradients", fullest.Gradients), ("optimizer", fullest.Optimizer), (Held(fullest), fullest.Activations)];
        string filled = string.Join(", ", parts.OrderByDescending(part => part.Bytes).Select(part => $"{part.Name} {PlanText.Bytes(part.Bytes)}"));
        yield return plan.Fits
            ? $"the fullest is rank {fullest.Rank} with {PlanText.Bytes(fullest.Total)} of {PlanText.Bytes(usable)} that a plan may fill, {PlanText.Bytes(usable - fullest.Total)} are left: {filled}"
            : $"rank {fullest.Rank} needs {PlanText.Bytes(fullest.Total)}, {PlanText.Bytes(fullest.Total - usable)} more than the {PlanText.Bytes(usable)} that a plan may fill: {filled}";
        if (plan.Fits) yield break;

        // The states of a parameter, once in the whole cluster, activations not counted.
        (double projection, _) = RankMemory.WeightBytes(plan.Work.Recipe);
        double states = plan.Work.Size.Total * (projection + 4 + RankMemory.OptimizerBytes);
        yield return string.Create(CultureInfo.InvariantCulture, $"weights, gradients and optimizer of {PlanText.Count(plan.Work.Size.Total)} parameters take {PlanText.Bytes(states)} if nothing is held twice: at least {Math.Ceiling(states / usable):N0} GPUs, activations not counted; there are {plan.Cluster.Gpus:N0}");
        PlanVariant[] remedies = [.. Remedies(plan)];
        PlanVariant[] fitting = [.. remedies.Where(remedy => remedy.Plan is { Fits: true })];
        if (fitting.Length > 0)
        {
            foreach (PlanVariant remedy in fitting) yield return $"{Sentence(remedy)}: fits";
        }
        else if (remedies.Where(remedy => remedy.Plan is not null).MinBy(remedy => remedy.Plan!.MemoryBytes) is { } least)
        {
            yield return $"no single change is enough; most is saved by {Sentence(least)}";
        }
    }

    /// <summary>Single changes that save memory, those that can be run planned.</summary>
    public static IEnumerable<PlanVariant> Remedies(TrainingPlan plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        (TrainingWork work, ClusterDescription cluster, TrainingLayout layout) = (plan.Work, plan.Cluster, plan.Layout);
        foreach (int factor in (int[])[2, 4])
            if (layout.DataParallel % factor == 0)
                yield return Change("ranks that share experts", layout.ExpertParallel, factor * layout.ExpertParallel, work, cluster, layout with { ExpertParallel = factor * layout.ExpertParallel, DataParallel = layout.DataParallel / factor });
        foreach (int factor in (int[])[2, 4])
            if (layout.DataParallel % factor == 0)
                yield return Change("ranks of a pipeline", layout.Pipeline, factor * layout.Pipeline, work, cluster, layout with { Pipeline = factor * layout.Pipeline, DataParallel = layout.DataParallel / factor });
        if (work.Rows % 2 == 0) yield return Change("sequences of a micro-batch", work.Rows, work.Rows / 2, work with { Rows = work.Rows / 2, MicroBatches = checked(2 * work.MicroBatches) }, cluster, layout);
        foreach (ScheduleKind kind in Enum.GetValues<ScheduleKind>())
            if (kind != plan.Schedule) yield return PlanVariants.Try(plan, "schedule", PipelineSchedule.Title(plan.Schedule), PipelineSchedule.Title(kind), work, cluster, layout, kind);
        foreach (int factor in (int[])[2, 4, 8])
        {
            if (layout.Gpus > (1 << 22) / factor || cluster.Nodes > (1 << 14) / factor) continue;
            yield return Change("nodes, more of them sharing experts,", cluster.Nodes, factor * cluster.Nodes, work, cluster with { Nodes = factor * cluster.Nodes }, layout with { ExpertParallel = factor * layout.ExpertParallel });
        }

        PlanVariant Change(string what, int from, int to, TrainingWork changed, ClusterDescription machines, TrainingLayout other) =>
            PlanVariants.Try(plan, what, from.ToString("N0", CultureInfo.InvariantCulture), to.ToString("N0", CultureInfo.InvariantCulture), changed, machines, other, plan.Schedule);
    }

    static string Sentence(PlanVariant remedy) => $"{remedy.What} {remedy.To} instead of {remedy.From}: {PlanText.Bytes(remedy.Plan!.MemoryBytes)} on the fullest rank, {PlanText.Seconds(remedy.Plan.StepSeconds)} a step";

    static string Held(RankMemory rank) => string.Create(CultureInfo.InvariantCulture, $"activations of {rank.ActivationPeak} held micro-batches");
}
