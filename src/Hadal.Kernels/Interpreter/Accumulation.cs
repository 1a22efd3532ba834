namespace Hadal.Kernels.Interpreter;

/// <summary>How a matrix instruction adds: one accumulator and one instruction's products along K.</summary>
public interface IAccumulationModel
{
    /// <summary>accumulator + Σ a[i]·b[i], as the modelled hardware rounds it.</summary>
    float Accumulate(float accumulator, ReadOnlySpan<float> a, ReadOnlySpan<float> b);
}

/// <summary>Sums in double and rounds once to float32.</summary>
public sealed class ExactAccumulation : IAccumulationModel
{
    /// <inheritdoc/>
    public float Accumulate(float accumulator, ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double sum = accumulator;
        for (int i = 0; i < a.Length; i++) sum += (double)a[i] * b[i];
        return (float)sum;
    }
}
