using System.Runtime.CompilerServices;
using Hadal.Kernels.Dsl;
using Hadal.Kernels.Interpreter;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;

namespace Hadal.Kernels.Tests;

/// <summary>What a specimen does wrong.</summary>
public enum Fault
{
    None,
    ReleaseUnderProduct,
    ReadUnderProduct,
    ProductLeftBehind,
    LoadMissing,
    ProducerStopsEarly,
    ConsumerStopsEarly,
    NeverReleased,
    WrongConsumerWarps,
    ReadWithoutWait,
    NoProxyFence,
    FenceByOneThread,
    NoSync,
    TooManyRegisters,
}

/// <summary>
/// A small kernel with one chosen fault, and the line it is on: D[64, 8] (f32) = A[64, K]·B[8, K]ᵀ of BF16 through a ring of two stages, a warpgroup that copies
/// and one that multiplies; then the sums leave through shared memory by TMA.
/// </summary>
sealed class Specimen
{
    const int Columns = 8, Chunks = 3, K = 64 * Chunks;
    readonly Fault _fault;
    int _enter;

    public Specimen(Fault fault)
    {
        _fault = fault;
        Kernel = Build();
        if (fault == Fault.ReadWithoutWait) Change(o => o is BarrierWait && o.Source.Line == _enter ? [] : [o]);
    }

    public Kernel Kernel { get; private set; }

    /// <summary>The line that is wrong.</summary>
    public int Line { get; private set; }

    /// <summary>The line of the product.</summary>
    public int ProductLine { get; private set; }

    /// <summary>The line of the last store to shared memory.</summary>
    public int StoreLine { get; private set; }

    /// <summary>The line where the producer takes a stage.</summary>
    public int AcquireLine { get; private set; }

    /// <summary>Replaces each operation by others.</summary>
    public void Change(Func<Operation, Operation[]> edit) => Kernel = Edit(Kernel, edit);

    /// <summary>Runs it in the interpreter without verifying; D.</summary>
    public float[] Run(ulong seed)
    {
        var memory = new SimulatedMemory();
        var a = new ushort[64 * K];
        var b = new ushort[Columns * K];
        for (int i = 0; i < a.Length; i++) a[i] = Numerics.BF16.FromSingle(i / K % 5 + i % K % 3).Bits;
        for (int i = 0; i < b.Length; i++) b[i] = Numerics.BF16.FromSingle(i / K % 3 + i % K % 2).Bits;
        ulong d = memory.Allocate(64 * Columns * 4);
        LaunchArgument[] arguments =
        [
            new TensorDescription(memory.Upload<ushort>(a), ElementType.BF16, 64, K, 2 * K), new TensorDescription(memory.Upload<ushort>(b), ElementType.BF16, Columns, K, 2 * K),
            new TensorDescription(d, ElementType.F32, 64, Columns, 4 * Columns),
        ];
        KernelInterpreter.Run(Kernel, 1, memory, arguments, new InterpreterOptions { Seed = seed, Verify = false });
        return memory.Download<float>(d, 64 * Columns);
    }

    public static float[] Expected()
    {
        var d = new float[64 * Columns];
        for (int i = 0; i < d.Length; i++)
            for (int k = 0; k < K; k++) d[i] += (i / Columns % 5 + k % 3) * (i % Columns % 3 + k % 2);
        return d;
    }

