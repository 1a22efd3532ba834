using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Reference;
using Hadal.Training.Recording;

namespace Hadal.Training.Tests.Recording;

/// <summary>The meter against plain loops over what the quantisers store.</summary>
public sealed class TensorMeterTests : IDisposable
{
    readonly ReferenceBackend _backend = new();
    readonly TensorArena _arena;
    readonly Random _random = new(7);

    public TensorMeterTests() => _arena = new TensorArena(_backend);

    public void Dispose()
    {
        _arena.Dispose();
        _backend.Dispose();
    }

    Tensor Values(int rows, int columns)
    {
        // Magnitudes over ten decades inside each tile: some become zero under any scale of the tile.
        Tensor x = _arena.Allocate(DType.F32, rows, columns + 3).SliceColumns(0, columns);
        for (int r = 0; r < rows; r++)
            foreach (ref float value in x.Row<float>(r)) value = _random.Next(9) == 0 ? 0 : (float)((_random.NextDouble() - 0.5) * Math.Pow(10, _random.Next(-7, 3)));
        return x;
    }

    static float[] Dense(Tensor x, int rows)
    {
        var dense = new float[rows * x.Columns];
        for (int r = 0; r < rows; r++) x.Row<float>(r).CopyTo(dense.AsSpan(r * x.Columns));
        return dense;
    }

    /// <summary>Counts and error of stored values against their originals.</summary>
    static void Check(TensorStatistics s, float[] x, float[] stored, IEnumerable<float> scales)
    {
        Assert.Equal(x.Length, s.Elements);
        Assert.Equal(x.Count(v => v == 0), s.Zeros);
        Assert.Equal(x.Max(Math.Abs), s.Largest);
        Assert.Equal(x.Where((v, i) => v != 0 && stored[i] == 0).Count(), s.Underflows);
        Assert.True(s.Underflows > 0 || s.Scales.Sum() == 0, "the case has underflow");
        Assert.Equal(0, s.Saturations);
        Assert.Equal(x.Sum(v => (double)v * v), s.Squares, 1e-5 * s.Squares);
        Assert.Equal(x.Length, s.Sampled);
        double error = Math.Sqrt(x.Select((v, i) => Math.Pow((double)stored[i] - v, 2)).Sum() / x.Sum(v => (double)v * v));
        Assert.Equal(error, s.RelativeError, 1e-9);
        var buckets = new long[TensorStatistics.ScaleBuckets];
        foreach (float scale in scales) buckets[Math.Clamp((int)Math.Floor(Math.Log2(scale)) - TensorStatistics.LowestScaleExponent, 0, TensorStatistics.ScaleBuckets - 1)]++;
        Assert.Equal(buckets, s.Scales);
    }

    [Theory]
    [InlineData(5, 300, ScaleKind.Plain)]
    [InlineData(7, 129, ScaleKind.PowerOfTwo)]
    [InlineData(1, 17, ScaleKind.Plain)]
    public void Row_tiles_are_measured_as_they_are_quantised(int rows, int columns, ScaleKind kind)
    {
        Tensor values = Values(rows, columns);
        float[] x = Dense(values, rows), back = new float[x.Length], scales = new float[rows * TileQuantizer.TileCount(columns)];
        var codes = new E4M3[x.Length];
        TileQuantizer.QuantizeRows(x, rows, columns, columns, kind, codes, scales);
        TileQuantizer.DequantizeRows(codes, scales, rows, columns, back, columns);
        var s = new TensorStatistics();
        new TensorMeter { Turn = 3 }.Operand(s, values, QuantizationFormat.Tiles(kind), alongTokens: false, default);
        Check(s, x, back, scales);
    }

