using System.Numerics;
using System.Runtime.InteropServices;
using Hadal.Tensors;

namespace Hadal.Training.Optimization;

/// <summary>
/// Exponential moving average of the weights in CPU memory, computed beside the step [V3 §3.2.3]: the step copies the weights to one of two staging buffers and
/// goes on; a thread of its own folds staging buffers into the average in the order they were filled. When both are still waiting the step waits. The
/// average is a function of the weights alone, never of timing. The first update sets it.
/// </summary>
public sealed class WeightAverage : IDisposable
{
    readonly HostMemory _memory;
    readonly Tensor _average;
    readonly Tensor[] _staging = new Tensor[2];
    readonly SemaphoreSlim _free = new(2, 2), _filled = new(0, 3);
    readonly Thread _thread;
    readonly float _decay;
    int _next;
    volatile bool _stopping;

    /// <summary>Starts the thread.</summary>
    /// <param name="length">Elements of the flat weights, F32.</param>
    /// <param name="decay">average = decay·average + (1 − decay)·weights.</param>
    public WeightAverage(int length, double decay)
    {
        _memory = new HostMemory(3L * length * sizeof(float));
        _average = Tensor.View(_memory, 0, DType.F32, length);
        for (int i = 0; i < 2; i++) _staging[i] = Tensor.View(_memory, (i + 1L) * length * sizeof(float), DType.F32, length);
        _decay = (float)decay;
        _thread = new Thread(Fold) { IsBackground = true, Name = "weight average" };
        _thread.Start();
    }

    /// <summary>Updates that were handed over.</summary>
    public long Updates { get; private set; }

    /// <summary>Hands over the weights; returns when they are copied.</summary>
    /// <param name="weights">Flat, F32.</param>
    public void Update(IOperations operations, Tensor weights)
    {
        _free.Wait();
        operations.Elementwise.Copy(weights, _staging[_next]);
        _next ^= 1;
        Updates++;
        _filled.Release();
    }

    /// <summary>Waits until every update is folded in.</summary>
    /// <returns>The average, flat F32 in host memory; valid until the next update.</returns>
    public Tensor Average()
    {
        _free.Wait();
        _free.Wait();
        _free.Release(2);
        return _average;
    }

    /// <summary>Continues from a saved average.</summary>
    public void Restore(ReadOnlySpan<float> average, long updates)
    {
        average.CopyTo(Average().AsSpan<float>());
        Updates = updates;
        _folded = updates;
    }

    /// <summary>Stops the thread and frees the memory.</summary>
    public void Dispose()
    {
        if (_stopping) return;
        _stopping = true;
        _filled.Release();
        _thread.Join();
        _memory.Dispose();
        _free.Dispose();
        _filled.Dispose();
    }

    long _folded;

    void Fold()
    {
        int index = 0;
        while (true)
        {
            _filled.Wait();
            if (_stopping) return;
            Span<float> average = _average.AsSpan<float>();
            ReadOnlySpan<float> weights = _staging[index].AsSpan<float>();
            if (_folded == 0) weights.CopyTo(average);
            else Blend(average, weights, _decay);
            _folded++;
            index ^= 1;
            _free.Release();
        }
    }

    /// <summary>average = decay·average + (1 − decay)·weights, each product rounded before the sum.</summary>
    internal static void Blend(Span<float> average, ReadOnlySpan<float> weights, float decay)
    {
        float rest = 1 - decay;
        Span<Vector<float>> averages = MemoryMarshal.Cast<float, Vector<float>>(average);
        ReadOnlySpan<Vector<float>> values = MemoryMarshal.Cast<float, Vector<float>>(weights);
        for (int i = 0; i < averages.Length; i++) averages[i] = (averages[i] * decay) + (values[i] * rest);
        for (int i = averages.Length * Vector<float>.Count; i < average.Length; i++) average[i] = (average[i] * decay) + (weights[i] * rest);
    }
}
