using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>How a packing kernel divides its work. All give the same bits. Few registers and so many warps win over more loads under way (measured).</summary>
/// <param name="Loads">Pieces of 8 numbers a lane, all loaded before the first is worked on.</param>
/// <param name="BlocksEach">Blocks of a multiprocessor that registers are to allow; 0 leaves it to the compiler.</param>
public sealed record E5M6Schedule(int Loads = 2, int BlocksEach = 6)
{
    /// <summary>What kernel names say; nothing of the chosen one.</summary>
    public override string ToString() => this == new E5M6Schedule() ? "" : $"_l{Loads}b{BlocksEach}";
}

/// <summary>
/// BF16 [rows, columns] to packed E5M6 in tiles of 1×128 with power-of-two scales (V3 §3.3.3) and back, bit for bit as <see cref="TileQuantizer.QuantizeRowsE5M6"/> and
/// <see cref="TileQuantizer.DequantizeRowsE5M6"/> rounded to BF16 (which holds every product of a code and a scale unless it is subnormal).
/// </summary>
/// <remarks>
/// A warp takes a row, 16 lanes a tile, a lane 8 values = 12 bytes. Parameters, in order: pointers x [rows, columns] bf16, packed [rows, columns · 3/2] bytes, scales
/// [rows, ⌈columns/128⌉] f32; word rows (or its address, <see cref="RowCount"/>). Launch them on <see cref="BlocksToPack"/> and <see cref="BlocksToUnpack"/> blocks.
/// </remarks>
public static class E5M6Kernels
{
    const int RowsOfBlock = 8, ColumnsOfLoad = 256;

    /// <summary>Packs; for so many columns (a multiple of 16).</summary>
    /// <param name="columns">Columns.</param>
    /// <param name="count">Where the number of rows is.</param>
    /// <param name="schedule">How the work is divided.</param>
    public static Kernel BuildPack(int columns, RowCount count = RowCount.Argument, E5M6Schedule? schedule = null) => Build(columns, count, "pack", schedule ?? new(), (kernel, place) => kernel.LoadVector<U32>(4, place.X, 0, CacheHint.ReadOnly), (kernel, place, words) =>
    {
        if (columns % 128 != 0) QuantizeShape.ZeroUnless(kernel, place.Inside, words);
        U32 largest = QuantizeShape.LargestBF16(words);
        for (int mask = 1; mask < 16; mask *= 2) largest = largest.Maximum(kernel.ShuffleButterfly(largest, mask));
        var divider = new TileDivider(kernel, largest, ScaleKind.PowerOfTwo, E5M6.MaxValue);
        var codes = new U32[8];
        U32 anchors = kernel.Constant(240 << 23) - divider.Reciprocal.AsU32(), lift = divider.Reciprocal.AsU32() - (110 << 23);
        for (int i = 0; i < 8; i++)
        {
            U32 bits = i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & ~0xFFFF;
            codes[i] = Encode(bits, divider.Reciprocal, anchors, lift);
        }

        U32[] packed =
        [
            codes[0] | (codes[1] << 12) | (codes[2] << 24),
            (codes[2] >> 8) | (codes[3] << 4) | (codes[4] << 16) | (codes[5] << 28),
            (codes[5] >> 4) | (codes[6] << 8) | (codes[7] << 20),
        ];
        for (int i = 0; i < 3; i++) packed[i] = divider.Masked(packed[i]);
        for (int i = 0; i < 3; i++) kernel.Store(place.Packed, packed[i], 4 * i, where: place.Inside);
        Predicate first = (kernel.Lane & 15).Is(0);
        kernel.Store(place.Scale, divider.Scale, where: place.Inside is { } inside ? first & inside : first);
    });

    /// <summary>Unpacks; for so many columns (a multiple of 16).</summary>
    public static Kernel BuildUnpack(int columns, RowCount count = RowCount.Argument) => Build(columns, count, "unpack", Unpacking, (kernel, place) => [.. Enumerable.Range(0, 3).Select(i => kernel.Load<U32>(place.Packed, 4 * i, CacheHint.ReadOnly))], (kernel, place, packed) =>
    {
        F32 scale = kernel.Load<F32>(place.Scale, 0, CacheHint.ReadOnly);
        U32[] codes =
        [
            packed[0], packed[0] >> 12, (packed[0] >> 24) | (packed[1] << 8), packed[1] >> 4, packed[1] >> 16, (packed[1] >> 28) | (packed[2] << 4), packed[2] >> 8, packed[2] >> 20,
        ];
        var words = new U32[4];
        for (int i = 0; i < 4; i++) words[i] = kernel.PackBF16(Decode(kernel, codes[2 * i]) * scale, Decode(kernel, codes[2 * i + 1]) * scale);
        kernel.Store<U32>(place.X, words, where: place.Inside);
    });

    /// <summary>Blocks to launch for packing.</summary>
    public static int BlocksToPack(int rows, int columns, E5M6Schedule? schedule = null) => QuantizeShape.CheckBlocks((long)((rows + RowsOfBlock - 1) / RowsOfBlock) * Groups(columns, schedule ?? new()));

