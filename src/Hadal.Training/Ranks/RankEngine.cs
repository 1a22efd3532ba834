using Hadal.Model;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Training.Data;
using Hadal.Training.Optimization;
using Hadal.Training.Recording;
using Hadal.Training.State;

namespace Hadal.Training.Ranks;

/// <summary>
/// The engine of a run over ranks. Rank 0 runs the trainer; before everything that all ranks do it tells the others, who follow (<see cref="Follow"/>). So clocks,
/// cancellation, evaluation and files are decided in one place.
/// </summary>
sealed class RankEngine : ITrainingEngine
{
    enum Order
    {
        Step = 1,
        Average,
        GatherWeights,
        GatherState,
        Restore,
        End,
    }

    const int Words = 8;

    readonly RunConfiguration _run;
    readonly PreparedRun _data;
    readonly ProcessGroup _world;
    readonly CheckpointStore _checkpoints;
    readonly RankTrainingStep _step;
    readonly WeightAverage? _average;
    readonly TensorMemory _orderMemory, _packedMemory;
    readonly Tensor _order, _packed, _flatAverage;
    readonly string _identity;
    readonly double _decay;
    long _updates;
    bool _whole, _ended, _underWay;

    internal RankEngine(RunConfiguration run, PreparedRun data, IBackend backend, ProcessGroup world, string identity)
    {
        (_run, _data, _world, _identity, _decay) = (run, data, world, identity, run.Ema.Decay);
        _checkpoints = new CheckpointStore(Path.Combine(run.Output, "checkpoints"), run.Checkpoint.Keep);
        Model = ModelFiles.Create(run, data.Tokenizer, backend);
        _step = new RankTrainingStep(run, Model, new PackedDataLoader(data.Rows, run.Seed), world);
        _orderMemory = new HostMemory(Words * sizeof(double));
        _order = Tensor.View(_orderMemory, 0, DType.F64, Words);
        int length = _step.Update.OwnLength;
        _packedMemory = new HostMemory(Math.Max(length, 1) * (long)sizeof(float));
        _packed = Tensor.View(_packedMemory, 0, DType.F32, length);
        if (!HasAverage) return;
        _average = length > 0 ? new WeightAverage(length, _decay) : null;
        _flatAverage = Model.Parameters.CreateBuffer(DType.F32);
    }

    public Transformer Model { get; }

    public int TokensPerMicroBatch => _step.TokensPerMicroBatch;

    public bool HasAverage => _decay > 0;

    public long AverageUpdates => _updates;

    public FlightRecorder? Recorder
    {
        get => null;
        set => throw new NotSupportedException("The flight recorder sees one rank only.");
    }

    /// <summary>What this rank's tokens have put on the links.</summary>
    internal Hadal.Parallel.Experts.ExchangeTraffic? Traffic => _step.Traffic;

    public StepResult Run(StepSettings settings, long firstMicroBatch)
    {
        Tell(Order.Step, settings.Step, settings.MicroBatches, settings.LearningRate, settings.MtpLambda, settings.BiasSpeed, firstMicroBatch);
        StepResult result = Step(settings, firstMicroBatch);
        _underWay = false;
        return _step.Fault is { } fault ? throw new NonFiniteTrainingException(Explain(fault, settings, firstMicroBatch)) : result;
    }

    /// <summary>
    /// Tensor, layer, micro-batch and document of a fault. One rank has the bits of many, so rank 0 takes all weights, which the step has not changed, repeats it alone and looks on.
    /// </summary>
    string Explain(string fault, StepSettings settings, long firstMicroBatch)
    {
        GatherWeights();
        using var alone = new TrainingStep(_run, Model, new PackedDataLoader(_data.Rows, _run.Seed), _step.Optimizer) { Tokenizer = _data.Tokenizer };
        return alone.Explain(settings, firstMicroBatch)
            ?? $"{fault} Repeated on rank 0 with the weights of the others the step is finite: memory or a message of a rank was spoilt. {TrainingStep.Remedy(settings.Step)}";
    }

    public void UpdateAverage()
    {
        Tell(Order.Average);
        FoldAverage();
        _underWay = false;
    }

    public void GatherWeights()
    {
        if (_whole) return;
        Tell(Order.GatherWeights);
        _step.Update.Gather(Model.Parameters.Values);
        _underWay = false;
        Model.Refresh();
        _whole = true;
    }

