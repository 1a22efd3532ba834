using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Pipeline;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Training.Data;
using Hadal.Training.Optimization;

namespace Hadal.Training.Ranks;

/// <summary>
/// One rank's part of an optimizer step, with the bits of <see cref="TrainingStep"/>: micro-batches of its stream through the schedule, gradients added on their owners,
/// clip by the norm over all, AdamW on its shards, weights to all who need them, selection biases by the load of the whole batch. All ranks call it together.
/// </summary>
sealed class RankTrainingStep : IDisposable
{
    readonly RunConfiguration _run;
    readonly Transformer _model;
    readonly PackedDataLoader _loader;
    readonly ProcessGroup _world, _pipeline;
    readonly ProcessGroup? _expertGroup;
    readonly RankExpertExchange? _exchange;
    readonly RankLayout _layout;
    readonly RankPipelineStep _step;
    readonly PipelineExecutor _executor;
    readonly Dictionary<int, StepPlan> _plans = [];
    readonly (Block Block, bool IsMtp)[] _sparse;
    readonly TensorMemory _countsMemory;

    internal RankTrainingStep(RunConfiguration run, Transformer model, PackedDataLoader loader, ProcessGroup world)
    {
        (_run, _model, _loader, _world, _layout) = (run, model, loader, world, run.Parallel.Layout);
        int experts = model.SparseBlocks.Any() ? model.Shape.Gate.Experts : 0;
        if (_layout.Refusal(experts) is { } reason) Throw.Configuration("parallel", _layout.ToString(), $"another layout: {reason}");
        if (_layout.Ranks != world.Size) Throw.Configuration("parallel", $"{_layout}, {_layout.Ranks} ranks", $"a layout of {world.Size} ranks, as many as there are");
        if (model.Backend.Name is not "cpu") Throw.Configuration("parallel", $"{_layout} on the backend {model.Backend.Name}", "the backend cpu, whose sums ranks can share");
        Shards = new ParameterShards(model, _layout);
        int stream = _layout.Stream(world.Rank);
        _pipeline = world.Split(stream, world.Rank)!;
        if (_layout.Expert > 1)
        {
            _expertGroup = world.Split((_layout.PipelineRank(world.Rank) * _layout.Data) + _layout.Group(world.Rank), world.Rank)!;
            _exchange = new RankExpertExchange(_expertGroup, new ExpertLayout(experts, _layout.Nodes, _layout.Expert / _layout.Nodes));
        }

        OptimizerConfiguration o = run.Optimizer;
        Optimizer = new AdamWOptimizer(model.Backend, model.Parameters, new AdamWParameters(o.Beta1, o.Beta2, o.Epsilon, o.WeightDecay), o.Clip);
        Update = new ShardedUpdate(Shards, world, model, Optimizer);
        _step = new RankPipelineStep(model, Shards, world.Rank, run.Batch.Rows, loader.RowTokens, run.Batch.MicroBatches);
        _executor = new PipelineExecutor(model, PlanOf(run.Batch.MicroBatches).Schedule, _pipeline, run.Batch.Rows, run.Data.SequenceLength, _exchange);
        _sparse = [.. model.Blocks.Where(block => block.Routed is not null).Select(block => (block, false)), .. model.Mtp.Where(module => module.Block.Routed is not null).Select(module => (module.Block, true))];
        _countsMemory = new HostMemory(Math.Max(experts, 1) * sizeof(int));
    }

    /// <summary>Who owns what.</summary>
    internal ParameterShards Shards { get; }

    /// <summary>Moments; flat, of which this rank's shards are used.</summary>
    internal AdamWOptimizer Optimizer { get; }

    /// <summary>Sums, update, exchange of weights.</summary>
    internal ShardedUpdate Update { get; }

    /// <summary>What this rank's tokens have put on the links; null when it has all experts.</summary>
    internal ExchangeTraffic? Traffic => _exchange?.Traffic;

    /// <summary>Tokens of one micro-batch.</summary>
    internal int TokensPerMicroBatch => _run.Batch.Rows * _run.Data.SequenceLength;

    /// <summary>Says what is wrong when loss or gradient of the step was not finite; null when the weights were updated.</summary>
    internal string? Fault { get; private set; }

