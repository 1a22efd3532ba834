using System.Diagnostics;
using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors;

namespace Hadal.Training.Measurement;

/// <summary>Median seconds of one block with one micro-batch.</summary>
/// <param name="Forward">F.</param>
/// <param name="BackwardInput">b: the gradient of the input.</param>
/// <param name="BackwardWeights">W: the gradients of the weights.</param>
/// <param name="Pair">F&amp;B: forward of one micro-batch and backward of another, their phases in turns as in a pair of a schedule.</param>
public readonly record struct BlockSeconds(double Forward, double BackwardInput, double BackwardWeights, double Pair);

/// <summary>Median seconds of the parts of a model with one micro-batch, as a pipeline's steps call them; experts are local.</summary>
/// <param name="Dense">A block without experts; null when the model has none.</param>
/// <param name="Sparse">A block with experts; null when the model has none.</param>
/// <param name="EmbeddingForward">Looking embeddings up.</param>
/// <param name="EmbeddingBackward">The embedding's gradient.</param>
/// <param name="Head">Final norm, losses, the head's gradients.</param>
/// <param name="MtpForward">One MTP module, its losses and the head's gradients among them; 0 without.</param>
/// <param name="MtpBackward">One MTP module backward, weight gradients among them; 0 without.</param>
/// <param name="OptimizerPerParameter">AdamW for one parameter.</param>
public sealed record LayerMeasurement(
    BlockSeconds? Dense, BlockSeconds? Sparse, double EmbeddingForward, double EmbeddingBackward, double Head, double MtpForward, double MtpBackward, double OptimizerPerParameter)
{
    /// <summary>Of each part the median of several measurements.</summary>
    public static LayerMeasurement Median(IReadOnlyCollection<LayerMeasurement> all)
    {
        ArgumentNullException.ThrowIfNull(all);
        double Of(Func<LayerMeasurement, double> part) => all.Select(part).Order().ElementAt(all.Count / 2);
        BlockSeconds? Block(Func<LayerMeasurement, BlockSeconds?> block) => all.First() is { } first && block(first) is null
            ? null
            : new(Of(m => block(m)!.Value.Forward), Of(m => block(m)!.Value.BackwardInput), Of(m => block(m)!.Value.BackwardWeights), Of(m => block(m)!.Value.Pair));
        return new(Block(m => m.Dense), Block(m => m.Sparse), Of(m => m.EmbeddingForward), Of(m => m.EmbeddingBackward), Of(m => m.Head), Of(m => m.MtpForward), Of(m => m.MtpBackward), Of(m => m.OptimizerPerParameter));
    }
}

/// <summary>Times the phases of one block of each kind, and the ends of the model, on random tokens: what a plan is priced with.</summary>
public sealed class LayerBenchmark : IDisposable
{
    readonly Transformer _model;
    readonly TensorArena _arena, _scratch, _backwardScratch;
    readonly ChunkContext _context, _backwardContext;
    readonly Tensor _tokens, _targets, _x, _y, _normed, _inverseRms, _losses, _normedGradient, _gradients;
    readonly Dictionary<Block, (BlockSaved Saved, BlockSaved Other, BlockDeferred Deferred)> _records = [];
    MtpSaved? _mtp;
    Tensor _master, _first, _second, _state;
    long _began;

