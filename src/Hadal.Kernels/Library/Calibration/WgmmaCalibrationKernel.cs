using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Library.Calibration;

/// <summary>
/// One tile a block, with nothing around the tensor core: D[64, columns] = C[64, columns] + A[64, 32·steps]·B[columns, 32·steps]ᵀ, E4M3 in, float32 out, as
/// <c>steps</c> chained wgmma of K = 32. Its results are the data that <see cref="Hadal.Numerics.TensorCoreAccumulation"/> must equal bit for bit.
/// </summary>
/// <remarks>
/// Parameters: pointers a [tiles, 64, 128] bytes, b [tiles, columns, 128] bytes (of each row the first 32·steps are used), c and d [tiles, 64, columns] float32.
/// Operands are copied by the threads themselves, so that no tensor map is involved; C reaches the accumulators as 1·C, which is exact.
/// </remarks>
public static class WgmmaCalibrationKernel
{
    /// <summary>Rows of a tile.</summary>
    public const int Rows = 64;

    /// <summary>Bytes of a row of A and B in memory.</summary>
    public const int RowBytes = 128;

    /// <summary>The kernel for a width (multiple of 8, 8 to 256) and a number of chained instructions (1 to 4).</summary>
    public static Kernel Build(int columns, int steps)
    {
        if (steps is < 1 or > 4) throw new ArgumentOutOfRangeException(nameof(steps), steps, "A tile has 1 to 4 steps: 32 to 128 bytes of K.");
        return KernelBuilder.Define($"sm90_wgmma_calibration_n{columns}_k{32 * steps}", 128, kernel =>
        {
            U64 a = kernel.Pointer("a", ElementType.E4M3), b = kernel.Pointer("b", ElementType.E4M3);
            U64 c = kernel.Pointer("c", ElementType.F32), d = kernel.Pointer("d", ElementType.F32);
            SharedRegion rowsOfA = kernel.Shared("a", Rows * RowBytes, 1024), rowsOfB = kernel.Shared("b", columns * RowBytes, 1024);
            ConsumerScope scope = kernel.AsConsumer();
            U32 tile = kernel.BlockIndex();
            CopyRows(kernel, a.At(tile, Rows * RowBytes), rowsOfA, Rows);
            CopyRows(kernel, b.At(tile, columns * RowBytes), rowsOfB, columns);
            kernel.FenceProxyAsync();
            kernel.Sync();

            // Element e of group j is row e / 2, column e mod 2 of the thread's patch.
            U32 corner = tile * (Rows * columns) + scope.FragmentRow() * columns + ((scope.Lane & 3) << 1);
            U64 from = c.At(corner, 4), to = d.At(corner, 4);
            Accumulator accumulator = scope.Accumulator(columns, "d");
            var values = new Fragment(scope, accumulator.Registers);
            Fragment one = scope.Fragment(columns, "one");
            one.Fill(scope.Constant(1f));
            for (int group = 0; group < columns / 8; group++)
            {
                F32[] upper = kernel.LoadVector<F32>(2, from, 32 * group), lower = kernel.LoadVector<F32>(2, from, (8L * columns * 4) + (32 * group));
                values.Promote(one, group, 1, [upper[0], upper[1], lower[0], lower[1]], accumulate: false);
            }

            MatrixOperand left = scope.Matrix(rowsOfA, ElementType.E4M3), right = scope.Matrix(rowsOfB, ElementType.E4M3);
            scope.Recorder.Emit(new WgmmaFence());
            for (int step = 0; step < steps; step++)
                scope.Recorder.Emit(new Wgmma(accumulator.Registers, ElementType.E4M3, left.Descriptor.Value, right.Descriptor.Value, 2 * step, Accumulate: true, []));
            scope.Recorder.Emit(new WgmmaCommit());
            scope.Recorder.Emit(new WgmmaWait(0));
            for (int group = 0; group < columns / 8; group++)
            {
                kernel.Store<F32>(to, [values.Element(4 * group), values.Element((4 * group) + 1)], 32 * group);
                kernel.Store<F32>(to, [values.Element((4 * group) + 2), values.Element((4 * group) + 3)], (8L * columns * 4) + (32 * group));
            }
        });
    }

    /// <summary>16 bytes a thread and turn, to where the 128-byte swizzle has them.</summary>
    static void CopyRows(KernelScope kernel, U64 from, SharedRegion region, int rows)
    {
        const int Pieces = RowBytes / 16;
        for (int first = 0; first < rows * Pieces; first += kernel.Threads)
        {
            U32 piece = kernel.ThreadIndex + first;
            void Copy()
            {
                U32 row = piece >> 3, place = (piece & 7) ^ (row & 7);
                U32[] words = kernel.LoadVector<U32>(4, from.At(piece, 16));
                kernel.StoreShared<U32>(kernel.Address(region) + (row << 7) + (place << 4), words);
            }

            if (first + kernel.Threads <= rows * Pieces) Copy();
            else kernel.If(piece < rows * Pieces, Copy);
        }
    }
}
