using System.Globalization;
using System.Runtime.InteropServices;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Library.Quantize;
using Hadal.Numerics;

namespace Hadal.Kernels.Library.Cases;

/// <summary>Cases of the quantising kernels: results are compared bit for bit with <see cref="TileQuantizer"/>.</summary>
public static class QuantizeCases
{
    /// <summary>Small shapes with tails and hostile values, every tile compared.</summary>
    public static IEnumerable<KernelCase> Conformance()
    {
        ulong seed = 100;
        foreach (CaseValues values in Enum.GetValues<CaseValues>())
        {
            foreach (ScaleKind kind in Enum.GetValues<ScaleKind>())
            {
                yield return Rows(11, 336, kind, values, ++seed);
                yield return Blocks(150, 208, kind, values, ++seed);
                yield return Retile(200, 176, ElementType.BF16, kind, ColumnScaleOrder.Natural, values, ++seed);
                yield return Retile(150, 144, ElementType.E4M3, kind, ColumnScaleOrder.Interleaved, values, ++seed);
            }

            yield return Pack(11, 336, values, ++seed);
            yield return Pack(11, 352, values, seed, schedule: new E5M6Schedule(1, 4));
            yield return Unpack(11, 336, values, ++seed);
        }

        yield return Rows(9, 1280, ScaleKind.Plain, CaseValues.Normal, ++seed);
        yield return Rows(1, 16, ScaleKind.PowerOfTwo, CaseValues.Normal, ++seed);
        yield return Retile(128, 128, ElementType.E4M3, ScaleKind.Plain, ColumnScaleOrder.Natural, CaseValues.Normal, ++seed);
        foreach (ElementType source in (ElementType[])[ElementType.E4M3, ElementType.BF16])
        {
            yield return Retile(520, 272, source, ScaleKind.Plain, ColumnScaleOrder.Interleaved, CaseValues.Outliers, ++seed, schedule: new RetileSchedule(BlocksEach: 1));
            yield return Retile(650, 272, source, ScaleKind.Plain, ColumnScaleOrder.Natural, CaseValues.Normal, ++seed, schedule: new RetileSchedule(BlocksEach: 1, Band: 4));
            yield return Retile(530, 272, source, ScaleKind.Plain, ColumnScaleOrder.Natural, CaseValues.NotFinite, ++seed, schedule: new RetileSchedule(Warps: 16, BlocksEach: 1));
            yield return Retile(300, 144, source, ScaleKind.PowerOfTwo, ColumnScaleOrder.Natural, CaseValues.Normal, ++seed, schedule: new RetileSchedule(Warps: 16, BlocksEach: 0, Prefetch: false));
        }

        yield return Counted(Rows(11, 336, ScaleKind.Plain, CaseValues.Normal, ++seed), 11, 30, () => RowCastKernel.Build(336, ScaleKind.Plain, RowCount.Device), RowCastKernel.Blocks(30, 336));
        yield return Counted(
            Retile(140, 144, ElementType.E4M3, ScaleKind.Plain, ColumnScaleOrder.Natural, CaseValues.Normal, ++seed), 140, 400,
            () => RetileKernel.Build(144, ElementType.E4M3, ScaleKind.Plain, ColumnScaleOrder.Natural, RowCount.Device), RetileKernel.Blocks(400, 144, 3));
        yield return Counted(Pack(11, 336, CaseValues.Normal, ++seed), 11, 30, () => E5M6Kernels.BuildPack(336, RowCount.Device), E5M6Kernels.BlocksToPack(30, 336));
    }

    /// <summary>The large activations and weights of the model, tiles compared by samples.</summary>
    public static IEnumerable<KernelCase> Benchmarks()
    {
        const int Samples = 4000;
        foreach (int rows in (int[])[4096, 16384])
        {
            yield return Rows(rows, 7168, ScaleKind.Plain, CaseValues.Normal, 1, Samples);
            yield return Rows(rows, 7168, ScaleKind.PowerOfTwo, CaseValues.Normal, 1, Samples);
            foreach (ElementType source in (ElementType[])[ElementType.E4M3, ElementType.BF16])
                yield return Retile(rows, 7168, source, ScaleKind.Plain, ColumnScaleOrder.Interleaved, CaseValues.Normal, 1, Samples);
            yield return Blocks(rows, 7168, ScaleKind.Plain, CaseValues.Normal, 1, Samples / 100);
            yield return Pack(rows, 16384, CaseValues.Normal, 1, Samples);
            yield return Unpack(rows, 16384, CaseValues.Normal, 1, Samples);
        }
    }