    Kernel Build() => KernelBuilder.Define("specimen", 256, k =>
    {
        TensorMap a = k.TensorMap("a", ElementType.BF16, 64, 64, Swizzle.Bytes128), b = k.TensorMap("b", ElementType.BF16, Columns, 64, Swizzle.Bytes128), d = k.TensorMap("d", ElementType.F32, 64, Columns);
        RingOperand ofA = new(a, 64), ofB = new(b, Columns);
        Mark(Fault.WrongConsumerWarps, Fault.NeverReleased); Pipeline ring = k.Pipeline("ring", 2, Is(Fault.WrongConsumerWarps) ? 5 : 4, [ofA, ofB]);
        SharedRegion result = k.Shared("result", 64 * Columns * 4, 128);
        Mark(Fault.TooManyRegisters); k.Consumers(1, Is(Fault.TooManyRegisters) ? 1024 : 232, c =>
        {
            RingConsumer read = c.Read(ring);
            RingMatrix left = read.Matrix(ofA), right = read.Matrix(ofB);
            Accumulator sum = c.Accumulator(Columns, "sum");
            Fragment tile = c.Clear(sum);
            CarriedSlot carried = read.Carry(left, right);
            c.Repeat(Is(Fault.ConsumerStopsEarly) ? Chunks - 1 : Chunks, () =>
            {
                _enter = Here(); carried.Enter();
                Mark(Fault.ReadWithoutWait); ProductLine = Here(); PendingFragment pending = c.Multiply(sum, carried[left], carried[right], accumulate: true);
                SlotRelease release = carried.Leave();
                if (Is(Fault.ReadUnderProduct)) { Mark(Fault.ReadUnderProduct); tile.Fill(c.Constant(1f)); }
                if (Is(Fault.ReleaseUnderProduct)) { Mark(Fault.ReleaseUnderProduct); release.Release(); }
                pending.Wait();
                if (Is(Fault.ConsumerStopsEarly)) { Mark(Fault.ConsumerStopsEarly); release.Release(); }
                if (!Is(Fault.ReleaseUnderProduct) && !Is(Fault.NeverReleased) && !Is(Fault.ConsumerStopsEarly)) { Mark(Fault.ProducerStopsEarly); release.Release(); }
            });
            U32 to = c.Address(result) + (c.FragmentRow() * Columns + ((c.Lane & 3) << 1) << 2);
            c.StoreShared<F32>(to, [tile.Element(0), tile.Element(1)]);
            StoreLine = Here(); c.StoreShared<F32>(to, [tile.Element(2), tile.Element(3)], 8 * Columns * 4);
            if (!Is(Fault.NoProxyFence) && !Is(Fault.FenceByOneThread)) c.FenceProxyAsync();
            if (!Is(Fault.NoSync)) c.Sync(1, 128);
            c.If(k.ThreadIndex.Is(0), () =>
            {
                if (Is(Fault.FenceByOneThread)) c.FenceProxyAsync();
                Mark(Fault.NoProxyFence, Fault.FenceByOneThread, Fault.NoSync); k.AsProducer().Store(d, result, c.Constant(0), c.Constant(0));
            });
            if (Is(Fault.ProductLeftBehind)) { Mark(Fault.ProductLeftBehind); c.Multiply(sum, carried[left], carried[right]); }
        });
        k.Producer(Is(Fault.TooManyRegisters) ? 1024 : 40, p =>
        {
            RingProducer fill = p.Fill(ring);
            p.For(p.Constant(Is(Fault.ProducerStopsEarly) ? Chunks - 1 : Chunks), chunk =>
            {
                Mark(Fault.LoadMissing); AcquireLine = Here(); using FillSlot slot = fill.Acquire();
                slot.Load(ofA, chunk << 6, p.Constant(0));
                if (!Is(Fault.LoadMissing)) slot.Load(ofB, chunk << 6, p.Constant(0));
            });
        });
    });

    public static int Here([CallerLineNumber] int line = 0) => line;

    bool Is(Fault fault) => _fault == fault;

    void Mark(Fault fault, Fault second = Fault.None, Fault third = Fault.None, [CallerLineNumber] int line = 0)
    {
        if (_fault != Fault.None && (_fault == fault || _fault == second || _fault == third)) Line = line;
    }

    /// <summary>The kernel with each operation replaced by others, or by none.</summary>
    public static Kernel Edit(Kernel kernel, Func<Operation, Operation[]> edit) => kernel with { Body = Edit(kernel.Body, edit) };

    static Block Edit(Block block, Func<Operation, Operation[]> edit) => new([.. block.Operations.SelectMany(edit).Select(o => o switch
    {
        If branch => branch with { Then = Edit(branch.Then, edit), Otherwise = branch.Otherwise is null ? null : Edit(branch.Otherwise, edit) },
        Loop loop => loop with { Test = Edit(loop.Test, edit), Body = Edit(loop.Body, edit) },
        RoleSwitch roles => roles with { Roles = [.. roles.Roles.Select(r => r with { Body = Edit(r.Body, edit) })] },
        _ => o,
    })]);
}
