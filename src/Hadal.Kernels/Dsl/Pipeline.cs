using System.Runtime.CompilerServices;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <summary>What one stage of a ring holds of one tensor: <paramref name="Rows"/> rows of the map's box width.</summary>
/// <param name="Map">Its tensor map; the box has all the rows, or with <paramref name="Multicast"/> the cluster's share of them.</param>
/// <param name="Rows">Rows of a stage.</param>
/// <param name="Multicast">Each block of the cluster loads its share of the rows for all of them.</param>
public sealed record RingOperand(TensorMap Map, int Rows, bool Multicast = false)
{
    internal int RowBytes => Map.Declaration.BoxColumns * Names.BytesOf(Map.Declaration.Element);

    internal int BytesPerStage => Rows * RowBytes;
}

/// <summary>
/// A ring of shared-memory stages between one producing thread and consuming warps. It owns the stages, the full and empty mbarriers of each, their phases and the
/// byte counts. States of a stage:
/// <code>
/// producer                     stage     consumer
/// Acquire: wait empty          free
/// Load …: copies in flight     filling   Wait: blocked on full
///                              full      Wait returns; reads
/// Acquire: blocked on empty    read      Release (one arrival a warp and block of the cluster)
///                              free
/// </code>
/// Both sides walk the stages in order, so both must make the same number of turns.
/// </summary>
public sealed class Pipeline
{
    readonly RingOperand[] _operands;
    readonly List<int> _producerSlots = [], _consumerSlots = [];
    readonly string _name;
    readonly SourceLine _source;

    internal Pipeline(KernelScope kernel, string name, int stages, int consumerWarps, ReadOnlySpan<RingOperand> operands)
    {
        if (stages < 1) throw new ArgumentException($"Ring '{name}' has {stages} stages: it needs at least one.");
        _name = name;
        _source = kernel.Recorder.Line;
        (string file, int line) = (_source.File, _source.Line);
        _operands = operands.ToArray();
        Stages = stages;
        ConsumerWarps = consumerWarps;
        bool multicast = Array.Exists(_operands, x => x.Multicast);
        Peers = multicast ? kernel.Cluster : 1;
        Regions = new SharedRegion[_operands.Length];
        for (int i = 0; i < _operands.Length; i++)
        {
            RingOperand operand = _operands[i];
            int boxRows = operand.Map.Declaration.BoxRows * (operand.Multicast ? kernel.Cluster : 1);
            if (boxRows != operand.Rows)
                throw new ArgumentException($"Ring '{name}': map '{operand.Map.Declaration.Name}' brings {boxRows} rows a stage, the operand has {operand.Rows}: choose the box rows to match.");
            int alignment = operand.Map.Declaration.Swizzle == Swizzle.Bytes128 ? 1024 : 128;
            Regions[i] = kernel.Shared($"{name}.{operand.Map.Declaration.Name}", stages * operand.BytesPerStage, alignment, file, line);
        }

        Full = kernel.Shared(name + ".full", 8 * stages, 8, file, line);
        Empty = kernel.Shared(name + ".empty", 8 * stages, 8, file, line);
        kernel.If(kernel.ThreadIndex.Is(0), () =>
        {
            for (int stage = 0; stage < stages; stage++)
            {
                kernel.Recorder.Emit(new BarrierInitialize(kernel.Address(Full, 8 * stage).Value, 1));
                kernel.Recorder.Emit(new BarrierInitialize(kernel.Address(Empty, 8 * stage).Value, ConsumerWarps * Peers));
            }

            kernel.Recorder.Emit(new FenceBarrierInitialize());
        }, file: file, line: line);
        if (kernel.Cluster > 1) kernel.ClusterSync(file, line);
        else kernel.Sync(file, line);
    }

    /// <summary>Stages of the ring.</summary>
    public int Stages { get; }

    /// <summary>Bytes that arrive in a stage before it is full, from this block and its peers.</summary>
    public int BytesPerStage => _operands.Sum(o => o.BytesPerStage);

    internal int ConsumerWarps { get; }

    internal int Peers { get; }

    internal SharedRegion[] Regions { get; }

    internal SharedRegion Full { get; }

    internal SharedRegion Empty { get; }

    internal IReadOnlyList<RingOperand> Operands => _operands;

    internal SharedRegion RegionOf(RingOperand operand) => Regions[IndexOf(operand)];

    internal int IndexOf(RingOperand operand)
    {
        int index = Array.FindIndex(_operands, o => ReferenceEquals(o, operand));
        return index >= 0 ? index : throw new ArgumentException($"Ring '{_name}' does not hold an operand of map '{operand.Map.Declaration.Name}': pass one that it was made with.");
    }

