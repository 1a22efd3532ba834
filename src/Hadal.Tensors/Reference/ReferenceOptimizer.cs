using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Reference;

/// <summary>AdamW and its company, in double.</summary>
sealed class ReferenceOptimizer : IOptimizerOperations
{
    public void SumOfSquares(Tensor x, Tensor sum, bool accumulate)
    {
        Require.Vector(sum, 1);
        Values values = Values.Read(x), result = Values.For(sum, accumulate);
        double squares = 0;
        for (int i = 0; i < values.Length; i++) squares += values[i] * values[i];
        result[0] += squares;
        result.Store(sum);
    }

    public void AdamW(Tensor master, Tensor firstMoment, Tensor secondMoment, Tensor gradient, AdamWParameters parameters, Tensor state)
    {
        RoutingChecks.AdamW(master, firstMoment, secondMoment, gradient, state);
        Span<double> s = state.AsSpan<double>();
        (double learningRate, double step, double clip, bool apply) = (s[0], s[1], s[2], s[3] != 0);
        if (!apply) return;
        Values w = Values.Read(master), m = Values.Read(firstMoment), v = Values.Read(secondMoment), g = Values.Read(gradient);
        double correction1 = 1 - Math.Pow(parameters.Beta1, step), correction2 = 1 - Math.Pow(parameters.Beta2, step);
        for (int i = 0; i < w.Length; i++)
        {
            double clipped = clip * g[i];
            m[i] = (parameters.Beta1 * m[i]) + ((1 - parameters.Beta1) * clipped);
            v[i] = (parameters.Beta2 * v[i]) + ((1 - parameters.Beta2) * clipped * clipped);
            double direction = m[i] / correction1 / (Math.Sqrt(v[i] / correction2) + parameters.Epsilon);
            w[i] -= learningRate * (direction + (parameters.WeightDecay * w[i]));
        }

        m.Store(firstMoment);
        v.Store(secondMoment);
        w.Store(master);
    }

    public void MovingAverage(Tensor x, double decay, Tensor average)
    {
        RoutingChecks.MovingAverage(x, average);
        Values values = Values.Read(x), result = Values.Read(average);
        for (int i = 0; i < result.Length; i++) result[i] = (decay * result[i]) + ((1 - decay) * values[i]);
        result.Store(average);
    }
}
