using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Training.Optimization;

/// <summary>
/// Sums the gradients of a step's micro-batches along one fixed binary tree over the micro-batch index (docs/architecture.md §8), so that ranks which
/// own aligned subtrees arrive at the same bits. A binary counter of partial sums: after 2^k micro-batches their sum lies at level k, and two sums of one
/// level are added, earlier first, and carried. What remains at the end is added from the lowest level up. Needs ⌊log₂ n⌋ + 2 buffers for n micro-batches;
/// one micro-batch needs one and no addition.
/// </summary>
/// <param name="parameters">Gives the buffers, flat, one element per parameter element.</param>
/// <param name="microBatches">Most micro-batches of a step.</param>
public sealed class GradientTree(ParameterSet parameters, int microBatches)
{
    readonly Tensor[] _buffers = CreateBuffers(parameters, microBatches);
    readonly int[] _levelBuffer = new int[32];
    readonly bool[] _used = new bool[34];
    uint _occupied;
    int _open = -1;

    /// <summary>Flat buffers held.</summary>
    public int Buffers => _buffers.Length;

    /// <summary>Forgets all partial sums.</summary>
    public void Reset()
    {
        _occupied = 0;
        _open = -1;
        Array.Clear(_used);
    }

    /// <summary>A buffer for the gradient of the next micro-batch; its content is undefined.</summary>
    public Tensor Next()
    {
        if (_open < 0) _open = TakeBuffer();
        return _buffers[_open];
    }

    /// <summary>Adds the buffer given by <see cref="Next"/> to the tree.</summary>
    public void Push(IOperations operations)
    {
        if (_open < 0) throw new InvalidOperationException("Push follows Next: there is no gradient to add.");
        int carried = _open;
        _open = -1;
        int level = 0;
        for (; (_occupied >> level & 1) != 0; level++)
        {
            int earlier = _levelBuffer[level];
            operations.Elementwise.Add(_buffers[earlier], _buffers[carried], _buffers[earlier]);
            _used[carried] = false;
            carried = earlier;
            _occupied &= ~(1u << level);
        }

        _levelBuffer[level] = carried;
        _occupied |= 1u << level;
    }

    /// <summary>The sum of everything pushed since <see cref="Reset"/>.</summary>
    public Tensor Total(IOperations operations)
    {
        if (_occupied == 0) throw new InvalidOperationException("No gradient was added.");
        int total = -1;
        for (int level = 0; level < 32; level++)
        {
            if ((_occupied >> level & 1) == 0) continue;
            int earlier = _levelBuffer[level];
            if (total >= 0) operations.Elementwise.Add(_buffers[earlier], _buffers[total], _buffers[earlier]);
            total = earlier;
        }

        return _buffers[total];
    }

    int TakeBuffer()
    {
        for (int i = 0; i < _buffers.Length; i++)
        {
            if (_used[i]) continue;
            _used[i] = true;
            return i;
        }

        throw new InvalidOperationException($"More micro-batches were added than the {_buffers.Length} buffers of this tree were made for.");
    }

    static Tensor[] CreateBuffers(ParameterSet parameters, int microBatches)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatches, 1);
        var buffers = new Tensor[microBatches == 1 ? 1 : System.Numerics.BitOperations.Log2((uint)microBatches) + 2];
        for (int i = 0; i < buffers.Length; i++) buffers[i] = parameters.CreateBuffer(parameters.DType);
        return buffers;
    }
}
