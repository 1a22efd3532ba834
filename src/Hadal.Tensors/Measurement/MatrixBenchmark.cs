using System.Diagnostics;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Tensors.Measurement;

/// <summary>A product of the benchmark: y[m, n] = x[m, k]·W[n, k]ᵀ.</summary>
/// <param name="M">Rows.</param>
/// <param name="N">Outputs.</param>
/// <param name="K">Inputs.</param>
public readonly record struct ProductShape(int M, int N, int K)
{
    /// <summary>Floating-point operations of one product.</summary>
    public double Flop => 2.0 * M * N * K;
}

/// <summary>Times of one product.</summary>
/// <param name="Shape">The product.</param>
/// <param name="Weights">Type of the weights.</param>
/// <param name="MedianSeconds">Median call.</param>
/// <param name="BestSeconds">Fastest call: least disturbed by other load.</param>
public sealed record ProductTime(ProductShape Shape, DType Weights, double MedianSeconds, double BestSeconds)
{
    /// <summary>Floating-point operations per second, median.</summary>
    public double FlopPerSecond => Shape.Flop / MedianSeconds;

    /// <summary>Bytes of weights per second, median: what counts when there are few rows.</summary>
    public double WeightBytesPerSecond => (double)Weights.Size() * Shape.N * Shape.K / MedianSeconds;
}

/// <summary>Times forward products of the CPU backend on warm operands.</summary>
public static unsafe class MatrixBenchmark
{
    /// <summary>Square, training-like, decode-like, and one row with weights (256 MiB) beyond most last-level caches.</summary>
    public static IReadOnlyList<ProductShape> Shapes { get; } =
        [new(1024, 1024, 1024), new(128, 1024, 1024), new(32, 4096, 1024), new(8, 4096, 1024), new(1, 4096, 1024), new(1, 8192, 8192)];

    /// <summary>Measures one product.</summary>
    /// <param name="backend">Runs it.</param>
    /// <param name="shape">The product.</param>
    /// <param name="weights">F32 or BF16.</param>
    /// <param name="seconds">About how long, besides a warm-up of a sixth.</param>
    public static ProductTime Measure(CpuBackend backend, ProductShape shape, DType weights, double seconds = 0.3)
    {
        ArgumentNullException.ThrowIfNull(backend);
        using TensorMemory x = Filled((long)shape.M * shape.K), y = new HostMemory(4L * shape.M * shape.N), w = Filled((long)shape.N * shape.K);
        Tensor values = Tensor.View(w, 0, weights, shape.N, shape.K);
        if (weights == DType.BF16)
        {
            float* from = (float*)w.Address;
            ushort* to = (ushort*)w.Address;
            for (long i = 0; i < (long)shape.N * shape.K; i++) to[i] = (ushort)(BitConverter.SingleToUInt32Bits(from[i]) >> 16);
        }

        IMatrixOperations matrix = backend.Operations.Matrix;
        using PreparedWeight weight = matrix.Prepare([values], ProductUses.Forward);
        Tensor input = Tensor.View(x, 0, DType.F32, shape.M, shape.K), output = Tensor.View(y, 0, DType.F32, shape.M, shape.N);
        var watch = Stopwatch.StartNew();
        do matrix.Forward(input, weight, output);
        while (watch.Elapsed.TotalSeconds < seconds / 6);
        var times = new List<double>();
        watch.Restart();
        while (times.Count < 15 || (watch.Elapsed.TotalSeconds < seconds && times.Count < 5000))
        {
            long start = Stopwatch.GetTimestamp();
            matrix.Forward(input, weight, output);
            times.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        times.Sort();
        return new ProductTime(shape, weights, times[times.Count / 2], times[0]);
    }

    static HostMemory Filled(long count)
    {
        var memory = new HostMemory(4 * count);
        float* values = (float*)memory.Address;
        for (long i = 0; i < count; i++) values[i] = (((i * 2654435761L) & 0xFFFF) / 65536f) - 0.5f;
        return memory;
    }
}