    internal int NewProducerSlot(Recorder recorder) => Add(_producerSlots, recorder.NewSlot());

    /// <summary>True when its producer waits at its end until all readers of the cluster have given every stage back.</summary>
    internal bool Drained { get; set; }

    /// <summary>Readers that take turns at the stages.</summary>
    internal int Shares { get; set; } = 1;

    internal int NewConsumerSlot(Recorder recorder) => Add(_consumerSlots, recorder.NewSlot());

    internal PipelineDeclaration Declaration() => new(
        _name, Stages, BytesPerStage, ConsumerWarps * Peers, Full.ByteOffset, Empty.ByteOffset, new Sequence<int>([.. _producerSlots]), new Sequence<int>([.. _consumerSlots])) { Source = _source, Shares = Shares };

    static int Add(List<int> list, int slot)
    {
        list.Add(slot);
        return slot;
    }
}

/// <summary>Stage and phase of one side of a ring, as registers.</summary>
sealed class RingPosition
{
    readonly ThreadScope _scope;
    readonly int _stages, _stride;
    readonly Register<U32> _stage, _phase;

    public RingPosition(ThreadScope scope, int stages, U32? first = null, int stride = 1)
    {
        _scope = scope;
        _stages = stages;
        _stride = stages % stride == 0 ? stride : throw new ArgumentException($"A ring of {stages} stages cannot be walked in steps of {stride}: choose a multiple.");
        (string file, int line) = (scope.Recorder.Line.File, scope.Recorder.Line.Line);
        _stage = scope.Register("stage", first ?? scope.Constant(0), file, line);
        _phase = scope.Register("phase", scope.Constant(0), file, line);
    }

    public U32 Stage => _stage.Value;

    public U32 Phase => _phase.Value;

    public void Advance()
    {
        U32 next = _stage.Value + _stride;
        Predicate wraps = _stride == 1 ? next.Is(_stages) : next >= _scope.Constant(_stages);
        U32 phase = _phase.Value;
        _stage.Value = wraps.Select(_stride == 1 ? _scope.Constant(0) : next - _stages, next);
        _phase.Value = wraps.Select(phase ^ 1, phase);
    }
}

/// <summary>The filling side of a ring.</summary>
public sealed class RingProducer
{
    readonly ProducerScope _scope;
    readonly RingPosition _position;
    readonly U32 _full, _empty;
    readonly U32[] _bases;
    readonly U64[] _maps;

    internal RingProducer(ProducerScope scope, Pipeline ring)
    {
        _scope = scope;
        Ring = ring;
        _position = new RingPosition(scope, ring.Stages);
        _full = scope.Address(ring.Full);
        _empty = scope.Address(ring.Empty);
        _bases = new U32[ring.Operands.Count];
        _maps = new U64[ring.Operands.Count];
        for (int i = 0; i < _bases.Length; i++)
        {
            RingOperand operand = ring.Operands[i];
            _maps[i] = scope.Kernel.MapAddress(operand.Map);
            scope.Recorder.Emit(new PrefetchTensorMap(operand.Map.Parameter, _maps[i].Value));
            _bases[i] = scope.Address(ring.Regions[i]);
            if (operand.Multicast) _bases[i] += scope.Kernel.ClusterRank * (operand.BytesPerStage / scope.Kernel.Cluster);
        }
    }

    internal Pipeline Ring { get; }

    /// <summary>Waits for a free stage and announces its bytes. Dispose the slot after its loads: that moves on to the next stage.</summary>
    public FillSlot Acquire([CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder recorder = _scope.Recorder;
        recorder.At(file, line);
        U32 stage = _position.Stage;
        U32 full = _full + stage * 8;
        int slot = Ring.NewProducerSlot(recorder);
        recorder.Emit(new BarrierWait((_empty + stage * 8).Value, (_position.Phase ^ 1).Value));
        recorder.Emit(new BarrierExpect(full.Value, Ring.BytesPerStage, slot));
        return new FillSlot(this, stage, full, slot);
    }

    internal void Load(FillSlot slot, RingOperand operand, U32 column, U32 row, string file, int line)
    {
        Recorder recorder = _scope.Recorder;
        recorder.At(file, line);
        int index = Ring.IndexOf(operand);
        U32 destination = _bases[index] + slot.Stage * operand.BytesPerStage;
        int mask = 0;
        if (operand.Multicast)
        {
            row += _scope.Kernel.ClusterRank * operand.Map.Declaration.BoxRows;
            mask = (1 << _scope.Kernel.Cluster) - 1;
        }

        recorder.Emit(new TensorLoad(operand.Map.Parameter, _maps[index].Value, destination.Value, [column.Value, row.Value], slot.Full.Value, mask, slot.Slot));
    }

    internal void Advance() => _position.Advance();

    /// <summary>Waits until every stage has been given back, which blocks of the cluster signal here: their barriers must not end before.</summary>
    internal void Drain()
    {
        Ring.Drained = true;
        _scope.Repeat(Ring.Stages, () =>
        {
            _scope.Recorder.Emit(new BarrierWait((_empty + _position.Stage * 8).Value, (_position.Phase ^ 1).Value));
            _position.Advance();
        });
    }
}

/// <summary>A stage being filled.</summary>
public sealed class FillSlot : IDisposable
{
    readonly RingProducer _producer;
    bool _closed;