    public IEnumerable<(string Name, Tensor Tensor)> StateTensors()
    {
        GatherWeights();
        Tell(Order.GatherState);
        GatherState();
        _underWay = false;
        yield return ("master", Model.Parameters.Values);
        yield return ("first_moment", _step.Optimizer.FirstMoment);
        yield return ("second_moment", _step.Optimizer.SecondMoment);
        if (HasAverage) yield return ("average", _flatAverage);
    }

    public TrainingPosition Restore(string folder, string identity)
    {
        Tell(Order.Restore, CheckpointStore.StepOf(folder));
        TrainingPosition position = ReadState(folder);
        _underWay = false;
        return position;
    }

    /// <summary>What the ranks but 0 do: as told, until the end.</summary>
    internal void Follow()
    {
        while (true)
        {
            _world.Broadcast(0, _order);
            Span<double> words = _order.AsSpan<double>();
            switch ((Order)(int)words[0])
            {
                case Order.Step:
                    Step(new StepSettings((long)words[1], (int)words[2], words[3], words[4], words[5]), (long)words[6]);
                    break;
                case Order.Average:
                    FoldAverage();
                    break;
                case Order.GatherWeights:
                    _step.Update.Gather(Model.Parameters.Values);
                    break;
                case Order.GatherState:
                    GatherState();
                    break;
                case Order.Restore:
                    ReadState(_checkpoints.PathOf((long)words[1]));
                    break;
                default:
                    _ended = true;
                    return;
            }
        }
    }

    public void Dispose()
    {
        try
        {
            // In the midst of what all do together the others wait for something else: there a loss ends them, not an order.
            if (_world.Rank == 0 && !_ended && !_underWay) Tell(Order.End);
        }
        catch (RankLostException)
        {
            // Whoever is left has been told the name.
        }

        _ended = true;
        _average?.Dispose();
        _step.Dispose();
        Model.Dispose();
        _orderMemory.Dispose();
        _packedMemory.Dispose();
    }

    void Tell(Order order, params ReadOnlySpan<double> words)
    {
        Span<double> all = _order.AsSpan<double>();
        all.Clear();
        all[0] = (int)order;
        words.CopyTo(all[1..]);
        _underWay = true;
        _world.Broadcast(0, _order);
    }

    StepResult Step(StepSettings settings, long firstMicroBatch)
    {
        _whole = false;
        return _step.Run(settings, firstMicroBatch);
    }

    void FoldAverage()
    {
        _updates++;
        if (_average is null) return;
        int at = 0;
        foreach (FlatRange range in _step.Update.OwnRanges)
        {
            Model.Backend.Operations.Elementwise.Copy(Model.Parameters.Values.Slice(range.Start, range.Length), _packed.Slice(at, range.Length));
            at += range.Length;
        }

        _average.Update(Model.Backend.Operations, _packed);
    }

    void GatherState()
    {
        _step.Update.Gather(_step.Optimizer.FirstMoment);
        _step.Update.Gather(_step.Optimizer.SecondMoment);
        if (!HasAverage) return;
        if (_average is not null)
        {
            Tensor average = _average.Average();
            int at = 0;
            foreach (FlatRange range in _step.Update.OwnRanges)
            {
                average.AsSpan<float>().Slice(at, range.Length).CopyTo(_flatAverage.AsSpan<float>()[range.Start..]);
                at += range.Length;
            }
        }

        _step.Update.Gather(_flatAverage);
    }

    // Each rank reads what it needs: weights of its stages, state of its shards.
    TrainingPosition ReadState(string folder)
    {
        FlatRange[] weights = [.. _step.Update.ReadRanges()], own = _step.Update.OwnRanges;
        var parts = new List<StatePart> { new("master", Model.Parameters.Values, weights), new("first_moment", _step.Optimizer.FirstMoment, own), new("second_moment", _step.Optimizer.SecondMoment, own) };
        if (HasAverage) parts.Add(new("average", _flatAverage, own));
        TrainingPosition position = TrainingState.Read(folder, parts, _identity);
        _updates = position.AverageUpdates;
        if (_average is not null)
        {
            float[] packed = new float[_packed.Length];
            int at = 0;
            foreach (FlatRange range in own)
            {
                _flatAverage.AsSpan<float>().Slice(range.Start, range.Length).CopyTo(packed.AsSpan(at));
                at += range.Length;
            }

            _average.Restore(packed, position.AverageUpdates);
        }

        _whole = false;
        _step.Update.Refresh();
        return position;
    }
}
