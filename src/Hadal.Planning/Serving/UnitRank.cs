using System.Runtime.InteropServices;
using Hadal.Model;
using Hadal.Numerics;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Serving;
using Hadal.Parallel.Virtual;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;

namespace Hadal.Planning.Serving;

/// <summary>What the ranks of a unit share. The checkpoint is only read.</summary>
sealed class UnitShared(UnitRunOptions options, IRoutingSource routing, ServingCosts costs, Transformer checkpoint, WaitingPrices prices)
{
    public UnitRunOptions Options => options;

    public IRoutingSource Routing => routing;

    public ServingCosts Costs => costs;

    public Transformer Checkpoint => checkpoint;

    public WaitingPrices Prices => prices;

    /// <summary>The placement's clock; rank 0 moves it.</summary>
    public SimulatedClock Clock { get; } = new();

    /// <summary>[steps, layers]: placements that served; rank 0 writes them.</summary>
    public ReplicaPlan[,] Plans { get; } = new ReplicaPlan[options.Steps, options.Layers];
}

/// <summary>Times of one rank in a step, on the simulated clock.</summary>
/// <param name="FirstLayer">When the stages of the first layer began.</param>
/// <param name="LastLayer">When those of the last did.</param>
/// <param name="Ended">When the step ended.</param>
/// <param name="Moved">When what is done between steps was done.</param>
/// <param name="MovedBytes">Bytes of weights that the rank sent after the step.</param>
/// <param name="Switched">Layers that switched after it.</param>
readonly record struct UnitRankStep(double FirstLayer, double LastLayer, double Ended, double Moved, long MovedBytes, int Switched);

/// <summary>One GPU of a unit that runs.</summary>
sealed class UnitRank : IDisposable
{
    readonly UnitShared _shared;
    readonly UnitRunOptions _options;
    readonly VirtualClock _clock;
    readonly CpuBackend _backend;
    readonly TensorArena _memory, _scratch;
    readonly ExpertSlots _slots;
    readonly ReplicaExchange _exchange;
    readonly PlacementLoop _loop;
    readonly ChunkContext _alone;
    readonly MicroBatch[] _batches;
    readonly RoutedSaved _plain = new();
    readonly Tensor _logits, _ones, _expected, _plainRows;
    readonly int[][][] _choices;
    readonly LayerParts _parts;
    readonly double _standsFor;
    double _outScale = 1, _backScale = 1;
    int _step;

    /// <summary>The tokens of one of the two micro-batches, and their way through the layer they are in.</summary>
    sealed class MicroBatch(ChunkContext chunk)
    {
        public Tensor X, Alone, Rows, Results;
        public ArenaMark Mark;
        public ChunkContext Chunk => chunk;
        public RoutedSaved Saved { get; } = new();
    }

    public UnitRank(UnitShared shared, ProcessGroup group, VirtualClock clock)
    {
        (_shared, _options, _clock, Rank) = (shared, shared.Options, clock, group.Rank);
        _backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        (_memory, _scratch) = (new TensorArena(_backend, 1 << 14), new TensorArena(_backend, 1 << 14));
        ExpertUnit unit = _options.Unit;
        ReplicaPlan first = unit.FirstPlan();
        ReplicaPlan?[] plans = [.. Enumerable.Repeat(first, _options.Layers)];
        _slots = new ExpertSlots(shared.Checkpoint, unit, plans, Rank, _backend);
        _exchange = new ReplicaExchange(group, unit, plans, _options.Tokens, _options.Path);
        PlacementKeeper? keeper = Rank == 0 ? new(unit, plans!, (long)shared.Costs.Model.ExpertBytes, shared.Costs.Hardware.Links, _options.Policy, shared.Clock) : null;
        _loop = new PlacementLoop(group, _backend, _exchange, _slots, keeper, [.. Enumerable.Range(0, _options.Layers)], _options.Rounds);
        ChunkContext Context(TensorArena scratch, IExpertExchange exchange, IResidentExperts? resident) =>
            new() { Operations = _backend.Operations, Scratch = scratch, DType = DType.F32, Recipe = _options.Recipe, Exchange = exchange, Resident = resident };
        _alone = Context(_scratch, new LocalExpertExchange(), null);
        TransformerShape shape = shared.Checkpoint.Shape;
        _batches = [new(Context(new(_backend, 1 << 14), _exchange, _slots)), new(Context(new(_backend, 1 << 14), _exchange, _slots))];
        foreach (MicroBatch batch in _batches)
        {
            batch.Saved.Allocate(_memory, shape, _options.Recipe, DType.F32, _options.Tokens, _exchange);
            (batch.X, batch.Alone) = (_memory.Allocate(DType.F32, _options.Tokens, _options.Hidden), _memory.Allocate(DType.F32, _options.Tokens, _options.Hidden));
            batch.Results = _memory.Allocate(DType.F32, batch.Saved.Movement.Capacity, _options.Hidden);
        }

        _plain.Allocate(_memory, shape, _options.Recipe, DType.F32, _options.Tokens);
        _plainRows = _memory.Allocate(DType.F32, _plain.Movement.Capacity, _options.Hidden);
        _logits = _memory.Allocate(DType.F32, _options.Tokens, unit.Experts);
        _expected = _memory.Allocate(DType.F32, _options.Tokens, _options.Hidden);
        _ones = _memory.Allocate(DType.F32, _options.Hidden);
        _ones.AsSpan<float>().Fill(1);
        _choices = [.. Enumerable.Range(0, _options.Steps).Select(_ => new int[2 * _options.Layers][])];
        Steps = new UnitRankStep[_options.Steps];

        // Parts that do not hang on this rank's experts are priced for even traffic; links and routed experts take what really came.
        _parts = shared.Costs.Parts(_options.Work, new(1, 0, 0), _options.Path);
        _standsFor = _options.Work.Tokens / 2 / _options.Tokens;
        Measure();
    }

