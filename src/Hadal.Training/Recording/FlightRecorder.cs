using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Training.Recording;

/// <summary>
/// The flight recorder: every so many steps it measures every operand of every product, every cached tensor, the weights before the step and their gradients after it
/// (<see cref="TensorStatistics"/>), and writes them to the run's recording. It reads and changes nothing. Steps that are not recorded cost one comparison; recorded ones
/// use memory that the first of them took. A step whose loss or gradient is not finite is recorded whatever its number.
/// </summary>
public sealed class FlightRecorder : ITensorObserver
{
    static readonly int Roles = Enum.GetValues<OperandRole>().Length;
    readonly Transformer _model;
    readonly RecordWriter? _writer;
    readonly TensorMeter _meter = new();
    readonly List<RecordedTensor> _tensors = [];
    readonly List<TensorStatistics> _statistics = [];
    readonly int[] _operands, _weights, _gradients;
    readonly Dictionary<CachedTensor, (int Layer, string Name)> _caches = new(ReferenceEqualityComparer.Instance);
    readonly Dictionary<CachedTensor, int> _cacheSlots = new(ReferenceEqualityComparer.Instance);
    int _tokens = -1, _microBatch, _microBatches;
    long _step;

    /// <summary>A recorder for a model.</summary>
    /// <param name="model">Its weights are read before every recorded step.</param>
    /// <param name="every">Steps between two records; the first step is recorded too.</param>
    /// <param name="writer">Where records go; null keeps only <see cref="Summary"/>.</param>
    /// <exception cref="ArgumentException">The model's tensors are not float32 in host memory.</exception>
    public FlightRecorder(Transformer model, int every, RecordWriter? writer = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(every);
        if (model.DType != DType.F32 || !model.Parameters.Values.IsHost)
            throw new ArgumentException($"The flight recorder reads float32 tensors in host memory; the tensors of backend '{model.Backend.Name}' are {model.DType}{(model.Parameters.Values.IsHost ? "" : " on a device")}. Record on the cpu backend, or leave recording off.", nameof(model));
        _model = model;
        _writer = writer;
        Every = every;
        int parameters = model.Parameters.All.Count;
        _operands = new int[parameters * Roles];
        _weights = new int[parameters];
        _gradients = new int[parameters];
        _operands.AsSpan().Fill(-1);
        _weights.AsSpan().Fill(-1);
        _gradients.AsSpan().Fill(-1);
    }

    /// <summary>Steps between two records.</summary>
    public int Every { get; }

    /// <summary>What was recorded so far, over all recorded steps of this process.</summary>
    public RecordingSummary Summary { get; } = new();

    /// <summary>True for steps that are recorded: 1, and every <see cref="Every"/>th.</summary>
    public bool IsDue(long step) => step == 1 || step % Every == 0;

    internal void Attach(SequenceChunk chunk)
    {
        for (int layer = 0; layer < chunk.Saved.Count; layer++)
            foreach ((string name, CachedTensor cache) in chunk.Saved[layer].Caches()) _caches[cache] = (_model.Blocks[layer].Layer, name);
        for (int depth = 0; depth < chunk.MtpSaved.Count; depth++)
            foreach ((string name, CachedTensor cache) in chunk.MtpSaved[depth].Caches()) _caches[cache] = (_model.Mtp[depth].Block.Layer, name);
    }

    /// <summary>A step begins: everything is forgotten and the weights are measured.</summary>
    internal void Begin(long step, int microBatches)
    {
        _step = step;
        _microBatches = microBatches;
        _microBatch = 0;
        _meter.Turn = step;
        for (int s = 0; s < _statistics.Count; s++) _statistics[s].Clear(_tensors[s].Kind is TensorKind.Weight or TensorKind.WeightGradient ? 1 : microBatches);
        IReadOnlyList<Parameter> parameters = _model.Parameters.All;
        for (int p = 0; p < parameters.Count; p++)
        {
            Parameter parameter = parameters[p];
            QuantizationFormat format = parameter.IsQuantized ? _model.Recipe.Forward.Right : QuantizationFormat.F32;
            if (_weights[p] < 0) _weights[p] = Add(TensorKind.Weight, parameter, "", format);
            MeasureParameter(_weights[p], parameter, parameter.Value, format);
        }
    }

    /// <summary>The micro-batch that follows has these tokens.</summary>
    internal void MicroBatch(int index, ReadOnlySpan<int> tokens)
    {
        _microBatch = index;
        if (_tokens < 0) _tokens = Add(new RecordedTensor(TensorKind.Tokens, -1, "tokens", "i32"));
        TensorStatistics s = _statistics[_tokens];
        s.Elements += tokens.Length;
        s.Hashes[index] = _meter.Bytes(MemoryMarshal.AsBytes(tokens));
    }

