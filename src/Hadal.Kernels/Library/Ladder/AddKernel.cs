using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 2: z[i] = x[i] + y[i] of float32 with any number of blocks: each walks the array in steps of the whole grid. Launched dependently, it starts while the
/// kernel before it ends, and waits before it reads what that one wrote.
/// </summary>
public static class AddKernel
{
    const int Threads = 256, Piece = 4;

    /// <summary>The kernel. Parameters: pointers x, y and z (16-byte aligned), word count.</summary>
    public static Kernel Build() => KernelBuilder.Define("ladder_02_add", Threads, k =>
    {
        U64 x = k.Pointer("x", ElementType.F32), y = k.Pointer("y", ElementType.F32), z = k.Pointer("z", ElementType.F32);
        U32 count = k.Word("count");
        U32 step = k.BlockCount() * (Threads * Piece), whole = count & -Piece;
        Register<U32> at = k.Register("at", (k.BlockIndex() * Threads + k.ThreadIndex) * Piece);
        k.GridDependencyWait();
        k.While(() => at.Value < whole, () =>
        {
            U32 i = at.Value;
            F32[] left = k.LoadVector<F32>(Piece, x.At(i, 4), cache: CacheHint.ReadOnly), right = k.LoadVector<F32>(Piece, y.At(i, 4), cache: CacheHint.ReadOnly);
            k.Store<F32>(z.At(i, 4), [left[0] + right[0], left[1] + right[1], left[2] + right[2], left[3] + right[3]]);
            at.Value = i + step;
        }, uniform: false);

        // The last count mod 4 elements: a thread each, of the first block.
        U32 tail = whole + k.ThreadIndex;
        Predicate inside = k.BlockIndex().Is(0) & tail < count;
        k.Store(z.At(tail, 4), k.Load<F32>(x.At(tail, 4), where: inside) + k.Load<F32>(y.At(tail, 4), where: inside), where: inside);
        k.GridDependencyLaunch();
    });

    /// <summary>Eight blocks a multiprocessor, or fewer when the array is short.</summary>
    public static int Blocks(int count, int multiprocessors) => Math.Min(8 * multiprocessors, MatrixShape.Up(count, Threads * Piece));

    /// <summary>The definition of one element.</summary>
    public static float Reference(float x, float y) => x + y;
}
