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

/// <summary>
/// As the tensor cores of H100 and H200 add products of E4M3 (<see cref="Numerics.TensorCoreAccumulation"/>), BF16 and TF32 (<see cref="Numerics.WideTensorCoreAccumulation"/>);
/// both models equal dumps of the hardware bit for bit.
/// </summary>
public sealed class TensorCoreArithmetic : IAccumulationModel
{
    /// <inheritdoc/>
    public float Accumulate(float accumulator, ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        // E4M3 instructions have 32 products, BF16 instructions 16, TF32 instructions 8.
        if (a.Length != 32) return Numerics.WideTensorCoreAccumulation.Accumulate(accumulator, a, b);
        Span<Numerics.E4M3> left = stackalloc Numerics.E4M3[32], right = stackalloc Numerics.E4M3[32];
        Numerics.E4M3.FromSingle(a, left);
        Numerics.E4M3.FromSingle(b, right);
        return Numerics.TensorCoreAccumulation.Hopper.Accumulate(accumulator, left, right);
    }
}