    /// <inheritdoc/>
    public void Operand(Parameter weight, OperandRole role, Tensor values, QuantizationFormat format, Tensor offsets)
    {
        ArgumentNullException.ThrowIfNull(weight);
        ref int slot = ref _operands[(weight.Index * Roles) + (int)role];
        if (slot < 0)
        {
            (TensorKind kind, string suffix) = role switch
            {
                OperandRole.Input => (TensorKind.Activation, " input"),
                OperandRole.InputAlongTokens => (TensorKind.Activation, " input, along tokens"),
                OperandRole.OutputGradient => (TensorKind.ActivationGradient, " output gradient"),
                OperandRole.OutputGradientAlongTokens => (TensorKind.ActivationGradient, " output gradient, along tokens"),
                OperandRole.CarriedGradient => (TensorKind.ActivationGradient, " output gradient, carried"),
                _ => (TensorKind.ActivationGradient, " input gradient"),
            };
            slot = Add(kind, weight, suffix, format);
        }

        bool alongTokens = role is OperandRole.InputAlongTokens or OperandRole.OutputGradientAlongTokens;
        Tensor rows = values.Rank == 2 ? values : values.Reshape(values.Rows, values.Columns);
        int section = role is OperandRole.OutputGradient && _model.Recipe.Forward.Right.Granularity == Granularity.Block ? weight.MatrixRows : 0;
        float delayed = format.Origin == ScaleOrigin.Current ? 0 : role is OperandRole.Input or OperandRole.InputAlongTokens ? weight.DelayedInput : weight.DelayedGradient;
        Hash(slot, _meter.Operand(_statistics[slot], rows, format, alongTokens, offsets, (0, section), delayed));
    }

    /// <inheritdoc/>
    public void Kept(CachedTensor cache, Tensor values, Tensor codes, Tensor scales, Tensor rowCount)
    {
        ArgumentNullException.ThrowIfNull(cache);
        if (!_cacheSlots.TryGetValue(cache, out int slot))
        {
            (int layer, string name) = _caches.TryGetValue(cache, out (int Layer, string Name) known) ? known : (-1, "a tensor without a name");
            _cacheSlots[cache] = slot = Add(new RecordedTensor(TensorKind.Cache, layer, name, cache.Format.ToString()));
        }

        Hash(slot, _meter.Kept(_statistics[slot], values.Reshape((int)(values.Length / cache.Columns), cache.Columns), cache.Format, codes, scales, rowCount));
    }

    /// <summary>The gradient of the whole step, flat, before clipping.</summary>
    internal void Gradient(Tensor gradient)
    {
        IReadOnlyList<Parameter> parameters = _model.Parameters.All;
        for (int p = 0; p < parameters.Count; p++)
        {
            if (parameters[p].Kind == ParameterKind.SelectionBias) continue;
            if (_gradients[p] < 0) _gradients[p] = Add(TensorKind.WeightGradient, parameters[p], " gradient", QuantizationFormat.F32);
            MeasureParameter(_gradients[p], parameters[p], parameters[p].View(gradient), QuantizationFormat.F32);
        }
    }

    /// <summary>The step is over.</summary>
    internal void End(StepFacts facts)
    {
        Summary.Add(facts.Step, _tensors, _statistics, _tensors.Count);
        _writer?.Write(_tensors, _tensors.Count, facts, _statistics);
    }

    void MeasureParameter(int slot, Parameter parameter, Tensor values, QuantizationFormat format)
    {
        TensorStatistics s = _statistics[slot];
        int groups = values.Rank < 3 ? 1 : values[0];
        for (int g = 0; g < groups; g++)
        {
            Tensor matrix = values.Rank switch { 1 => values.Reshape(1, values.Columns), 2 => values, _ => values.Select(g) };
            float delayed = format.Origin == ScaleOrigin.Delayed ? parameter.DelayedWeight(g) : 0;
            s.Hashes[0] = Chain(s.Hashes[0], _meter.Operand(s, matrix, format, alongTokens: false, default, (parameter.MatrixRows, 0), delayed));
        }
    }

    void Hash(int slot, ulong hash)
    {
        ulong[] hashes = _statistics[slot].Hashes;
        hashes[_microBatch] = Chain(hashes[_microBatch], hash);
    }

    /// <summary>A tensor that is seen several times in a micro-batch, as the input of the shared head is, has one hash of all.</summary>
    static ulong Chain(ulong before, ulong next) => before == 0 ? next : (System.Numerics.BitOperations.RotateLeft(before, 23) ^ next) * 0x9E3779B185EBCA87;

    int Add(TensorKind kind, Parameter parameter, string suffix, QuantizationFormat format)
    {
        (int layer, string name) = Place(parameter.Name);
        return Add(new RecordedTensor(kind, layer, name + suffix, format.ToString()));
    }

    int Add(RecordedTensor tensor)
    {
        _tensors.Add(tensor);
        var statistics = new TensorStatistics();
        statistics.Clear(tensor.Kind is TensorKind.Weight or TensorKind.WeightGradient ? 1 : _microBatches);
        _statistics.Add(statistics);
        return _tensors.Count - 1;
    }

    /// <summary><c>model.layers.3.self_attn.o_proj.weight</c> is o_proj of layer 3.</summary>
    internal static (int Layer, string Name) Place(string parameter)
    {
        const string Prefix = "model.layers.", Suffix = ".weight";
        string name = parameter.EndsWith(Suffix, StringComparison.Ordinal) ? parameter[..^Suffix.Length] : parameter;
        if (!name.StartsWith(Prefix, StringComparison.Ordinal)) return (-1, name.StartsWith("model.", StringComparison.Ordinal) ? name["model.".Length..] : name);
        int dot = name.IndexOf('.', Prefix.Length);
        return (int.Parse(name.AsSpan(Prefix.Length, dot - Prefix.Length), CultureInfo.InvariantCulture), name[(dot + 1)..]);
    }
}
