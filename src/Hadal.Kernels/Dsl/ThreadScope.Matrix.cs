using System.Runtime.CompilerServices;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <content>Products of one warp, and atomic operations.</content>
public abstract partial class ThreadScope
{
    /// <summary>
    /// ldmatrix: the warp loads <paramref name="count"/> (1, 2 or 4) 8×8 matrices of 16-bit elements; lane l gives the address of row l mod 8 of matrix l / 8 and
    /// receives elements 2(l mod 4), +1 of row l / 4 of each.
    /// </summary>
    public U32[] LoadMatrix(int count, U32 address, int byteOffset = 0, bool transposed = false, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        (Value[] values, U32[] handles) = NewValues<U32>(count);
        Recorder.Emit(new LoadMatrix(new Sequence<Value>(values), address.Value, byteOffset, transposed));
        return handles;
    }

    /// <summary>
    /// mma.sync: the warp computes A[16, 16]·B[8, 16]ᵀ + <paramref name="addends"/> of BF16 in float32. Lane l holds of A four words (rows l/4 and +8 at columns
    /// 2(l mod 4), +1; then both at +8), of B two (row l/4 at the same columns), of the sums four (row l/4, then +8).
    /// </summary>
    public F32[] MultiplySync(ReadOnlySpan<U32> a, ReadOnlySpan<U32> b, ReadOnlySpan<F32> addends, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        (Value[] values, F32[] handles) = NewValues<F32>(4);
        Recorder.Emit(new MultiplySync(new Sequence<Value>(values), Values(a), Values(b), Values(addends)));
        return handles;
    }

    /// <summary>Adds to a word in global memory as one step and returns what was there before.</summary>
    public U32 AtomicAdd(U64 address, U32 added, MemoryOrder order, MemoryScope scope, long byteOffset = 0, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        Recorder.At(file, line);
        return new U32(Recorder, Recorder.Emit(ScalarType.U32, r => new AtomicAdd(r, address.Value, byteOffset, added.Value, order, scope)));
    }
}
