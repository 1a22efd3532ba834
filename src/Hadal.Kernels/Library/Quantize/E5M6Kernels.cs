using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>
/// BF16 [rows, columns] to packed E5M6 in tiles of 1×128 with power-of-two scales (V3 §3.3.3) and back, bit for bit as <see cref="TileQuantizer.QuantizeRowsE5M6"/> and
/// <see cref="TileQuantizer.DequantizeRowsE5M6"/> rounded to BF16 (which holds every product of a code and a scale unless it is subnormal).
/// </summary>
/// <remarks>
/// A warp takes a row, 16 lanes a tile, a lane 8 values = 12 bytes. Parameters, in order: pointers x [rows, columns] bf16, packed [rows, columns · 3/2] bytes, scales
/// [rows, ⌈columns/128⌉] f32; word rows (or its address, <see cref="RowCount"/>). Launch them on <see cref="Blocks"/> blocks.
/// </remarks>
public static class E5M6Kernels
{
    const int RowsOfBlock = 8, ColumnsOfLoad = 256;

    /// <summary>Packs; for so many columns (a multiple of 16).</summary>
    /// <param name="columns">Columns.</param>
    /// <param name="count">Where the number of rows is.</param>
    /// <param name="wide">A rival of the chosen form, with the same bits, for multiples of 32 columns: four lanes leave their 48 bytes as three pieces of 16, where each otherwise stores three words 12 bytes apart.</param>
    public static Kernel BuildPack(int columns, RowCount count = RowCount.Argument, bool wide = false) => Build(columns, count, wide ? "pack_wide" : "pack", (kernel, place) =>
    {
        U32[] words = kernel.LoadVector<U32>(4, place.X, 0, CacheHint.ReadOnly);
        if (columns % 128 != 0) QuantizeShape.ZeroUnless(kernel, place.Inside, words);
        U32 largest = QuantizeShape.LargestBF16(words);
        for (int mask = 1; mask < 16; mask *= 2) largest = largest.Maximum(kernel.ShuffleButterfly(largest, mask));
        var divider = new TileDivider(kernel, largest, ScaleKind.PowerOfTwo, E5M6.MaxValue);
        var codes = new U32[8];
        for (int i = 0; i < 8; i++) codes[i] = divider.Masked(Encode(kernel, divider.Divide(i % 2 == 0 ? kernel.LowBF16(words[i / 2]) : kernel.HighBF16(words[i / 2]))));
        U32[] packed =
        [
            codes[0] | (codes[1] << 12) | (codes[2] << 24),
            (codes[2] >> 8) | (codes[3] << 4) | (codes[4] << 16) | (codes[5] << 28),
            (codes[5] >> 4) | (codes[6] << 8) | (codes[7] << 20),
        ];
        if (wide) StoreWide(kernel, place, packed);
        else for (int i = 0; i < 3; i++) kernel.Store(place.Packed, packed[i], 4 * i, where: place.Inside);
        Predicate first = (kernel.Lane & 15).Is(0);
        kernel.Store(place.Scale, divider.Scale, where: place.Inside is { } inside ? first & inside : first);
    });

    /// <summary>Unpacks; for so many columns (a multiple of 16).</summary>
    public static Kernel BuildUnpack(int columns, RowCount count = RowCount.Argument) => Build(columns, count, "unpack", (kernel, place) =>
    {
        var packed = new U32[3];
        for (int i = 0; i < 3; i++) packed[i] = kernel.Load<U32>(place.Packed, 4 * i, CacheHint.ReadOnly);
        F32 scale = kernel.Load<F32>(place.Scale, 0, CacheHint.ReadOnly);
        U32[] codes =
        [
            packed[0], packed[0] >> 12, (packed[0] >> 24) | (packed[1] << 8), packed[1] >> 4, packed[1] >> 16, (packed[1] >> 28) | (packed[2] << 4), packed[2] >> 8, packed[2] >> 20,
        ];
        var words = new U32[4];
        for (int i = 0; i < 4; i++) words[i] = kernel.PackBF16(Decode(kernel, codes[2 * i]) * scale, Decode(kernel, codes[2 * i + 1]) * scale);
        kernel.Store<U32>(place.X, words, where: place.Inside);
    });