    /// <summary>Makes one step; the result is the same on all ranks. Where <see cref="Fault"/> is set afterwards nothing was updated.</summary>
    internal StepResult Run(StepSettings settings, long firstMicroBatch)
    {
        Fault = null;
        int microBatches = settings.MicroBatches;
        StepPlan plan = PlanOf(microBatches);
        bool mtp = _model.Mtp.Count > 0 && settings.MtpLambda != 0;
        double weight = 1.0 / Math.Max(Targets(microBatches, firstMicroBatch), 1);
        var weights = new LossWeights(_run.LossScale * weight, settings.MtpLambda, _run.BalanceAlpha, _run.LossScale / (microBatches * _run.Batch.Rows));

        _executor.Use(plan.Schedule);
        _step.Begin(plan, weight);
        _executor.Run(_step, weights);

        int count = _step.ValueCount(microBatches);
        ExactSums.All(_world, _step.Values.Slice(0, count), _step.Room.Slice(0, count));
        double loss = 0, mtpLoss = mtp ? 0 : double.NaN;
        int bad = -1;
        for (int m = 0; m < microBatches; m++)
        {
            loss += _step.Loss(m, 0);
            double ofModules = 0;
            for (int k = 1; mtp && k <= _model.Mtp.Count; k++) ofModules += _step.Loss(m, k);
            mtpLoss += ofModules;
            if (bad < 0 && !double.IsFinite(loss)) bad = m;
        }

        if (bad >= 0)
        {
            Fault = $"The loss of step {settings.Step} is {loss}, in micro-batch {firstMicroBatch + bad}.";
            return Result(double.NaN, double.NaN);
        }

        Update.Reduce(plan, _step, 1 / _run.LossScale);
        double norm = Update.Norm(plan);
        if (!double.IsFinite(norm))
        {
            Fault = $"The gradient norm of step {settings.Step} (micro-batches {firstMicroBatch} to {firstMicroBatch + microBatches - 1}) is {norm}, first in {Update.FindNonFinite()}.";
            return Result(norm, double.NaN);
        }

        Update.Update(plan, norm, settings.LearningRate, settings.Step);
        return Result(norm, MoveBiases(mtp, settings.BiasSpeed));

        StepResult Result(double gradientNorm, double violation) => new((long)microBatches * TokensPerMicroBatch, loss, mtpLoss, gradientNorm, violation);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _executor.Dispose();
        _step.Dispose();
        Update.Dispose();
        _exchange?.Dispose();
        _expertGroup?.Dispose();
        _pipeline.Dispose();
        _countsMemory.Dispose();
    }

    // Reads the stream's rows; targets are counted over all streams.
    long Targets(int microBatches, long firstMicroBatch)
    {
        Span<int> rows = _step.OwnRows(microBatches);
        int stream = _layout.Stream(_world.Rank), width = _loader.RowTokens;
        long firstRow = (firstMicroBatch + _layout.FirstMicroBatch(stream, microBatches)) * _run.Batch.Rows, targets = 0;
        for (int r = 0; r < rows.Length / width; r++)
        {
            Span<int> row = rows.Slice(r * width, width);
            _loader.Read(firstRow + r, row);
            int used = row.IndexOf(-1);
            targets += Math.Clamp((used < 0 ? width : used) - 1, 0, _run.Data.SequenceLength);
        }

        _step.Values.AsSpan<double>()[0] = _layout.PipelineRank(_world.Rank) == 0 ? targets : 0;
        ExactSums.All(_world, _step.Values.Slice(0, 1), _step.Room.Slice(0, 1));
        return (long)_step.Values.AsSpan<double>()[0];
    }

    double MoveBiases(bool mtp, double speed)
    {
        double violation = double.NaN;
        for (int slot = 0; slot < _sparse.Length; slot++)
        {
            if (!mtp && _sparse[slot].IsMtp) continue;
            ReadOnlySpan<double> loads = _step.Loads(slot);
            Tensor counts = Tensor.View(_countsMemory, 0, DType.I32, loads.Length);
            Span<int> integers = counts.AsSpan<int>();
            long total = 0;
            int largest = 0;
            for (int e = 0; e < integers.Length; e++)
            {
                integers[e] = (int)loads[e];
                total += integers[e];
                largest = Math.Max(largest, integers[e]);
            }

            double own = total == 0 ? 0 : ((double)largest * integers.Length / total) - 1;
            violation = double.IsNaN(violation) ? own : Math.Max(violation, own);
            if (speed > 0 && _sparse[slot].Block.Routed!.SelectionBias is Parameter bias) _model.Backend.Operations.Routing.UpdateBias(counts, speed, bias.Value);
        }

        return violation;
    }

    StepPlan PlanOf(int microBatches)
    {
        if (!_plans.TryGetValue(microBatches, out StepPlan? plan)) _plans.Add(microBatches, plan = new StepPlan(Shards, microBatches));
        return plan;
    }
}
