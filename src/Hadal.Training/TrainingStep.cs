using Hadal.Model;
using Hadal.Tensors;
using Hadal.Training.Data;
using Hadal.Training.Optimization;
using Hadal.Training.Recording;

namespace Hadal.Training;

/// <summary>What one step came to.</summary>
/// <param name="Tokens">Tokens of the step.</param>
/// <param name="Loss">Mean next-token cross-entropy, nats.</param>
/// <param name="MtpLoss">Mean cross-entropy of the MTP modules, nats; NaN without.</param>
/// <param name="GradientNorm">Before clipping.</param>
/// <param name="MaxViolation">Largest expert load over the mean, minus 1, worst layer; NaN without experts.</param>
public readonly record struct StepResult(long Tokens, double Loss, double MtpLoss, double GradientNorm, double MaxViolation);

/// <summary>The values of one step that schedules decide.</summary>
/// <param name="Step">From 1.</param>
/// <param name="MicroBatches">Micro-batches of the step.</param>
/// <param name="LearningRate">Learning rate.</param>
/// <param name="MtpLambda">λ of the MTP loss.</param>
/// <param name="BiasSpeed">γ of the selection biases.</param>
public readonly record struct StepSettings(long Step, int MicroBatches, double LearningRate, double MtpLambda, double BiasSpeed);

/// <summary>
/// One optimizer step, in order: read the rows; per micro-batch forward and backward into a gradient of its own; add gradients in a fixed tree; clip;
/// AdamW; nudge the selection biases by load. Allocates nothing after the first call. Everything that decides bits is a function of the global row
/// index and <see cref="StepSettings"/>.
/// </summary>
public sealed partial class TrainingStep : IDisposable
{
    readonly Transformer _model;
    readonly PackedDataLoader _loader;
    readonly AdamWOptimizer _optimizer;
    readonly GradientTree _gradients;
    readonly SequenceChunk _chunk;
    readonly RunConfiguration _run;
    readonly int[] _rows;
    readonly RoutedLoad[] _loads;
    readonly TensorMemory _memory;
    readonly Tensor _loss, _mtpLoss;
    readonly double[] _losses, _mtpLosses;
    readonly Func<int, IReadOnlyList<int>>? _order;

    /// <summary>Takes memory for a step.</summary>
    /// <param name="run">Batch, balance.</param>
    /// <param name="model">The model; its weights are changed.</param>
    /// <param name="loader">Rows of sequence length + 1 + MTP depth tokens.</param>
    /// <param name="optimizer">Moments.</param>
    /// <param name="order">
    /// Order in which the micro-batches of a step are processed, given their number: a permutation of 0 … n − 1; null for the ascending one. No bit depends on it. Others than the
    /// ascending order hold a gradient for each micro-batch.
    /// </param>
    public TrainingStep(RunConfiguration run, Transformer model, PackedDataLoader loader, AdamWOptimizer optimizer, Func<int, IReadOnlyList<int>>? order = null)
    {
        _order = order;
        _run = run;
        _model = model;
        _loader = loader;
        _optimizer = optimizer;
        _gradients = new GradientTree(model.Parameters, run.Batch.MicroBatches, anyOrder: order is not null);
        _chunk = new SequenceChunk(model, run.Batch.Rows, run.Data.SequenceLength, training: true);
        _rows = new int[run.Batch.MicroBatches * run.Batch.Rows * loader.RowTokens];
        _losses = new double[run.Batch.MicroBatches];
        _mtpLosses = new double[run.Batch.MicroBatches];
        _memory = model.Backend.Allocate(128);
        _loss = Tensor.View(_memory, 0, DType.F64, 1);
        _mtpLoss = Tensor.View(_memory, 64, DType.F64, 1);
        var loads = new List<RoutedLoad>();
        for (int layer = 0; layer < model.Blocks.Count; layer++)
            if (model.Blocks[layer].Routed is RoutedExperts routed) loads.Add(new RoutedLoad(model.Backend, routed, _chunk.Saved[layer].Routed!, mtp: false));
        for (int k = 0; k < model.Mtp.Count; k++)
            if (model.Mtp[k].Block.Routed is RoutedExperts routed) loads.Add(new RoutedLoad(model.Backend, routed, _chunk.MtpSaved[k].Block.Routed!, mtp: true));
        _loads = [.. loads];
    }

    /// <summary>Records steps; null for none.</summary>
    public FlightRecorder? Recorder
    {
        get;
        set
        {
            field = value;
            value?.Attach(_chunk);
        }
    }

    /// <summary>Changes the gradient of the global batch (flat) before it is clipped; for experiments.</summary>
    internal Action<Tensor>? GradientFilter { get; set; }

    /// <summary>Bytes of records, temporaries and gradients.</summary>
    public long ReservedBytes => _chunk.ReservedBytes + (_gradients.Buffers * _model.Parameters.Length * _model.DType.Size());

    /// <summary>Tokens of one micro-batch.</summary>
    public int TokensPerMicroBatch => _chunk.Sequences * _chunk.Length;

    /// <summary>Makes one step.</summary>
    /// <param name="settings">What the schedules say.</param>
    /// <param name="firstMicroBatch">Global index of the first micro-batch; row g of the run belongs to micro-batch g / rows.</param>
    /// <exception cref="NonFiniteTrainingException">Loss or gradient is not finite; the weights are unchanged.</exception>
    public StepResult Run(StepSettings settings, long firstMicroBatch) => Run(settings, firstMicroBatch, update: true);