    /// <summary>Takes memory for one block of each kind and an MTP module, when the shape has one.</summary>
    /// <param name="backend">Where it runs.</param>
    /// <param name="shape">The model; its depth does not matter.</param>
    /// <param name="recipe">Precision.</param>
    /// <param name="rows">Sequences of the micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    public LayerBenchmark(IBackend backend, TransformerShape shape, Recipe recipe, int rows, int length)
    {
        ArgumentNullException.ThrowIfNull(shape);
        bool dense = shape.DenseLayers > 0 || !shape.IsSparse(shape.Layers), sparse = shape.IsSparse(shape.Layers);
        _model = new Transformer(backend, shape with { Layers = (dense ? 1 : 0) + (sparse ? 1 : 0), DenseLayers = dense ? 1 : 0, SparseFrequency = 1, MtpDepth = Math.Min(shape.MtpDepth, 1) }, recipe);
        if (length > shape.MaxPositions) throw new ArgumentException($"Sequences of {length} tokens do not fit the model's {shape.MaxPositions} positions.", nameof(length));
        Initialization.Normal(_model, seed: 1, deviation: 0.02);
        _model.Refresh();
        _arena = new TensorArena(backend);
        _scratch = new TensorArena(backend);
        _backwardScratch = new TensorArena(backend);
        int tokens = checked(rows * length);
        Tensor positions = _arena.Allocate(DType.I32, tokens), sequences = _arena.Allocate(DType.I32, rows + 1);
        ChunkContext Context(TensorArena scratch) => new()
        {
            Operations = backend.Operations, Scratch = scratch, DType = DType.F32, Recipe = recipe, Exchange = new LocalExpertExchange(), Positions = positions, Sequences = sequences, BalanceAlpha = 1e-4,
            BalanceWeight = 1.0 / rows,
        };
        (_context, _backwardContext) = (Context(_scratch), Context(_backwardScratch));
        for (int t = 0; t < tokens; t++) _context.Positions.AsSpan<int>()[t] = t % length;
        for (int s = 0; s <= rows; s++) _context.Sequences.AsSpan<int>()[s] = s * length;
        _tokens = _arena.Allocate(DType.I32, tokens);
        _targets = _arena.Allocate(DType.I32, tokens);
        var random = new CounterRandom(seed: 1, RandomPurpose.TestData);
        for (int t = 0; t < tokens; t++)
        {
            _tokens.AsSpan<int>()[t] = random.Below((ulong)t, shape.Vocabulary);
            _targets.AsSpan<int>()[t] = random.Below((ulong)(tokens + t), shape.Vocabulary);
        }

        _x = _arena.Allocate(DType.F32, tokens, shape.Hidden);
        _y = _arena.Allocate(DType.F32, tokens, shape.Hidden);
        _normed = _arena.Allocate(DType.F32, tokens, shape.Hidden);
        _normedGradient = _arena.Allocate(DType.F32, tokens, shape.Hidden);
        _inverseRms = _arena.Allocate(DType.F32, tokens);
        _losses = _arena.Allocate(DType.F32, tokens);
        _gradients = _model.Parameters.CreateBuffer(DType.F32);
        random.FillNormal(_x.AsSpan<float>(), 1);
    }

    /// <summary>Parameters of the model that is timed; not those of the whole shape.</summary>
    public long Parameters => _model.Parameters.Length;

    /// <summary>Measures all parts.</summary>
    /// <param name="warmUp">Rounds that are not counted.</param>
    /// <param name="rounds">Rounds whose median counts; at least 1.</param>
    /// <param name="progress">Told how many rounds are done, of how many.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/> between two rounds.</param>
    public LayerMeasurement Measure(int warmUp, int rounds, Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 1);
        var parts = new Dictionary<string, List<double>>(StringComparer.Ordinal);
        for (int round = -warmUp; round < rounds; round++)
        {
            cancel.ThrowIfCancellationRequested();
            progress?.Invoke(round + warmUp, rounds + warmUp);
            Round((part, seconds) =>
            {
                if (round < 0) return;
                if (!parts.TryGetValue(part, out List<double>? times)) parts.Add(part, times = []);
                times.Add(seconds);
            });
        }

        double Of(string part) => parts.TryGetValue(part, out List<double>? times) ? times.Order().ElementAt(times.Count / 2) : 0;
        BlockSeconds? BlockOf(string kind) => parts.ContainsKey(kind + " F") ? new(Of(kind + " F"), Of(kind + " b"), Of(kind + " W"), Of(kind + " F&B")) : null;
        return new(BlockOf("dense"), BlockOf("sparse"), Of("embedding F"), Of("embedding b"), Of("head"), Of("mtp F"), Of("mtp b"), Of("optimizer") / _model.Parameters.Length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _scratch.Dispose();
        _backwardScratch.Dispose();
        _arena.Dispose();
        _model.Dispose();
    }

    void Round(Action<string, double> tell)
    {
        foreach (Block block in _model.Blocks) TimeBlock(block, tell);
        Begin();
        _model.Embed(_context, _tokens, _y);
        tell("embedding F", Elapsed());
        Begin();
        _model.EmbedBackward(_context, _tokens, _y, _gradients);
        tell("embedding b", Elapsed());
        double weight = 1.0 / _tokens.Length;
        Begin();
        _model.FinalNorm(_context, _x, _normed, _inverseRms);
        _model.Head.LossAndGradient(_context, _normed, _targets, weight, _losses, _normedGradient, _gradients);
        _model.FinalNormBackward(_context, _normedGradient, _x, _inverseRms, _gradients, _y);
        tell("head", Elapsed());
        if (_model.Mtp.Count > 0) TimeMtp(_model.Mtp[0], weight, tell);
        TimeOptimizer(tell);
    }

