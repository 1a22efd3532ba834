using System.Runtime.InteropServices;
using Hadal.Model;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Training.Optimization;

namespace Hadal.Training.Ranks;

/// <summary>
/// ZeRO-1 [V3 §3.2]: float32 gradients are added on the rank that owns a shard, along the fixed tree over micro-batches; it keeps the moments of its shard and updates it;
/// the new weights go to all who need them. The bits are those of one rank.
/// </summary>
sealed class ShardedUpdate : IDisposable
{
    readonly ParameterShards _shards;
    readonly ProcessGroup _world;
    readonly ParameterSet _parameters;
    readonly AdamWOptimizer _optimizer;
    readonly IBackend _backend;
    readonly int[] _holder, _own;
    readonly TensorMemory?[] _roomMemory;
    readonly Tensor[] _rooms;
    readonly List<Transfer> _batch = [];
    readonly TensorMemory _squaresMemory;
    readonly Tensor _squares, _squaresRoom, _one;

    internal ShardedUpdate(ParameterShards shards, ProcessGroup world, Transformer model, AdamWOptimizer optimizer)
    {
        (_shards, _world, _parameters, _optimizer, _backend) = (shards, world, model.Parameters, optimizer, model.Backend);
        _holder = [.. shards.Groups.Select(group => Array.IndexOf(group.Holders, world.Rank))];
        OwnRanges = [.. Enumerable.Range(0, _holder.Length).Where(g => _holder[g] >= 0).SelectMany(g => shards.Groups[g].Shards[_holder[g]])];
        _own = shards.ParametersOf(world.Rank);
        _roomMemory = new TensorMemory?[shards.Groups.Length];
        _rooms = new Tensor[shards.Groups.Length];
        _squaresMemory = new HostMemory(((2L * shards.Blocks) + 8) * sizeof(double));
        _squares = Tensor.View(_squaresMemory, 0, DType.F64, shards.Blocks);
        _squaresRoom = Tensor.View(_squaresMemory, (long)shards.Blocks * sizeof(double), DType.F64, shards.Blocks);
        _one = Tensor.View(_squaresMemory, 2L * shards.Blocks * sizeof(double), DType.F64, 1);
    }

    /// <summary>Elements of all shards of this rank.</summary>
    internal int OwnLength => OwnRanges.Sum(range => range.Length);

    /// <summary>Each owner gets and adds the gradients of its shard, and multiplies the sum by a factor.</summary>
    internal void Reduce(StepPlan plan, RankPipelineStep step, double factor)
    {
        _batch.Clear();
        for (int g = 0; g < _holder.Length; g++)
        {
            int me = _holder[g];
            if (me < 0) continue;
            ShardGroup group = _shards.Groups[g];
            LeafSums sums = step.SumsOf(group);
            Tensor room = Room(g, plan);
            int slot = 0;
            for (int h = 0; h < group.Holders.Length; h++)
            {
                for (int node = 0; h != me && node < plan.Nodes[g][me].Count; node++)
                    foreach (FlatRange range in group.Shards[h]) _batch.Add(Transfer.Send(group.Holders[h], sums.Sum(node).Slice(range.Start, range.Length)));
                for (int node = 0; node < plan.Nodes[g][h].Count; node++, slot++)
                {
                    int at = 0;
                    foreach (FlatRange range in group.Shards[me])
                    {
                        Tensor place = room.Select(slot).Slice(at, range.Length);
                        if (h == me) _backend.Operations.Elementwise.Copy(sums.Sum(node).Slice(range.Start, range.Length), place);
                        else _batch.Add(Transfer.Receive(group.Holders[h], place));
                        at += range.Length;
                    }
                }
            }
        }

        _world.Exchange(CollectionsMarshal.AsSpan(_batch));
        for (int g = 0; g < _holder.Length; g++)
        {
            if (_holder[g] < 0 || _shards.Groups[g].Shards[_holder[g]].Length == 0) continue;
            foreach ((int first, int second) in plan.Joins[g])
                _backend.Operations.Elementwise.Add(_rooms[g].Select(first), _rooms[g].Select(second), _rooms[g].Select(first));
            Tensor sum = _rooms[g].Select(plan.Result[g]);
            if (factor != 1) _backend.Operations.Elementwise.Scale(sum, factor, sum);
        }
    }

    /// <summary>√Σg² over all parameters, with the bits of <see cref="AdamWOptimizer.GradientNorm"/>; the same on all ranks.</summary>
    internal double Norm(StepPlan plan)
    {
        Span<double> squares = _squares.AsSpan<double>();
        squares.Clear();
        for (int g = 0; g < _holder.Length; g++)
        {
            if (_holder[g] < 0) continue;
            int at = 0;
            foreach (ShardPiece piece in _shards.Groups[g].Pieces[_holder[g]])
            {
                Tensor gradient = Gradient(plan, g, piece, ref at);
                int block = _shards.FirstBlock[piece.Segment] + ((piece.Start - _shards.Segments[piece.Segment].Start) / GradientSegment.Block);
                for (int start = 0; start < piece.Length; start += GradientSegment.Block)
                {
                    _backend.Operations.Optimizer.SumOfSquares(gradient.Slice(start, Math.Min(GradientSegment.Block, piece.Length - start)), _one, accumulate: false);
                    squares[block++] = _one.AsSpan<double>()[0];
                }
            }
        }

        ExactSums.All(_world, _squares, _squaresRoom);
        double total = 0;
        for (int s = 0; s < _shards.Segments.Length; s++) total += SegmentSum(s);
        return Math.Sqrt(total);
    }