    /// <summary>The schedules of the re-tiling kernel, on the larger shape, and those of the packing kernel.</summary>
    public static IEnumerable<KernelCase> Rivals()
    {
        foreach (E5M6Schedule schedule in (E5M6Schedule[])[new(), new(4, 0), new(2, 0), new(1, 0), new(4, 4), new(2, 5)])
            yield return Pack(16384, 16384, CaseValues.Normal, 1, 4000, schedule);
        foreach (ElementType source in (ElementType[])[ElementType.E4M3, ElementType.BF16])
        {
            foreach (RetileSchedule schedule in (RetileSchedule[])[new(8, 2), new(8, 2, Band: 4), new(8, 2, Band: 8), new(8, 2, Band: 16), new(16, 2), new(16, 2, Band: 8), new(16, 2, Band: 16), new(8, 3), new(8, 0, false), new(16, 0, false)])
                yield return Retile(16384, 7168, source, ScaleKind.Plain, ColumnScaleOrder.Interleaved, CaseValues.Normal, 1, 4000, schedule);
        }
    }

    /// <summary>1×128 cast of BF16.</summary>
    public static KernelCase Rows(int rows, int columns, ScaleKind kind, CaseValues values, ulong seed, int samples = 0)
    {
        var problem = new QuantizeProblem(rows, columns, values, seed);
        int tiles = TileQuantizer.TileCount(columns), stride = (rows + 3) / 4 * 4;
        long elements = (long)rows * columns;
        return new KernelCase
        {
            Name = Name("cast_rows", rows, columns, values, kind),
            Build = () => RowCastKernel.Build(columns, kind),
            Blocks = _ => RowCastKernel.Blocks(rows, columns),
            Buffers = [CaseBuffer.Of("x", elements, () => problem.Words), new("codes", elements), new("scales", 4L * tiles * stride)],
            Arguments = [At("x"), At("codes"), At("scales"), Word(rows), Word(stride)],
            Check = read => TileCheck.Compare(rows * tiles, samples, seed, read, (tile, output) =>
            {
                (int row, int first) = (tile / tiles, tile % tiles * 128);
                float[] numbers = problem.Row(row, first, Math.Min(128, columns - first));
                output.Quantized(kind, numbers, i => (long)row * columns + first + i, (long)(tile % tiles) * stride + row);
            }),
            Bytes = 3.0 * elements + 4.0 * rows * tiles,
        };
    }

    /// <summary>1×128 cast of so many rows of <paramref name="capacity"/>, counted on the device; the others are left alone.</summary>
    public static KernelCase CountedRows(int rows, int capacity, int columns, ulong seed, int samples = 0)
    {
        var problem = new QuantizeProblem(capacity, columns, CaseValues.Normal, seed);
        int tiles = TileQuantizer.TileCount(columns), stride = (capacity + 3) / 4 * 4;
        long elements = (long)capacity * columns;
        return new KernelCase
        {
            Name = string.Create(CultureInfo.InvariantCulture, $"{Name("cast_rows", rows, columns, CaseValues.Normal, ScaleKind.Plain)} of {capacity} counted"),
            Build = () => RowCastKernel.Build(columns, ScaleKind.Plain, RowCount.Device),
            Blocks = _ => RowCastKernel.Blocks(capacity, columns),
            Buffers = [CaseBuffer.Of("x", elements, () => problem.Words), new("codes", elements), new("scales", 4L * tiles * stride), CaseBuffer.Of("rows", 1, () => (uint[])[(uint)rows])],
            Arguments = [At("x"), At("codes"), At("scales"), At("rows"), Word(stride)],
            Check = read => read("codes").AsSpan(rows * columns).ContainsAnyExcept((byte)0xFF)
                ? new CaseResult(false, 0, 0, "A row beyond those counted was written.")
                : TileCheck.Compare(rows * tiles, Math.Min(samples, rows * tiles), seed, read, (tile, output) =>
                {
                    (int row, int first) = (tile / tiles, tile % tiles * 128);
                    output.Quantized(ScaleKind.Plain, problem.Row(row, first, Math.Min(128, columns - first)), i => (long)row * columns + first + i, (long)(tile % tiles) * stride + row);
                }),
            Bytes = 3.0 * rows * columns + 4.0 * rows * tiles,
        };
    }

