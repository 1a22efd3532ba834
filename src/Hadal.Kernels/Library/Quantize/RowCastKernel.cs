using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>
/// BF16 [rows, columns] to E4M3 in tiles of 1×128 (V3 §3.3.2), bit for bit as <see cref="TileQuantizer.QuantizeRows"/>; the scales in the order in which the product
/// reads them: [⌈columns/128⌉, scale_stride] f32, row r's at r.
/// </summary>
/// <remarks>
/// A warp takes a row, 16 lanes a tile. Parameters, in order: pointers x [rows, columns] bf16, codes [rows, columns] e4m3, scales; words rows (or their address, <see cref="RowCount"/>), scale_stride.
/// Launch it on <see cref="Blocks"/> blocks.
/// </remarks>
public static class RowCastKernel
{
    const int RowsOfBlock = 8, ColumnsOfLoad = 256;

    /// <summary>The kernel for so many columns (a multiple of 16).</summary>
    public static Kernel Build(int columns, ScaleKind kind, RowCount count = RowCount.Argument)
    {
        QuantizeShape.CheckColumns(columns);
        return KernelBuilder.Define($"sm90_cast_rows_1x128_{(kind == ScaleKind.Plain ? "plain" : "power2")}_c{columns}{QuantizeShape.Suffix(count)}", 32 * RowsOfBlock, kernel =>
        {
            U64 x = kernel.Pointer("x", ElementType.BF16), codes = kernel.Pointer("codes", ElementType.E4M3), scales = kernel.Pointer("scales", ElementType.F32);
            U32 rows = QuantizeShape.Rows(kernel, count), stride = kernel.Word("scale_stride");
            int loads = Loads(columns), groups = Groups(columns);
            U32 block = kernel.BlockIndex(), rowBlock = block / groups;
            U32 row = rowBlock * RowsOfBlock + kernel.Warp, firstColumn = (block - rowBlock * groups) * (loads * ColumnsOfLoad) + (kernel.Lane << 3);
            kernel.If(row < rows, () =>
            {
                var words = new U32[loads][];
                var inside = new Predicate?[loads];
                U64 from = x + row.MultiplyWide(2 * columns), to = codes + row.MultiplyWide(columns);
                for (int i = 0; i < loads; i++)
                {
                    U32 column = firstColumn + i * ColumnsOfLoad;
                    if (columns % (loads * ColumnsOfLoad) != 0)
                    {
                        inside[i] = column < columns;
                        column = column.Minimum(columns - 8);
                    }

                    words[i] = kernel.LoadVector<U32>(4, from.At(column, 2), 0, CacheHint.ReadOnly);
                    if (columns % 128 != 0) QuantizeShape.ZeroUnless(kernel, inside[i], words[i]);
                }

                for (int i = 0; i < loads; i++)
                {
                    U32 column = firstColumn + i * ColumnsOfLoad;
                    U32 largest = QuantizeShape.LargestBF16(words[i]);
                    for (int mask = 1; mask < 16; mask *= 2) largest = largest.Maximum(kernel.ShuffleButterfly(largest, mask));
                    var divider = new TileDivider(kernel, largest, kind, E4M3.MaxValue);
                    kernel.Store<U32>(to.At(column, 1), QuantizeShape.CodesOfBF16(kernel, divider, words[i]), where: inside[i]);
                    Predicate first = (kernel.Lane & 15).Is(0);
                    kernel.Store(scales.At((column >> 7) * stride + row, 4), divider.Scale, where: inside[i] is { } p ? first & p : first);
                }
            }, uniform: true);
        });
    }

    /// <summary>Blocks to launch.</summary>
    public static int Blocks(int rows, int columns) => QuantizeShape.CheckBlocks((long)((rows + RowsOfBlock - 1) / RowsOfBlock) * Groups(columns));

    static int Loads(int columns) => Math.Min(4, (columns + ColumnsOfLoad - 1) / ColumnsOfLoad);

    static int Groups(int columns) => (columns + Loads(columns) * ColumnsOfLoad - 1) / (Loads(columns) * ColumnsOfLoad);
}
