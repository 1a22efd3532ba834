using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Ladder;

/// <summary>
/// Rung 3: the sum of x[0 … count). Lanes add by shuffles, warps through shared memory, blocks through global memory: the block that an atomic counter shows to be
/// the last adds the partial sums in a fixed order, so that the bits do not depend on which block that is.
/// </summary>
public static class SumKernel
{
    const int Threads = 256, Warps = Threads / 32, Piece = 4;

    /// <summary>The kernel. Parameters: pointers x (16-byte aligned), partial (a float32 each block), counter (a word, 0 before and after) and sum; word count.</summary>
    public static Kernel Build() => KernelBuilder.Define("ladder_03_sum", Threads, k =>
    {
        U64 x = k.Pointer("x", ElementType.F32), partial = k.Pointer("partial", ElementType.F32), counter = k.Pointer("counter", ElementType.F32), sum = k.Pointer("sum", ElementType.F32);
        U32 count = k.Word("count"), thread = k.ThreadIndex, block = k.BlockIndex(), blocks = k.BlockCount(), whole = count & -Piece;
        U32 warpSums = k.Address(k.Shared("warps", 4 * Warps)), isLast = k.Address(k.Shared("last", 4));
        Register<F32> mine = k.Register("mine", k.Constant(0f));
        Walk((block * Threads + thread) * Piece, whole, blocks * (Threads * Piece), i =>
        {
            F32[] v = k.LoadVector<F32>(Piece, x.At(i, 4), cache: CacheHint.ReadOnly);
            mine.Value += v[0] + v[1] + (v[2] + v[3]);
        });
        k.If(block.Is(0) & whole + thread < count, () => mine.Value += k.Load<F32>(x.At(whole + thread, 4)));
        F32 blockSum = OverBlock(mine.Value);
        k.If(thread.Is(0), () =>
        {
            k.Store(partial.At(block, 4), blockSum);
            U32 before = k.AtomicAdd(counter, k.Constant(1), MemoryOrder.AcquireRelease, MemoryScope.Device);
            k.StoreShared(isLast, (before + 1).Is(blocks).Select(k.Constant(1), k.Constant(0)));
        });
        k.Sync();
        k.If(k.LoadShared<U32>(isLast).Is(1), () =>
        {
            mine.Value = k.Constant(0f);
            Walk(thread, blocks, k.Constant(Threads), i => mine.Value += k.Load<F32>(partial.At(i, 4)));
            F32 total = OverBlock(mine.Value);
            k.If(thread.Is(0), () =>
            {
                k.Store(sum, total);
                k.Store(counter, k.Constant(0));
            });
        }, uniform: true);

        void Walk(U32 first, U32 end, U32 step, Action<U32> body)
        {
            Register<U32> at = k.Register("at", first);
            k.While(() => at.Value < end, () =>
            {
                U32 now = at.Value;
                body(now);
                at.Value = now + step;
            }, uniform: false);
        }

        F32 OverLanes(F32 value, int lanes)
        {
            for (int mask = lanes / 2; mask > 0; mask /= 2) value += k.ShuffleButterfly(value, mask);
            return value;
        }

        F32 OverBlock(F32 value)
        {
            // The second time, the block has met at the counter after its last reading.
            F32 ofWarp = OverLanes(value, 32);
            k.If(k.Lane.Is(0), () => k.StoreShared(warpSums + (k.Warp << 2), ofWarp));
            k.Sync();
            return OverLanes(k.LoadShared<F32>(warpSums + ((k.Lane & (Warps - 1)) << 2)), Warps);
        }
    });

    /// <summary>The definition, in double.</summary>
    public static double Reference(float[] x) => x.Sum(v => (double)v);
}
