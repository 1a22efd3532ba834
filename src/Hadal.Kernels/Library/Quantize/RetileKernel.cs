using Hadal.Kernels.Dsl;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Gemm;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Quantize;

/// <summary>How a re-tiling kernel divides its work. All give the same bits.</summary>
/// <param name="Warps">Warps of a block, 8 or 16: a warp takes 16 or 8 rows of a tile.</param>
/// <param name="BlocksEach">Blocks of a multiprocessor that walk the tiles; 0 for one block a tile.</param>
/// <param name="Prefetch">A block loads its next tile before it turns the current one.</param>
/// <param name="Band">Rows of tiles that are walked column by column, so that tiles in flight lie beside each other in what is read and in what is written; 0 for row after row of tiles.</param>
public sealed record RetileSchedule(int Warps = 8, int BlocksEach = 2, bool Prefetch = true, int Band = 0)
{
    /// <summary>The schedule that is taken: bands of 4 rows of tiles gain 3 % where rows of two bytes an element are read, and lose 1 % with one.</summary>
    public static RetileSchedule For(ElementType source) => source == ElementType.BF16 ? new RetileSchedule(Band: 4) : new RetileSchedule();

    /// <summary>What kernel names say.</summary>
    public override string ToString() => $"w{Warps}_{(BlocksEach == 0 ? "each" : $"b{BlocksEach}")}{(Prefetch ? "_ahead" : "")}{(Band == 0 ? "" : $"_band{Band}")}";
}

/// <summary>
/// [rows, columns] in BF16, or in E4M3 with 1×128 tiles, to E4M3 in tiles of 128×1, transposed to [columns, k_stride] so that the weight gradient contracts along rows
/// (V3 §3.5.2), bit for bit as <see cref="TileQuantizer.QuantizeColumns"/> and <see cref="TileQuantizer.Retile"/>. Scales as that product reads them:
/// [⌈rows/128⌉, output_stride] f32, column c's at its place (<see cref="GradientScales"/>).
/// </summary>
/// <remarks>
/// A block turns 128×128 elements at a time: a warp takes some rows, a lane 4 columns. The largest magnitudes of columns meet in shared memory, where one thread a
/// column makes the scale and its reciprocal for all; the codes are turned there too.
/// Columns of the result from rows to k_stride (a multiple of 16, at least rows) are 0 as far as they share a tile with a row.
/// Parameters, in order: pointer x; with E4M3 pointer x_scales [⌈columns/128⌉, input_stride] f32 (a multiple of 4); pointers codes, scales; words rows (or their
/// address, <see cref="RowCount"/>), k_stride, output_stride; with E4M3 word input_stride. Launch it on <see cref="Blocks"/> blocks.
/// </remarks>
public static class RetileKernel
{
    /// <summary>The kernel for so many columns (a multiple of 16).</summary>
    public static Kernel Build(
        int columns, ElementType source, ScaleKind kind, ColumnScaleOrder order = ColumnScaleOrder.Natural, RowCount count = RowCount.Argument, RetileSchedule? schedule = null)
    {
        QuantizeShape.CheckColumns(columns);
        if (source is not (ElementType.BF16 or ElementType.E4M3)) throw new ArgumentException($"The source is {source}: BF16 or E4M3 can be re-tiled.", nameof(source));
        schedule ??= RetileSchedule.For(source);
        if (schedule.Warps is not (8 or 16) || schedule.BlocksEach is < 0 or > 4 || schedule.Band is < 0 or > 1024) throw new ArgumentException($"{schedule}: 8 or 16 warps, up to 4 blocks a multiprocessor, bands of up to 1024 rows of tiles.", nameof(schedule));
        bool coded = source == ElementType.E4M3;
        string name = $"sm90_retile_128x1_{(coded ? "e4m3" : "bf16")}_{(kind == ScaleKind.Plain ? "plain" : "power2")}{(order == ColumnScaleOrder.Natural ? "" : "_interleaved")}_c{columns}{QuantizeShape.Suffix(count)}_{schedule}";
        return KernelBuilder.Define(
            name, 32 * schedule.Warps, kernel => new Retiling(kernel, columns, coded, kind, order, count, schedule).Run(), blocksPerMultiprocessor: Math.Max(2, schedule.BlocksEach));
    }

