using CsCheck;

namespace Hadal.Numerics.Tests;

/// <summary>The quantiser against its definition: plain loops over <see cref="FloatFormat"/>, scales by search, padding made explicit.</summary>
public sealed class TileQuantizerTests
{
    const int T = TileQuantizer.Tile;

    static float[] Matrix(int rows, int stride, uint stream)
    {
        float[] x = new float[rows * stride];
        var random = new CounterRandom(5, RandomPurpose.TestData, stream);
        random.FillNormal(x);
        // Rows of very different size, as activations have, and some zeros.
        for (int i = 0; i < x.Length; i++) x[i] = i % 11 == 0 ? 0 : x[i] * MathF.ScaleB(1, i / stride % 40 - 25);
        return x;
    }

    static float DefinedScale(float amax, ScaleKind kind)
    {
        float floored = Math.Max(amax, 1e-4f);
        if (kind == ScaleKind.Plain) return floored / 448f;
        double power = Math.ScaleB(1, -140);
        while (floored > 448 * power) power *= 2; // exact in double
        return (float)power;
    }

    static byte DefinedCode(float x, float scale) => (byte)FloatFormat.E4M3.Encode(x / scale);

    static float Amax(float[] x, int rows, int columns, int stride, int row0, int rowCount, int column0, int columnCount)
    {
        float largest = 0;
        for (int r = row0; r < Math.Min(rows, row0 + rowCount); r++)
            for (int c = column0; c < Math.Min(columns, column0 + columnCount); c++) largest = Math.Max(largest, Math.Abs(x[r * stride + c]));
        return largest;
    }

