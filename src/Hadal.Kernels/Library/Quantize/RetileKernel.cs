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
/// Parameters, in order: pointer x; with E4M3 pointer x_scales [⌈columns/128⌉, input_stride] f32 (a multiple of 4); pointers codes, scales; words rows (or their
/// address, <see cref="RowCount"/>), k_stride, output_stride; with E4M3 word input_stride. Launch it on <see cref="Blocks"/> blocks.
/// </remarks>
public static class RetileKernel
{
    const int Threads = 256, Warps = Threads / 32, RowsOfWarp = 128 / Warps;

    /// <summary>The kernel for so many columns (a multiple of 16).</summary>
    public static Kernel Build(int columns, ElementType source, ScaleKind kind, ColumnScaleOrder order = ColumnScaleOrder.Natural, RowCount count = RowCount.Argument)
    {
        QuantizeShape.CheckColumns(columns);
        if (source is not (ElementType.BF16 or ElementType.E4M3)) throw new ArgumentException($"The source is {source}: BF16 or E4M3 can be re-tiled.", nameof(source));
        bool coded = source == ElementType.E4M3;
        string name = $"sm90_retile_128x1_{(coded ? "e4m3" : "bf16")}_{(kind == ScaleKind.Plain ? "plain" : "power2")}{(order == ColumnScaleOrder.Natural ? "" : "_interleaved")}_c{columns}{QuantizeShape.Suffix(count)}";
        return KernelBuilder.Define(name, Threads, kernel =>
        {
            U64 x = kernel.Pointer("x", source);
            U64 sourceScales = coded ? kernel.Pointer("x_scales", ElementType.F32) : default;
            U64 codes = kernel.Pointer("codes", ElementType.E4M3), scales = kernel.Pointer("scales", ElementType.F32);
            U32 rows = QuantizeShape.Rows(kernel, count), kStride = kernel.Word("k_stride"), outputStride = kernel.Word("output_stride");
            U32 inputStride = coded ? kernel.Word("input_stride") : default;
            SharedRegion largestOfWarps = kernel.Shared("largest", 4 * 128 * Warps, 16), turned = kernel.Shared("turned", 128 * 128, 128);
            int tileColumns = TileQuantizer.TileCount(columns);
            U32 block = kernel.BlockIndex(), tileRow = block / tileColumns, tileColumn = block - tileRow * tileColumns;
            U32 column = (tileColumn << 7) + (kernel.Lane << 2), firstRow = (tileRow << 7) + kernel.Warp * RowsOfWarp;
            kernel.If((tileRow << 7) < rows, () =>
            {
                U32 columnRead = columns % 128 == 0 ? column : column.Minimum(columns - 4);
                F32[][] values = coded
                    ? Decode(kernel, Read(kernel, x, firstRow, rows, columnRead, columns, 1), sourceScales.At(tileColumn * inputStride, 4), firstRow, rows)
                    : [.. Read(kernel, x, firstRow, rows, columnRead, columns, 2).Select(w => Numbers(kernel, w))];
                U32[] largest = Largest(kernel, values, firstRow, rows, largestOfWarps);

                // Turning: 16 rows of a column are 16 bytes; pieces of a column are permuted by the lane against bank conflicts.
                U32 turning = kernel.Address(turned) + (kernel.Lane << 9) + ((kernel.Warp ^ (kernel.Lane & 7)) << 4);
                for (int i = 0; i < 4; i++)
                {
                    var divider = new TileDivider(kernel, largest[i], kind, E4M3.MaxValue);
                    var piece = new U32[RowsOfWarp / 4];
                    for (int r = 0; r < RowsOfWarp; r += 4) piece[r / 4] = divider.Codes(values[r][i], values[r + 1][i], values[r + 2][i], values[r + 3][i]);
                    kernel.StoreShared<U32>(turning, piece, 128 * i);
                    U32 place = order == ColumnScaleOrder.Natural ? column + i : Interleaved(column, i);
                    Predicate writes = kernel.Warp.Is(0);
                    if (columns % 128 != 0) writes &= column + i < columns;
                    kernel.Store(scales.At(tileRow * outputStride + place, 4), divider.Scale, where: writes);
                }

                kernel.Sync();
                Write(kernel, codes, kStride, tileRow, tileColumn, columns, turned);
            }, uniform: true);
        });
    }

