using System.Globalization;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Layouts;

namespace Hadal.Planning.Costs;

/// <summary>
/// What rank 0 of a pipeline did in one measured step, in seconds, as profiles of whole steps are published: divided by how often the schedule does each, they are the times of
/// one chunk. Nothing is fitted.
/// </summary>
public sealed record StepTotals : CostDescription
{
    /// <summary>Where it was measured.</summary>
    public required string Name { get; init; }

    /// <summary>The schedule that ran.</summary>
    public required ScheduleKind Schedule { get; init; }

    /// <summary>Ranks of the pipeline.</summary>
    public required int Ranks { get; init; }

    /// <summary>Micro-batches that went through it.</summary>
    public required int MicroBatches { get; init; }

    /// <summary>Blocks of the model.</summary>
    public required int Layers { get; init; }

    /// <summary>Tokens of a micro-batch.</summary>
    public required int Tokens { get; init; }

    /// <summary>Ranks that shared the experts.</summary>
    public required int ExpertParallel { get; init; }

    /// <summary>Seconds in F.</summary>
    public required double Forward { get; init; }

    /// <summary>Seconds in B and b.</summary>
    public required double Backward { get; init; }

    /// <summary>Seconds in W.</summary>
    public required double Weights { get; init; }

    /// <summary>Seconds in F&amp;B.</summary>
    public required double Pairs { get; init; }

    /// <summary>Seconds in the optimizer.</summary>
    public required double OptimizerSeconds { get; init; }

    /// <summary>The machines on which it was measured; null for those that are planned for.</summary>
    public ClusterDescription? Machines { get; init; }

    /// <summary>Seconds of the whole step; 0 when not measured.</summary>
    public double Step { get; init; }

    /// <summary>Seconds in which the rank waited; 0 when not measured.</summary>
    public double Bubble { get; init; }

    /// <summary>
    /// The published step of V3 on 2,048 H800 (arXiv 2505.09343, Table 4): 272.8 billion tokens a day. The "1F1B" of that table are the pairs.
    /// </summary>
    public static StepTotals Published { get; } = new()
    {
        Name = "V3 on 2,048 H800, published", Schedule = ScheduleKind.DualPipe, Ranks = 16, MicroBatches = 120, Layers = 61, Tokens = 4096, ExpertParallel = 64,
        Forward = 1.13, Backward = 1.99, Weights = 0.48, Pairs = 13.95, OptimizerSeconds = 0.29, Step = 19.926, Bubble = 2.06,
        Machines = ClusterDescription.Published,
    };

    /// <inheritdoc/>
    public override string Kind => "step_totals";

    /// <inheritdoc/>
    public override bool IncludesExchange => true;

    /// <inheritdoc/>
    public override int MeasuredExpertParallel => ExpertParallel;

    /// <inheritdoc/>
    public override ClusterDescription? MeasuredOn => Machines;

    /// <inheritdoc/>
    public override StageTimes Of(StageContents stage, int stages, TrainingWork work, ClusterDescription cluster)
    {
        ArgumentNullException.ThrowIfNull(work);
        if (work.Shape.Layers != Layers)
            throw new PlanException($"The times \"{Name}\" are of a model with {Layers} layers and this one has {work.Shape.Layers}; expected times of the same model, or --costs of another kind.");
        StageTimes chunk = Chunks();
        double measured = (double)Layers / new PipelinePlacement(Schedule, Ranks, MicroBatches).Stages;
        double factor = work.Shape.Layers / (double)stages / measured * work.Tokens / Tokens;
        return new(chunk.Forward * factor, chunk.BackwardInput * factor, chunk.BackwardWeights * factor, chunk.Pair * factor);
    }

    /// <summary>The totals divided by the steps of rank 0.</summary>
    public StageTimes Chunks()
    {
        PipelineSchedule schedule = PipelineSchedule.Create(Schedule, Ranks, MicroBatches);
        int Count(StepKind kind) => schedule.Steps[0].Count(step => step.Kind == kind);
        int forwards = Count(StepKind.Forward), full = Count(StepKind.Backward), split = Count(StepKind.BackwardInput), weights = Count(StepKind.BackwardWeights), pairs = Count(StepKind.ForwardBackward);
        if (forwards == 0 || weights == 0 || full + split == 0)
            throw new PlanException($"The times \"{Name}\" are of {PipelineSchedule.Title(Schedule)}, which has no steps of its own for F, B and W on rank 0; give times of kind layers instead.");
        double w = Weights / weights, b = (Backward - (full * w)) / (full + split);
        if (b <= 0) throw new PlanException(string.Create(CultureInfo.InvariantCulture, $"The times \"{Name}\" leave {b:0.####} s for a backward without its weight gradients; expected more than 0: check backward and weights."));
        return new(Forward / forwards, b, w, pairs == 0 ? null : Pairs / pairs);
    }

    /// <inheritdoc/>
    public override double Optimizer(double owned, ClusterDescription cluster) => OptimizerSeconds;

    /// <inheritdoc/>
    public override IEnumerable<string> Assumptions(TrainingWork work, ClusterDescription cluster)
    {
        yield return string.Create(CultureInfo.InvariantCulture, $"Times of chunks are totals of a measured step ({Name}) divided by the steps of its rank 0; for other cuts they grow with layers of a stage and tokens of a micro-batch. All stages take the same, whatever each holds: an uneven cut does not show.");
        string links = Machines is null ? $"What exchanging rows cost there, among {ExpertParallel} ranks, is in these times; they are taken for times of these machines, for no \"machines\" are named. For another number of ranks"
            : $"What exchanging rows cost there, among {ExpertParallel} ranks of {Machines.Name}, is in these times; for another number of ranks or other links";
        yield return links + " the difference of the links' times is added to F and b, of which a tenth stays in any case; a pair takes no less than its exchange.";
        yield return string.Create(CultureInfo.InvariantCulture, $"The optimizer takes the measured {OptimizerSeconds:0.###} s in every layout.");
    }

    internal static StepTotals Read(PlanFile file)
    {
        string kind = file.Text("schedule") ?? "dualpipe";
        ScheduleKind[] found = [.. Enum.GetValues<ScheduleKind>().Where(k => string.Equals(PipelineSchedule.Name(k), kind, StringComparison.Ordinal))];
        if (found.Length == 0) throw file.Wrong("schedule", $"\"{kind}\"", "one of dualpipe, dualpipev, 1f1b, zb1p");
        var totals = new StepTotals
        {
            Name = file.Text("name") ?? "a measured step", Schedule = found[0], Ranks = (int)file.Integer("ranks", 1, 256), MicroBatches = (int)file.Integer("micro_batches", 1, 4096),
            Layers = (int)file.Integer("layers", 1, 4096), Tokens = (int)file.Integer("tokens", 1, 1 << 24), ExpertParallel = (int)file.Integer("expert_parallel", 1, 1 << 14), Forward = file.Number("forward", 1e-9, 1e6), Backward = file.Number("backward", 1e-9, 1e6),
            Weights = file.Number("weights", 1e-9, 1e6), Pairs = file.Number("pairs", 0, 1e6, 0), OptimizerSeconds = file.Number("optimizer", 0, 1e6, 0), Step = file.Number("step", 0, 1e6, 0),
            Bubble = file.Number("bubble", 0, 1e6, 0), Machines = file.Section("machines", section => ClusterDescription.Read(section, "the machines of the times")),
        };
        if (PipelineSchedule.Refusal(totals.Schedule, totals.Ranks, totals.MicroBatches) is { } reason) throw new PlanException(reason);
        totals.Chunks();
        return totals;
    }
}
