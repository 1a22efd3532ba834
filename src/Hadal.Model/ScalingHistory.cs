using Hadal.Tensors;

namespace Hadal.Model;

/// <summary>
/// The maxima that delayed scales are taken from: for the input, the output gradient and each weight of every quantised projection the largest magnitude of each of the last
/// steps. Within a step all micro-batches use one scale and raise one maximum, so neither their order nor the number of threads matters. Part of the training state.
/// </summary>
public sealed class ScalingHistory : IDisposable
{
    readonly TensorMemory _memory;
    readonly Tensor _maxima, _history;

    internal ScalingHistory(IBackend backend, int operands, int steps)
    {
        _memory = backend.Allocate((long)operands * (2 + steps) * sizeof(float));
        State = Tensor.View(_memory, 0, DType.F32, checked(operands * (2 + steps)));
        if (!State.IsHost) throw new ArgumentException($"Delayed scales are kept in host memory; the backend {backend.Name} has none. Choose a recipe with current scales, such as fp8.", nameof(backend));
        State.AsSpan<float>().Clear();
        _maxima = State.Slice(0, 2 * operands).Reshape(operands, 2);
        _history = State.Slice(2 * operands, operands * steps).Reshape(operands, steps);
    }

    /// <summary>Operands that have a history.</summary>
    public int Operands => _maxima[0];

    /// <summary>Steps that are remembered.</summary>
    public int Steps => _history[1];

    /// <summary>F32, flat: everything it remembers, to be saved and restored. [operands, 2] the magnitude scales are taken from and the largest one since; then [operands, steps], oldest first.</summary>
    public Tensor State { get; }

    /// <summary>F32 [count, 2] of consecutive operands.</summary>
    internal Tensor Maxima(int operand, int count) => _maxima.Slice(operand, count);

    /// <summary>F32 [2] of one operand, which products raise, or [1], which they only read.</summary>
    internal Tensor Maxima(int operand, bool record) => record ? _maxima.Select(operand) : _maxima.Select(operand).Slice(0, 1);

    /// <summary>After a step: what was seen becomes the newest entry, the oldest is forgotten, and scales follow the largest that is remembered.</summary>
    public void Advance()
    {
        for (int operand = 0; operand < Operands; operand++)
        {
            Span<float> maxima = _maxima.Row<float>(operand), history = _history.Row<float>(operand);
            history[1..].CopyTo(history);
            history[^1] = maxima[1];
            maxima[1] = 0;
            maxima[0] = 0;
            foreach (float magnitude in history) maxima[0] = Math.Max(maxima[0], magnitude);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