    /// <summary>The first parameter whose gradient is not finite, after <see cref="Norm"/>.</summary>
    internal string FindNonFinite()
    {
        for (int s = 0; s < _shards.Segments.Length; s++)
            if (!double.IsFinite(SegmentSum(s))) return _shards.Segments[s].Parameter.Name;
        return "the sum over all parameters";
    }

    /// <summary>AdamW on this rank's shards, then the new weights to all who need them.</summary>
    internal void Update(StepPlan plan, double norm, double learningRate, long step)
    {
        _optimizer.Begin(norm, learningRate, step);
        for (int g = 0; g < _holder.Length; g++)
        {
            if (_holder[g] < 0) continue;
            int at = 0;
            foreach (ShardPiece piece in _shards.Groups[g].Pieces[_holder[g]])
                _optimizer.Update(_backend.Operations, _shards.Segments[piece.Segment].Parameter, piece.Start, Gradient(plan, g, piece, ref at));
        }

        _batch.Clear();
        foreach (ShardGroup group in _shards.Groups)
        {
            if (!group.Readers.AsSpan().Contains(_world.Rank)) continue;
            for (int h = 0; h < group.Holders.Length; h++)
            {
                bool mine = group.Holders[h] == _world.Rank;
                foreach (int reader in group.Readers)
                    if (mine && reader != _world.Rank) Move(reader, send: true, _parameters.Values, group.Shards[h]);
                if (!mine) Move(group.Holders[h], send: false, _parameters.Values, group.Shards[h]);
            }
        }

        _world.Exchange(CollectionsMarshal.AsSpan(_batch));
        Refresh();
    }

    /// <summary>Prepared forms of the weights that this rank uses.</summary>
    internal void Refresh() => _parameters.Refresh(_backend.Operations, _own);

    /// <summary>Rank 0 gets all shards of a flat tensor.</summary>
    /// <param name="flat">Each rank's own; whole on rank 0 afterwards.</param>
    internal void Gather(Tensor flat)
    {
        _batch.Clear();
        for (int g = 0; g < _holder.Length; g++)
        {
            ShardGroup group = _shards.Groups[g];
            if (_world.Rank != 0 && _holder[g] >= 0) Move(0, send: true, flat, group.Shards[_holder[g]]);
            for (int h = 0; _world.Rank == 0 && h < group.Holders.Length; h++)
                if (group.Holders[h] != 0) Move(group.Holders[h], send: false, flat, group.Shards[h]);
        }

        _world.Exchange(CollectionsMarshal.AsSpan(_batch));
    }

    /// <summary>Ranges of this rank's shards, in the order of a packed buffer.</summary>
    internal FlatRange[] OwnRanges { get; }

    /// <summary>Ranges of the weights that this rank reads.</summary>
    internal IEnumerable<FlatRange> ReadRanges() => _shards.Groups.Where(group => group.Readers.Contains(_world.Rank)).SelectMany(group => group.Ranges);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (TensorMemory? memory in _roomMemory) memory?.Dispose();
        _squaresMemory.Dispose();
    }

    void Move(int peer, bool send, Tensor flat, FlatRange[] ranges)
    {
        foreach (FlatRange range in ranges)
        {
            Tensor part = flat.Slice(range.Start, range.Length);
            _batch.Add(send ? Transfer.Send(peer, part) : Transfer.Receive(peer, part));
        }
    }

    double SegmentSum(int segment)
    {
        ReadOnlySpan<double> squares = _squares.AsSpan<double>().Slice(_shards.FirstBlock[segment], _shards.Segments[segment].Blocks);
        double sum = 0;
        foreach (double block in squares) sum += block;
        return sum;
    }

    // Pieces lie in the shard's row as in flat buffers; where two ranges meet, the gap is left out.
    Tensor Gradient(StepPlan plan, int g, ShardPiece piece, ref int range)
    {
        FlatRange[] ranges = _shards.Groups[g].Shards[_holder[g]];
        while (piece.Start >= ranges[range].End) range++;
        int before = 0;
        for (int r = 0; r < range; r++) before += ranges[r].Length;
        return _rooms[g].Select(plan.Result[g]).Slice(before + piece.Start - ranges[range].Start, piece.Length);
    }

    Tensor Room(int g, StepPlan plan)
    {
        int slots = 0, length = Math.Max(1, _shards.Groups[g].ShardLength(_holder[g]));
        foreach (IReadOnlyList<SumNode> nodes in plan.Nodes[g]) slots += nodes.Count;
        if (_rooms[g].IsEmpty || _rooms[g].Rows < slots)
        {
            _roomMemory[g]?.Dispose();
            _roomMemory[g] = new HostMemory((long)slots * length * sizeof(float));
            _rooms[g] = Tensor.View(_roomMemory[g]!, 0, DType.F32, slots, length);
        }

        return _rooms[g];
    }
}