    public static TheoryData<int, int, int, ScaleKind> Shapes()
    {
        var data = new TheoryData<int, int, int, ScaleKind>();
        foreach (ScaleKind kind in (ScaleKind[])[ScaleKind.Plain, ScaleKind.PowerOfTwo])
        {
            data.Add(1, 1, 1, kind);
            data.Add(3, 128, 128, kind);
            data.Add(5, 300, 301, kind);
            data.Add(129, 127, 130, kind);
            data.Add(256, 256, 256, kind);
            data.Add(130, 17, 17, kind);
            data.Add(0, 5, 5, kind);
            data.Add(4, 0, 3, kind);
        }
        return data;
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    [Implements("V3 §3.3.2", "Activations are scaled in tiles of 1×128 by their current maximum")]
    public void Rows_equal_the_definition_and_come_back(int rows, int columns, int stride, ScaleKind kind)
    {
        float[] x = Matrix(rows, stride, 1);
        int tiles = (columns + 127) / 128;
        E4M3[] codes = new E4M3[rows * columns];
        float[] scales = new float[rows * tiles], back = new float[rows * stride];
        Array.Fill(back, 77f);
        Assert.Equal(-1, TileQuantizer.QuantizeRows(x, rows, columns, stride, kind, codes, scales));
        TileQuantizer.DequantizeRows(codes, scales, rows, columns, back, stride);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < stride; c++)
            {
                if (c >= columns)
                {
                    Assert.Equal(77f, back[r * stride + c]); // between rows nothing is written
                    continue;
                }
                float scale = DefinedScale(Amax(x, rows, columns, stride, r, 1, c / T * T, T), kind);
                Assert.Equal(scale, scales[r * tiles + c / T]);
                Assert.Equal(DefinedCode(x[r * stride + c], scale), codes[r * columns + c].Bits);
                Assert.Equal((float)FloatFormat.E4M3.Decode(codes[r * columns + c].Bits) * scale, back[r * stride + c]);
                // Half a step of three mantissa bits, or half the smallest step.
                Assert.True(Math.Abs(back[r * stride + c] - x[r * stride + c]) <= Math.Max(Math.Abs(x[r * stride + c]) / 16 * 1.0001f, scale / 1024 * 1.0001f));
            }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    [Implements("V3 §3.3.2", "Weights are scaled in blocks of 128×128 by their current maximum")]
    public void Blocks_equal_the_definition_and_come_back(int rows, int columns, int stride, ScaleKind kind)
    {
        float[] x = Matrix(rows, stride, 2);
        int blockColumns = (columns + 127) / 128;
        E4M3[] codes = new E4M3[rows * columns];
        float[] scales = new float[(rows + 127) / 128 * blockColumns], back = new float[rows * stride];
        Assert.Equal(-1, TileQuantizer.QuantizeBlocks(x, rows, columns, stride, kind, codes, scales));
        TileQuantizer.DequantizeBlocks(codes, scales, rows, columns, back, stride);
        for (int r0 = 0; r0 < rows; r0 += T)
            for (int c0 = 0; c0 < columns; c0 += T)
            {
                float scale = DefinedScale(Amax(x, rows, columns, stride, r0, T, c0, T), kind);
                Assert.Equal(scale, scales[r0 / T * blockColumns + c0 / T]);
                for (int r = r0; r < Math.Min(rows, r0 + T); r++)
                    for (int c = c0; c < Math.Min(columns, c0 + T); c++)
                    {
                        Assert.Equal(DefinedCode(x[r * stride + c], scale), codes[r * columns + c].Bits);
                        Assert.Equal((float)FloatFormat.E4M3.Decode(codes[r * columns + c].Bits) * scale, back[r * stride + c]);
                    }
            }
    }

    [Theory]
    [InlineData(ScaleKind.Plain)]
    [InlineData(ScaleKind.PowerOfTwo)]
    public void A_cut_block_equals_the_zero_padded_one(ScaleKind kind)
    {
        const int Rows = 131, Columns = 200, Padded = 256;
        float[] x = Matrix(Rows, Columns, 3), padded = new float[Padded * Padded];
        for (int r = 0; r < Rows; r++) x.AsSpan(r * Columns, Columns).CopyTo(padded.AsSpan(r * Padded));
        E4M3[] codes = new E4M3[Rows * Columns], paddedCodes = new E4M3[Padded * Padded];
        float[] scales = new float[4], paddedScales = new float[4];
        TileQuantizer.QuantizeBlocks(x, Rows, Columns, Columns, kind, codes, scales);
        TileQuantizer.QuantizeBlocks(padded, Padded, Padded, Padded, kind, paddedCodes, paddedScales);
        Assert.Equal(paddedScales, scales);
        for (int r = 0; r < Rows; r++) Assert.True(codes.AsSpan(r * Columns, Columns).SequenceEqual(paddedCodes.AsSpan(r * Padded, Columns)));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    [Implements("V3 §3.5.2", "For weight gradients tiles of 1×128 become tiles of 128×1 by dequantising, transposing and quantising again")]
    public void Retiling_is_dequantise_transpose_quantise(int rows, int columns, int stride, ScaleKind kind)
    {
        float[] x = Matrix(rows, stride, 4);
        int rowTiles = TileQuantizer.TileCount(columns), columnTiles = TileQuantizer.TileCount(rows);
        E4M3[] codes = new E4M3[rows * columns], expected = new E4M3[rows * columns], retiled = new E4M3[rows * columns], direct = new E4M3[rows * columns];
        float[] scales = new float[rows * rowTiles], values = new float[rows * columns], transposed = new float[rows * columns];
        float[] expectedScales = new float[columns * columnTiles], retiledScales = new float[columns * columnTiles], directScales = new float[columns * columnTiles];
        TileQuantizer.QuantizeRows(x, rows, columns, stride, kind, codes, scales);
        TileQuantizer.DequantizeRows(codes, scales, rows, columns, values, columns);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) transposed[c * rows + r] = values[r * columns + c];
        TileQuantizer.QuantizeRows(transposed, columns, rows, rows, kind, expected, expectedScales);
        Assert.Equal(-1, TileQuantizer.Retile(codes, scales, rows, columns, kind, retiled, retiledScales));
        Assert.Equal(-1, TileQuantizer.QuantizeColumns(values, rows, columns, columns, kind, direct, directScales));
        Assert.True(expected.AsSpan().SequenceEqual(retiled) && expected.AsSpan().SequenceEqual(direct));
        Assert.Equal(expectedScales, retiledScales);
        Assert.Equal(expectedScales, directScales);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 128)]
    [InlineData(5, 301)]
    [InlineData(2, 255)]
    [Implements("V3 §3.3.3", "The attention output is kept in a 12-bit E5M6 with power-of-two scales")]
    public void E5M6_rows_equal_the_definition_and_come_back(int rows, int columns)
    {
        float[] x = Matrix(rows, columns + 2, 5);
        int tiles = TileQuantizer.TileCount(columns), rowLength = TileQuantizer.E5M6RowLength(columns);
        byte[] packed = new byte[rows * rowLength];
        float[] scales = new float[rows * tiles], back = new float[rows * columns];
        Assert.Equal(-1, TileQuantizer.QuantizeRowsE5M6(x, rows, columns, columns + 2, packed, scales));
        TileQuantizer.DequantizeRowsE5M6(packed, scales, rows, columns, back, columns);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++)
            {
                float amax = Math.Max(1e-4f, Amax(x, rows, columns, columns + 2, r, 1, c / T * T, T));
                double power = Math.ScaleB(1, -140);
                while (amax > 130048 * power) power *= 2;
                Assert.Equal((float)power, scales[r * tiles + c / T]);
                int code = FloatFormat.E5M6.Encode(x[r * (columns + 2) + c] / power);
                int pair = r * rowLength + c / 2 * 3;
                int stored = c % 2 == 0 ? packed[pair] | ((packed[pair + 1] & 15) << 8) : (packed[pair + 1] >> 4) | (packed[pair + 2] << 4);
                Assert.Equal(code, stored);
                Assert.Equal((float)(FloatFormat.E5M6.Decode(code) * power), back[r * columns + c]);
            }
    }

    [Fact]
    [Implements("V3 §3.3.3", "Power-of-two scales are the smallest that hold the maximum")]
    public void Power_of_two_scales_are_the_smallest_that_hold_the_maximum()
    {
        for (int exponent = -13; exponent < 120; exponent++)
        {
            float edge = MathF.ScaleB(448, exponent);
            if (!float.IsFinite(edge) || edge < 1e-4f) continue;
            Assert.Equal(MathF.ScaleB(1, exponent), TileScale.ForE4M3(edge, ScaleKind.PowerOfTwo));
            Assert.Equal(MathF.ScaleB(1, exponent + 1), TileScale.ForE4M3(float.BitIncrement(edge), ScaleKind.PowerOfTwo));
            // What a kernel computes that rounds the quotient first.
            foreach (float amax in (float[])[edge, float.BitIncrement(edge), float.BitDecrement(edge)])
                if (amax >= 1e-4f) Assert.Equal(FromRoundedQuotient(amax), TileScale.ForE4M3(amax, ScaleKind.PowerOfTwo));
        }
        Gen.Single[1e-4f, 1e30f].Sample(amax => TileScale.ForE4M3(amax, ScaleKind.PowerOfTwo) == FromRoundedQuotient(amax) && TileScale.ForE4M3(amax, ScaleKind.PowerOfTwo) == DefinedScale(amax, ScaleKind.PowerOfTwo));
        Assert.Equal(1e-4f / 448f, TileScale.ForE4M3(0, ScaleKind.Plain));

        static float FromRoundedQuotient(float amax)
        {
            int bits = BitConverter.SingleToInt32Bits(amax / 448f);
            return BitConverter.Int32BitsToSingle((((bits >> 23) & 0xFF) + ((bits & 0x7F_FFFF) != 0 ? 1 : 0)) << 23);
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void A_value_that_is_not_finite_is_reported_with_its_place_and_poisons_its_tile_alone(float bad)
    {
        const int Rows = 140, Columns = 300;
        float[] x = Matrix(Rows, Columns, 6), back = new float[x.Length];
        x[133 * Columns + 290] = bad;
        x[2 * Columns + 150] = bad;
        x[1 * Columns + 299] = bad;
        E4M3[] codes = new E4M3[x.Length];
        float[] scales = new float[Rows * 3], blockScales = new float[6];
        Assert.Equal(1 * Columns + 299, TileQuantizer.QuantizeRows(x, Rows, Columns, Columns, ScaleKind.Plain, codes, scales));
        TileQuantizer.DequantizeRows(codes, scales, Rows, Columns, back, Columns);
        for (int i = 0; i < x.Length; i++)
        {
            (int r, int tile) = (i / Columns, i % Columns / 128);
            Assert.Equal((r, tile) is (133, 2) or (2, 1) or (1, 2), float.IsNaN(back[i]));
        }
        Assert.Equal(1 * Columns + 299, TileQuantizer.QuantizeBlocks(x, Rows, Columns, Columns, ScaleKind.PowerOfTwo, codes, blockScales));
        Assert.Equal([false, true, true, false, false, true], blockScales.Select(float.IsNaN));
        byte[] packed = new byte[Rows * TileQuantizer.E5M6RowLength(Columns)];
        Assert.Equal(1 * Columns + 299, TileQuantizer.QuantizeRowsE5M6(x, Rows, Columns, Columns, packed, scales));
        TileQuantizer.DequantizeRowsE5M6(packed, scales, Rows, Columns, back, Columns);
        Assert.True(float.IsNaN(back[2 * Columns + 128]) && !float.IsNaN(back[2 * Columns + 127]));
        float[] columnScales = new float[Columns * 2];
        Assert.Equal(2 * Columns + 150, TileQuantizer.QuantizeColumns(x, Rows, Columns, Columns, ScaleKind.Plain, codes, columnScales));
    }

    [Fact]
    public void Shapes_that_do_not_fit_are_refused()
    {
        E4M3[] codes = new E4M3[256];
        float[] x = new float[256], scales = new float[2];
        Assert.Throws<ArgumentException>(() => TileQuantizer.QuantizeRows(x, 2, 128, 127, ScaleKind.Plain, codes, scales));
        Assert.Throws<ArgumentException>(() => TileQuantizer.QuantizeRows(x, 2, 128, 129, ScaleKind.Plain, codes, scales));
        Assert.Throws<ArgumentException>(() => TileQuantizer.QuantizeRows(x, 2, 128, 128, ScaleKind.Plain, codes, new float[1]));
        Assert.Throws<ArgumentException>(() => TileQuantizer.QuantizeBlocks(x, 2, 128, 128, ScaleKind.Plain, new E4M3[255], scales));
        Assert.Throws<ArgumentOutOfRangeException>(() => TileQuantizer.QuantizeRows(x, -1, 128, 128, ScaleKind.Plain, codes, scales));
    }

    [Fact]
    public void Quantising_allocates_nothing()
    {
        float[] x = Matrix(4, 256, 7), scales = new float[8];
        E4M3[] codes = new E4M3[1024];
        TileQuantizer.QuantizeRows(x, 4, 256, 256, ScaleKind.Plain, codes, scales);
        TileQuantizer.DequantizeRows(codes, scales, 4, 256, x, 256);
        long before = GC.GetAllocatedBytesForCurrentThread();
        TileQuantizer.QuantizeRows(x, 4, 256, 256, ScaleKind.Plain, codes, scales);
        TileQuantizer.DequantizeRows(codes, scales, 4, 256, x, 256);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }
}
