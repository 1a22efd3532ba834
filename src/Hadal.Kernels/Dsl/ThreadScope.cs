using System.Runtime.CompilerServices;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <summary>
/// What every thread may do. A kernel is C# that runs once: C# <c>if</c> and <c>for</c> specialise and unroll, <see cref="If"/>, <see cref="While"/> and
/// <see cref="For"/> become control flow of the kernel.
/// </summary>
public abstract partial class ThreadScope
{
    private protected ThreadScope(Recorder recorder) => Recorder = recorder;

    internal Recorder Recorder { get; }

    /// <summary>A constant word.</summary>
    public U32 Constant(int value) => new(Recorder, Recorder.Constant(ScalarType.U32, unchecked((uint)value)));

    /// <summary>A constant number.</summary>
    public F32 Constant(float value) => new(Recorder, Recorder.Constant(ScalarType.F32, BitConverter.SingleToUInt32Bits(value)));

    /// <summary>A register that starts with a value.</summary>
    public Register<T> Register<T>(string name, T initial, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T>
    {
        Recorder.At(file, line);
        return new Register<T>(Recorder, name) { Value = initial };
    }

    /// <summary>A register without a value yet; reading it before the first write is an error that the verifier reports.</summary>
    public Register<T> Register<T>(string name)
        where T : struct, IScalar<T> => new(Recorder, name);

    /// <summary>Runs <paramref name="then"/> where the condition holds. <paramref name="uniform"/>: all lanes of a warp agree, so collective operations are allowed inside.</summary>
    public void If(Predicate condition, Action then, Action? otherwise = null, bool uniform = false, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        Block yes = Recorder.Capture(then);
        Block? no = otherwise is null ? null : Recorder.Capture(otherwise);
        Recorder.Emit(new If(condition.Value, uniform, yes, no));
    }

    /// <summary>Repeats <paramref name="body"/> while the condition, evaluated before each turn, holds. All lanes of a warp agree unless told otherwise.</summary>
    public void While(Func<Predicate> condition, Action body, bool uniform = true, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        Value? test = null;
        Block head = Recorder.Capture(() => test = condition().Value);
        Block turn = Recorder.Capture(body);
        Recorder.Emit(new Loop(head, test!, turn, uniform));
    }

    /// <summary>Runs <paramref name="body"/> with 0, 1 … <paramref name="count"/> − 1.</summary>
    public void For(U32 count, Action<U32> body, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Register<U32> index = Register("index", Constant(0), file, line);
        While(
            () => index.Value < count,
            () =>
            {
                U32 now = index.Value;
                body(now);
                index.Value = now + 1;
            },
            uniform: true,
            file,
            line);
    }

    /// <summary>Runs <paramref name="body"/> a constant number of times; nothing is recorded for zero.</summary>
    public void Repeat(int count, Action body, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        if (count <= 0) return;
        Register<U32> left = Register("left", Constant(count), file, line);
        While(
            () => left.Value.IsNot(0),
            () =>
            {
                body();
                left.Value = left.Value - 1;
            },
            uniform: true,
            file,
            line);
    }

    /// <summary>Loads one word or number from global memory.</summary>
    public T Load<T>(U64 address, long byteOffset = 0, CacheHint cache = CacheHint.None, Predicate? where = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T> => LoadVector<T>(1, address, byteOffset, cache, where, file, line)[0];

    /// <summary>Loads 1, 2 or 4 consecutive words or numbers; the address must be a multiple of their bytes together.</summary>
    public T[] LoadVector<T>(int count, U64 address, long byteOffset = 0, CacheHint cache = CacheHint.None, Predicate? where = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T>
    {
        Recorder.At(file, line);
        (Value[] values, T[] handles) = NewValues<T>(count);
        Recorder.Emit(new LoadGlobal(new Sequence<Value>(values), address.Value, byteOffset, cache, where?.Value));
        return handles;
    }

    /// <summary>Stores 1, 2 or 4 consecutive words or numbers to global memory.</summary>
    public void Store<T>(U64 address, ReadOnlySpan<T> values, long byteOffset = 0, CacheHint cache = CacheHint.None, Predicate? where = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T>
    {
        Recorder.At(file, line);
        Recorder.Emit(new StoreGlobal(address.Value, byteOffset, Values(values), cache, where?.Value));
    }

    /// <summary>Stores one word or number to global memory.</summary>
    public void Store<T>(U64 address, T value, long byteOffset = 0, CacheHint cache = CacheHint.None, Predicate? where = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T> => Store(address, new ReadOnlySpan<T>(in value), byteOffset, cache, where, file, line);

    /// <summary>Stores the low or high half of a word (one BF16) to global memory.</summary>
    public void StoreHalf(U64 address, U32 pair, bool high, long byteOffset = 0, Predicate? where = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        Recorder.Emit(new StoreGlobalHalf(address.Value, byteOffset, pair.Value, high, where?.Value));
    }

    /// <summary>Adds 1 or 2 numbers to global memory, each atomically (relaxed, device scope).</summary>
    public void Add(U64 address, ReadOnlySpan<F32> values, long byteOffset = 0, Predicate? where = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        Recorder.Emit(new AddGlobal(address.Value, byteOffset, Values(values), where?.Value));
    }

    /// <summary>Loads 1, 2 or 4 consecutive words or numbers from shared memory.</summary>
    public T[] LoadShared<T>(int count, U32 address, int byteOffset = 0, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T>
    {
        Recorder.At(file, line);
        (Value[] values, T[] handles) = NewValues<T>(count);
        Recorder.Emit(new LoadShared(new Sequence<Value>(values), address.Value, byteOffset));
        return handles;
    }

    /// <summary>Loads one word or number from shared memory.</summary>
    public T LoadShared<T>(U32 address, int byteOffset = 0, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T> => LoadShared<T>(1, address, byteOffset, file, line)[0];

    /// <summary>Stores 1, 2 or 4 consecutive words or numbers to shared memory.</summary>
    public void StoreShared<T>(U32 address, ReadOnlySpan<T> values, int byteOffset = 0, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T>
    {
        Recorder.At(file, line);
        Recorder.Emit(new StoreShared(address.Value, byteOffset, Values(values)));
    }

    /// <summary>Stores one word or number to shared memory.</summary>
    public void StoreShared<T>(U32 address, T value, int byteOffset = 0, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
        where T : struct, IScalar<T> => StoreShared(address, new ReadOnlySpan<T>(in value), byteOffset, file, line);

    /// <summary>stmatrix: the warp stores four 8×8 matrices of 16-bit elements; lane l gives the address of row l mod 8 of matrix l / 8.</summary>
    public void StoreMatrix(U32 address, U32 first, U32 second, U32 third, U32 fourth, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        Recorder.Emit(new StoreMatrix(address.Value, [first.Value, second.Value, third.Value, fourth.Value]));
    }

    /// <summary>Two numbers as BF16, the first in the low half; rounded to nearest even.</summary>
    public U32 PackBF16(F32 low, F32 high) => new(Recorder, Recorder.Emit(ScalarType.U32, r => new PackBF16(r, low.Value, high.Value)));

    /// <summary>Four numbers as E4M3 bytes, the first lowest; rounded to nearest even, saturated to ±448.</summary>
    public U32 PackE4M3(F32 first, F32 second, F32 third, F32 fourth) =>
        new(Recorder, Recorder.Emit(ScalarType.U32, r => new PackE4M3(r, first.Value, second.Value, third.Value, fourth.Value)));

    /// <summary>The value of another lane of the warp: lane XOR <paramref name="mask"/>.</summary>
    public T ShuffleButterfly<T>(T value, int mask)
        where T : struct, IScalar<T> => T.Wrap(Recorder, Recorder.Emit(T.Type, r => new Shuffle(r, ShuffleKind.Butterfly, value.Value, mask)));

    /// <summary>The value of lane 0: tells the compiler that the value is the same in the whole warp.</summary>
    public U32 Uniform(U32 value) => new(Recorder, Recorder.Emit(ScalarType.U32, r => new Shuffle(r, ShuffleKind.Index, value.Value, 0)));

    /// <summary>The shared-memory address of a region, moved by bytes.</summary>
    public U32 Address(SharedRegion region, int byteOffset = 0) =>
        new(Recorder, Recorder.Emit(ScalarType.U32, r => new SharedAddress(r, region.ByteOffset + byteOffset)));

    /// <summary>Waits for the warp and makes its shared-memory accesses visible to each other.</summary>
    public void WarpSync([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new WarpSync(), file, line);

    /// <summary>Makes this thread's shared-memory stores visible to TMA and wgmma.</summary>
    public void FenceProxyAsync([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new FenceProxyAsync(), file, line);

    /// <summary>
    /// Starts copying one box from shared memory to a tensor; what lies outside the tensor is dropped. One thread calls it, after the writers of the box have
    /// fenced (<see cref="FenceProxyAsync"/>) and met it. The bytes may be overwritten when <see cref="AwaitStores"/> says so.
    /// </summary>
    internal void StoreBox(KernelScope kernel, TensorMap map, U32 from, U32 column, U32 row, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        U64 address = kernel.MapAddress(map);
        Recorder.Emit(new TensorStore(map.Parameter, address.Value, from.Value, [column.Value, row.Value]));
    }

    /// <summary>Closes a group of the thread's stores of boxes.</summary>
    public void CloseStores([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new BulkCommit(), file, line);

    /// <summary>Waits until at most <paramref name="pending"/> of the thread's groups are unfinished; with <paramref name="readOnly"/> only until they have read shared memory.</summary>
    public void AwaitStores(int pending, bool readOnly, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new BulkWait(pending, readOnly), file, line);

    /// <summary>Waits at a named barrier for <paramref name="threads"/> threads; 0 is the block's own.</summary>
    public void Sync(int barrier, int threads, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new NamedBarrier(barrier, threads, Wait: true), file, line);

    /// <summary>Arrives at a named barrier without waiting.</summary>
    public void Arrive(int barrier, int threads, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new NamedBarrier(barrier, threads, Wait: false), file, line);

    /// <summary>Ends the kernel with an error where the condition holds: a launch with such arguments fails on the device instead of giving wrong numbers.</summary>
    /// <param name="condition">What must not be.</param>
    /// <param name="why">What is expected instead.</param>
    /// <param name="file">The caller's file.</param>
    /// <param name="line">The caller's line.</param>
    public void Refuse(Predicate condition, string why, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        Recorder.Emit(new Refuse(condition.Value, why));
    }

    /// <summary>Programmatic dependent launch: waits for the grids this one depends on.</summary>
    public void GridDependencyWait([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new GridDependencyWait(), file, line);

    /// <summary>Programmatic dependent launch: lets dependent grids start.</summary>
    public void GridDependencyLaunch([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Emit(new GridDependencyLaunch(), file, line);

    private protected void Emit(Operation operation, string file, int line)
    {
        Recorder.At(file, line);
        Recorder.Emit(operation);
    }

    static Sequence<Value> Values<T>(ReadOnlySpan<T> handles)
        where T : struct, IScalar<T>
    {
        var values = new Value[handles.Length];
        for (int i = 0; i < values.Length; i++) values[i] = handles[i].Value;
        return new Sequence<Value>(values);
    }

    (Value[] Values, T[] Handles) NewValues<T>(int count)
        where T : struct, IScalar<T>
    {
        var values = new Value[count];
        var handles = new T[count];
        for (int i = 0; i < count; i++) handles[i] = T.Wrap(Recorder, values[i] = Recorder.NewValue(T.Type));
        return (values, handles);
    }
}
