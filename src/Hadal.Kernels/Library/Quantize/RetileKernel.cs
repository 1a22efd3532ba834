using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Gemm;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>
/// [rows, columns] in BF16, or in E4M3 with 1×128 tiles, to E4M3 in tiles of 128×1, transposed to [columns, k_stride] so that the weight gradient contracts along rows
/// (V3 §3.5.2), bit for bit as <see cref="TileQuantizer.QuantizeColumns"/> and <see cref="TileQuantizer.Retile"/>. Scales as that product reads them:
/// [⌈rows/128⌉, output_stride] f32, column c's at its place (<see cref="GradientScales"/>).
/// </summary>
/// <remarks>
/// A block turns 128×128 elements: a warp takes 16 rows, a lane 4 columns; the largest magnitudes of columns meet in shared memory, the codes are turned there.
/// Columns of the result from rows to k_stride (a multiple of 16, at least rows) are 0 as far as they share a tile with a row.
/// Parameters, in order: pointer x; with E4M3 pointer x_scales [⌈columns/128⌉, input_stride] f32; pointers codes, scales; words rows, k_stride, output_stride; with
/// E4M3 word input_stride. Launch it on <see cref="Blocks"/> blocks.
/// </remarks>
public static class RetileKernel
{
    const int Threads = 256, Warps = Threads / 32, RowsOfWarp = 128 / Warps;

