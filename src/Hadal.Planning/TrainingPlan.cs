using System.Collections.Immutable;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>What exchanging rows costs on one rank in one step.</summary>
/// <param name="PerLayer">Seconds of one forward, or one backward, of one layer with experts on the links.</param>
/// <param name="Total">Seconds of all movements of a step.</param>
/// <param name="Hidden">Of them, beside the arithmetic of pairs.</param>
/// <param name="Exposed">Of them, in the open: single forwards and backwards, and what is longer than the pair's arithmetic.</param>
public readonly record struct ExchangeTime(double PerLayer, double Total, double Hidden, double Exposed);

/// <summary>Bytes that one GPU sends in one step.</summary>
/// <param name="ExchangeBetweenNodes">Rows to other nodes, forward and backward.</param>
/// <param name="ExchangeInsideNodes">Rows inside its node.</param>
/// <param name="NaiveBetweenNodes">What would cross between nodes without relays.</param>
/// <param name="Pipeline">Activations and their gradients to neighbours of the pipeline.</param>
/// <param name="Gradients">FP32 gradients to their owners.</param>
/// <param name="Weights">Updated weights to those that hold them.</param>
public readonly record struct LinkBytes(double ExchangeBetweenNodes, double ExchangeInsideNodes, double NaiveBetweenNodes, double Pipeline, double Gradients, double Weights);

/// <summary>A step of training, planned: what each rank does and when, what it holds, what it sends.</summary>
public sealed record TrainingPlan
{
    /// <summary>What is trained.</summary>
    public required TrainingWork Work { get; init; }

    /// <summary>The machines.</summary>
    public required ClusterDescription Cluster { get; init; }

    /// <summary>Where times come from.</summary>
    public required CostDescription Costs { get; init; }

    /// <summary>How GPUs share the work.</summary>
    public required TrainingLayout Layout { get; init; }

    /// <summary>The stages of a pipeline.</summary>
    public required IReadOnlyList<StageContents> Stages { get; init; }

    /// <summary>The schedule with its times, in seconds.</summary>
    public required TimedSchedule Timed { get; init; }

    /// <summary>Memory of the ranks of a pipeline.</summary>
    public required ImmutableArray<RankMemory> Memory { get; init; }

    /// <summary>What a token puts on the links.</summary>
    public required RoutingTraffic Traffic { get; init; }

    /// <summary>The exchange on the rank that computes longest.</summary>
    public required ExchangeTime Exchange { get; init; }

    /// <summary>Bytes of the rank that sends most.</summary>
    public required LinkBytes Links { get; init; }

    /// <summary>Seconds of the optimizer.</summary>
    public required double OptimizerSeconds { get; init; }

    /// <summary>Seconds of reducing gradients and gathering weights when nothing hides them.</summary>
    public required double ReductionSeconds { get; init; }

    /// <summary>True when <see cref="ReductionSeconds"/> are part of the step; a measured step has them in its optimizer or in what the schedule does not explain.</summary>
    public required bool CountsReduction { get; init; }

    /// <summary>The exchange of a pair over its arithmetic, in the stage where that is most.</summary>
    public required double PairShare { get; init; }

    /// <summary>Schedule.</summary>
    public ScheduleKind Schedule => Timed.Schedule.Kind;

    /// <summary>Micro-batches of one pipeline.</summary>
    public int MicroBatches => Timed.Schedule.MicroBatches;

    /// <summary>Seconds of a step.</summary>
    public double StepSeconds => Timed.Makespan + OptimizerSeconds + (CountsReduction ? ReductionSeconds : 0);

    /// <summary>Idle seconds of the rank that waits longest, by the schedule alone.</summary>
    public double IdleSeconds => Timed.Bubble;

    /// <summary>Tokens a second of the whole cluster.</summary>
    public double TokensPerSecond => Work.StepTokens / StepSeconds;

    /// <summary>Operations of the model divided by those that the cluster could do in the time.</summary>
    /// <param name="causal">Count only visible positions.</param>
    public double Utilisation(bool causal) => TokensPerSecond * Work.Size.FlopsPerToken(Work.SequenceLength, causal) / Cluster.Gpus / Cluster.PeakFlops;

    /// <summary>Bytes of the fullest rank.</summary>
    public double MemoryBytes => Memory.Max(rank => rank.Total);

    /// <summary>True when every rank's memory fits.</summary>
    public bool Fits => MemoryBytes <= Cluster.UsableBytes;

    /// <summary>The line of a comparison.</summary>
    public PlanRow Row => new(Layout, Schedule, MicroBatches, StepSeconds, Timed.Bubble / StepSeconds, Exchange.Exposed, MemoryBytes, Fits);
}

/// <summary>One layout of a comparison.</summary>
/// <param name="Layout">The layout.</param>
/// <param name="Schedule">The schedule.</param>
/// <param name="MicroBatches">Micro-batches of one pipeline.</param>
/// <param name="StepSeconds">Seconds of a step.</param>
/// <param name="IdleShare">Part of the step in which the rank that waits longest waits, by the schedule.</param>
/// <param name="ExposedSeconds">Seconds of exchange that nothing hides.</param>
/// <param name="MemoryBytes">Of the fullest rank.</param>
/// <param name="Fits">Whether that fits.</param>
public sealed record PlanRow(TrainingLayout Layout, ScheduleKind Schedule, int MicroBatches, double StepSeconds, double IdleShare, double ExposedSeconds, double MemoryBytes, bool Fits);

/// <summary>Layouts side by side.</summary>
/// <param name="Rows">Those that can be run, the fastest first, those that fit before those that do not.</param>
/// <param name="Tried">Layouts and schedules that were looked at.</param>
/// <param name="Refused">Of them, those that cannot be run at all: numbers that do not divide.</param>
/// <param name="Refusal">The reason of one of them, for when nothing is left.</param>
public sealed record PlanComparison(IReadOnlyList<PlanRow> Rows, int Tried, int Refused, string? Refusal)
{
    /// <summary>The fastest that fits; null when none does.</summary>
    public PlanRow? Proposal => Rows.FirstOrDefault(row => row.Fits);
}