    public int Rank { get; }

    public UnitRankStep[] Steps { get; }

    public List<PlacementDecision> Decisions { get; } = [];

    public PortBytes Exchanged { get; private set; }

    public int RowBytes => _exchange.RowBytes;

    public int ResultBytes => _exchange.ResultBytes;

    public long ExpertBytes => _slots.ExpertBytes;

    public long WrongRows { get; private set; }

    public long CheckedRows { get; private set; }

    public long WrongSlots { get; private set; }

    public long CheckedSlots { get; private set; }

    /// <summary>[tokens · topK]: what was chosen in a step, by layer and micro-batch.</summary>
    public int[] Choices(int step, int part) => _choices[step][part];

    /// <summary>A step of the unit, and what lies between it and the next.</summary>
    public void Step(int step)
    {
        _step = step;
        if (Rank == 0)
            for (int layer = 0; layer < _options.Layers; layer++) _shared.Plans[step, layer] = _exchange.Plan(layer);
        for (int batch = 0; batch < 2; batch++) Arrive(batch);
        (double first, double last) = _options.Path == UnitPath.ThroughNodes ? Prefill() : Decode();
        double ended = _clock.Now;
        if (Rank == 0) _shared.Clock.Advance(_options.StepTime);
        PlacementDecision? before = _loop.Decision;
        long sent = _loop.SentBytes;
        int switched = _loop.SwitchedLayers;
        _clock.Scale = _loop.IsMoving ? _shared.Costs.Model.ExpertBytes / _slots.ExpertBytes : 1;
        _loop.BetweenSteps(_shared.Prices);
        if (_loop.Decision is { } decision && !ReferenceEquals(decision, before)) Decisions.Add(decision);
        Steps[step] = new(first, last, ended, _clock.Now, _loop.SentBytes - sent, _loop.SwitchedLayers - switched);
        ReplicaPlan?[] plans = [.. Enumerable.Range(0, _options.Layers).Select(_exchange.Plan)];
        WrongSlots += _slots.Wrong(_shared.Checkpoint, plans);
        CheckedSlots += _options.Layers * _options.Unit.SlotsPerGpu;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _loop.Dispose();
        _exchange.Dispose();
        _slots.Dispose();
        _memory.Dispose();
        _scratch.Dispose();
        foreach (MicroBatch batch in _batches) batch.Chunk.Scratch.Dispose();
        _backend.Dispose();
    }

    // ATTN(1) SHARED(0) | ATTN(0) | MLP(1) | MLP(0) SHARED(1), beside COMBINE(0) | DISPATCH(1) | DISPATCH(0) | COMBINE(1).
    (double First, double Last) Prefill()
    {
        double attention = _parts.Before + _parts.Core, first = 0, last = 0;
        for (int layer = 0; layer < _options.Layers; layer++)
        {
            int before = layer - 1;
            if (layer == 0) _clock.Work(attention);
            else Beside(() => Combine(0, before), attention + _parts.Shared);
            last = _clock.Now;
            if (layer == 0) first = last;
            Beside(() => Dispatch(1, layer), attention);
            double routed = Experts(1);
            Beside(() => Dispatch(0, layer), routed);
            routed = Experts(0);
            Beside(() => Combine(1, layer), routed + _parts.Shared);
        }

        Beside(() => Combine(0, _options.Layers - 1), _parts.Shared);
        return (first, last);
    }

    // SHARED(0) ATTN-0(1) | MLP(0) | ATTN-1(1) | SHARED(1) ATTN-0(0) | MLP(1) | ATTN-1(0), beside DISPATCH(0) | | COMBINE(0) | DISPATCH(1) | | COMBINE(1).
    (double First, double Last) Decode()
    {
        double first = 0, last = 0;
        _clock.Work(_parts.Before + _parts.Core);
        for (int layer = 0; layer < _options.Layers; layer++)
        {
            last = _clock.Now;
            if (layer == 0) first = last;
            for (int batch = 0; batch < 2; batch++)
            {
                Beside(() => Dispatch(batch, layer), _parts.Shared + _parts.Before);
                _clock.Work(Experts(batch));
                Beside(() => Combine(batch, layer), _parts.Core);
            }
        }

        return (first, last);
    }