    /// <summary>128×128 cast of BF16.</summary>
    public static KernelCase Blocks(int rows, int columns, ScaleKind kind, CaseValues values, ulong seed, int samples = 0)
    {
        var problem = new QuantizeProblem(rows, columns, values, seed);
        int across = TileQuantizer.TileCount(columns), blocks = TileQuantizer.TileCount(rows) * across;
        long elements = (long)rows * columns;
        return new KernelCase
        {
            Name = Name("cast_blocks", rows, columns, values, kind),
            Build = () => BlockCastKernel.Build(columns, kind),
            Blocks = _ => BlockCastKernel.Blocks(rows, columns),
            Buffers = [CaseBuffer.Of("x", elements, () => problem.Words), new("codes", elements), new("scales", 4L * blocks)],
            Arguments = [At("x"), At("codes"), At("scales"), Word(rows)],
            Check = read => TileCheck.Compare(blocks, samples, seed, read, (block, output) =>
            {
                int row = block / across * 128, column = block % across * 128, width = Math.Min(128, columns - column), height = Math.Min(128, rows - row);
                float[] numbers = [.. Enumerable.Range(row, height).SelectMany(r => problem.Row(r, column, width))];
                output.Quantized(kind, numbers, i => (long)(row + i / width) * columns + column + i % width, block);
            }),
            Bytes = 3.0 * elements + 4.0 * blocks,
        };
    }

    /// <summary>128×1 tiles, transposed, of BF16 or of 1×128 E4M3.</summary>
    public static KernelCase Retile(int rows, int columns, ElementType source, ScaleKind kind, ColumnScaleOrder order, CaseValues values, ulong seed, int samples = 0, RetileSchedule? schedule = null)
    {
        var problem = new QuantizeProblem(rows, columns, values, seed);
        schedule ??= RetileSchedule.For(source);
        bool coded = source == ElementType.E4M3;
        int tiles = TileQuantizer.TileCount(rows), rowTiles = TileQuantizer.TileCount(columns), stride = (rows + 15) / 16 * 16, inputStride = (rows + 3) / 4 * 4;
        long elements = (long)rows * columns;
        List<CaseBuffer> buffers = [coded ? CaseBuffer.Of("x", elements, () => problem.Coded.Codes) : CaseBuffer.Of("x", elements, () => problem.Words)];
        List<CaseArgument> arguments = [At("x")];
        if (coded)
        {
            buffers.Add(CaseBuffer.Of("x_scales", (long)rowTiles * inputStride, () => problem.Coded.Scales));
            arguments.Add(At("x_scales"));
        }

        arguments.AddRange([At("codes"), At("scales"), Word(rows), Word(stride), Word(columns)]);
        if (coded) arguments.Add(Word(inputStride));
        return new KernelCase
        {
            Name = Name($"retile_{source}", rows, columns, values, kind) + $" {order} {schedule}",
            Build = () => RetileKernel.Build(columns, source, kind, order, schedule: schedule),
            Blocks = multiprocessors => RetileKernel.Blocks(rows, columns, multiprocessors, schedule),
            Buffers = [.. buffers, new("codes", (long)columns * stride), new("scales", 4L * tiles * columns)],
            Arguments = arguments,
            Check = read => TileCheck.Compare(columns * tiles, samples, seed, read, (tile, output) =>
            {
                (int column, int first) = (tile % columns, tile / columns * 128);
                float[] numbers = [.. Enumerable.Range(first, Math.Min(128, rows - first)).Select(r => coded ? problem.Decoded(r, column) : problem.Row(r, column, 1)[0])];
                output.Quantized(kind, numbers, i => (long)column * stride + first + i, (long)(tile / columns) * columns + GradientScales.Place(order, column));
                for (int k = first + numbers.Length; k < Math.Min(first + 128, stride); k++) output.Byte("codes", (long)column * stride + k, 0);
            }),
            Bytes = (coded ? 2.0 : 3.0) * elements + 4.0 * columns * tiles + (coded ? 4.0 * rows * rowTiles : 0),
        };
    }