    /// <summary>Blocks to launch for unpacking.</summary>
    public static int BlocksToUnpack(int rows, int columns) => BlocksToPack(rows, columns, Unpacking);

    static readonly E5M6Schedule Unpacking = new(4, 0);

    sealed record Place(U64 X, U64 Packed, U64 Scale, Predicate? Inside);

    static Kernel Build(int columns, RowCount count, string what, E5M6Schedule schedule, Func<KernelScope, Place, U32[]> load, Action<KernelScope, Place, U32[]> piece)
    {
        QuantizeShape.CheckColumns(columns);
        if (schedule.Loads is < 1 or > 8 || schedule.BlocksEach is < 0 or > 8) throw new ArgumentException($"{schedule}: 1 to 8 loads, up to 8 blocks a multiprocessor.", nameof(schedule));
        return KernelBuilder.Define($"sm90_e5m6_{what}_1x128_c{columns}{QuantizeShape.Suffix(count)}{(what is "pack" ? schedule.ToString() : "")}", 32 * RowsOfBlock, kernel =>
        {
            U64 x = kernel.Pointer("x", ElementType.BF16), packed = kernel.Pointer("packed", ElementType.E4M3), scales = kernel.Pointer("scales", ElementType.F32);
            U32 rows = QuantizeShape.Rows(kernel, count);
            int loads = Loads(columns, schedule), groups = Groups(columns, schedule), tiles = TileQuantizer.TileCount(columns);
            U32 block = kernel.BlockIndex(), rowBlock = block / groups, row = rowBlock * RowsOfBlock + kernel.Warp;
            U32 firstColumn = (block - rowBlock * groups) * (loads * ColumnsOfLoad) + (kernel.Lane << 3);
            kernel.If(row < rows, () =>
            {
                // All of a lane's loads are under way before the first piece is worked on.
                var places = new Place[loads];
                var words = new U32[loads][];
                for (int i = 0; i < loads; i++)
                {
                    U32 column = firstColumn + i * ColumnsOfLoad;
                    Predicate? inside = null;
                    if (columns % (loads * ColumnsOfLoad) != 0)
                    {
                        inside = column < columns;
                        column = column.Minimum(columns - 8);
                    }

                    places[i] = new Place(
                        x + row.MultiplyWide(2 * columns) + column.MultiplyWide(2),
                        packed + row.MultiplyWide(columns / 2 * 3) + (column >> 3).MultiplyWide(12),
                        scales + row.MultiplyWide(4 * tiles) + (column >> 7).MultiplyWide(4),
                        inside);
                    words[i] = load(kernel, places[i]);
                }

                for (int i = 0; i < loads; i++) piece(kernel, places[i], words[i]);
            }, uniform: true);
        }, blocksPerMultiprocessor: Math.Max(1, schedule.BlocksEach));
    }

    /// <summary>
    /// The nearest code of a number over its tile's scale, ties to even, as <see cref="E5M6.FromSingle"/>. Added to 2^17 times the quotient's power of two, or to 8 when that is more (codes below
    /// 2^−14 have the unit 2^−20), the quotient is rounded to the code's unit, and the bits of the sum count units.
    /// </summary>
    /// <param name="bits">The number.</param>
    /// <param name="reciprocal">One over the scale, a power of two: |number| · reciprocal is at most 130048.</param>
    /// <param name="least">Bits of the power of two, before <paramref name="lift"/>, of which 8 is made: 240 − the reciprocal's exponent.</param>
    /// <param name="lift">What makes of the number's power of two the quotient's, times 2^17: the reciprocal's exponent − 127 + 17.</param>
    static U32 Encode(U32 bits, F32 reciprocal, U32 least, U32 lift)
    {
        const int AnchorExponent = 130;
        U32 power = (bits & 0x7F800000).Maximum(least) + lift;
        U32 sum = (bits & 0x7FFFFFFF).AsF32().MultiplyAdd(reciprocal, power.AsF32()).AsU32();
        U32 magnitude = sum - power + ((power >> 17) - (AnchorExponent << 6));
        return magnitude | ((bits >> 20) & 0x800);
    }

    /// <summary>The value of the low 12 bits.</summary>
    static F32 Decode(ThreadScope scope, U32 code)
    {
        // As the bits of a float32 the magnitude is 2^(127 − 15) times too small, subnormals included.
        F32 magnitude = ((code & 0x7FF) << 17).AsF32() * BitConverter.Int32BitsToSingle((127 + 127 - 15) << 23);
        return (magnitude.AsU32() | ((code & 0x800) << 20)).AsF32();
    }

    static int Loads(int columns, E5M6Schedule schedule) => Math.Min(schedule.Loads, (columns + ColumnsOfLoad - 1) / ColumnsOfLoad);

    static int Groups(int columns, E5M6Schedule schedule) => (columns + Loads(columns, schedule) * ColumnsOfLoad - 1) / (Loads(columns, schedule) * ColumnsOfLoad);
}
