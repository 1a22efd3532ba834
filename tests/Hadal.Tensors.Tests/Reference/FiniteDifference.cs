using Hadal.Numerics;
using Hadal.Tensors.Reference;

namespace Hadal.Tensors.Tests.Reference;

/// <summary>F64 tensors of the reference backend, and the derivative of a function of them by central differences.</summary>
sealed class FiniteDifference : IDisposable
{
    readonly ReferenceBackend _backend = new();
    readonly TensorArena _arena;
    uint _stream;

    public FiniteDifference() => _arena = new TensorArena(_backend);

    public IOperations Operations => _backend.Operations;

    public Tensor Zeros(params ReadOnlySpan<int> shape) => _arena.Allocate(DType.F64, shape);

    public Tensor Normal(params ReadOnlySpan<int> shape)
    {
        Tensor tensor = Zeros(shape);
        new CounterRandom(7, RandomPurpose.TestData, _stream++).FillNormal(tensor.AsSpan<double>());
        return tensor;
    }

    public Tensor Integers(params ReadOnlySpan<int> values)
    {
        Tensor tensor = _arena.Allocate(DType.I32, values.Length);
        values.CopyTo(tensor.AsSpan<int>());
        return tensor;
    }

    /// <summary>Asserts that <paramref name="gradient"/> is d(output·weights)/d(x), where <paramref name="forward"/> computes the output from x.</summary>
    public static void Check(Tensor x, Action forward, Tensor output, Tensor weights, Tensor gradient)
    {
        const double Step = 1e-5;
        Span<double> values = x.AsSpan<double>();
        for (int i = 0; i < values.Length; i++)
        {
            double original = values[i];
            values[i] = original + Step;
            forward();
            double above = Dot(output, weights);
            values[i] = original - Step;
            forward();
            double below = Dot(output, weights);
            values[i] = original;
            double expected = (above - below) / (2 * Step), given = gradient.AsSpan<double>()[i];
            Assert.True(Math.Abs(expected - given) < 1e-7 * (1 + Math.Abs(expected)), $"element {i}: gradient {given}, difference quotient {expected}");
        }
    }

    public void Dispose()
    {
        _arena.Dispose();
        _backend.Dispose();
    }

    static double Dot(Tensor a, Tensor b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++) sum += a.AsSpan<double>()[i] * b.AsSpan<double>()[i];
        return sum;
    }
}