    /// <summary>Packing to E5M6.</summary>
    public static KernelCase Pack(int rows, int columns, CaseValues values, ulong seed, int samples = 0, E5M6Schedule? schedule = null)
    {
        var problem = new QuantizeProblem(rows, columns, values, seed);
        int tiles = TileQuantizer.TileCount(columns), rowBytes = TileQuantizer.E5M6RowLength(columns);
        long elements = (long)rows * columns;
        return new KernelCase
        {
            Name = Name("e5m6_pack", rows, columns, values, ScaleKind.PowerOfTwo) + schedule?.ToString().Replace('_', ' '),
            Build = () => E5M6Kernels.BuildPack(columns, schedule: schedule),
            Blocks = _ => E5M6Kernels.BlocksToPack(rows, columns, schedule),
            Buffers = [CaseBuffer.Of("x", elements, () => problem.Words), new("codes", (long)rows * rowBytes), new("scales", 4L * rows * tiles)],
            Arguments = [At("x"), At("codes"), At("scales"), Word(rows)],
            Check = read => TileCheck.Compare(rows * tiles, samples, seed, read, (tile, output) =>
            {
                (int row, int first) = (tile / tiles, tile % tiles * 128);
                (byte[] packed, float scale) = problem.Packed(row, first);
                for (int i = 0; i < packed.Length; i++) output.Byte("codes", (long)row * rowBytes + first / 2 * 3 + i, packed[i]);
                output.Number("scales", tile, scale);
            }),
            Bytes = 3.5 * elements + 4.0 * rows * tiles,
        };
    }

    /// <summary>Unpacking from E5M6 to BF16.</summary>
    public static KernelCase Unpack(int rows, int columns, CaseValues values, ulong seed, int samples = 0)
    {
        var problem = new QuantizeProblem(rows, columns, values, seed);
        int tiles = TileQuantizer.TileCount(columns), rowBytes = TileQuantizer.E5M6RowLength(columns);
        long elements = (long)rows * columns;
        return new KernelCase
        {
            Name = Name("e5m6_unpack", rows, columns, values, ScaleKind.PowerOfTwo),
            Build = () => E5M6Kernels.BuildUnpack(columns),
            Blocks = _ => E5M6Kernels.BlocksToUnpack(rows, columns),
            Buffers = [new("x", 2 * elements), new("codes", (long)rows * rowBytes, () => problem.AllPacked.Bytes), CaseBuffer.Of("scales", (long)rows * tiles, () => problem.AllPacked.Scales)],
            Arguments = [At("x"), At("codes"), At("scales"), Word(rows)],
            Check = read => TileCheck.Compare(rows * tiles, samples, seed, read, (tile, output) =>
            {
                (int row, int first) = (tile / tiles, tile % tiles * 128);
                (byte[] packed, float scale) = problem.Packed(row, first);
                var numbers = new float[Math.Min(128, columns - first)];
                E5M6.Unpack(packed, numbers);
                for (int i = 0; i < numbers.Length; i++) output.BFloat16("x", (long)row * columns + first + i, numbers[i] * scale);
            }),
            Bytes = 3.5 * elements + 4.0 * rows * tiles,
        };
    }

    /// <summary>The case with its rows counted on the device, and a launch for more of them than there are.</summary>
    static KernelCase Counted(KernelCase it, int rows, int capacity, Func<Kernel> build, int blocks)
    {
        int word = it.Arguments.ToList().FindIndex(a => a is CaseArgument.Word w && w.Value == rows);
        return it with
        {
            Name = string.Create(CultureInfo.InvariantCulture, $"{it.Name} of {capacity} counted"),
            Build = build,
            Blocks = _ => blocks,
            Buffers = [.. it.Buffers, CaseBuffer.Of("rows", 1, () => (uint[])[(uint)rows])],
            Arguments = [.. it.Arguments.Select((a, i) => i == word ? new CaseArgument.Address("rows") : a)],
        };
    }

    static string Name(string what, int rows, int columns, CaseValues values, ScaleKind kind) => string.Create(CultureInfo.InvariantCulture, $"{what} {rows}x{columns} {values} {kind}");

    static CaseArgument At(string buffer) => new CaseArgument.Address(buffer);

    static CaseArgument Word(int value) => new CaseArgument.Word((uint)value);
}

/// <summary>A matrix to quantise.</summary>
sealed class QuantizeProblem
{
    readonly int _rows, _columns;
    readonly Lazy<ushort[]> _words;
    readonly Lazy<(byte[], float[])> _coded;
    readonly Lazy<(byte[], float[])> _packed;

