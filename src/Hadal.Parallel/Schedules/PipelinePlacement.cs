namespace Hadal.Parallel.Schedules;

/// <summary>The pipeline schedules there are.</summary>
public enum ScheduleKind
{
    /// <summary>1F1B: one forward, one backward, in turns.</summary>
    OneForwardOneBackward,

    /// <summary>ZB1P (ZB-H1): 1F1B with the backward cut in two, weight gradients filling what would be idle.</summary>
    ZeroBubble,

    /// <summary>DualPipe: micro-batches enter at both ends, each rank holds a stage of both directions [V3 §3.2.1].</summary>
    DualPipe,

    /// <summary>DualPipeV: DualPipe cut in half, twice as many stages as ranks, folded into a V.</summary>
    DualPipeV,
}

/// <summary>A stage's place: the rank that holds it and the phase under which that rank knows it.</summary>
/// <param name="Rank">Index of the rank.</param>
/// <param name="Phase">0 or 1.</param>
public readonly record struct StagePlace(int Rank, int Phase);

/// <summary>
/// Which rank holds which stage, and which micro-batches run through it. Under DualPipe rank r holds stage r for the micro-batches that enter at rank 0
/// and stage ranks−1−r for those that enter at the last rank, so that the first and the deepest layers share a rank [V3 §3.2.1]. Phase 0 is the direction
/// in which a rank's own half begins: ranks of the second half name the two directions the other way round, and so run the same program mirrored.
/// </summary>
/// <param name="Kind">The schedule.</param>
/// <param name="Ranks">Ranks of the pipeline.</param>
/// <param name="MicroBatches">Micro-batches of a step, both directions together.</param>
public sealed record PipelinePlacement(ScheduleKind Kind, int Ranks, int MicroBatches)
{
    /// <summary>Stages the layers are cut into.</summary>
    public int Stages => Kind == ScheduleKind.DualPipeV ? 2 * Ranks : Ranks;

    /// <summary>Stages that one rank holds: 1 or 2.</summary>
    public int Phases => Kind is ScheduleKind.DualPipe or ScheduleKind.DualPipeV ? 2 : 1;

    /// <summary>Micro-batches that run through one phase of a rank.</summary>
    public int MicroBatchesPerPhase => Kind == ScheduleKind.DualPipe ? MicroBatches / 2 : MicroBatches;

    /// <summary>0 when the phase of this rank leads from the first rank to the last, 1 when it leads back.</summary>
    public int Direction(int rank, int phase) => Kind == ScheduleKind.DualPipe && rank >= Ranks / 2 ? 1 - phase : phase;

    /// <summary>The stage that <paramref name="rank"/> holds for <paramref name="phase"/>.</summary>
    public int Stage(int rank, int phase) => Direction(rank, phase) == 0 ? rank : Stages - 1 - rank;

    /// <summary>Index of a micro-batch in the whole step: under DualPipe those that enter at the last rank follow those that enter at the first.</summary>
    public int GlobalMicroBatch(int rank, int phase, int microBatch) =>
        Kind == ScheduleKind.DualPipe ? Direction(rank, phase) * MicroBatchesPerPhase + microBatch : microBatch;

    /// <summary>Where the output of a stage goes; null after the last stage. The place is the same rank at the fold of DualPipeV.</summary>
    public StagePlace? Next(int rank, int phase)
    {
        if (Stage(rank, phase) == Stages - 1) return null;
        if (Kind == ScheduleKind.DualPipeV && phase == 0 && rank == Ranks - 1) return new(rank, 1);
        return Neighbour(rank, phase, Direction(rank, phase) == 0 ? 1 : -1);
    }

    /// <summary>Where the input of a stage comes from; null for the first stage.</summary>
    public StagePlace? Previous(int rank, int phase)
    {
        if (Stage(rank, phase) == 0) return null;
        if (Kind == ScheduleKind.DualPipeV && phase == 1 && rank == Ranks - 1) return new(rank, 0);
        return Neighbour(rank, phase, Direction(rank, phase) == 0 ? -1 : 1);
    }

    StagePlace Neighbour(int rank, int phase, int step)
    {
        int other = rank + step, direction = Direction(rank, phase);
        return new(other, Direction(other, 0) == direction ? 0 : 1);
    }
}
