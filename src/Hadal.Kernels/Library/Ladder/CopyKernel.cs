using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>Rung 1: y[i] = x[i] of float32. Each thread moves 16 bytes; the last, incomplete piece goes element by element.</summary>
public static class CopyKernel
{
    const int Threads = 256, Piece = 4;

    /// <summary>The kernel. Parameters: pointers x and y (16-byte aligned), word count.</summary>
    public static Kernel Build() => KernelBuilder.Define("ladder_01_copy", Threads, k =>
    {
        U64 x = k.Pointer("x", ElementType.F32), y = k.Pointer("y", ElementType.F32);
        U32 count = k.Word("count");
        U32 first = (k.BlockIndex() * Threads + k.ThreadIndex) * Piece;
        U64 from = x.At(first, 4), to = y.At(first, 4);
        k.If(
            first + (Piece - 1) < count,
            () => k.Store<F32>(to, k.LoadVector<F32>(Piece, from, cache: CacheHint.Streaming), cache: CacheHint.Streaming),
            () =>
            {
                for (int i = 0; i < Piece - 1; i++)
                {
                    Predicate inside = first + i < count;
                    k.Store(to, k.Load<F32>(from, 4 * i, where: inside), 4 * i, where: inside);
                }
            });
    });

    /// <summary>Blocks that cover <paramref name="count"/> elements.</summary>
    public static int Blocks(int count) => MatrixShape.Up(count, Threads * Piece);

    /// <summary>The definition of one element.</summary>
    public static float Reference(float x) => x;
}