    // One stage: messages are on their way while the rank computes.
    void Beside(Action exchange, double seconds)
    {
        double since = _clock.Now;
        exchange();
        _clock.WorkBeside(since, seconds);
    }

    // New tokens: what a step before left goes on in them, so that a wrong bit is not forgotten.
    void Arrive(int batch)
    {
        MicroBatch own = _batches[batch];
        Span<float> x = own.X.AsSpan<float>(), alone = own.Alone.AsSpan<float>();
        var random = new CounterRandom(29, RandomPurpose.Simulation, (uint)((Rank * 2) + batch));
        if (_step == 0)
        {
            x.Clear();
            alone.Clear();
        }

        for (int i = 0; i < x.Length; i++)
        {
            float drawn = (float)random.Normal((ulong)((_step * (long)x.Length) + i));
            x[i] = drawn + (0.5f * x[i]);
            alone[i] = drawn + (0.5f * alone[i]);
        }
    }

    void Dispatch(int batch, int layer)
    {
        MicroBatch own = _batches[batch];
        RoutedSaved saved = own.Saved;
        own.Chunk.Layer = layer;
        own.Mark = own.Chunk.Scratch.Mark();
        _shared.Routing.Logits(_step * _options.StepTime, layer, (Rank * 2) + batch, _logits.AsSpan<float>());
        _backend.Operations.Routing.Gate(_logits, default, _options.Gate, saved.Scores, saved.Movement.Experts, saved.Weights);
        _choices[_step][(2 * layer) + batch] = saved.Movement.Experts.AsSpan<int>().ToArray();
        Counted(_outScale, () => own.Rows = Routed(layer).Dispatch(own.Chunk, own.X, saved));
    }

    // The rows that came, through the slots; the model's seconds for so many.
    double Experts(int batch)
    {
        MicroBatch own = _batches[batch];
        Routed(own.Chunk.Layer).Experts(own.Chunk, own.Saved, own.Rows, own.Results);
        own.Chunk.Scratch.Release(own.Mark);
        long pairs = 0;
        for (int source = 0; source < own.Saved.Movement.Sources; source++) pairs += own.Saved.Movement.RowCountOf(source).AsSpan<int>()[0];
        return _shared.Costs.RoutedSeconds(pairs * _standsFor, _options.Path);
    }

    void Combine(int batch, int layer)
    {
        MicroBatch own = _batches[batch];
        ArenaMark mark = _scratch.Mark();
        Tensor y = _scratch.Allocate(DType.F32, _options.Tokens, _options.Hidden);
        Counted(_backScale, () => Routed(layer).Combine(own.Chunk, own.Saved, own.Results, y));
        Alone(own, layer);
        Add(own.X, y);
        Add(own.Alone, _expected);
        _scratch.Release(mark);
        for (int t = 0; t < _options.Tokens; t++)
        {
            CheckedRows++;
            if (!MemoryMarshal.AsBytes(own.X.Row<float>(t)).SequenceEqual(MemoryMarshal.AsBytes(own.Alone.Row<float>(t)))) WrongRows++;
        }
    }

    // One rank that has all experts once.
    void Alone(MicroBatch own, int layer)
    {
        RoutedExperts routed = Routed(layer);
        own.Saved.Movement.Experts.AsSpan<int>().CopyTo(_plain.Movement.Experts.AsSpan<int>());
        own.Saved.Weights.AsSpan<float>().CopyTo(_plain.Weights.AsSpan<float>());
        Tensor rows = routed.Dispatch(_alone, own.Alone, _plain);
        routed.Experts(_alone, _plain, rows, _plainRows);
        routed.Combine(_alone, _plain, _plainRows, _expected);
    }

    void Add(Tensor x, Tensor y)
    {
        _backend.Operations.Elementwise.Add(x, y, x);
        _backend.Operations.Elementwise.RmsNorm(x, _ones, 1e-6, x, default);
    }

    void Counted(double scale, Action exchange)
    {
        _clock.Scale = scale;
        PortBytes before = _clock.Bytes;
        exchange();
        Exchanged += _clock.Bytes - before;
    }

    // One layer that does not count, to learn how long messages are: a byte of them stands for so many of the model's.
    void Measure()
    {
        for (int batch = 0; batch < 2; batch++) Arrive(batch);
        Dispatch(0, 0);
        Experts(0);
        Combine(0, 0);
        _outScale = _shared.Costs.Model.OutBytes * _standsFor / _exchange.RowBytes;
        _backScale = _shared.Costs.Model.BackBytes * _standsFor / _exchange.ResultBytes;
        _exchange.ClearCounts();
        (Exchanged, WrongRows, CheckedRows) = (default, 0, 0);
        _clock.Restart();
    }

    RoutedExperts Routed(int layer) => _shared.Checkpoint.Blocks[layer].Routed!;
}
