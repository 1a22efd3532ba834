using Hadal.Model;
using Hadal.Tensors;

namespace Hadal.Training.Optimization;

/// <summary>
/// Sums the gradients of a step's micro-batches along one fixed binary tree over the micro-batch index (docs/architecture.md §8), so that ranks which
/// own aligned subtrees arrive at the same bits, and the order in which micro-batches come changes none. Two partial sums of one level that are neighbours are added, the earlier first, as
/// soon as both are there. What remains at the end is added from the lowest level up. In ascending order ⌊log₂ n⌋ + 2 buffers serve n micro-batches; in any order n do;
/// one micro-batch needs one and no addition.
/// </summary>
public sealed class GradientTree
{
    const int Levels = 32;
    readonly Tensor[] _buffers;
    readonly bool[] _used;

    /// <summary>Partial sums that are there: level, index on that level, buffer.</summary>
    readonly List<(int Level, int Index, int Buffer)> _partial;
    int _open = -1;

    /// <summary>Takes the buffers.</summary>
    /// <param name="parameters">Gives the buffers, flat, one element per parameter element.</param>
    /// <param name="microBatches">Most micro-batches of a step.</param>
    /// <param name="anyOrder">Micro-batches may come in another than the ascending order.</param>
    public GradientTree(ParameterSet parameters, int microBatches, bool anyOrder = false)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentOutOfRangeException.ThrowIfLessThan(microBatches, 1);
        _buffers = new Tensor[microBatches == 1 ? 1 : anyOrder ? microBatches : System.Numerics.BitOperations.Log2((uint)microBatches) + 2];
        for (int i = 0; i < _buffers.Length; i++) _buffers[i] = parameters.CreateBuffer(parameters.DType);
        _used = new bool[_buffers.Length];
        _partial = new List<(int, int, int)>(_buffers.Length + 1);
    }

    /// <summary>Flat buffers held.</summary>
    public int Buffers => _buffers.Length;

    /// <summary>Forgets all partial sums.</summary>
    public void Reset()
    {
        _partial.Clear();
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
    /// <param name="operations">Adds.</param>
    /// <param name="microBatch">Index of the micro-batch in the step, each once.</param>
    public void Push(IOperations operations, int microBatch)
    {
        if (_open < 0) throw new InvalidOperationException("Push follows Next: there is no gradient to add.");
        int buffer = _open, level = 0, index = microBatch;
        _open = -1;
        for (int at; (at = Find(level, index ^ 1)) >= 0; level++, index >>= 1)
        {
            int other = _partial[at].Buffer, earlier = (index & 1) == 0 ? buffer : other, later = (index & 1) == 0 ? other : buffer;
            operations.Elementwise.Add(_buffers[earlier], _buffers[later], _buffers[earlier]);
            _used[later] = false;
            _partial.RemoveAt(at);
            buffer = earlier;
        }

        _partial.Add((level, index, buffer));
    }

    /// <summary>The sum of everything pushed since <see cref="Reset"/>: micro-batches 0 to some last, each once.</summary>
    public Tensor Total(IOperations operations)
    {
        if (_partial.Count == 0) throw new InvalidOperationException("No gradient was added.");
        int total = -1, added = 0;
        for (int level = 0; level < Levels; level++)
        {
            int at = FindLevel(level);
            if (at < 0) continue;
            int earlier = _partial[at].Buffer;
            if (total >= 0) operations.Elementwise.Add(_buffers[earlier], _buffers[total], _buffers[earlier]);
            total = earlier;
            added++;
        }

        if (added != _partial.Count) throw new InvalidOperationException("A micro-batch before the last one is missing, or came twice.");
        return _buffers[total];
    }

    int Find(int level, int index)
    {
        for (int i = 0; i < _partial.Count; i++)
            if (_partial[i].Level == level && _partial[i].Index == index) return i;
        return -1;
    }

    int FindLevel(int level)
    {
        for (int i = 0; i < _partial.Count; i++)
            if (_partial[i].Level == level) return i;
        return -1;
    }

    int TakeBuffer()
    {
        for (int i = 0; i < _buffers.Length; i++)
        {
            if (_used[i]) continue;
            _used[i] = true;
            return i;
        }

        throw new InvalidOperationException($"More micro-batches were added than the {_buffers.Length} buffers of this tree were made for; another than the ascending order needs one for each.");
    }
}
