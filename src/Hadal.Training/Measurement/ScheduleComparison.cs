using System.Collections.Immutable;
using System.Diagnostics;
using Hadal.Model;
using Hadal.Parallel.Pipeline;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Parallel.Virtual;
using Hadal.Tensors;

namespace Hadal.Training.Measurement;

/// <summary>
/// Schedules side by side on the same ranks, in turns: a round runs one step of each, every second round in the other order, so that a machine whose speed moves treats all alike. Beside them the same
/// micro-batches on one rank alone, and dealt to all ranks as whole models (data ranks): what the machine gives without any pipeline. In every round the layers are timed too, on all ranks at once.
/// </summary>
/// <param name="Layers">Parts of the model: medians over the rounds, of each part the slowest rank.</param>
/// <param name="Schedules">Each schedule's traced steps.</param>
/// <param name="Alone">Seconds of each round's step on one rank, the others waiting.</param>
/// <param name="Dealt">Seconds of each round in which every rank ran its share of the micro-batches through the whole model, all at once.</param>
public sealed record ScheduleComparison(LayerMeasurement Layers, ImmutableArray<ScheduleRuns> Schedules, ImmutableArray<double> Alone, ImmutableArray<double> Dealt)
{
    /// <summary>Median seconds of the step on one rank.</summary>
    public double AloneSeconds => ScheduleRuns.Median(Alone);

    /// <summary>Median seconds of the step dealt to all ranks.</summary>
    public double DealtSeconds => ScheduleRuns.Median(Dealt);

    /// <summary>Measures.</summary>
    /// <param name="schedules">Schedules of the same ranks and micro-batches; the micro-batches can be dealt to the ranks evenly.</param>
    /// <param name="backend">Makes the backend of a rank.</param>
    /// <param name="shape">The model.</param>
    /// <param name="recipe">Precision.</param>
    /// <param name="rows">Sequences of a micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="warmUp">Rounds that are not counted.</param>
    /// <param name="rounds">Rounds that are.</param>
    /// <param name="progress">Told how many rounds are done, of how many.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/> between two rounds.</param>
    public static ScheduleComparison Measure(
        IReadOnlyList<PipelineSchedule> schedules, Func<IBackend> backend, TransformerShape shape, Recipe recipe, int rows, int length, int warmUp, int rounds, Action<int, int>? progress = null,
        CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(schedules);
        ArgumentNullException.ThrowIfNull(backend);
        (int ranks, int microBatches) = (schedules[0].Ranks, schedules[0].MicroBatches);
        if (schedules.Any(schedule => schedule.Ranks != ranks || schedule.MicroBatches != microBatches)) throw new ArgumentException("Schedules of different ranks or micro-batches were given; expected the same.", nameof(schedules));
        if (microBatches % ranks != 0) throw new ArgumentException($"{microBatches} micro-batches cannot be dealt to {ranks} ranks evenly; expected a multiple.", nameof(schedules));
        var traces = new PipelineTrace[schedules.Count, rounds, ranks];
        var parts = new LayerMeasurement[rounds, ranks];
        double[,] dealt = new double[rounds, ranks];
        double[] alone = new double[rounds];
        InProcessRanks.Run(ranks, group =>
        {
            using IBackend own = backend();
            using var layers = new LayerBenchmark(own, shape, recipe, rows, length);
            using Transformer model = Model(own, shape, recipe);
            using ProcessGroup single = group.Split(group.Rank, 0)!;
            using var plain = new PipelineExecutor(model, PipelineSchedule.Create(ScheduleKind.OneForwardOneBackward, 1, microBatches), single, rows, length);
            PipelineExecutor[] executors = [.. schedules.Select(schedule => new PipelineExecutor(model, schedule, group, rows, length))];
            try
            {
                var step = new RandomPipelineStep(model, microBatches, rows, length);
                LossWeights weights = RandomPipelineStep.Weights(microBatches, rows, length);
                int tasks = schedules.Count + 3;
                for (int round = -warmUp; round < rounds; round++)
                {
                    for (int turn = 0; turn < tasks; turn++)
                    {
                        int task = round % 2 == 0 ? turn : tasks - 1 - turn;
                        cancel.ThrowIfCancellationRequested();
                        step.Clear();
                        if (group.Rank == 0) progress?.Invoke(((round + warmUp) * tasks) + turn, (warmUp + rounds) * tasks);
                        group.Barrier();
                        if (task < schedules.Count)
                        {
                            executors[task].Trace = round < 0 ? null : traces[task, round, group.Rank] = new PipelineTrace(executors[task].Steps);
                            executors[task].Run(step, weights);
                        }
                        else if (task == schedules.Count)
                        {
                            LayerMeasurement measured = layers.Measure(0, 3, cancel: cancel);
                            if (round >= 0) parts[round, group.Rank] = measured;
                        }
                        else
                        {
                            bool all = task == schedules.Count + 1;
                            if (!all && group.Rank > 0) continue;
                            plain.Use(PipelineSchedule.Create(ScheduleKind.OneForwardOneBackward, 1, all ? microBatches / ranks : microBatches));
                            long began = Stopwatch.GetTimestamp();
                            plain.Run(step, weights);
                            double seconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
                            if (round >= 0) (all ? ref dealt[round, group.Rank] : ref alone[round]) = seconds;
                        }
                    }
                }
            }
            finally
            {
                foreach (PipelineExecutor executor in executors) executor.Dispose();
            }
        });

        IEnumerable<int> Ranks() => Enumerable.Range(0, ranks);
        IEnumerable<int> Rounds() => Enumerable.Range(0, rounds);
        return new(
            PipelineBenchmark.Slowest([.. Ranks().Select(rank => LayerMeasurement.Median([.. Rounds().Select(round => parts[round, rank])]))]),
            [.. schedules.Select((schedule, i) => new ScheduleRuns(schedule, [.. Rounds().Select(round => PipelineTrace.Join(schedule, [.. Ranks().Select(rank => traces[i, round, rank])], StepCosts.Unit))]))],
            [.. alone], [.. Rounds().Select(round => Ranks().Max(rank => dealt[round, rank]))]);
    }

