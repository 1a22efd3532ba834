using System.Runtime.CompilerServices;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <summary>One thread that issues copies. Only it may fill rings and store boxes.</summary>
public sealed class ProducerScope : ThreadScope
{
    readonly KernelScope _kernel;
    readonly List<RingProducer> _filled = [];

    internal ProducerScope(KernelScope kernel)
        : base(kernel.Recorder) => _kernel = kernel;

    internal KernelScope Kernel => _kernel;

    /// <summary>The filling side of a ring. Call it once, before the loops.</summary>
    public RingProducer Fill(Pipeline ring, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        var producer = new RingProducer(this, ring);
        _filled.Add(producer);
        return producer;
    }

    /// <summary>What a role ends with: it stays until the peers have signalled all that they will.</summary>
    internal void Finish()
    {
        foreach (RingProducer producer in _filled)
            if (producer.Ring.Peers > 1) producer.Drain();
    }

    /// <summary>Copies one box from shared memory to a tensor and waits until the region may be overwritten. Its writers fence and meet this thread first.</summary>
    public void Store(TensorMap map, SharedRegion region, U32 column, U32 row, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        U64 address = _kernel.MapAddress(map);
        U32 from = Address(region);
        Recorder.Emit(new TensorStore(map.Parameter, address.Value, from.Value, [column.Value, row.Value]));
        Recorder.Emit(new BulkCommit());
        Recorder.Emit(new BulkWait(0, ReadOnly: false));
    }
}

/// <summary>Warpgroups that multiply. Only they have <see cref="Multiply"/> and fragments.</summary>
public sealed class ConsumerScope : ThreadScope
{
    readonly KernelScope _kernel;

    internal ConsumerScope(KernelScope kernel, int firstWarpgroup)
        : base(kernel.Recorder)
    {
        _kernel = kernel;
        Index = (kernel.Warp >> 2) - firstWarpgroup;
        Warp = kernel.Warp & 3;
    }

    internal KernelScope Kernel => _kernel;

    /// <summary>Index of the warpgroup in its role.</summary>
    public U32 Index { get; }

    /// <summary>Index of the warp in its warpgroup.</summary>
    public U32 Warp { get; }

    /// <summary>Index of the thread in its warp.</summary>
    public U32 Lane => _kernel.Lane;

    /// <summary>Row (0 … 63) of the thread's first half in a 64-row fragment; the second half is 8 rows further.</summary>
    public U32 FragmentRow() => (Warp << 4) + (Lane >> 2);

    /// <summary>Registers for a 64 by <paramref name="columns"/> float32 tile, to be written by products only.</summary>
    public Accumulator Accumulator(int columns, string name) => new(Recorder.NewFragment(Check(columns), name));

    /// <summary>Sets an accumulator to zero, for products that all add to it; no product into it may be in flight. Yields it as the sum of no products.</summary>
    public Fragment Clear(Accumulator accumulator, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        Recorder.Emit(new FillFragment(accumulator.Registers, Constant(0f).Value));
        return new Fragment(this, accumulator.Registers);
    }

    /// <summary>Registers for a 64 by <paramref name="columns"/> float32 tile.</summary>
    public Fragment Fragment(int columns, string name) => new(this, Recorder.NewFragment(Check(columns), name));

    /// <summary>The reading side of a ring. Call it once, before the loops.</summary>
    /// <param name="ring">The ring.</param>
    /// <param name="first">The stage it begins with, when several readers share the stages among them.</param>
    /// <param name="stride">From one stage to its next: the number of such readers, a divisor of the ring's stages. Each releases only what it reads.</param>
    public RingConsumer Read(Pipeline ring, U32? first = null, int stride = 1, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        return new RingConsumer(this, ring, first, stride);
    }

    /// <summary>A 128-byte-swizzled K-major tile in shared memory (rows of 128 bytes, 1024-byte aligned) as a matrix operand.</summary>
    public MatrixOperand Matrix(SharedRegion region, ElementType element, U32? firstRow = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        U32 address = Address(region);
        if (firstRow is { } row) address += row << 7;
        return new MatrixOperand((address >> 4) | (1 << 16), element, []);
    }

    /// <summary>
    /// Starts D = A·Bᵀ (or D += with <paramref name="accumulate"/>) over one 128-byte chunk of K: four wgmma of 64 rows by the accumulator's columns, in a group
    /// of their own. The product may be read only after <see cref="PendingFragment.Wait"/>.
    /// </summary>
    public PendingFragment Multiply(Accumulator accumulator, MatrixOperand a, MatrixOperand b, bool accumulate = false, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        if (a.Element != b.Element) throw new ArgumentException($"A holds {a.Element}, B holds {b.Element}: both operands of a product have one element type.");
        Recorder.Emit(new WgmmaFence());
        for (int step = 0; step < 4; step++)
            Recorder.Emit(new Wgmma(accumulator.Registers, a.Element, a.Descriptor.Value, b.Descriptor.Value, 2 * step, accumulate || step > 0, new Sequence<int>([.. a.Slots.Union(b.Slots)])));
        Recorder.Emit(new WgmmaCommit());
        return new PendingFragment(this, accumulator.Registers);
    }

    /// <summary>
    /// Starts adding a box of float32 in shared memory to a tensor; the call of one thread. Its writers fence and meet this thread first; <see cref="CommitBoxes"/>
    /// closes the group that <see cref="WaitForBoxes"/> waits for.
    /// </summary>
    public void AddBox(TensorMap map, U32 from, U32 column, U32 row, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        if (map.Declaration.Element != ElementType.F32) throw new ArgumentException($"Map '{map.Declaration.Name}' holds {map.Declaration.Element}: boxes of F32 can be added.", nameof(map));
        Recorder.Emit(new TensorStore(map.Parameter, _kernel.MapAddress(map).Value, from.Value, [column.Value, row.Value], Add: true));
    }

    /// <summary>Closes a group of this thread's boxes.</summary>
    public void CommitBoxes([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new BulkCommit(), file, line);

    /// <summary>Waits until all closed groups of this thread's boxes have left shared memory (<paramref name="readOnly"/>), or are done.</summary>
    public void WaitForBoxes(bool readOnly, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new BulkWait(0, readOnly), file, line);

    static int Check(int columns) => columns is >= 8 and <= 256 && columns % 8 == 0
        ? columns
        : throw new ArgumentException($"A fragment has {columns} columns; wgmma takes multiples of 8 from 8 to 256.");
}

/// <summary>A K-major operand of a product in shared memory: its descriptor word, and the ring slots it lies in.</summary>
public sealed class MatrixOperand
{
    internal MatrixOperand(U32 descriptor, ElementType element, int[] slots) => (Descriptor, Element, Slots) = (descriptor, element, slots);

    internal U32 Descriptor { get; }

    internal ElementType Element { get; }

    internal int[] Slots { get; }

    /// <summary>The operand that starts <paramref name="rows"/> rows (a multiple of 8) further down.</summary>
    public MatrixOperand Below(int rows) => rows % 8 == 0
        ? new MatrixOperand(Descriptor + rows * 8, Element, Slots)
        : throw new ArgumentException($"{rows} rows down is not a multiple of 8, the period of the 128-byte swizzle.");
}