    [Theory]
    [InlineData(40, 60)]
    [InlineData(130, 20)]
    public void Blocks_are_measured_as_they_are_quantised(int rows, int columns)
    {
        Tensor values = Values(rows, columns);
        float[] x = Dense(values, rows), back = new float[x.Length], scales = new float[TileQuantizer.TileCount(rows) * TileQuantizer.TileCount(columns)];
        var codes = new E4M3[x.Length];
        TileQuantizer.QuantizeBlocks(x, rows, columns, columns, ScaleKind.Plain, codes, scales);
        TileQuantizer.DequantizeBlocks(codes, scales, rows, columns, back, columns);
        var s = new TensorStatistics();
        new TensorMeter().Operand(s, values, QuantizationFormat.Blocks(), alongTokens: false, default);
        if (rows > 32)
        {
            // Every second piece or so is sampled: the error is that of a part.
            Assert.InRange(s.Sampled, 1, x.Length);
            Assert.Equal(x.Where((v, i) => v != 0 && back[i] == 0).Count(), s.Underflows);
            Assert.InRange(s.RelativeError, 0.001, 0.1);
            Assert.Equal(scales.Length, s.Scales.Sum());
            return;
        }

        Check(s, x, back, scales);
    }

    [Fact]
    public void Tiles_along_the_tokens_begin_at_the_first_row_of_each_group()
    {
        const int Rows = 30, Columns = 50;
        Tensor values = Values(Rows, Columns), offsets = _arena.Allocate(DType.I32, 5);
        int[] groups = [0, 7, 7, 20, 28]; // one is empty, two rows are not in use
        groups.CopyTo(offsets.AsSpan<int>());
        float[] x = Dense(values, 28), back = new float[x.Length];
        var scales = new List<float>();
        for (int g = 0; g < 4; g++)
        {
            if (groups[g] == groups[g + 1]) continue;
            for (int c = 0; c < Columns; c++)
            {
                float[] column = [.. Enumerable.Range(groups[g], groups[g + 1] - groups[g]).Select(r => x[(r * Columns) + c])];
                float scale = TileScale.ForE4M3(column.Max(Math.Abs), ScaleKind.Plain);
                scales.Add(scale);
                for (int i = 0; i < column.Length; i++) back[((groups[g] + i) * Columns) + c] = E4M3.FromSingle(column[i] / scale).ToSingle() * scale;
            }
        }

        var s = new TensorStatistics();
        new TensorMeter().Operand(s, values, QuantizationFormat.Tiles(), alongTokens: true, offsets);
        Check(s, x, back, scales);
    }

    [Fact]
    public void Blocks_begin_anew_at_each_joined_matrix()
    {
        Tensor values = Values(30, 50);
        float[] x = Dense(values, 30), back = new float[x.Length];
        var scales = new List<float>();
        for (int matrix = 0; matrix < 3; matrix++)
        {
            Span<float> part = x.AsSpan(matrix * 500, 500), restored = back.AsSpan(matrix * 500, 500);
            var codes = new E4M3[500];
            var scale = new float[1];
            TileQuantizer.QuantizeBlocks(part, 10, 50, 50, ScaleKind.Plain, codes, scale);
            TileQuantizer.DequantizeBlocks(codes, scale, 10, 50, restored, 50);
            scales.Add(scale[0]);
        }

        var s = new TensorStatistics();
        new TensorMeter().Operand(s, values, QuantizationFormat.Blocks(), alongTokens: false, default, (10, 0));
        Check(s, x, back, scales);
    }

    [Fact]
    public void A_delayed_scale_that_is_too_small_saturates_and_is_counted()
    {
        Tensor values = Values(4, 100);
        float[] x = Dense(values, 4);
        float delayed = x.Max(Math.Abs) / 8, scale = TileScale.ForE4M3(delayed, ScaleKind.Plain);
        var s = new TensorStatistics();
        new TensorMeter().Operand(s, values, QuantizationFormat.WholeTensorDelayed(), alongTokens: false, default, default, delayed);
        Assert.Equal(x.Count(v => Math.Abs(v) > 464 * scale), s.Saturations);
        Assert.InRange(s.Saturations, 1, 200);
        Assert.True(s.RelativeError > 0.3, $"error {s.RelativeError}");
    }

    [Fact]
    public void One_scale_a_tensor_and_bfloat16_are_measured_as_they_are_rounded()
    {
        Tensor values = Values(9, 200);
        float[] x = Dense(values, 9);
        float scale = TileScale.ForE4M3(x.Max(Math.Abs), ScaleKind.Plain);
        var s = new TensorStatistics();
        new TensorMeter().Operand(s, values, QuantizationFormat.WholeTensor(), alongTokens: true, default);
        Check(s, x, [.. x.Select(v => E4M3.FromSingle(v / scale).ToSingle() * scale)], [scale]);
        var half = new TensorStatistics();
        new TensorMeter().Operand(half, values, QuantizationFormat.BF16, alongTokens: false, default);
        Check(half, x, [.. x.Select(v => BF16.FromSingle(v).ToSingle())], []);
    }