    /// <summary>Runs a schedule once with the real layers on a cluster that does not exist: messages travel, and a simulated clock gives every step its cost. Wall time and the machine's cores do not count.</summary>
    /// <param name="schedule">The schedule.</param>
    /// <param name="costs">Costs of its steps.</param>
    /// <param name="backend">Makes the backend of a rank.</param>
    /// <param name="shape">The model.</param>
    /// <param name="recipe">Precision.</param>
    /// <param name="rows">Sequences of a micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    /// <returns>Idle time of each rank, in the unit of the costs, and the time of the step.</returns>
    public static (ImmutableArray<double> Idle, double Makespan) RankTime(PipelineSchedule schedule, StepCosts costs, Func<IBackend> backend, TransformerShape shape, Recipe recipe, int rows, int length)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(costs);
        ArgumentNullException.ThrowIfNull(backend);
        var clocks = new VirtualClock[schedule.Ranks];
        var cluster = new VirtualCluster(1, schedule.Ranks, new(double.PositiveInfinity, costs.Communication), LinkSpeed.Instant);
        cluster.Run((group, clock) =>
        {
            using IBackend own = backend();
            using Transformer model = Model(own, shape, recipe);
            using var executor = new PipelineExecutor(model, schedule, group, rows, length) { Computed = step => clock.Work(costs.Of(step.Kind)) };
            clocks[group.Rank] = clock;
            clock.Restart();
            executor.Run(new RandomPipelineStep(model, schedule.MicroBatches, rows, length), RandomPipelineStep.Weights(schedule.MicroBatches, rows, length));
        });
        double makespan = clocks.Max(clock => clock.Now);
        return ([.. clocks.Select(clock => makespan - clock.Busy)], makespan);
    }

    static Transformer Model(IBackend backend, TransformerShape shape, Recipe recipe)
    {
        var model = new Transformer(backend, shape, recipe);
        Initialization.Normal(model, seed: 1, deviation: 0.02);
        model.Refresh();
        return model;
    }
}