    public QuantizeProblem(int rows, int columns, CaseValues values, ulong seed)
    {
        (_rows, _columns) = (rows, columns);
        _words = new(() => CaseData.BFloat16(CaseData.Matrix(rows, columns, values, seed)));
        _coded = new(() =>
        {
            (byte[] Codes, float[] Scales) coded = CaseData.Quantize([.. _words.Value.Select(w => new BF16(w).ToSingle())], rows, columns, (rows + 3) / 4 * 4);

            // A NaN among the codes themselves.
            if (values == CaseValues.NotFinite) coded.Codes[coded.Codes.Length / 2] = 0x7F;
            return coded;
        });
        _packed = new(PackAll);
    }

    public ushort[] Words => _words.Value;

    public (byte[] Codes, float[] Scales) Coded => _coded.Value;

    public (byte[] Bytes, float[] Scales) AllPacked => _packed.Value;

    public float[] Row(int row, int first, int count)
    {
        var numbers = new float[count];
        for (int i = 0; i < count; i++) numbers[i] = new BF16(_words.Value[(long)row * _columns + first + i]).ToSingle();
        return numbers;
    }

    public float Decoded(int row, int column) =>
        new E4M3(_coded.Value.Item1[(long)row * _columns + column]).ToSingle() * _coded.Value.Item2[(long)(column / 128) * ((_rows + 3) / 4 * 4) + row];

    public (byte[] Packed, float Scale) Packed(int row, int first)
    {
        float[] numbers = Row(row, first, Math.Min(128, _columns - first));
        var packed = new byte[E5M6.PackedLength(numbers.Length)];
        var scales = new float[1];
        TileQuantizer.QuantizeRowsE5M6(numbers, 1, numbers.Length, numbers.Length, packed, scales);
        return (packed, scales[0]);
    }

    (byte[], float[]) PackAll()
    {
        int tiles = TileQuantizer.TileCount(_columns), rowBytes = TileQuantizer.E5M6RowLength(_columns);
        var bytes = new byte[(long)_rows * rowBytes];
        var scales = new float[_rows * tiles];
        Parallel.For(0, _rows, row => TileQuantizer.QuantizeRowsE5M6(Row(row, 0, _columns), 1, _columns, _columns, bytes.AsSpan(row * rowBytes, rowBytes), scales.AsSpan(row * tiles, tiles)));
        return (bytes, scales);
    }
}

/// <summary>Compares the tiles of an output, all or some, bit for bit.</summary>
sealed class TileCheck(Func<string, byte[]> read)
{
    readonly Dictionary<string, byte[]> _buffers = [];
    string? _wrong;

    public static CaseResult Compare(int tiles, int samples, ulong seed, Func<string, byte[]> read, Action<int, TileCheck> tile)
    {
        var check = new TileCheck(read);
        var random = new CounterRandom(seed, RandomPurpose.TestData, 9);
        for (int i = 0; i < (samples == 0 ? tiles : samples) && check._wrong is null; i++) tile(samples == 0 ? i : random.Below((ulong)i, tiles), check);
        return new CaseResult(check._wrong is null, 0, 0, check._wrong ?? "");
    }

    public void Quantized(ScaleKind kind, float[] numbers, Func<int, long> place, long scalePlace)
    {
        var codes = new E4M3[numbers.Length];
        Number("scales", scalePlace, TileQuantizer.QuantizeTile(numbers, kind, codes));
        for (int i = 0; i < codes.Length; i++) Byte("codes", place(i), codes[i].Bits);
    }

    public void Byte(string buffer, long at, byte expected) => Same(buffer, at, Buffer(buffer)[at], expected);

    public void Number(string buffer, long at, float expected) =>
        Same(buffer, at, MemoryMarshal.Cast<byte, uint>(Buffer(buffer))[(int)at], BitConverter.SingleToUInt32Bits(expected));

    public void BFloat16(string buffer, long at, float expected)
    {
        var got = new BF16(MemoryMarshal.Cast<byte, ushort>(Buffer(buffer))[(int)at]);

        // Which NaN it is, the machine decides.
        if (!(float.IsNaN(expected) && got.IsNaN)) Same(buffer, at, got.Bits, BF16.FromSingle(expected).Bits);
    }

    byte[] Buffer(string name) => _buffers.TryGetValue(name, out byte[]? bytes) ? bytes : _buffers[name] = read(name);

    void Same(string buffer, long at, uint got, uint expected)
    {
        if (got != expected) _wrong ??= string.Create(CultureInfo.InvariantCulture, $"{buffer}[{at}] has the bits 0x{got:x}, the definition 0x{expected:x}.");
    }
}