    internal FillSlot(RingProducer producer, U32 stage, U32 full, int slot) => (_producer, Stage, Full, Slot) = (producer, stage, full, slot);

    internal U32 Stage { get; }

    internal U32 Full { get; }

    internal int Slot { get; }

    /// <summary>Starts the copy of an operand's box at (column, row), in elements of the tensor.</summary>
    public void Load(RingOperand operand, U32 column, U32 row, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        _producer.Load(this, operand, column, row, file, line);
    }

    /// <summary>Moves on to the next stage.</summary>
    public void Dispose()
    {
        if (_closed) return;
        _closed = true;
        _producer.Advance();
    }
}

/// <summary>A matrix operand that lies in a ring, addressed for one warpgroup.</summary>
public sealed record RingMatrix
{
    internal RingMatrix(U32 descriptor, RingOperand operand) => (Descriptor, Operand) = (descriptor, operand);

    internal U32 Descriptor { get; }

    internal RingOperand Operand { get; }
}

/// <summary>Numbers that lie in a ring, addressed for one thread.</summary>
public sealed record RingVector
{
    internal RingVector(U32 address, RingOperand operand) => (Address, Operand) = (address, operand);

    internal U32 Address { get; }

    internal RingOperand Operand { get; }
}

/// <summary>The reading side of a ring.</summary>
public sealed class RingConsumer
{
    readonly ConsumerScope _scope;
    readonly RingPosition _position;
    readonly U32 _full, _emptyToSignal;
    readonly Predicate _signals;

    internal RingConsumer(ConsumerScope scope, Pipeline ring, U32? first, int stride)
    {
        _scope = scope;
        Ring = ring;
        _position = new RingPosition(scope, ring.Stages, first, stride);
        ring.Shares = stride;
        _full = scope.Address(ring.Full);
        _signals = scope.Lane < ring.Peers;
        U32 empty = scope.Address(ring.Empty);
        if (ring.Peers > 1)
        {
            // Lane r tells block r of the cluster.
            U32 rank = scope.Lane & (ring.Peers - 1);
            empty = new U32(scope.Recorder, scope.Recorder.Emit(ScalarType.U32, x => new MapToPeer(x, empty.Value, rank.Value)));
        }

        _emptyToSignal = empty;
    }

    internal Pipeline Ring { get; }

    internal ConsumerScope Scope => _scope;

    /// <summary>An operand of 128-byte swizzled rows as a matrix, from <paramref name="firstRow"/> (a multiple of 8) down.</summary>
    public RingMatrix Matrix(RingOperand operand, U32? firstRow = null)
    {
        if (operand.Map.Declaration.Swizzle != Swizzle.Bytes128)
            throw new ArgumentException($"Map '{operand.Map.Declaration.Name}' is not swizzled by 128 bytes, which wgmma reads here: declare it with Swizzle.Bytes128.");
        U32 address = _scope.Address(Ring.RegionOf(operand));
        if (firstRow is { } row) address += row << 7;
        return new RingMatrix((address >> 4) | (1 << 16), operand);
    }

    /// <summary>An operand of 4-byte numbers, from element <paramref name="first"/> on.</summary>
    public RingVector Vector(RingOperand operand, U32 first) => new(_scope.Address(Ring.RegionOf(operand)) + (first << 2), operand);

