using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Training.Optimization;

/// <summary>
/// The update of a step [V3 §4.2]: clip the gradient to a global norm, then AdamW with FP32 masters and BF16 moments [V3 §3.3.1]. Norms are not decayed;
/// selection biases have no gradient and are moved by load instead. In the FP32 recipe the model's values are the masters.
/// </summary>
public sealed class AdamWOptimizer
{
    readonly ParameterSet _parameters;
    readonly AdamWParameters _decayed, _undecayed;
    readonly double _clip;
    readonly GradientSegment[] _segments;
    readonly Tensor _sum, _state;

    /// <summary>Takes memory for the moments.</summary>
    /// <param name="backend">Where the parameters live.</param>
    /// <param name="parameters">The model's; F32.</param>
    /// <param name="constants">β1 0.9, β2 0.95, ε 1e-8, decay 0.1 in the report.</param>
    /// <param name="clip">Largest global norm of the gradient; 1.0 in the report. 0 means no clipping.</param>
    /// <param name="moments">Element type of the moments: BF16 as in the report, or F32 for comparison.</param>
    public AdamWOptimizer(IBackend backend, ParameterSet parameters, AdamWParameters constants, double clip, DType moments = DType.BF16)
    {
        _parameters = parameters;
        _decayed = constants;
        _undecayed = constants with { WeightDecay = 0 };
        _clip = clip;
        _segments = GradientSegment.Of(parameters);
        FirstMoment = parameters.CreateBuffer(moments);
        SecondMoment = parameters.CreateBuffer(moments);
        TensorMemory memory = backend.Allocate(128);
        _sum = Tensor.View(memory, 0, DType.F64, 1);
        _state = Tensor.View(memory, 64, DType.F64, 4);
    }

    /// <summary>m, flat.</summary>
    public Tensor FirstMoment { get; }

    /// <summary>v, flat.</summary>
    public Tensor SecondMoment { get; }

    /// <summary>√Σg² over all parameters: double sums in fixed blocks of each parameter, and of each expert of a layer, in order.</summary>
    /// <returns>NaN or infinity when a gradient is.</returns>
    public double GradientNorm(IOperations operations, Tensor gradient)
    {
        for (int i = 0; i < _segments.Length; i++) operations.Optimizer.SumOfSquares(gradient.Slice(_segments[i].Start, _segments[i].Length), _sum, accumulate: i > 0);
        return Math.Sqrt(_sum.AsSpan<double>()[0]);
    }

    /// <summary>The first parameter whose gradient is not finite, for messages.</summary>
    public string FindNonFinite(IOperations operations, Tensor gradient)
    {
        foreach (Parameter parameter in _parameters.All)
        {
            operations.Optimizer.SumOfSquares(parameter.View(gradient), _sum, accumulate: false);
            if (!double.IsFinite(_sum.AsSpan<double>()[0])) return parameter.Name;
        }

        return "the sum over all parameters";
    }

    /// <summary>Before the parts of one step are updated.</summary>
    internal void Begin(double gradientNorm, double learningRate, long step)
    {
        Span<double> state = _state.AsSpan<double>();
        state[0] = learningRate;
        state[1] = step;
        state[2] = _clip > 0 && gradientNorm > _clip ? _clip / gradientNorm : 1;
        state[3] = 1;
    }

    /// <summary>Updates a part of a parameter.</summary>
    /// <param name="parameter">The parameter: decides about decay.</param>
    /// <param name="start">First element of the part in flat buffers.</param>
    /// <param name="gradient">Of the part.</param>
    internal void Update(IOperations operations, Parameter parameter, int start, Tensor gradient)
    {
        if (parameter.Kind == ParameterKind.SelectionBias) return;
        int length = checked((int)gradient.Length);
        operations.Optimizer.AdamW(_parameters.Values.Slice(start, length), FirstMoment.Slice(start, length), SecondMoment.Slice(start, length),
            gradient, parameter.Kind == ParameterKind.Norm ? _undecayed : _decayed, _state);
    }

    /// <summary>Updates all parameters and brings their prepared forms up to date.</summary>
    /// <param name="gradient">Flat; the sum over the global batch.</param>
    /// <param name="gradientNorm">From <see cref="GradientNorm"/>.</param>
    /// <param name="learningRate">Of this step.</param>
    /// <param name="step">From 1; corrects the bias of the moments.</param>
    public void Update(IOperations operations, Tensor gradient, double gradientNorm, double learningRate, long step)
    {
        Begin(gradientNorm, learningRate, step);
        IReadOnlyList<Parameter> all = _parameters.All;
        for (int i = 0; i < all.Count; i++)
        {
            int start = checked((int)all[i].Offset), length = all[i].Length;
            Update(operations, all[i], start, gradient.Slice(start, length));
        }

        // What this step saw decides the scales of the next; the weights are quantised with those.
        _parameters.ScalingHistory?.Advance();
        _parameters.Refresh(operations);
    }
}