    void TimeBlock(Block block, Action<string, double> tell)
    {
        (BlockSaved saved, BlockSaved other, BlockDeferred deferred) = RecordsOf(block);
        string kind = block.Routed is null ? "dense" : "sparse";
        Begin();
        block.Forward(_context, _x, saved, _y);
        tell(kind + " F", Elapsed());
        _x.AsSpan<float>().CopyTo(_y.AsSpan<float>());
        Begin();
        block.BackwardInput(_context, _y, saved, deferred, _y);
        tell(kind + " b", Elapsed());
        Begin();
        block.BackwardWeights(_context, saved, deferred, _gradients, accumulate: false);
        tell(kind + " W", Elapsed());
        _x.AsSpan<float>().CopyTo(_y.AsSpan<float>());
        Begin();
        Pair(block, saved, other, deferred);
        tell(kind + " F&B", Elapsed());
    }

    // The order of the pipeline's pairs; the backward needs a record, the forward leaves one of its own.
    void Pair(Block block, BlockSaved saved, BlockSaved other, BlockDeferred deferred)
    {
        BlockForward forward = _context.ForwardPhases;
        BlockBackward backward = _backwardContext.BackwardPhases;
        forward.Attention(block, _context, _x, other, _normed);
        backward.CombineBackward(block, _backwardContext, _y, saved, deferred);
        forward.Dispatch();
        backward.ExpertsInput();
        block.BackwardExpertWeights(_backwardContext, saved, deferred, _gradients, accumulate: false);
        backward.DispatchBackward();
        forward.Experts();
        forward.Combine();
        backward.AttentionInput(_y);
        block.BackwardAttentionWeights(_backwardContext, saved, deferred, _gradients, accumulate: false);
    }

    (BlockSaved Saved, BlockSaved Other, BlockDeferred Deferred) RecordsOf(Block block)
    {
        if (_records.TryGetValue(block, out (BlockSaved, BlockSaved, BlockDeferred) there)) return there;
        BlockSaved saved = new(), other = new();
        saved.Allocate(_arena, block, _model.Recipe, DType.F32, _tokens.Columns);
        other.Allocate(_arena, block, _model.Recipe, DType.F32, _tokens.Columns);
        var deferred = new BlockDeferred();
        deferred.Allocate(_arena, block, DType.F32, _tokens.Columns);
        _records.Add(block, (saved, other, deferred));
        return (saved, other, deferred);
    }

    void TimeMtp(MtpModule module, double weight, Action<string, double> tell)
    {
        if (_mtp is null)
        {
            _mtp = new MtpSaved();
            _mtp.Allocate(_arena, module, _model.Recipe, DType.F32, _tokens.Columns);
        }

        (_, _, BlockDeferred deferred) = RecordsOf(module.Block);
        Begin();
        module.Forward(_context, _targets, _normed, _mtp);
        _model.Head.LossAndGradient(_context, _mtp.Normed, _targets, weight, _losses, _mtp.NormedGradient, _gradients);
        tell("mtp F", Elapsed());
        Begin();
        module.Backward(_context, _targets, _mtp, deferred, _gradients, _normedGradient, _y);
        tell("mtp b", Elapsed());
    }

    void TimeOptimizer(Action<string, double> tell)
    {
        if (_master.IsEmpty)
        {
            (_master, _first, _second) = (_model.Parameters.CreateBuffer(DType.F32), _model.Parameters.CreateBuffer(DType.BF16), _model.Parameters.CreateBuffer(DType.BF16));
            _state = _arena.Allocate(DType.F64, 4);
            ((double[])[1e-3, 1, 1, 1]).CopyTo(_state.AsSpan<double>());
        }

        Begin();
        _context.Operations.Optimizer.AdamW(_master, _first, _second, _gradients, new(0.9, 0.95, 1e-8, 0.1), _state);
        tell("optimizer", Elapsed());
    }

    void Begin() => _began = Stopwatch.GetTimestamp();

    double Elapsed()
    {
        _model.Backend.Synchronize();
        return Stopwatch.GetElapsedTime(_began).TotalSeconds;
    }
}
