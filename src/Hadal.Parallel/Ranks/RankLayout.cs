using Hadal.Parallel.Schedules;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// How the ranks of a training run share the work: <paramref name="Data"/> groups that hold the same experts, in each of them <paramref name="Expert"/> ranks that
/// share the experts of a layer, and all that <paramref name="Pipeline"/> times, once for each rank of the pipeline. Every rank of a pipeline rank is a stream of
/// micro-batches of its own, experts or not: dense parameters are replicated Data · Expert times, expert parameters Data times [V3 §3.2].
/// </summary>
/// <param name="Data">Groups that hold the same experts.</param>
/// <param name="Pipeline">Ranks of the pipeline.</param>
/// <param name="Expert">Ranks that share experts.</param>
/// <param name="Nodes">Nodes that those lie on; tokens cross once to each.</param>
/// <param name="Schedule">Of the pipeline.</param>
public sealed record RankLayout(int Data, int Pipeline, int Expert, int Nodes, ScheduleKind Schedule)
{
    /// <summary>All ranks.</summary>
    public int Ranks => checked(Data * Pipeline * Expert);

    /// <summary>Streams of micro-batches: ranks that hold the same stages.</summary>
    public int Streams => Data * Expert;

    /// <summary>Place of a rank in its pipeline.</summary>
    public int PipelineRank(int rank) => rank / Streams;

    /// <summary>The stream a rank belongs to.</summary>
    public int Stream(int rank) => rank % Streams;

    /// <summary>Place of a rank among those that share its experts.</summary>
    public int ExpertRank(int rank) => rank % Expert;

    /// <summary>The group a rank shares experts with.</summary>
    public int Group(int rank) => Stream(rank) / Expert;

    /// <summary>The rank at a place.</summary>
    public int Rank(int pipeline, int stream) => (pipeline * Streams) + stream;

    /// <summary>Stages of the pipeline.</summary>
    public int Stages => Placement(microBatches: 2 * Pipeline).Stages;

    /// <summary>First micro-batch of a stream in a step: each has a run of them.</summary>
    public int FirstMicroBatch(int stream, int microBatches) => (int)Math.Min((long)stream * PerStream(microBatches), microBatches);

    /// <summary>Micro-batches of a stream in a step; later streams may have fewer, or none.</summary>
    public int MicroBatches(int stream, int microBatches) => FirstMicroBatch(stream + 1, microBatches) - FirstMicroBatch(stream, microBatches);

    /// <summary>
    /// Micro-batches that every stream's pipeline runs: the most that one has, and as many as the schedule needs. Those beyond the stream's own are empty, and what
    /// they give is thrown away: ranks that share experts must dispatch together.
    /// </summary>
    public int Scheduled(int microBatches)
    {
        int most = PerStream(microBatches);
        return Schedule switch
        {
            ScheduleKind.DualPipe => Math.Max(2 * Pipeline, most + (most & 1)),
            ScheduleKind.DualPipeV => Math.Max(2 * Pipeline, most),
            ScheduleKind.ZeroBubble => Math.Max(Pipeline, most),
            _ => most,
        };
    }

    /// <summary>The schedule of a step.</summary>
    public PipelineSchedule Create(int microBatches) => PipelineSchedule.Create(Schedule, Pipeline, Scheduled(microBatches));

    /// <summary>Which rank of a pipeline holds which stage, for so many scheduled micro-batches.</summary>
    public PipelinePlacement Placement(int microBatches) => new(Schedule, Pipeline, microBatches);

    /// <summary>Why a layout cannot be, in a sentence that says what would be; null when it can.</summary>
    /// <param name="experts">Routed experts of a layer, 0 for none; null when they are not known yet.</param>
    public string? Refusal(int? experts)
    {
        if (Data < 1 || Pipeline < 1 || Expert < 1 || (long)Data * Pipeline * Expert > InProcessRanks.Most)
            return $"The layout {this} was given; expected positive numbers whose product is at most {InProcessRanks.Most}.";
        if (Nodes < 1 || Expert % Nodes != 0) return $"{Nodes} nodes for {Expert} ranks that share experts were given; expected a number that divides them.";
        if (Expert > 1 && experts is { } some && (some == 0 || some % Expert != 0)) return $"{Expert} ranks cannot share {experts} experts evenly; expected a number of ranks that divides them.";
        return PipelineSchedule.Refusal(Schedule, Pipeline, Scheduled(1));
    }

    /// <summary>For people: <c>4 pipeline (DualPipe) x 8 expert x 2 data</c>.</summary>
    public override string ToString() => $"{Pipeline} pipeline ({PipelineSchedule.Title(Schedule)}) x {Expert} expert{(Nodes > 1 ? $" on {Nodes} nodes" : "")} x {Data} data";

    int PerStream(int microBatches) => (microBatches + Streams - 1) / Streams;
}