    /// <summary>The kernel for so many columns (a multiple of 16).</summary>
    public static Kernel Build(int columns, ElementType source, ScaleKind kind, ColumnScaleOrder order = ColumnScaleOrder.Natural)
    {
        QuantizeShape.CheckColumns(columns);
        if (source is not (ElementType.BF16 or ElementType.E4M3)) throw new ArgumentException($"The source is {source}: BF16 or E4M3 can be re-tiled.", nameof(source));
        string name = $"sm90_retile_128x1_{(source == ElementType.BF16 ? "bf16" : "e4m3")}_{(kind == ScaleKind.Plain ? "plain" : "power2")}{(order == ColumnScaleOrder.Natural ? "" : "_interleaved")}_c{columns}";
        return KernelBuilder.Define(name, Threads, kernel =>
        {
            bool coded = source == ElementType.E4M3;
            U64 x = kernel.Pointer("x", source);
            U64 sourceScales = coded ? kernel.Pointer("x_scales", ElementType.F32) : default;
            U64 codes = kernel.Pointer("codes", ElementType.E4M3), scales = kernel.Pointer("scales", ElementType.F32);
            U32 rows = kernel.Word("rows"), kStride = kernel.Word("k_stride"), outputStride = kernel.Word("output_stride");
            U32 inputStride = coded ? kernel.Word("input_stride") : default;
            SharedRegion largestOfWarps = kernel.Shared("largest", 4 * 128 * Warps, 16), turned = kernel.Shared("turned", 128 * 128, 128);
            int tileColumns = TileQuantizer.TileCount(columns);
            U32 block = kernel.BlockIndex(), tileRow = block / tileColumns, tileColumn = block - tileRow * tileColumns;
            U32 column = (tileColumn << 7) + (kernel.Lane << 2), firstRow = (tileRow << 7) + kernel.Warp * RowsOfWarp;
            U32 columnRead = columns % 128 == 0 ? column : column.Minimum(columns - 4);

            // Reading: all words first, so that they travel together.
            int bytes = coded ? 1 : 2, wordsOfRow = bytes;
            var words = new U32[RowsOfWarp][];
            for (int r = 0; r < RowsOfWarp; r++)
            {
                U64 from = x + (firstRow + r).Minimum(rows - 1).MultiplyWide(bytes * columns);
                words[r] = kernel.LoadVector<U32>(wordsOfRow, from.At(columnRead, bytes), 0, CacheHint.ReadOnly);
            }

            var scaleOfRow = new F32[RowsOfWarp];
            for (int r = 0; r < RowsOfWarp && coded; r++)
                scaleOfRow[r] = kernel.Load<F32>(sourceScales.At(tileColumn * inputStride + (firstRow + r).Minimum(rows - 1), 4), 0, CacheHint.ReadOnly);

            var values = new F32[RowsOfWarp][];
            U32[] largest = [kernel.Constant(0), kernel.Constant(0), kernel.Constant(0), kernel.Constant(0)];
            for (int r = 0; r < RowsOfWarp; r++)
            {
                Predicate inside = firstRow + r < rows;
                values[r] = coded ? kernel.UnpackE4M3(words[r][0]) : Numbers(kernel, words[r]);
                for (int i = 0; i < 4; i++)
                {
                    if (coded) values[r][i] *= scaleOfRow[r];
                    values[r][i] = inside.Select(values[r][i], kernel.Constant(0f));
                    largest[i] = largest[i].Maximum(TileDivider.Magnitude(values[r][i]));
                }
            }

            // A column's largest magnitude over the warps.
            U32 meeting = kernel.Address(largestOfWarps) + (kernel.Lane << 4);
            kernel.StoreShared<U32>(meeting + (kernel.Warp << 9), largest);
            kernel.Sync();
            for (int warp = 0; warp < Warps; warp++)
            {
                U32[] others = kernel.LoadShared<U32>(4, meeting, 512 * warp);
                for (int i = 0; i < 4; i++) largest[i] = largest[i].Maximum(others[i]);
            }

            // Turning: 16 rows of a column are 16 bytes; pieces of a column are permuted by the lane against bank conflicts.
            U32 turning = kernel.Address(turned) + (kernel.Lane << 9) + ((kernel.Warp ^ (kernel.Lane & 7)) << 4);
            for (int i = 0; i < 4; i++)
            {
                var divider = new TileDivider(kernel, largest[i], kind, E4M3.MaxValue);
                var column16 = new U32[RowsOfWarp / 4];
                for (int r = 0; r < RowsOfWarp; r += 4) column16[r / 4] = divider.Codes(values[r][i], values[r + 1][i], values[r + 2][i], values[r + 3][i]);
                kernel.StoreShared<U32>(turning, column16, 128 * i);
                U32 place = order == ColumnScaleOrder.Natural ? column + i : Interleaved(column, i);
                Predicate writes = kernel.Warp.Is(0);
                if (columns % 128 != 0) writes &= column + i < columns;
                kernel.Store(scales.At(tileRow * outputStride + place, 4), divider.Scale, where: writes);
            }

            kernel.Sync();
            U32 piece = kernel.ThreadIndex & 7;
            for (int pass = 0; pass < 4; pass++)
            {
                U32 inTile = (kernel.ThreadIndex >> 3) + 32 * pass, k = (tileRow << 7) + (piece << 4), channel = (tileColumn << 7) + inTile;
                U32 from = kernel.Address(turned) + (inTile << 7) + ((piece ^ ((inTile >> 2) & 7)) << 4);
                Predicate writes = k < kStride;
                if (columns % 128 != 0) writes &= channel < columns;
                kernel.Store<U32>(codes + channel.MultiplyWide(kStride) + k.Wide(), kernel.LoadShared<U32>(4, from), where: writes);
            }
        });
    }

    /// <summary>Blocks to launch.</summary>
    public static int Blocks(int rows, int columns) => QuantizeShape.CheckBlocks((long)TileQuantizer.TileCount(rows) * TileQuantizer.TileCount(columns));

    static F32[] Numbers(ThreadScope scope, U32[] pairs) => [scope.LowBF16(pairs[0]), scope.HighBF16(pairs[0]), scope.LowBF16(pairs[1]), scope.HighBF16(pairs[1])];

    /// <summary>The place of column + i, where column is a multiple of 4 and i below 4.</summary>
    static U32 Interleaved(U32 column, int i)
    {
        // Of the 16: bit 3 goes to bit 1, bits 2 and 1 to 3 and 2, bit 0 stays.
        U32 within = column & 15;
        return (column & ~15) + ((within >> 3) << 1) + ((((within >> 2) & 1) << 1) + (i >> 1)) * 4 + (i & 1);
    }
}
