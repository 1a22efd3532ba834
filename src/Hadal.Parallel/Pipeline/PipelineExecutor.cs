using System.Collections.Immutable;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Hadal.Model;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;

namespace Hadal.Parallel.Pipeline;

/// <summary>
/// Runs one rank's list of a schedule with the real layers. A pair takes turns phase by phase in the order of the report: backward of one chunk, forward of
/// the other (<see cref="PairOrder"/>). Losses and gradients of every micro-batch have the bits of the plain loop (<see cref="SequenceChunk.ForwardBackward"/>), whatever the schedule. It is made once;
/// after the first step nothing is allocated.
/// </summary>
/// <remarks>
/// The rank has room for the whole model; layers that are not its own are not run and their memory is not touched. Where the head is tied to the embedding, the
/// plain loop adds the gradients of both in one chain: the head's travels from the last stage to the first, beside the gradient of the tokens.
/// </remarks>
public sealed class PipelineExecutor : IDisposable
{
    readonly Transformer _model;
    readonly ProcessGroup _group;
    readonly ScheduleKind _kind;
    readonly TensorArena _arena, _scratch, _backwardScratch;
    readonly ChunkContext _context, _backwardContext;
    readonly int _sequences, _length;
    readonly BlockDeferred? _dense, _sparse;
    readonly Stack<StageChunk>[] _free = [new(), new()];
    readonly Dictionary<int, (Tensor Gradients, int Left)> _gradients = [];
    readonly List<StageChunk> _all = [];
    readonly List<Transfer> _batch = [];
    readonly List<(int Phase, int MicroBatch)> _sent = [];
    readonly HashSet<(int Phase, int MicroBatch)> _finished = [];
    PipelinePlacement _placement;
    ImmutableArray<ScheduleStep> _steps;
    StageChunk?[][] _running = [[], []];
    bool _mtp;

    /// <summary>Takes memory for one rank.</summary>
    /// <param name="model">The rank's copy of the weights.</param>
    /// <param name="schedule">The schedule; its ranks are those of the group.</param>
    /// <param name="group">The pipeline's ranks.</param>
    /// <param name="sequences">Sequences of a micro-batch.</param>
    /// <param name="length">Tokens of each.</param>
    /// <param name="exchange">How rows reach experts; local when null.</param>
    /// <exception cref="ArgumentException">The group has another size, or the model cannot be cut into stages.</exception>
    public PipelineExecutor(Transformer model, PipelineSchedule schedule, ProcessGroup group, int sequences, int length, IExpertExchange? exchange = null)
    {
        if (group.Size != schedule.Ranks) throw new ArgumentException($"The schedule has {schedule.Ranks} ranks and the group {group.Size}; expected the same.", nameof(group));
        if (model.Recipe.HasDelayedScales) throw new ArgumentException($"The recipe '{model.Recipe}' takes scales from the maxima of earlier steps, and ranks of a pipeline see only their own: choose a recipe with current scales, such as fp8.", nameof(model));
        if (length > model.Shape.MaxPositions) throw new ArgumentException($"Sequences of {length} tokens do not fit the model's {model.Shape.MaxPositions} positions.", nameof(length));
        (_model, _group, _kind, _placement, _sequences, _length) = (model, group, schedule.Kind, schedule.Placement, sequences, length);
        _arena = new TensorArena(model.Backend);
        _scratch = new TensorArena(model.Backend);
        int tokens = checked(sequences * length);
        _backwardScratch = new TensorArena(model.Backend);
        exchange ??= new LocalExpertExchange();
        _context = new ChunkContext
        {
            Operations = model.Backend.Operations, Scratch = _scratch, DType = model.DType, Recipe = model.Recipe, Exchange = exchange,
            Positions = _arena.Allocate(DType.I32, tokens), Sequences = _arena.Allocate(DType.I32, sequences + 1),
        };
        _backwardContext = new ChunkContext
        {
            Operations = model.Backend.Operations, Scratch = _backwardScratch, DType = model.DType, Recipe = model.Recipe, Exchange = exchange,
            Positions = _context.Positions, Sequences = _context.Sequences,
        };
        Span<int> positions = _context.Positions.AsSpan<int>(), offsets = _context.Sequences.AsSpan<int>();
        for (int t = 0; t < tokens; t++) positions[t] = t % length;
        for (int s = 0; s <= sequences; s++) offsets[s] = s * length;
        foreach (Block block in model.Blocks.Concat(model.Mtp.Select(module => module.Block)))
        {
            ref BlockDeferred? deferred = ref block.Routed is null ? ref _dense : ref _sparse;
            if (deferred is not null) continue;
            deferred = new BlockDeferred();
            deferred.Allocate(_arena, block, model.DType, tokens, exchange);
        }

        Use(schedule);
    }