    /// <summary>Blocks to launch: any number from 1 gives the same bits.</summary>
    public static int Blocks(int rows, int columns, int multiprocessors, RetileSchedule? schedule = null)
    {
        schedule ??= new();
        int tiles = QuantizeShape.CheckBlocks((long)TileQuantizer.TileCount(rows) * TileQuantizer.TileCount(columns));
        return schedule.BlocksEach == 0 ? tiles : Math.Clamp(schedule.BlocksEach * multiprocessors, 1, tiles);
    }
}

/// <summary>What one thread of <see cref="RetileKernel"/> does.</summary>
sealed class Retiling
{
    readonly KernelScope _kernel;
    readonly int _columns, _tileColumns, _warps, _rowsOfWarp, _wordsOfRow;
    readonly bool _coded, _prefetch;
    readonly ScaleKind _kind;
    readonly ColumnScaleOrder _order;
    readonly U64 _x, _sourceScales, _codes, _scales;
    readonly U32 _rows, _kStride, _outputStride, _inputStride, _tiles, _lane, _warp;
    readonly SharedRegion _largest, _divisors, _turned, _rowScales;
    readonly int _band;
    readonly Register<U32> _tile;
    readonly Register<U32>[] _loaded;
    readonly Register<F32>? _scaleLoaded;

    public Retiling(KernelScope kernel, int columns, bool coded, ScaleKind kind, ColumnScaleOrder order, RowCount count, RetileSchedule schedule)
    {
        (_kernel, _columns, _coded, _kind, _order, _warps, _prefetch) = (kernel, columns, coded, kind, order, schedule.Warps, schedule.Prefetch);
        (_rowsOfWarp, _wordsOfRow, _band) = (128 / _warps, coded ? 1 : 2, schedule.Band);
        _x = kernel.Pointer("x", coded ? ElementType.E4M3 : ElementType.BF16);
        _sourceScales = coded ? kernel.Pointer("x_scales", ElementType.F32) : default;
        (_codes, _scales) = (kernel.Pointer("codes", ElementType.E4M3), kernel.Pointer("scales", ElementType.F32));
        (_rows, _kStride, _outputStride) = (QuantizeShape.Rows(kernel, count), kernel.Word("k_stride"), kernel.Word("output_stride"));
        _inputStride = coded ? kernel.Word("input_stride") : default;
        _largest = kernel.Shared("largest", 4 * 128 * _warps, 16);
        _divisors = kernel.Shared("divisors", 2 * 4 * 128, 16);
        _turned = kernel.Shared("turned", 128 * 128, 128);
        _rowScales = kernel.Shared("row_scales", 4 * 128, 16);
        (_lane, _warp) = (kernel.Lane, kernel.Warp);
        _tileColumns = TileQuantizer.TileCount(columns);
        _tiles = _rows.DivideUp(128) * _tileColumns;
        _tile = kernel.Register("tile", kernel.BlockIndex());
        _loaded = [.. Enumerable.Range(0, _rowsOfWarp * _wordsOfRow).Select(_ => kernel.Register("loaded", kernel.Constant(0)))];
        _scaleLoaded = coded ? kernel.Register("scale_loaded", kernel.Constant(0f)) : null;
    }

    public void Run()
    {
        (U32 Row, U32 Column) start = Place(_tile.Value);
        Register<U32> row = _kernel.Register("row", start.Row), column = _kernel.Register("column", start.Column);
        if (_prefetch) Fetch(_tile.Value, start);
        _kernel.While(() => _tile.Value < _tiles, () =>
        {
            U32 tile = _tile.Value, next = tile + _kernel.BlockCount();
            (U32 Row, U32 Column) place = (row.Value, column.Value);
            if (!_prefetch) Fetch(tile, place);
            F32[][] values = Decode();
            (U32 Row, U32 Column) following = Place(next);
            if (_prefetch) Fetch(next, following);
            Meet(values);
            _kernel.If(_warp < 4, () => Divide(place), uniform: true);
            _kernel.Sync();
            Turn(values);
            _kernel.Sync();
            Write(place);
            (row.Value, column.Value) = following;
            _tile.Value = next;
        });
    }

