using Hadal.Model;
using Hadal.Parallel.Pipeline;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;

namespace Hadal.Training.Ranks;

/// <summary>
/// One rank's side of a step: rows of its stream, gradients into the tree, losses and loads into sums. Micro-batches beyond the stream's own are empty; their
/// gradients go to a buffer that nobody reads.
/// </summary>
sealed class RankPipelineStep : IPipelineStep, IDisposable
{
    const int NoBuffer = -1;

    readonly Transformer _model;
    readonly ParameterShards _shards;
    readonly RankLayout _layout;
    readonly GradientBuffers _buffers;
    readonly LeafSums[] _dense, _experts;
    readonly int[] _stages;
    readonly FlatRange? _tied;
    readonly int _rank, _stream, _rowsPer, _experts0;
    readonly int[] _rows, _empty;
    readonly Dictionary<int, int> _slots = [];
    readonly TensorMemory _memory;
    readonly Tensor _sum;
    readonly int _depths, _sparse, _expertCount;
    int[] _open = [];
    (int[] Buffers, Tensor[] Tensors, bool Set)[] _sources = [];
    int _trash = NoBuffer, _expertTrash = NoBuffer;
    StepPlan? _plan;
    double _weight;

    internal RankPipelineStep(Transformer model, ParameterShards shards, int rank, int rowsPerMicroBatch, int width, int mostMicroBatches)
    {
        (_model, _shards, _layout, _rank, _rowsPer, Width) = (model, shards, shards.Layout, rank, rowsPerMicroBatch, width);
        _stream = _layout.Stream(rank);
        _experts0 = _layout.Group(rank) * _layout.Expert;
        _buffers = new GradientBuffers(model.Parameters);
        PipelinePlacement placement = _layout.Placement(2 * _layout.Pipeline);
        int pipeline = _layout.PipelineRank(rank), last = placement.Stages - 1;
        _stages = [.. Enumerable.Range(0, placement.Phases).Select(phase => placement.Stage(pipeline, phase))];
        bool directions = placement.Kind == ScheduleKind.DualPipe;
        if (directions && placement.Direction(pipeline, 0) != 0) Array.Reverse(_stages); // by direction: stage of those that run from the first rank to the last, and back
        int[][] sets = directions ? [.. _stages.Select(stage => new[] { stage })] : [_stages];
        _dense = [.. sets.Select(stages => Sums(stages, expert: -1))];
        _experts = _layout.Expert == 1 ? [] : [.. sets.Select(stages => Sums(stages, _layout.ExpertRank(rank)))];
        if (model.Shape.TiedEmbeddings && _stages.Contains(last)) _tied = new FlatRange(checked((int)model.Embedding.Offset), model.Embedding.Length);
        _depths = 1 + model.Mtp.Count;
        foreach (Block block in model.SparseBlocks) _slots.Add(block.Layer, _sparse++);
        _expertCount = _sparse > 0 ? model.Shape.Gate.Experts : 0;
        int most = (mostMicroBatches * _depths) + (_sparse * _expertCount) + 1;
        _memory = new HostMemory(2L * most * sizeof(double) + 64);
        Values = Tensor.View(_memory, 0, DType.F64, most);
        Room = Tensor.View(_memory, (long)most * sizeof(double), DType.F64, most);
        _sum = Tensor.View(_memory, 2L * most * sizeof(double), DType.F64, 1);
        _rows = new int[Math.Max(1, _layout.MicroBatches(0, mostMicroBatches)) * rowsPerMicroBatch * width];
        _empty = new int[rowsPerMicroBatch * width];
        _empty.AsSpan().Fill(-1);
    }

    /// <inheritdoc/>
    public int Width { get; }

    /// <summary>F64: losses by micro-batch and depth, then tokens of each layer's experts, then targets.</summary>
    internal Tensor Values { get; }

    /// <summary>As large as <see cref="Values"/>.</summary>
    internal Tensor Room { get; }

    /// <summary>Layers that route.</summary>
    internal int SparseLayers => _sparse;

    /// <summary>Rows of the stream's own micro-batches, to be filled before a step.</summary>
    internal Span<int> OwnRows(int microBatches) => _rows.AsSpan(0, _layout.MicroBatches(_stream, microBatches) * _rowsPer * Width);

    /// <summary>Values used by a step of so many micro-batches.</summary>
    internal int ValueCount(int microBatches) => (microBatches * _depths) + (_sparse * _expertCount);

    /// <summary>Sum of the losses of a micro-batch, weighted.</summary>
    internal double Loss(int microBatch, int depth) => Values.AsSpan<double>()[(microBatch * _depths) + depth];

    /// <summary>Tokens per expert of a layer, after the sums.</summary>
    internal ReadOnlySpan<double> Loads(int slot) => Values.AsSpan<double>().Slice((_plan!.MicroBatches * _depths) + (slot * _expertCount), _expertCount);