    /// <summary>Blocks to launch.</summary>
    public static int Blocks(int rows, int columns) => QuantizeShape.CheckBlocks((long)TileQuantizer.TileCount(rows) * TileQuantizer.TileCount(columns));

    /// <summary>Four columns of the warp's rows, all loads started before any is used; rows beyond the last repeat it.</summary>
    static U32[][] Read(KernelScope kernel, U64 x, U32 firstRow, U32 rows, U32 column, int columns, int bytes)
    {
        var words = new U32[RowsOfWarp][];
        U64 first = x.At(column, bytes);
        for (int r = 0; r < RowsOfWarp; r++)
            words[r] = kernel.LoadVector<U32>(bytes, first + (firstRow + r).Minimum(rows - 1).MultiplyWide(bytes * columns), 0, CacheHint.ReadOnly);
        return words;
    }

    /// <summary>Codes times the scales of their rows, which lie beside each other.</summary>
    static F32[][] Decode(KernelScope kernel, U32[][] words, U64 scales, U32 firstRow, U32 rows)
    {
        U32 last = (rows - 1) & ~3;
        var values = new F32[words.Length][];
        for (int r = 0; r < words.Length; r += 4)
        {
            F32[] four = kernel.LoadVector<F32>(4, scales.At((firstRow + r).Minimum(last), 4), 0, CacheHint.ReadOnly);
            for (int i = 0; i < 4; i++) values[r + i] = [.. kernel.UnpackE4M3(words[r + i][0]).Select(code => code * four[i])];
        }

        return values;
    }

    /// <summary>The bits of the four columns' largest magnitudes over all warps; values of rows that do not exist become zero.</summary>
    static U32[] Largest(KernelScope kernel, F32[][] values, U32 firstRow, U32 rows, SharedRegion meetingPlace)
    {
        U32[] largest = [kernel.Constant(0), kernel.Constant(0), kernel.Constant(0), kernel.Constant(0)];
        for (int r = 0; r < values.Length; r++)
        {
            Predicate inside = firstRow + r < rows;
            for (int i = 0; i < 4; i++)
            {
                values[r][i] = inside.Select(values[r][i], kernel.Constant(0f));
                largest[i] = largest[i].Maximum(TileDivider.Magnitude(values[r][i]));
            }
        }

        U32 meeting = kernel.Address(meetingPlace) + (kernel.Lane << 4);
        kernel.StoreShared<U32>(meeting + (kernel.Warp << 9), largest);
        kernel.Sync();
        for (int warp = 0; warp < Warps; warp++)
        {
            U32[] others = kernel.LoadShared<U32>(4, meeting, 512 * warp);
            for (int i = 0; i < 4; i++) largest[i] = largest[i].Maximum(others[i]);
        }

        return largest;
    }

    /// <summary>Eight threads write the 128 codes of a column.</summary>
    static void Write(KernelScope kernel, U64 codes, U32 kStride, U32 tileRow, U32 tileColumn, int columns, SharedRegion turned)
    {
        U32 piece = kernel.ThreadIndex & 7, k = (tileRow << 7) + (piece << 4);
        for (int pass = 0; pass < 4; pass++)
        {
            U32 inTile = (kernel.ThreadIndex >> 3) + 32 * pass, channel = (tileColumn << 7) + inTile;
            U32 from = kernel.Address(turned) + (inTile << 7) + ((piece ^ ((inTile >> 2) & 7)) << 4);
            Predicate writes = k < kStride;
            if (columns % 128 != 0) writes &= channel < columns;
            kernel.Store<U32>(codes + channel.MultiplyWide(kStride) + k.Wide(), kernel.LoadShared<U32>(4, from), where: writes);
        }
    }

    static F32[] Numbers(ThreadScope scope, U32[] pairs) => [scope.LowBF16(pairs[0]), scope.HighBF16(pairs[0]), scope.LowBF16(pairs[1]), scope.HighBF16(pairs[1])];

    /// <summary>The place of column + i, where column is a multiple of 4 and i below 4.</summary>
    static U32 Interleaved(U32 column, int i)
    {
        // Of the 16: bit 3 goes to bit 1, bits 2 and 1 to 3 and 2, bit 0 stays.
        U32 within = column & 15;
        return (column & ~15) + ((within >> 3) << 1) + ((((within >> 2) & 1) << 1) + (i >> 1)) * 4 + (i & 1);
    }
}
