using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>
/// BF16 [rows, columns] to E4M3 in blocks of 128×128 (weights, V3 §3.3.2), bit for bit as <see cref="TileQuantizer.QuantizeBlocks"/>; scales [⌈rows/128⌉, ⌈columns/128⌉]
/// f32, dense: the <c>weight_scale_inv</c> of public checkpoints, as the product reads them.
/// </summary>
/// <remarks>Parameters, in order: pointers x [rows, columns] bf16, codes [rows, columns] e4m3, scales; word rows. Launch it on <see cref="Blocks"/> blocks.</remarks>
public static class BlockCastKernel
{
    const int Threads = 256, RowsOfPass = Threads / 16, Passes = 128 / RowsOfPass;

    /// <summary>The kernel for so many columns (a multiple of 16).</summary>
    public static Kernel Build(int columns, ScaleKind kind)
    {
        QuantizeShape.CheckColumns(columns);
        return KernelBuilder.Define($"sm90_cast_blocks_128x128_{(kind == ScaleKind.Plain ? "plain" : "power2")}_c{columns}", Threads, kernel =>
        {
            U64 x = kernel.Pointer("x", ElementType.BF16), codes = kernel.Pointer("codes", ElementType.E4M3), scales = kernel.Pointer("scales", ElementType.F32);
            U32 rows = kernel.Word("rows");
            SharedRegion largestOfWarps = kernel.Shared("largest", 4 * Threads / 32, 16);
            int blockColumns = TileQuantizer.TileCount(columns);
            U32 block = kernel.BlockIndex(), blockRow = block / blockColumns, blockColumn = block - blockRow * blockColumns;
            U32 column = (blockColumn << 7) + ((kernel.ThreadIndex & 15) << 3), firstRow = (blockRow << 7) + (kernel.ThreadIndex >> 4);
            Predicate? columnInside = columns % 128 == 0 ? null : column < columns;
            U32 columnRead = columns % 128 == 0 ? column : column.Minimum(columns - 8);
            var words = new U32[Passes][];
            var inside = new Predicate[Passes];
            for (int pass = 0; pass < Passes; pass++)
            {
                U32 row = firstRow + RowsOfPass * pass;
                inside[pass] = row < rows;
                if (columnInside is { } c) inside[pass] &= c;
                U64 from = x + row.Minimum(rows - 1).MultiplyWide(2 * columns);
                words[pass] = kernel.LoadVector<U32>(4, from.At(columnRead, 2), 0, CacheHint.ReadOnly);
            }

            U32 largest = kernel.Constant(0);
            for (int pass = 0; pass < Passes; pass++)
            {
                QuantizeShape.ZeroUnless(kernel, inside[pass], words[pass]);
                largest = largest.Maximum(QuantizeShape.LargestBF16(words[pass]));
            }

            for (int mask = 1; mask < 32; mask *= 2) largest = largest.Maximum(kernel.ShuffleButterfly(largest, mask));
            U32 shared = kernel.Address(largestOfWarps);
            kernel.If(kernel.Lane.Is(0), () => kernel.StoreShared(shared + (kernel.Warp << 2), largest));
            kernel.Sync();
            for (int i = 0; i < Threads / 32; i += 4)
                foreach (U32 other in kernel.LoadShared<U32>(4, shared, 4 * i)) largest = largest.Maximum(other);
            var divider = new TileDivider(kernel, largest, kind, E4M3.MaxValue);
            for (int pass = 0; pass < Passes; pass++)
            {
                U64 to = codes + (firstRow + RowsOfPass * pass).MultiplyWide(columns);
                kernel.Store<U32>(to.At(column, 1), QuantizeShape.CodesOfBF16(kernel, divider, words[pass]), where: inside[pass]);
            }

            kernel.Store(scales.At(block, 4), divider.Scale, where: kernel.ThreadIndex.Is(0));
        });
    }

    /// <summary>Blocks to launch.</summary>
    public static int Blocks(int rows, int columns) => QuantizeShape.CheckBlocks((long)TileQuantizer.TileCount(rows) * TileQuantizer.TileCount(columns));
}