    /// <summary>Where a tile of the walk lies: its row and column among tiles.</summary>
    (U32 Row, U32 Column) Place(U32 tile)
    {
        if (_band == 0)
        {
            U32 plain = tile / _tileColumns;
            return (plain, tile - plain * _tileColumns);
        }

        // The last band may have fewer rows; beyond the last tile it would have none.
        U32 first = tile / (_band * _tileColumns) * _band, inBand = tile - first * _tileColumns;
        U32 rows = (_rows.DivideUp(128) - first).Minimum(_band).Maximum(_kernel.Constant(1)), column = inBand / rows;
        return (first + inBand - column * rows, column);
    }

    /// <summary>
    /// Loads four columns of the warp's rows, all of them started before any is used, and a lane's row scale. Tiles inside the matrix need no clamps; in the others rows
    /// beyond the last become zeros, under the last row's scale.
    /// </summary>
    void Fetch(U32 tile, (U32 Row, U32 Column) place)
    {
        int bytes = _coded ? 1 : 2;
        U32 firstRow = (place.Row << 7) + _warp * _rowsOfWarp, column = (place.Column << 7) + (_lane << 2);
        _kernel.If(
            (place.Row + 1 << 7) <= _rows & tile < _tiles,
            () =>
            {
                U64 first = Column(_columns % 128 == 0 ? column : column.Minimum(_columns - 4)) + firstRow.MultiplyWide(bytes * _columns);
                for (int r = 0; r < _rowsOfWarp; r++) Load(r, first, (long)r * bytes * _columns);
                if (_coded) LoadScale(firstRow + (_lane & (_rowsOfWarp - 1)));
            },
            () => _kernel.If(tile < _tiles, () =>
            {
                U64 first = Column(column.Minimum(_columns - 4));
                U32 last = _rows - 1;
                for (int r = 0; r < _rowsOfWarp; r++)
                {
                    U32 row = firstRow + r;
                    Load(r, first + row.Minimum(last).MultiplyWide(bytes * _columns), 0);
                    for (int w = 0; w < _wordsOfRow; w++)
                    {
                        Register<U32> word = _loaded[r * _wordsOfRow + w];
                        word.Value = (row < _rows).Select(word.Value, _kernel.Constant(0));
                    }
                }

                if (_coded) LoadScale((firstRow + (_lane & (_rowsOfWarp - 1))).Minimum(last));
            }, uniform: true),
            uniform: true);

        U64 Column(U32 at) => _x + at.MultiplyWide(bytes);

        void Load(int row, U64 address, long offset)
        {
            U32[] words = _kernel.LoadVector<U32>(_wordsOfRow, address, offset, CacheHint.ReadOnly);
            for (int w = 0; w < words.Length; w++) _loaded[row * _wordsOfRow + w].Value = words[w];
        }

        void LoadScale(U32 row) => _scaleLoaded!.Value = _kernel.Load<F32>(_sourceScales + (place.Column * _inputStride).MultiplyWide(4) + row.MultiplyWide(4), 0, CacheHint.ReadOnly);
    }

    /// <summary>The numbers of the words; those of rows that do not exist are zero (or NaN, where the last row's scale makes its whole tile NaN).</summary>
    F32[][] Decode()
    {
        var values = new F32[_rowsOfWarp][];
        U32 scales = _kernel.Address(_rowScales) + _warp * (4 * _rowsOfWarp);
        if (_scaleLoaded is not null)
        {
            _kernel.If(_lane < _rowsOfWarp, () => _kernel.StoreShared(scales + ((_lane & (_rowsOfWarp - 1)) << 2), _scaleLoaded.Value));
            _kernel.WarpSync();
        }

        F32[] four = [];
        for (int r = 0; r < _rowsOfWarp; r++)
        {
            U32 word = _loaded[r * _wordsOfRow].Value;
            if (!_coded)
            {
                U32 second = _loaded[2 * r + 1].Value;
                values[r] = [_kernel.LowBF16(word), _kernel.HighBF16(word), _kernel.LowBF16(second), _kernel.HighBF16(second)];
                continue;
            }

            if (r % 4 == 0) four = _kernel.LoadShared<F32>(4, scales, 4 * r);
            F32 factor = four[r % 4];
            values[r] = [.. _kernel.UnpackE4M3(word).Select(code => code * factor)];
        }

        return values;
    }