    /// <summary>Runs another schedule of the same kind from now on, with more or fewer micro-batches.</summary>
    /// <param name="schedule">For the same ranks.</param>
    [MemberNotNull(nameof(_placement))]
    public void Use(PipelineSchedule schedule)
    {
        if (schedule.Kind != _kind || schedule.Ranks != _group.Size) throw new ArgumentException($"A schedule {PipelineSchedule.Name(schedule.Kind)} of {schedule.Ranks} ranks was given; expected {PipelineSchedule.Name(_kind)} of {_group.Size}.", nameof(schedule));
        _placement = schedule.Placement;
        _steps = schedule.Steps[_group.Rank];
        for (int phase = 0; phase < _placement.Phases; phase++)
            if (_running[phase].Length < _placement.MicroBatchesPerPhase) _running[phase] = new StageChunk?[_placement.MicroBatchesPerPhase];
    }

    /// <summary>Chunks that were in memory at once, at most: what <see cref="ScheduleChecker.ActivationPeak"/> promises, and inputs received ahead.</summary>
    public int Chunks => _all.Count;

    /// <summary>Steps of the rank's list.</summary>
    public int Steps => _steps.Length;

    /// <summary>Notes when each step began and ended; null for nobody.</summary>
    public PipelineTrace? Trace { get; set; }

    /// <summary>Told of each step that computed, when it is done: a simulated clock charges it. Null for nobody.</summary>
    public Action<ScheduleStep>? Computed { get; set; }

