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

    /// <summary>√Σg² over all parameters: double sums in a fixed tree per parameter, parameters in order.</summary>
    /// <returns>NaN or infinity when a gradient is.</returns>
    public double GradientNorm(IOperations operations, Tensor gradient)
    {
        operations.Optimizer.SumOfSquares(gradient, _sum, accumulate: false);
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

    /// <summary>Updates all parameters and brings their prepared forms up to date.</summary>
    /// <param name="gradient">Flat; the sum over the global batch.</param>
    /// <param name="gradientNorm">From <see cref="GradientNorm"/>.</param>
    /// <param name="learningRate">Of this step.</param>
    /// <param name="step">From 1; corrects the bias of the moments.</param>
    public void Update(IOperations operations, Tensor gradient, double gradientNorm, double learningRate, long step)
    {
        Span<double> state = _state.AsSpan<double>();
        state[0] = learningRate;
        state[1] = step;
        state[2] = _clip > 0 && gradientNorm > _clip ? _clip / gradientNorm : 1;
        state[3] = 1;
        IReadOnlyList<Parameter> all = _parameters.All;
        for (int i = 0; i < all.Count; i++)
        {
            Parameter parameter = all[i];
            if (parameter.Kind == ParameterKind.SelectionBias) continue;
            int start = checked((int)parameter.Offset), length = parameter.Length;
            operations.Optimizer.AdamW(_parameters.Values.Slice(start, length), FirstMoment.Slice(start, length), SecondMoment.Slice(start, length),
                gradient.Slice(start, length), parameter.Kind == ParameterKind.Norm ? _undecayed : _decayed, _state);
        }

        // What this step saw decides the scales of the next; the weights are quantised with those.
        _parameters.ScalingHistory?.Advance();
        _parameters.Refresh(operations);
    }
}