    StepResult Run(StepSettings settings, long firstMicroBatch, bool update)
    {
        IOperations ops = _model.Backend.Operations;
        int rowsPer = _run.Batch.Rows, width = _loader.RowTokens, microBatches = settings.MicroBatches;
        bool mtp = _model.Mtp.Count > 0 && settings.MtpLambda != 0;

        // 1. The global batch, and how many targets it has: each counts the same.
        long targets = 0;
        for (int r = 0; r < microBatches * rowsPer; r++)
        {
            Span<int> row = _rows.AsSpan(r * width, width);
            _loader.Read((firstMicroBatch * rowsPer) + r, row);
            targets += ModelRows.CountTargets(row, _chunk.Length);
        }

        double weight = 1.0 / Math.Max(targets, 1);
        var weights = new LossWeights(_run.LossScale * weight, settings.MtpLambda, _run.BalanceAlpha, _run.LossScale / (microBatches * rowsPer));

        FlightRecorder? recorder = Recorder is { } set && set.IsDue(settings.Step) ? set : null;
        recorder?.Begin(settings.Step, microBatches);
        _chunk.Context.Observer = recorder;

        // 2. Micro-batches.
        _gradients.Reset();
        for (int i = 0; i < _loads.Length; i++) _loads[i].Clear();
        IReadOnlyList<int>? order = _order?.Invoke(microBatches);
        for (int i = 0; i < microBatches; i++)
        {
            int m = order is null ? i : order[i];
            ModelRows.Set(_chunk, _rows.AsSpan(m * rowsPer * width, rowsPer * width), width);
            recorder?.MicroBatch(m, _rows.AsSpan(m * rowsPer * width, rowsPer * width));
            _chunk.ForwardBackward(weights, _gradients.Next());
            ops.Embedding.Sum(_chunk.Losses[0], weight, _loss, accumulate: false);
            for (int k = 1; mtp && k < _chunk.Losses.Count; k++)
                ops.Embedding.Sum(_chunk.Losses[k], weight / _model.Mtp.Count, _mtpLoss, accumulate: k > 1);
            _losses[m] = _loss.AsSpan<double>()[0];
            _mtpLosses[m] = _mtpLoss.AsSpan<double>()[0];
            if (!double.IsFinite(_losses[m])) ThrowLoss(settings, weights, firstMicroBatch, m, _losses[m]);
            for (int l = 0; l < _loads.Length; l++)
                if (mtp || !_loads[l].IsMtp) _loads[l].Add();
            _gradients.Push(ops, m);
        }

        _chunk.Context.Observer = null;

        // 3. Clip and update. Losses add in ascending order, gradients along their tree.
        double loss = Sum(_losses.AsSpan(0, microBatches));
        Tensor gradient = _gradients.Total(ops);
        if (_run.LossScale != 1) ops.Elementwise.Scale(gradient, 1 / _run.LossScale, gradient);
        GradientFilter?.Invoke(gradient);
        double norm = _optimizer.GradientNorm(ops, gradient);
        if (!double.IsFinite(norm)) ThrowGradient(settings, weights, firstMicroBatch, gradient, loss, norm);
        if (!update) return default;
        recorder?.Gradient(gradient);
        _optimizer.Update(ops, gradient, norm, settings.LearningRate, settings.Step);

        // 4. Selection biases follow the load of the whole batch [V3 §2.1.2].
        double violation = double.NaN;
        for (int i = 0; i < _loads.Length; i++)
        {
            if (!mtp && _loads[i].IsMtp) continue;
            violation = double.IsNaN(violation) ? _loads[i].MaxViolation() : Math.Max(violation, _loads[i].MaxViolation());
            if (settings.BiasSpeed > 0) _loads[i].UpdateBias(ops, settings.BiasSpeed);
        }

        double mtpLoss = mtp ? Sum(_mtpLosses.AsSpan(0, microBatches)) : double.NaN;
        recorder?.End(new StepFacts(settings.Step, loss, mtpLoss, norm, IsFault: false));
        return new StepResult((long)microBatches * TokensPerMicroBatch, loss, mtpLoss, norm, violation);
    }

    static double Sum(ReadOnlySpan<double> values)
    {
        double sum = 0;
        foreach (double value in values) sum += value;
        return sum;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _chunk.Dispose();
        _memory.Dispose();
        foreach (RoutedLoad load in _loads) load.Dispose();
    }
}

/// <summary>Tokens per expert of one layer over a global batch.</summary>
sealed class RoutedLoad(IBackend backend, RoutedExperts routed, RoutedSaved saved, bool mtp) : IDisposable
{
    readonly TensorMemory _memory = backend.Allocate(saved.Movement.Counts.Length * sizeof(int));

    internal bool IsMtp => mtp;

    Tensor Counts => Tensor.View(_memory, 0, DType.I32, saved.Movement.Counts.Columns);

    internal void Clear() => Counts.AsSpan<int>().Clear();

    internal void Add()
    {
        Span<int> sum = Counts.AsSpan<int>();
        ReadOnlySpan<int> counts = saved.Movement.Counts.AsSpan<int>();
        for (int e = 0; e < sum.Length; e++) sum[e] += counts[e];
    }

    internal double MaxViolation()
    {
        long total = 0;
        int largest = 0;
        foreach (int count in Counts.AsSpan<int>())
        {
            total += count;
            largest = Math.Max(largest, count);
        }

        return total == 0 ? 0 : ((double)largest * Counts.Columns / total) - 1;
    }

    internal void UpdateBias(IOperations operations, double speed)
    {
        if (routed.SelectionBias is Parameter bias) operations.Routing.UpdateBias(Counts, speed, bias.Value);
    }

    public void Dispose() => _memory.Dispose();
}