    /// <summary>Runs the rank's list once.</summary>
    /// <param name="step">Tokens in, gradients and losses out.</param>
    /// <param name="weights">Weights of the losses.</param>
    public void Run(IPipelineStep step, LossWeights weights)
    {
        _context.BalanceAlpha = _backwardContext.BalanceAlpha = weights.BalanceAlpha;
        _context.BalanceWeight = _backwardContext.BalanceWeight = weights.BalanceWeight;
        _mtp = _model.Mtp.Count > 0 && weights.MtpWeight != 0;
        _gradients.Clear();
        _finished.Clear();
        for (int at = 0; at < _steps.Length; at++)
        {
            ScheduleStep now = _steps[at];
            int from = at;
            long start = Trace is null ? 0 : Stopwatch.GetTimestamp();
            if (now.IsCommunication)
            {
                while (at + 1 < _steps.Length && _steps[at + 1].IsCommunication) at++;
                Communicate(from, at + 1);
                Trace?.Note(from, at + 1, start, Stopwatch.GetTimestamp());
                continue;
            }

            switch (now.Kind)
            {
                case StepKind.Forward:
                    Forward(step, now.Phase, now.MicroBatch, weights, backward: null, default);
                    break;
                case StepKind.ForwardBackward:
                    (StageChunk chunk, Tensor gradients) = BeginBackward(step, now.BackwardPhase, now.BackwardMicroBatch);
                    Forward(step, now.Phase, now.MicroBatch, weights, chunk, gradients);
                    EndBackward(step, now.BackwardPhase, now.BackwardMicroBatch, chunk, gradients, split: false);
                    break;
                case StepKind.BackwardWeights:
                    SetSources(step, Index(now.Phase, now.MicroBatch));
                    Chunk(now.Phase, now.MicroBatch).Weights(_gradients[Index(now.Phase, now.MicroBatch)].Gradients);
                    Finish(step, now.Phase, now.MicroBatch);
                    break;
                default:
                    bool split = now.Kind == StepKind.BackwardInput;
                    (chunk, gradients) = BeginBackward(step, now.Phase, now.MicroBatch);
                    for (int layer = chunk.Layers - 1; layer >= 0; layer--) BackwardLayer(chunk, layer, gradients, split);
                    EndBackward(step, now.Phase, now.MicroBatch, chunk, gradients, split);
                    break;
            }

            Trace?.Note(from, at + 1, start, Stopwatch.GetTimestamp());
            Computed?.Invoke(now);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (StageChunk chunk in _all) chunk.Dispose();
        _scratch.Dispose();
        _backwardScratch.Dispose();
        _arena.Dispose();
    }

    void Communicate(int from, int to)
    {
        _batch.Clear();
        _sent.Clear();
        for (int i = from; i < to; i++)
        {
            ScheduleStep step = _steps[i];
            bool send = step.Kind == StepKind.Send;
            StageChunk chunk = Chunk(step.Phase, step.MicroBatch);
            Tensor data = (_mtp || _model.Shape.TiedEmbeddings) && step.Cargo == Cargo.Gradient ? chunk.Cargo : chunk.Stream;
            _batch.Add(send ? Transfer.Send(step.Peer, data) : Transfer.Receive(step.Peer, data));
            if (send && step.Cargo == Cargo.Gradient) _sent.Add((step.Phase, step.MicroBatch));
        }

        _group.Exchange(CollectionsMarshal.AsSpan(_batch));
        foreach ((int phase, int microBatch) in _sent) Release(phase, microBatch);
    }

    void Forward(IPipelineStep step, int phase, int microBatch, LossWeights weights, StageChunk? backward, Tensor backwardGradients)
    {
        StageChunk chunk = Chunk(phase, microBatch);
        int index = Index(phase, microBatch);
        if (!_gradients.TryGetValue(index, out (Tensor Gradients, int Left) entry))
            _gradients.Add(index, entry = (step.OpenGradients(index), _placement.Kind == ScheduleKind.DualPipeV ? 2 : 1));
        if (chunk.IsFirst || chunk.IsLast) chunk.SetRows(step.Rows(index), step.Width);
        chunk.BeginForward();
        if (backward is null)
        {
            for (int i = 0; i < chunk.Layers; i++) ForwardLayer(chunk, i);
        }
        else
        {
            PairOrder(chunk, backward, backwardGradients);
        }

        chunk.EndForward(weights, entry.Gradients);
        chunk.TellLoads(step, index);
        for (int depth = 0; chunk.IsLast && depth < (_mtp ? chunk.Losses.Count : 1); depth++) step.Losses(index, depth, chunk.Losses[depth]);
        if (_placement.Next(_group.Rank, phase) is { } next && next.Rank == _group.Rank)
            _context.Operations.Elementwise.Copy(chunk.Stream, Chunk(next.Phase, microBatch).Stream);
    }

    void ForwardLayer(StageChunk chunk, int layer)
    {
        chunk.ForwardAttention(layer);
        BlockForward phases = _context.ForwardPhases;
        phases.Dispatch();
        phases.Experts();
        phases.Combine();
    }

    /// <summary>
    /// The phases of two chunks, forward one and backward the other, in the order of the report [V3 §3.2.1, Figure 4]: arithmetic of one beside the exchange of
    /// the other, block boundaries half a layer apart. DISPATCH(F), MLP(B), MLP(W), DISPATCH(B), MLP(F), COMBINE(F), ATTN(B), ATTN(W), COMBINE(B) of the next
    /// layer, ATTN(F) of the next layer.
    /// </summary>
    void PairOrder(StageChunk forward, StageChunk backward, Tensor gradients)
    {
        BlockForward f = _context.ForwardPhases;
        BlockBackward b = _backwardContext.BackwardPhases;
        if (forward.Layers > 0) Attention(0);
        if (backward.Layers > 0) Combine(backward.Layers - 1);
        for (int i = 0; i < Math.Max(forward.Layers, backward.Layers); i++)
        {
            bool forwards = i < forward.Layers, backwards = i < backward.Layers;
            int layer = backward.Layers - 1 - i;
            if (forwards) f.Dispatch();
            Tell(forwards, "DISPATCH(F)", i);
            if (backwards) b.ExpertsInput();
            Tell(backwards, "MLP(B)", layer);
            if (backwards) backward.ExpertWeights(layer, Shared(backward, layer), gradients);
            Tell(backwards, "MLP(W)", layer);
            if (backwards) b.DispatchBackward();
            Tell(backwards, "DISPATCH(B)", layer);
            if (forwards) f.Experts();
            Tell(forwards, "MLP(F)", i);
            if (forwards) f.Combine();
            Tell(forwards, "COMBINE(F)", i);
            if (backwards) b.AttentionInput(backward.Stream);
            Tell(backwards, "ATTN(B)", layer);
            if (backwards) backward.AttentionWeights(layer, Shared(backward, layer), gradients);
            Tell(backwards, "ATTN(W)", layer);
            if (layer > 0) Combine(layer - 1);
            if (i + 1 < forward.Layers) Attention(i + 1);
        }

        void Attention(int layer)
        {
            forward.ForwardAttention(layer);
            Tell(happened: true, "ATTN(F)", layer);
        }

        void Combine(int layer)
        {
            backward.BackwardCombine(layer, Shared(backward, layer));
            Tell(happened: true, "COMBINE(B)", layer);
        }
    }

    /// <summary>Phases of pairs as they were run, for tests; null for none.</summary>
    internal List<(string Phase, int Layer)>? Phases { get; set; }

    void Tell(bool happened, string phase, int layer)
    {
        if (happened) Phases?.Add((phase, layer));
    }

    (StageChunk Chunk, Tensor Gradients) BeginBackward(IPipelineStep step, int phase, int microBatch)
    {
        StageChunk chunk = Chunk(phase, microBatch);
        int index = Index(phase, microBatch);
        Tensor gradients = _gradients[index].Gradients;
        SetSources(step, index);
        chunk.BeginBackward(gradients, _dense, _sparse);
        return (chunk, gradients);
    }

    void SetSources(IPipelineStep step, int index)
    {
        if (_context.Exchange is not LocalExpertExchange) _backwardContext.SourceGradients = step.SourceGradients(index);
    }

    BlockDeferred Shared(StageChunk chunk, int layer) => (chunk.IsSparse(layer) ? _sparse : _dense)!;

    void BackwardLayer(StageChunk chunk, int layer, Tensor gradients, bool split)
    {
        BlockDeferred? shared = split ? null : Shared(chunk, layer);
        chunk.BackwardCombine(layer, shared);
        BlockBackward phases = _backwardContext.BackwardPhases;
        phases.ExpertsInput();
        phases.DispatchBackward();
        phases.AttentionInput(chunk.Stream);
        if (shared is null) return;
        chunk.ExpertWeights(layer, shared, gradients);
        chunk.AttentionWeights(layer, shared, gradients);
    }

    void EndBackward(IPipelineStep step, int phase, int microBatch, StageChunk chunk, Tensor gradients, bool split)
    {
        chunk.EndBackward(gradients);
        if (_placement.Previous(_group.Rank, phase) is { } previous && previous.Rank == _group.Rank)
            _context.Operations.Elementwise.Copy(chunk.Cargo, Chunk(previous.Phase, microBatch).Cargo);
        if (!split) Finish(step, phase, microBatch);
    }

    // The weight gradients of a micro-batch in a stage are done.
    void Finish(IPipelineStep step, int phase, int microBatch)
    {
        int index = Index(phase, microBatch);
        (Tensor gradients, int left) = _gradients[index];
        _gradients[index] = (gradients, left - 1);
        if (left == 1) step.CloseGradients(index);
        Release(phase, microBatch);
    }

    // A chunk is free again when its weight gradients are done and its input gradient has left.
    void Release(int phase, int microBatch)
    {
        bool leaves = _placement.Previous(_group.Rank, phase) is { } previous && previous.Rank != _group.Rank;
        if (leaves && _finished.Add((phase, microBatch))) return;
        StageChunk chunk = Chunk(phase, microBatch);
        _running[phase][microBatch] = null;
        _free[phase].Push(chunk);
    }

    StageChunk Chunk(int phase, int microBatch) => _running[phase][microBatch] ??= Take(phase);

    StageChunk Take(int phase)
    {
        if (_free[phase].TryPop(out StageChunk? free)) return free;
        int stage = _placement.Stage(_group.Rank, phase);
        var layers = new StageLayers(_model.Blocks.Count, _placement.Stages);
        var chunk = new StageChunk(_model, _context, _backwardContext, layers.First(stage), layers.Count(stage), stage == 0, stage == _placement.Stages - 1, _sequences, _length);
        _all.Add(chunk);
        return chunk;
    }

    int Index(int phase, int microBatch) => _placement.GlobalMicroBatch(_group.Rank, phase, microBatch);
}