    /// <summary>Waits for a full stage. Dispose the slot when nothing reads it any more: that gives it back and moves on.</summary>
    public ReadSlot Wait([CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        _scope.Recorder.At(file, line);
        WaitForFull();
        return new ReadSlot(this, Ring.NewConsumerSlot(_scope.Recorder));
    }

    /// <summary>
    /// The same stage kept across the turns of a loop, so that the next one can be awaited under the current product: <c>Enter</c>, …, <c>Leave</c>,
    /// <c>Enter</c>, wait for the product, <c>Release</c>.
    /// </summary>
    public CarriedSlot Carry(params ReadOnlySpan<RingMatrix> matrices) => new(this, matrices.ToArray(), Ring.NewConsumerSlot(_scope.Recorder));

    internal void WaitForFull() => _scope.Recorder.Emit(new BarrierWait((_full + _position.Stage * 8).Value, _position.Phase.Value));

    internal U32 Descriptor(RingMatrix matrix) => matrix.Descriptor + _position.Stage * (matrix.Operand.BytesPerStage >> 4);

    internal U32 Address(RingVector vector) => vector.Address + _position.Stage * vector.Operand.BytesPerStage;

    /// <summary>The empty barrier of the current stage; then moves on.</summary>
    internal U32 Leave()
    {
        U32 barrier = _emptyToSignal + _position.Stage * 8;
        _position.Advance();
        return barrier;
    }

    internal void Signal(U32 barrier, int slot) => _scope.Recorder.Emit(new BarrierArrive(barrier.Value, Ring.Peers > 1, _signals.Value, slot));
}

/// <summary>A stage being read.</summary>
public sealed class ReadSlot : IDisposable
{
    readonly RingConsumer _consumer;
    readonly int _slot;
    bool _closed;

    internal ReadSlot(RingConsumer consumer, int slot) => (_consumer, _slot) = (consumer, slot);

    /// <summary>The matrix in this stage.</summary>
    public MatrixOperand this[RingMatrix matrix] => new(Open()._consumer.Descriptor(matrix), matrix.Operand.Map.Declaration.Element, [_slot]);

    /// <summary>The shared-memory address of the vector in this stage.</summary>
    public U32 this[RingVector vector] => Open()._consumer.Address(vector);

    /// <summary>Gives the stage back and moves on.</summary>
    public void Dispose()
    {
        if (_closed) return;
        _closed = true;
        _consumer.Signal(_consumer.Leave(), _slot);
    }

    ReadSlot Open()
    {
        ObjectDisposedException.ThrowIf(_closed, this);
        return this;
    }
}

/// <summary>A stage whose operands are registers, kept across loop turns.</summary>
public sealed class CarriedSlot
{
    readonly RingConsumer _consumer;
    readonly RingMatrix[] _matrices;
    readonly Register<U32>[] _descriptors;
    int _slot;

    internal CarriedSlot(RingConsumer consumer, RingMatrix[] matrices, int slot)
    {
        (_consumer, _matrices, _slot) = (consumer, matrices, slot);
        _descriptors = new Register<U32>[matrices.Length];
        for (int i = 0; i < matrices.Length; i++) _descriptors[i] = consumer.Scope.Register<U32>(matrices[i].Operand.Map.Declaration.Name);
    }

    /// <summary>The matrix in the stage entered last.</summary>
    public MatrixOperand this[RingMatrix matrix] =>
        new(_descriptors[Array.FindIndex(_matrices, m => ReferenceEquals(m, matrix))].Value, matrix.Operand.Map.Declaration.Element, [_slot]);

    /// <summary>The shared-memory address of the vector in the stage entered last.</summary>
    public U32 this[RingVector vector] => _consumer.Address(vector);

    /// <summary>Waits for the stage at the ring's position and takes its operands.</summary>
    public void Enter([CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        _consumer.Scope.Recorder.At(file, line);

        // Each stage entered is a slot of its own, so that one may be read while the one before is given back.
        _slot = _consumer.Ring.NewConsumerSlot(_consumer.Scope.Recorder);
        _consumer.WaitForFull();
        for (int i = 0; i < _matrices.Length; i++) _descriptors[i].Value = _consumer.Descriptor(_matrices[i]);
    }

    /// <summary>Moves the ring's position on. The stage left stays readable by what was started before, until it is released.</summary>
    public SlotRelease Leave([CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        _consumer.Scope.Recorder.At(file, line);
        return new SlotRelease(_consumer, _consumer.Leave(), _slot);
    }
}

/// <summary>The right to give one stage back, once.</summary>
public sealed class SlotRelease
{
    readonly RingConsumer _consumer;
    readonly U32 _barrier;
    readonly int _slot;
    bool _done;

    internal SlotRelease(RingConsumer consumer, U32 barrier, int slot) => (_consumer, _barrier, _slot) = (consumer, barrier, slot);

    /// <summary>Gives the stage back to the producer.</summary>
    public void Release([CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        if (_done) throw new InvalidOperationException("This stage was released already: one release a stage.");
        _done = true;
        _consumer.Scope.Recorder.At(file, line);
        _consumer.Signal(_barrier, _slot);
    }
}
