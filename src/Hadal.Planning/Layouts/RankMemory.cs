using System.Collections.Immutable;
using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Layouts;

/// <summary>What one rank keeps in memory while training, bytes. Temporaries of a step are not among it; the cluster's reserve is for them.</summary>
/// <param name="Rank">Rank of the pipeline.</param>
/// <param name="Parameters">Parameters that it holds, of the two stages under DualPipe and DualPipeV; experts of others not among them.</param>
/// <param name="Weights">In the recipe's formats.</param>
/// <param name="Gradients">FP32, of all that it holds.</param>
/// <param name="Optimizer">FP32 masters and BF16 moments of the shard it owns.</param>
/// <param name="Activations">Records between forward and backward at their peak, those of b until W among them.</param>
/// <param name="ActivationPeak">Micro-batches in a stage that are held then.</param>
public sealed record RankMemory(int Rank, double Parameters, double Weights, double Gradients, double Optimizer, double Activations, int ActivationPeak)
{
    /// <summary>All.</summary>
    public double Total => Weights + Gradients + Optimizer + Activations;

    /// <summary>Parameters whose optimizer state the rank owns.</summary>
    public double Owned => Optimizer / OptimizerBytes;

    /// <summary>Bytes of state for each parameter: master 4, moments 2 and 2 [V3 §3.3.1].</summary>
    public const int OptimizerBytes = 8;

    /// <summary>Dense parameters of a rank, every pipeline's the same.</summary>
    public double DenseParameters { get; init; }

    /// <summary>Expert parameters of a rank.</summary>
    public double ExpertParameters { get; init; }

    /// <summary>Counts the ranks of a pipeline.</summary>
    /// <param name="work">Model, recipe, micro-batch.</param>
    /// <param name="layout">How GPUs share it.</param>
    /// <param name="schedule">What each rank does.</param>
    /// <param name="stages">The stages.</param>
    /// <param name="records">What blocks keep, for the work's micro-batch.</param>
    public static ImmutableArray<RankMemory> Of(TrainingWork work, TrainingLayout layout, PipelineSchedule schedule, StageContents[] stages, RecordMemory records)
    {
        ArgumentNullException.ThrowIfNull(work);
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(stages);
        ArgumentNullException.ThrowIfNull(records);
        return [.. Enumerable.Range(0, schedule.Ranks).Select(rank => Count(work, layout, schedule, stages, records, rank))];
    }

    static RankMemory Count(TrainingWork work, TrainingLayout layout, PipelineSchedule schedule, StageContents[] stages, RecordMemory records, int rank)
    {
        PipelinePlacement placement = schedule.Placement;
        StageContents[] own = [.. Enumerable.Range(0, placement.Phases).Select(phase => stages[placement.Stage(rank, phase)])];
        ModelSize size = work.Size;
        double projections = 0, others = 0, experts = 0;
        foreach (LayerSize layer in own.SelectMany(stage => stage.Layers))
        {
            projections += layer.DenseProjections;
            others += layer.Dense - layer.DenseProjections;
            experts += (double)layer.Experts / layout.ExpertParallel;
        }

        // An MTP module embeds tokens, and a tied head is the embedding: the last stage needs it too, once where both ends share a rank.
        bool first = own.Any(stage => stage.IsFirst), last = own.Any(stage => stage.IsLast);
        if (first || (last && (size.Mtp.Count > 0 || size.Head == 0))) others += size.Embedding;
        if (last) others += size.Head + size.FinalNorm;
        (double projection, double other) = WeightBytes(work.Recipe);
        double dense = projections + others, copies = ScheduleFormulas.ParameterCopies(schedule.Kind);
        (double activations, int peak) = Peak(work, schedule, own, records, rank);
        return new(rank, dense + experts, ((projections + experts) * projection) + (others * other), 4 * (dense + experts),
            OptimizerBytes / copies * ((dense / layout.Pipelines) + (experts / layout.DataParallel)), activations, peak)
        {
            DenseParameters = dense, ExpertParameters = experts,
        };
    }

    /// <summary>Bytes of a weight that the recipe may quantise, scales among them, and of any other.</summary>
    public static (double Projection, double Other) WeightBytes(Recipe recipe)
    {
        ArgumentNullException.ThrowIfNull(recipe);
        QuantizationFormat weight = recipe.Forward.Right;
        double other = recipe.Activations == NumberFormat.F32 ? 4 : 2;
        return weight.Number switch
        {
            NumberFormat.E4M3 => (1 + (weight.Granularity == Granularity.Block ? 4.0 / (128 * 128) : 0), other),
            NumberFormat.BF16 => (2, other),
            _ => (4, other),
        };
    }

    // Walks the rank's list: a forward adds the stage's record, b adds what W needs beside it, W and B take both away.
    static (double Bytes, int Held) Peak(TrainingWork work, PipelineSchedule schedule, StageContents[] own, RecordMemory records, int rank)
    {
        double tokens = work.Tokens, row = work.Shape.Hidden * (double)work.ActivationBytes;
        QuantizationFormat operand = work.Recipe.WeightGradient.Left;
        double waiting = operand.Number switch { NumberFormat.E4M3 => 1 + (4.0 / 128), NumberFormat.BF16 => 2, _ => 4 };
        var record = new double[own.Length];
        var deferred = new double[own.Length];
        for (int phase = 0; phase < own.Length; phase++)
        {
            StageContents stage = own[phase];
            record[phase] = tokens * ((stage.Dense * records.DenseBytesPerToken) + (stage.Sparse * records.SparseBytesPerToken));
            deferred[phase] = tokens * waiting * ((stage.Dense * records.DenseDeferredPerToken) + (stage.Sparse * records.SparseDeferredPerToken));
            if (!stage.IsLast) continue;

            // Output of the last block, its norm and the norm's gradient; an MTP module has a block, two inputs, an output, a norm and its gradient.
            double mtpBlock = work.Shape.Gate.Experts > 0 && work.Shape.DenseLayers < work.Shape.Layers ? records.SparseBytesPerToken : records.DenseBytesPerToken;
            record[phase] += tokens * ((3 * row) + (work.Size.Mtp.Count * (mtpBlock + (5 * row))));
        }

        double now = 0, most = 0;
        int held = 0, peak = 0;
        foreach (ScheduleStep step in schedule.Steps[rank])
        {
            if (step.HasForward)
            {
                now += record[step.Phase];
                held++;
            }

            if (step.Kind == StepKind.BackwardInput) now += deferred[step.Phase];
            most = Math.Max(most, now);
            peak = Math.Max(peak, held);
            if (step.Kind is StepKind.Backward or StepKind.ForwardBackward) now -= record[step.BackwardPart.Phase];
            if (step.Kind == StepKind.BackwardWeights) now -= record[step.Phase] + deferred[step.Phase];
            if (step.Kind is StepKind.Backward or StepKind.ForwardBackward or StepKind.BackwardWeights) held--;
        }

        return (most, peak);
    }
}
