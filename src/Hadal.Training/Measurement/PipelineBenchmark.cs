using System.Collections.Immutable;
using Hadal.Model;
using Hadal.Parallel.Pipeline;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;

namespace Hadal.Training.Measurement;

/// <summary>
/// Runs a schedule with the real layers on ranks of this process, on random tokens, and notes when each step began and ended: what a plan is compared with. The parts of the model are
/// timed on all ranks at once, before, so that ranks disturb each other as they do in the pipeline.
/// </summary>
public static class PipelineBenchmark
{
    /// <summary>Times the parts of a model on as many threads of ranks as the pipeline will have, at the same time; of each part the slowest rank's median counts.</summary>
    /// <param name="ranks">Ranks.</param>
    /// <param name="backend">Makes the backend of a rank.</param>
    /// <param name="shape">The model.</param>
    /// <param name="recipe">Precision.</param>
    /// <param name="rows">Sequences of a micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="warmUp">Rounds that are not counted.</param>
    /// <param name="rounds">Rounds whose median counts.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/> between two rounds.</param>
    public static LayerMeasurement Layers(
        int ranks, Func<IBackend> backend, TransformerShape shape, Recipe recipe, int rows, int length, int warmUp, int rounds, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(backend);
        var found = new LayerMeasurement[ranks];
        InProcessRanks.Run(ranks, group =>
        {
            using IBackend own = backend();
            using var benchmark = new LayerBenchmark(own, shape, recipe, rows, length);
            benchmark.Measure(0, Math.Max(1, warmUp), cancel: cancel);
            group.Barrier();
            found[group.Rank] = benchmark.Measure(0, rounds, cancel: cancel);
        });
        return Slowest(found);
    }

    /// <summary>Of each part the slowest rank's time.</summary>
    internal static LayerMeasurement Slowest(IReadOnlyCollection<LayerMeasurement> found)
    {
        LayerMeasurement By(Func<LayerMeasurement, double> of) => found.MaxBy(of)!;
        return new(
            By(m => m.Dense?.Forward ?? 0).Dense, By(m => m.Sparse?.Forward ?? 0).Sparse, found.Max(m => m.EmbeddingForward), found.Max(m => m.EmbeddingBackward), found.Max(m => m.Head),
            found.Max(m => m.MtpForward), found.Max(m => m.MtpBackward), found.Max(m => m.OptimizerPerParameter));
    }

    /// <summary>
    /// The shape with chunks that cost the same: every layer with experts, as many in each stage, and ends that cost next to nothing, no MTP and a vocabulary of 64. With the shape as it is, head and MTP over
    /// thousands of entries make the last stage of a small model the longest, and what ranks wait says how uneven the stages are instead of what the schedule does.
    /// </summary>
    /// <param name="shape">The shape.</param>
    /// <param name="stages">Stages that the layers are cut into.</param>
    /// <param name="layers">Layers of each.</param>
    public static TransformerShape Balanced(TransformerShape shape, int stages, int layers)
    {
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentOutOfRangeException.ThrowIfLessThan(layers, 1);
        return shape with { Vocabulary = Math.Min(shape.Vocabulary, 64), Layers = checked(stages * layers), DenseLayers = 0, SparseFrequency = 1, MtpDepth = 0 };
    }

    /// <summary>Runs the schedule and returns the traced steps, one for each time it ran.</summary>
    /// <param name="schedule">The schedule.</param>
    /// <param name="backend">Makes the backend of a rank.</param>
    /// <param name="shape">The model.</param>
    /// <param name="recipe">Precision.</param>
    /// <param name="rows">Sequences of a micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="warmUp">Runs that are not counted.</param>
    /// <param name="runs">Runs that are.</param>
    /// <param name="unit">Costs that give the unit of pictures.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/> between two runs.</param>
    public static ImmutableArray<TimedSchedule> Run(
        PipelineSchedule schedule, Func<IBackend> backend, TransformerShape shape, Recipe recipe, int rows, int length, int warmUp, int runs, StepCosts unit, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(backend);
        ArgumentNullException.ThrowIfNull(shape);
        var traces = new PipelineTrace[runs][];
        for (int run = 0; run < runs; run++) traces[run] = new PipelineTrace[schedule.Ranks];
        LossWeights weights = RandomPipelineStep.Weights(schedule.MicroBatches, rows, length);
        InProcessRanks.Run(schedule.Ranks, group =>
        {
            using IBackend own = backend();
            using var model = new Transformer(own, shape, recipe);
            Initialization.Normal(model, seed: 1, deviation: 0.02);
            model.Refresh();
            using var executor = new PipelineExecutor(model, schedule, group, rows, length);
            var step = new RandomPipelineStep(model, schedule.MicroBatches, rows, length);
            for (int run = -warmUp; run < runs; run++)
            {
                step.Clear();
                executor.Trace = run < 0 ? null : traces[run][group.Rank] = new PipelineTrace(executor.Steps);
                cancel.ThrowIfCancellationRequested();
                group.Barrier();
                executor.Run(step, weights);
            }
        });
        return [.. traces.Select(trace => PipelineTrace.Join(schedule, trace, unit))];
    }
}