    /// <summary>Leaves the largest magnitude of each column among the warp's rows; a NaN is larger than all.</summary>
    void Meet(F32[][] values)
    {
        var largest = new F32[4];
        for (int i = 0; i < 4; i++)
        {
            largest[i] = values[0][i].Absolute();
            for (int r = 1; r < values.Length; r++) largest[i] = largest[i].MaximumOrNaN(values[r][i].Absolute());
        }

        _kernel.StoreShared<F32>(_kernel.Address(_largest) + (_lane << 4) + (_warp << 9), largest);
        _kernel.Sync();
    }

    /// <summary>One thread a column: its scale, to memory, and with the reciprocal to all.</summary>
    void Divide((U32 Row, U32 Column) tile)
    {
        U32 from = _kernel.Address(_largest) + (_kernel.ThreadIndex << 2);
        F32 largest = _kernel.LoadShared<F32>(from);
        for (int warp = 1; warp < _warps; warp++) largest = largest.MaximumOrNaN(_kernel.LoadShared<F32>(from, 512 * warp));
        var divider = new TileDivider(_kernel, TileDivider.Magnitude(largest), _kind, E4M3.MaxValue);
        U32 to = _kernel.Address(_divisors) + (_kernel.ThreadIndex << 2);
        _kernel.StoreShared(to, divider.Scale);
        _kernel.StoreShared(to, divider.Reciprocal, 512);
        U32 column = (tile.Column << 7) + _kernel.ThreadIndex;
        Predicate? writes = _columns % 128 == 0 ? null : column < _columns;
        _kernel.Store(_scales.At(tile.Row * _outputStride + PlaceOfScale(column), 4), divider.Scale, where: writes);
    }

    /// <summary>Codes to shared memory, column by column: 16-byte pieces of a column are permuted by the lane against bank conflicts.</summary>
    void Turn(F32[][] values)
    {
        U32 of = _kernel.Address(_divisors) + (_lane << 4), byteOfWarp = _warp * _rowsOfWarp;
        F32[] scales = _kernel.LoadShared<F32>(4, of), reciprocals = _kernel.LoadShared<F32>(4, of, 512);
        U32 turning = _kernel.Address(_turned) + (_lane << 9) + (((byteOfWarp >> 4) ^ (_lane & 7)) << 4) + (byteOfWarp & 8);
        for (int i = 0; i < 4; i++)
        {
            var divider = new TileDivider(_kernel, scales[i], reciprocals[i], _kind);
            var piece = new U32[_rowsOfWarp / 4];
            for (int r = 0; r < _rowsOfWarp; r += 4) piece[r / 4] = divider.Codes(values[r][i], values[r + 1][i], values[r + 2][i], values[r + 3][i]);
            _kernel.StoreShared<U32>(turning, piece, 128 * i);
        }
    }

    /// <summary>Eight threads write the 128 codes of a column.</summary>
    void Write((U32 Row, U32 Column) tile)
    {
        U32 piece = _kernel.ThreadIndex & 7, k = (tile.Row << 7) + (piece << 4), firstChannel = tile.Column << 7;
        for (int pass = 0; pass < 32 / _warps; pass++)
        {
            U32 inTile = (_kernel.ThreadIndex >> 3) + 4 * _warps * pass, channel = firstChannel + inTile;
            U32 from = _kernel.Address(_turned) + (inTile << 7) + ((piece ^ ((inTile >> 2) & 7)) << 4);
            Predicate writes = k < _kStride;
            if (_columns % 128 != 0) writes &= channel < _columns;
            _kernel.Store<U32>(_codes + channel.MultiplyWide(_kStride) + k.Wide(), _kernel.LoadShared<U32>(4, from), where: writes);
        }
    }

    /// <summary>Where the scale of a column lies: of every 16, bit 3 goes to bit 1, bits 2 and 1 to 3 and 2, bit 0 stays.</summary>
    U32 PlaceOfScale(U32 column) => _order == ColumnScaleOrder.Natural
        ? column
        : (column & ~15) | ((column & 6) << 1) | ((column & 8) >> 2) | (column & 1);
}