    /// <summary>Lane q of four (q below 3) stores words 4q … 4q + 3 of their twelve: its own from q on, then its neighbour's.</summary>
    static void StoreWide(KernelScope kernel, Place place, U32[] packed)
    {
        U32[] next = [.. packed.Select(w => kernel.ShuffleButterfly(w, 1))], over = [.. packed.Select(w => kernel.ShuffleButterfly(w, 3))];
        U32 quarter = kernel.Lane & 3;
        Predicate first = quarter.Is(0), second = quarter.Is(1);

        // The neighbour of lanes 0 and 2 differs from them in bit 0, that of lane 1 in both bits.
        U32[] words = [.. packed, .. Enumerable.Range(0, 3).Select(i => second.Select(over[i], next[i]))], piece = new U32[4];
        for (int i = 0; i < 4; i++) piece[i] = first.Select(words[i], i < 3 ? second.Select(words[i + 1], words[i + 2]) : second.Select(words[4], words[5]));
        Predicate stores = quarter < 3;
        if (place.Inside is { } inside) stores &= inside;
        kernel.Store<U32>(place.FourLanes() + (quarter << 4).Wide(), piece, where: stores);
    }

    /// <summary>Blocks to launch.</summary>
    public static int Blocks(int rows, int columns) => QuantizeShape.CheckBlocks((long)((rows + RowsOfBlock - 1) / RowsOfBlock) * Groups(columns));

    sealed record Place(U64 X, U64 Packed, U64 Scale, Predicate? Inside, Func<U64> FourLanes);

    static Kernel Build(int columns, RowCount count, string what, Action<KernelScope, Place> piece)
    {
        QuantizeShape.CheckColumns(columns);
        if (what is "pack_wide" && columns % 32 != 0) throw new ArgumentException($"{columns} columns: four lanes that store together need a multiple of 32.", nameof(columns));
        return KernelBuilder.Define($"sm90_e5m6_{what}_1x128_c{columns}{QuantizeShape.Suffix(count)}", 32 * RowsOfBlock, kernel =>
        {
            U64 x = kernel.Pointer("x", ElementType.BF16), packed = kernel.Pointer("packed", ElementType.E4M3), scales = kernel.Pointer("scales", ElementType.F32);
            U32 rows = QuantizeShape.Rows(kernel, count);
            int loads = Loads(columns), groups = Groups(columns), tiles = TileQuantizer.TileCount(columns);
            U32 block = kernel.BlockIndex(), rowBlock = block / groups, row = rowBlock * RowsOfBlock + kernel.Warp;
            U32 firstColumn = (block - rowBlock * groups) * (loads * ColumnsOfLoad) + (kernel.Lane << 3);
            kernel.If(row < rows, () =>
            {
                for (int i = 0; i < loads; i++)
                {
                    U32 column = firstColumn + i * ColumnsOfLoad;
                    Predicate? inside = null;
                    if (columns % (loads * ColumnsOfLoad) != 0)
                    {
                        inside = column < columns;
                        column = column.Minimum(columns - 8);
                    }

                    piece(kernel, new Place(
                        x + row.MultiplyWide(2 * columns) + column.MultiplyWide(2),
                        packed + row.MultiplyWide(columns / 2 * 3) + (column >> 3).MultiplyWide(12),
                        scales + row.MultiplyWide(4 * tiles) + (column >> 7).MultiplyWide(4),
                        inside,
                        () => packed + row.MultiplyWide(columns / 2 * 3) + (column >> 5).MultiplyWide(48)));
                }
            }, uniform: true);
        });
    }

    /// <summary>|value| is at most 130048: the nearest code, ties to even, as <see cref="E5M6.FromSingle"/>.</summary>
    static U32 Encode(ThreadScope scope, F32 value)
    {
        // Below 2^−14 the unit is 2^−20, which is the unit in the last place of 8.
        const float Anchor = 8;
        U32 bits = value.AsU32(), magnitude = bits & 0x7FFFFFFF;
        U32 subnormal = (magnitude.AsF32() + scope.Constant(Anchor)).AsU32() - BitConverter.SingleToInt32Bits(Anchor);
        U32 normal = ((magnitude + 0xFFFF + ((magnitude >> 17) & 1)) >> 17) - ((127 - 15) << 6);
        return (magnitude < (127 - 14) << 23).Select(subnormal, normal) | ((bits >> 20) & 0x800);
    }

    /// <summary>The value of the low 12 bits.</summary>
    static F32 Decode(ThreadScope scope, U32 code)
    {
        // As the bits of a float32 the magnitude is 2^(127 − 15) times too small, subnormals included.
        F32 magnitude = ((code & 0x7FF) << 17).AsF32() * BitConverter.Int32BitsToSingle((127 + 127 - 15) << 23);
        return (magnitude.AsU32() | ((code & 0x800) << 20)).AsF32();
    }

    static int Loads(int columns) => Math.Min(4, (columns + ColumnsOfLoad - 1) / ColumnsOfLoad);

    static int Groups(int columns) => (columns + Loads(columns) * ColumnsOfLoad - 1) / (Loads(columns) * ColumnsOfLoad);
}