    [Fact]
    public void A_stored_tensor_is_judged_by_its_codes()
    {
        const int Rows = 6, Columns = 140;
        Tensor values = Values(Rows, Columns), packed = _arena.Allocate(DType.U8, Rows, TileQuantizer.E5M6RowLength(Columns)), scales = _arena.Allocate(DType.F32, Rows, 2);
        float[] x = Dense(values, Rows), back = new float[x.Length];
        TileQuantizer.QuantizeRowsE5M6(x, Rows, Columns, Columns, packed.AsSpan<byte>(), scales.AsSpan<float>());
        packed.AsSpan<byte>()[5] ^= 0x40; // the recorder must see what is stored, not what should be
        TileQuantizer.DequantizeRowsE5M6(packed.AsSpan<byte>(), scales.AsSpan<float>(), Rows, Columns, back, Columns);
        var s = new TensorStatistics();
        new TensorMeter().Kept(s, values, QuantizationFormat.E5M6, packed, scales, default);
        double error = Math.Sqrt(x.Select((v, i) => Math.Pow((double)back[i] - v, 2)).Sum() / x.Sum(v => (double)v * v));
        Assert.Equal(error, s.RelativeError, 1e-9);
        Assert.Equal(Rows * 2, s.Scales.Sum());
    }

    [Fact]
    public void Values_that_are_not_finite_are_counted_and_cannot_pass_as_large()
    {
        Tensor values = Values(3, 200);
        values.Row<float>(1)[150] = float.NaN;
        values.Row<float>(2)[3] = float.NegativeInfinity;
        var s = new TensorStatistics();
        new TensorMeter().Operand(s, values, QuantizationFormat.Tiles(), alongTokens: false, default);
        Assert.Equal(2, s.NonFinite);
        Assert.Equal(float.NaN, s.Largest);
        Assert.True(s.Underflows >= 0);
        Assert.Equal(4, s.Scales.Sum()); // the two tiles with a fault have no scale
    }

    [Fact]
    public void The_sketch_estimates_how_far_two_tensors_are_apart_and_the_hash_sees_one_bit()
    {
        var ratios = new List<double>();
        for (int trial = 0; trial < 40; trial++)
        {
            Tensor a = Values(12, 130), b = _arena.Allocate(DType.F32, 12, 130);
            double distance = 0, norm = 0;
            for (int r = 0; r < 12; r++)
            {
                for (int c = 0; c < 130; c++)
                {
                    float x = a.Row<float>(r)[c], change = (float)((_random.NextDouble() - 0.5) * 1e-2);
                    b.Row<float>(r)[c] = x + change;
                    distance += Math.Pow(b.Row<float>(r)[c] - (double)x, 2);
                    norm += (double)x * x;
                }
            }

            TensorStatistics left = new(), right = new();
            ulong first = new TensorMeter().Operand(left, a, QuantizationFormat.F32, alongTokens: false, default);
            ulong second = new TensorMeter().Operand(right, b, QuantizationFormat.F32, alongTokens: false, default);
            Assert.NotEqual(first, second);
            ratios.Add(left.RelativeDifference(right) / Math.Sqrt(distance / Math.Max(norm, right.Squares)));
            Assert.Equal(0, left.RelativeDifference(left));
        }

        Assert.InRange(ratios.Average(), 0.9, 1.1);
        Assert.All(ratios, ratio => Assert.InRange(ratio, 0.3, 2));

        Tensor one = Values(4, 33);
        var meter = new TensorMeter();
        ulong before = meter.Operand(new TensorStatistics(), one, QuantizationFormat.F32, alongTokens: false, default);
        ref float value = ref one.Row<float>(3)[32];
        value = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(value) ^ 1);
        Assert.NotEqual(before, meter.Operand(new TensorStatistics(), one, QuantizationFormat.F32, alongTokens: false, default));
    }
}