    /// <summary>Begins a step.</summary>
    /// <param name="weight">Factor on each loss.</param>
    internal void Begin(StepPlan plan, double weight)
    {
        (_plan, _weight) = (plan, weight);
        int scheduled = plan.Schedule.MicroBatches;
        if (_open.Length < scheduled)
        {
            _open = new int[scheduled];
            int before = _sources.Length;
            Array.Resize(ref _sources, scheduled);
            for (int i = before; i < scheduled; i++) _sources[i] = (new int[_layout.Expert], new Tensor[_layout.Expert], false);
        }

        for (int i = 0; i < scheduled; i++) _sources[i].Set = false;
        for (int c = 0; c < _dense.Length; c++)
        {
            _dense[c].Begin(plan.MicroBatches, plan.NodesOf(_rank, StageOfClass(c), routed: false));
            if (_experts.Length > 0) _experts[c].Begin(plan.MicroBatches, plan.NodesOf(_rank, StageOfClass(c), routed: true));
        }

        Values.AsSpan<double>()[..ValueCount(plan.MicroBatches)].Clear();
    }

    /// <summary>The sums of a group's gradients that this rank has finished.</summary>
    internal LeafSums SumsOf(ShardGroup group)
    {
        int c = _dense.Length == 1 ? 0 : Array.IndexOf(_stages, group.Stage);
        return group.Expert >= 0 ? _experts[c] : _dense[c];
    }

    /// <inheritdoc/>
    public ReadOnlySpan<int> Rows(int microBatch) => IsOwn(microBatch) ? _rows.AsSpan(microBatch * _rowsPer * Width, _rowsPer * Width) : _empty;

    /// <inheritdoc/>
    public Tensor OpenGradients(int microBatch)
    {
        IOperations operations = _model.Backend.Operations;
        int buffer = IsOwn(microBatch) ? _dense[ClassOf(microBatch)].Open(operations) : _trash >= 0 ? _trash : _trash = _buffers.Take();
        _open[microBatch] = buffer;
        if (_tied is { } range) operations.Elementwise.Fill(_buffers[buffer].Slice(range.Start, range.Length), 0);
        return _buffers[buffer];
    }

    /// <inheritdoc/>
    public IReadOnlyList<Tensor> SourceGradients(int microBatch)
    {
        ref (int[] Buffers, Tensor[] Tensors, bool Set) sources = ref _sources[microBatch];
        if (sources.Set) return sources.Tensors;
        for (int s = 0; s < sources.Buffers.Length; s++)
        {
            bool real = microBatch < _layout.MicroBatches(_experts0 + s, _plan!.MicroBatches);
            sources.Buffers[s] = real ? _experts[ClassOf(microBatch)].Open(_model.Backend.Operations) : _expertTrash >= 0 ? _expertTrash : _expertTrash = _buffers.Take();
            sources.Tensors[s] = _buffers[sources.Buffers[s]];
        }

        sources.Set = true;
        return sources.Tensors;
    }

    /// <inheritdoc/>
    public void CloseGradients(int microBatch)
    {
        IOperations operations = _model.Backend.Operations;
        int all = _plan!.MicroBatches, c = ClassOf(microBatch);
        if (IsOwn(microBatch)) _dense[c].Close(operations, _layout.FirstMicroBatch(_stream, all) + microBatch, _open[microBatch]);
        if (_experts.Length == 0) return;
        SourceGradients(microBatch);
        for (int s = 0; s < _layout.Expert; s++)
            if (microBatch < _layout.MicroBatches(_experts0 + s, all)) _experts[c].Close(operations, _layout.FirstMicroBatch(_experts0 + s, all) + microBatch, _sources[microBatch].Buffers[s]);
    }

    /// <inheritdoc/>
    public void Losses(int microBatch, int depth, Tensor losses)
    {
        if (!IsOwn(microBatch)) return;
        _model.Backend.Operations.Embedding.Sum(losses, depth == 0 ? _weight : _weight / _model.Mtp.Count, _sum, accumulate: false);
        Values.AsSpan<double>()[((_layout.FirstMicroBatch(_stream, _plan!.MicroBatches) + microBatch) * _depths) + depth] = _sum.AsSpan<double>()[0];
    }

    /// <inheritdoc/>
    public void Load(int microBatch, int layer, ReadOnlySpan<int> counts)
    {
        if (!IsOwn(microBatch)) return;
        Span<double> sums = Values.AsSpan<double>().Slice((_plan!.MicroBatches * _depths) + (_slots[layer] * _expertCount), _expertCount);
        for (int e = 0; e < counts.Length; e++) sums[e] += counts[e];
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    bool IsOwn(int microBatch) => microBatch < _layout.MicroBatches(_stream, _plan!.MicroBatches);

    // Under DualPipe a micro-batch runs through one of the rank's stages only.
    int ClassOf(int microBatch) => _dense.Length == 1 || microBatch < _plan!.Schedule.MicroBatches / 2 ? 0 : 1;

    int StageOfClass(int c) => _stages[_dense.Length == 1 ? 0 : c];

    LeafSums Sums(int[] stages, int expert) =>
        new(_buffers, FlatRange.Merge(_shards.Groups.Where(group => group.Expert == expert && stages.Contains(group.Stage)).SelectMany(group => group.Ranges).OrderBy(range => range.Start)));
}
