using Hadal.Model;
using Hadal.Tensors;
using Hadal.Training.Recording;
using Hadal.Training.State;

namespace Hadal.Training.Ranks;

/// <summary>What makes the steps of a run: one rank, or rank 0 of many. Results are the same bits.</summary>
interface ITrainingEngine : IDisposable
{
    /// <summary>The model; where ranks share it, its weights are whole after <see cref="GatherWeights"/>.</summary>
    Transformer Model { get; }

    /// <summary>Tokens of one micro-batch.</summary>
    int TokensPerMicroBatch { get; }

    /// <summary>Whether a moving average of the weights is kept.</summary>
    bool HasAverage { get; }

    /// <summary>Updates of that average.</summary>
    long AverageUpdates { get; }

    /// <summary>Records steps; null for none.</summary>
    FlightRecorder? Recorder { get; set; }

    /// <summary>Makes one step.</summary>
    /// <exception cref="NonFiniteTrainingException">Loss or gradient is not finite; the weights are unchanged.</exception>
    StepResult Run(StepSettings settings, long firstMicroBatch);

    /// <summary>Folds the weights into the average.</summary>
    void UpdateAverage();

    /// <summary>Makes the weights of <see cref="Model"/> whole.</summary>
    void GatherWeights();

    /// <summary>The tensors that decide the next step, flat and whole: masters (with the selection biases), moments, the average, and what delayed scales are taken from.</summary>
    IEnumerable<(string Name, Tensor Tensor)> StateTensors();

    /// <summary>Continues from a checkpoint.</summary>
    TrainingPosition Restore(string folder, string identity);
}

/// <summary>One rank.</summary>
sealed class LocalEngine : ITrainingEngine
{
    readonly IBackend _backend;
    readonly Optimization.AdamWOptimizer _optimizer;
    readonly TrainingStep _step;
    readonly Optimization.WeightAverage? _average;

    internal LocalEngine(RunConfiguration run, Data.PreparedRun data, IBackend backend)
    {
        _backend = backend;
        Model = ModelFiles.Create(run, data.Tokenizer, backend);
        OptimizerConfiguration o = run.Optimizer;
        _optimizer = new Optimization.AdamWOptimizer(backend, Model.Parameters, new Tensors.Operations.AdamWParameters(o.Beta1, o.Beta2, o.Epsilon, o.WeightDecay), o.Clip);
        _step = new TrainingStep(run, Model, new Data.PackedDataLoader(data.Rows, run.Seed), _optimizer) { Tokenizer = data.Tokenizer };
        _average = run.Ema.Decay > 0 ? new Optimization.WeightAverage(checked((int)Model.Parameters.Length), run.Ema.Decay) : null;
    }

    public Transformer Model { get; }

    public int TokensPerMicroBatch => _step.TokensPerMicroBatch;

    public bool HasAverage => _average is not null;

    public long AverageUpdates => _average?.Updates ?? 0;

    public FlightRecorder? Recorder
    {
        get => _step.Recorder;
        set => _step.Recorder = value;
    }

    public StepResult Run(StepSettings settings, long firstMicroBatch) => _step.Run(settings, firstMicroBatch);

    public void UpdateAverage() => _average?.Update(_backend.Operations, Model.Parameters.Values);

    public void GatherWeights()
    {
    }

    public IEnumerable<(string Name, Tensor Tensor)> StateTensors()
    {
        yield return ("master", Model.Parameters.Values);
        yield return ("first_moment", _optimizer.FirstMoment);
        yield return ("second_moment", _optimizer.SecondMoment);
        if (_average is not null) yield return ("average", _average.Average());
        if (Model.Parameters.ScalingHistory is { } history) yield return ("scaling_history", history.State);
    }

    public TrainingPosition Restore(string folder, string identity)
    {
        TrainingPosition position = TrainingState.Read(folder, StateTensors(), identity);
        _average?.Restore(_average.Average().AsSpan<float>(), position.AverageUpdates);
        Model.Refresh();
        return position;
    }

    public void Dispose()
    {
        _average?.Dispose();
        _step.Dispose();
        Model.Dispose();
    }
}
