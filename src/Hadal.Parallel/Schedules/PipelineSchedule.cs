using System.Collections.Immutable;

namespace Hadal.Parallel.Schedules;

/// <summary>A pipeline schedule: what each rank does, in order. Plain data, made by <see cref="Create"/>.</summary>
/// <param name="Placement">Which rank holds which stage.</param>
/// <param name="Steps">The list of each rank.</param>
public sealed record PipelineSchedule(PipelinePlacement Placement, ImmutableArray<ImmutableArray<ScheduleStep>> Steps)
{
    /// <summary>Most ranks of a schedule: lists beyond that are a mistake, not a pipeline.</summary>
    public const int MostRanks = 4096;

    /// <summary>Most micro-batches of a schedule.</summary>
    public const int MostMicroBatches = 1 << 16;

    /// <summary>The kind.</summary>
    public ScheduleKind Kind => Placement.Kind;

    /// <summary>Number of ranks.</summary>
    public int Ranks => Placement.Ranks;

    /// <summary>Micro-batches of the step.</summary>
    public int MicroBatches => Placement.MicroBatches;

    /// <summary>Makes the schedule of a kind.</summary>
    /// <param name="kind">Which.</param>
    /// <param name="ranks">Ranks of the pipeline; DualPipeV has twice as many stages.</param>
    /// <param name="microBatches">Micro-batches of a step.</param>
    /// <exception cref="ArgumentException">The pair is not admissible; the message says why (<see cref="Refusal"/>).</exception>
    public static PipelineSchedule Create(ScheduleKind kind, int ranks, int microBatches)
    {
        if (Refusal(kind, ranks, microBatches) is { } reason) throw new ArgumentException(reason);
        var placement = new PipelinePlacement(kind, ranks, microBatches);
        var lists = ImmutableArray.CreateBuilder<ImmutableArray<ScheduleStep>>(ranks);
        for (int rank = 0; rank < ranks; rank++)
        {
            var steps = new StepList(placement, rank);
            switch (kind)
            {
                case ScheduleKind.OneForwardOneBackward: InTurns.OneForwardOneBackward(placement, rank, steps); break;
                case ScheduleKind.ZeroBubble: InTurns.ZeroBubble(placement, rank, steps); break;
                case ScheduleKind.DualPipe: EightSteps.DualPipe(placement, rank, steps); break;
                default: EightSteps.DualPipeV(placement, rank, steps); break;
            }

            lists.Add(steps.ToSteps());
        }

        return new(placement, lists.MoveToImmutable());
    }

    /// <summary>Why a pair is not admissible, in a sentence that says what would be; null when it is.</summary>
    public static string? Refusal(ScheduleKind kind, int ranks, int microBatches)
    {
        string name = Name(kind);
        if (ranks is < 1 or > MostRanks) return $"{name} was given {ranks} ranks; expected 1 to {MostRanks}.";
        if (microBatches is < 1 or > MostMicroBatches) return $"{name} was given {microBatches} micro-batches; expected 1 to {MostMicroBatches}.";
        switch (kind)
        {
            case ScheduleKind.ZeroBubble when microBatches < ranks:
                return $"{name} was given {microBatches} micro-batches for {ranks} ranks; expected at least as many as ranks: with fewer there is no backward to split while others wait. Use {ranks} or more, or 1f1b.";
            case ScheduleKind.DualPipe when ranks % 2 != 0:
                return $"{name} was given {ranks} ranks; expected an even number: the two directions meet between two middle ranks. Use {Math.Max(2, ranks - 1)} or {ranks + 1}.";
            case ScheduleKind.DualPipe when microBatches % 2 != 0:
                return $"{name} was given {microBatches} micro-batches; expected an even number: half of them enters at each end. Use {microBatches + 1}.";
            case ScheduleKind.DualPipe or ScheduleKind.DualPipeV when microBatches < 2 * ranks:
                return $"{name} was given {microBatches} micro-batches for {ranks} ranks; expected at least twice the ranks, {2 * ranks}: fewer do not fill both directions. Use {2 * ranks} or more, or fewer ranks.";
            default:
                return null;
        }
    }

    /// <summary>The name on the command line: 1f1b, zb1p, dualpipe, dualpipev.</summary>
    public static string Name(ScheduleKind kind) => kind switch
    {
        ScheduleKind.OneForwardOneBackward => "1f1b",
        ScheduleKind.ZeroBubble => "zb1p",
        ScheduleKind.DualPipe => "dualpipe",
        _ => "dualpipev",
    };

    /// <summary>The name in the literature: 1F1B, ZB1P, DualPipe, DualPipeV.</summary>
    public static string Title(ScheduleKind kind) => kind switch
    {
        ScheduleKind.OneForwardOneBackward => "1F1B",
        ScheduleKind.ZeroBubble => "ZB1P",
        ScheduleKind.DualPipe => "DualPipe",
        _ => "DualPipeV",
    };
}
