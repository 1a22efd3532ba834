using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Dsl;

/// <content>Conversions of packed numbers.</content>
public abstract partial class ThreadScope
{
    /// <summary>The four E4M3 bytes of a word as numbers, the lowest first; exact, a NaN code gives a NaN.</summary>
    public F32[] UnpackE4M3(U32 packed)
    {
        (Value[] values, F32[] handles) = NewValues<F32>(4);
        Recorder.Emit(new UnpackE4M3(new Sequence<Value>(values), packed.Value));
        return handles;
    }

    /// <summary>The BF16 in the low half of a word.</summary>
    public F32 LowBF16(U32 pair) => (pair << 16).AsF32();

    /// <summary>The BF16 in the high half of a word.</summary>
    public F32 HighBF16(U32 pair) => (pair & unchecked((int)0xFFFF0000)).AsF32();
}
