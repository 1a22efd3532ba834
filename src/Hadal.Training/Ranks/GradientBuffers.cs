using Hadal.Model;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Training.Ranks;

/// <summary>Flat buffers for gradients, given out and taken back. They have room for the whole model; memory that a rank never writes is never touched.</summary>
sealed class GradientBuffers(ParameterSet parameters)
{
    readonly List<Tensor> _buffers = [];
    readonly Stack<int> _free = new();

    internal Tensor this[int buffer] => _buffers[buffer];

    /// <summary>Buffers made so far.</summary>
    internal int Count => _buffers.Count;

    internal int Take()
    {
        if (_free.TryPop(out int free)) return free;
        _buffers.Add(parameters.CreateBuffer(parameters.DType));
        return _buffers.Count - 1;
    }

    internal void Give(int buffer) => _free.Push(buffer);
}

/// <summary>
/// The part of the tree over micro-batches that this rank can finish, over some ranges of the flat gradient. Leaves come in any order; two neighbours are added as
/// soon as both are there, the earlier first, so the order of arrival decides no bit.
/// </summary>
/// <param name="buffers">Where gradients are.</param>
/// <param name="ranges">What is added.</param>
sealed class LeafSums(GradientBuffers buffers, FlatRange[] ranges)
{
    readonly Dictionary<SumNode, int> _waiting = [];
    int[] _sums = [];
    int _leaves;
    IReadOnlyList<SumNode> _nodes = [];

    internal FlatRange[] Ranges => ranges;

    /// <summary>Begins a step.</summary>
    /// <param name="leaves">Micro-batches of the step, on all ranks.</param>
    /// <param name="nodes">Subtrees whose leaves all come here.</param>
    internal void Begin(int leaves, IReadOnlyList<SumNode> nodes)
    {
        foreach (int sum in _sums.AsSpan(0, _nodes.Count))
            if (sum >= 0) buffers.Give(sum);
        foreach (int waiting in _waiting.Values) buffers.Give(waiting);
        _waiting.Clear();
        if (_sums.Length < nodes.Count) _sums = new int[nodes.Count];
        _sums.AsSpan().Fill(-1);
        (_leaves, _nodes) = (leaves, nodes);
    }

    /// <summary>The sum of a subtree, by its place among the nodes.</summary>
    internal Tensor Sum(int node) => buffers[_sums[node] >= 0 ? _sums[node] : throw new InvalidOperationException($"The micro-batches of {_nodes[node]} are not all done.")];

    /// <summary>A fresh buffer, zero in the ranges.</summary>
    internal int Open(IOperations operations)
    {
        int buffer = buffers.Take();
        foreach (FlatRange range in ranges) operations.Elementwise.Fill(buffers[buffer].Slice(range.Start, range.Length), 0);
        return buffer;
    }

    /// <summary>A micro-batch is done.</summary>
    /// <param name="leaf">Its index in the step.</param>
    /// <param name="buffer">Its gradient; belongs to the sums from now on.</param>
    internal void Close(IOperations operations, int leaf, int buffer)
    {
        var node = new SumNode(0, leaf);
        while (true)
        {
            int place = PlaceOf(node);
            if (place >= 0)
            {
                _sums[place] = buffer;
                return;
            }

            if (!node.Sibling.IsEmpty(_leaves))
            {
                if (!_waiting.Remove(node.Sibling, out int other))
                {
                    _waiting.Add(node, buffer);
                    return;
                }

                (int earlier, int later) = node.Index % 2 == 0 ? (buffer, other) : (other, buffer);
                foreach (FlatRange range in ranges)
                {
                    Tensor sum = buffers[earlier].Slice(range.Start, range.Length);
                    operations.Elementwise.Add(sum, buffers[later].Slice(range.Start, range.Length), sum);
                }

                buffers.Give(later);
                buffer = earlier;
            }

            node = node.Parent;
        }
    }

    int PlaceOf(SumNode node)
    {
        for (int i = 0; i < _nodes.Count; i++)
            if (_nodes[i] == node) return i;
        return -1;
    }
}
