namespace Hadal.Tensors.Operations;

/// <summary>Constants of AdamW [V3 §4.2; Loshchilov and Hutter 2017].</summary>
/// <param name="Beta1">Decay of the first moment, 0.9.</param>
/// <param name="Beta2">Decay of the second moment, 0.95.</param>
/// <param name="Epsilon">1e-8.</param>
/// <param name="WeightDecay">Decoupled decay, 0.1; 0 for norms.</param>
public readonly record struct AdamWParameters(double Beta1, double Beta2, double Epsilon, double WeightDecay);

/// <summary>
/// The update. Learning rate, step, clip factor and the flag that decides whether the update applies are read from device memory (<c>state</c>),
/// so a whole step can be one graph.
/// </summary>
public interface IOptimizerOperations
{
    /// <summary>sum[0] (+)= Σ x², double accumulation in a fixed tree; sum is F64 [1] on the CPU.</summary>
    void SumOfSquares(Tensor x, Tensor sum, bool accumulate);

    /// <summary>
    /// m = β1·m + (1−β1)·g, v = β2·v + (1−β2)·g² with g = clip·gradient, moments rounded to their type (BF16 [V3 §3.3.1]) after the update was computed in FP32;
    /// master −= lr·(m̂/(√v̂ + ε) + decay·master), bias corrections by step. Skipped when state[3] is 0.
    /// </summary>
    /// <param name="master">F32, any shape.</param>
    /// <param name="firstMoment">BF16 or F32, same length.</param>
    /// <param name="secondMoment">BF16 or F32, same length.</param>
    /// <param name="state">F64 [4]: learning rate, step (from 1), clip factor, apply flag.</param>
    void AdamW(Tensor master, Tensor firstMoment, Tensor secondMoment, Tensor gradient, AdamWParameters parameters, Tensor state);

    /// <summary>average = decay·average + (1−decay)·x.</summary>
    void MovingAverage(Tensor x, double decay, Tensor average);
}
