namespace Hadal.Numerics.Tests;

/// <summary>The span conversions (vectors with tails) against the scalar ones, bit for bit.</summary>
public sealed class SpanConversionTests
{
    static float[] Interesting(int count)
    {
        var random = new CounterRandom(2, RandomPurpose.TestData);
        float[] values = new float[count];
        for (int i = 0; i < count; i++)
        {
            uint bits = random.UInt32((ulong)i);
            values[i] = (i % 16) switch
            {
                0 => float.NaN,
                1 => float.NegativeInfinity,
                2 => -0f,
                3 => BitConverter.UInt32BitsToSingle((bits & 0x8000_0000) | 0x7F80_0000 | (bits & 0xFFFF)),
                < 10 => BitConverter.UInt32BitsToSingle((bits & 0x807F_FFFF) | ((110 + (bits >> 16) % 30) << 23)),
                _ => BitConverter.UInt32BitsToSingle(bits),
            };
        }
        return values;
    }

    [Fact]
    public void E4M3_spans_equal_scalars()
    {
        float[] values = Interesting(5000);
        E4M3[] codes = new E4M3[values.Length];
        E4M3.FromSingle(values, codes);
        for (int i = 0; i < values.Length; i++) Assert.Equal(E4M3.FromSingle(values[i]), codes[i]);
        foreach (int length in (int[])[0, 1, 7, 8, 15, 16, 17, 31, 33, 100])
        {
            E4M3[] part = new E4M3[length + 1];
            part[length] = new E4M3(0x55);
            E4M3.FromSingle(values.AsSpan(3, length), part);
            Assert.True(part.AsSpan(0, length).SequenceEqual(codes.AsSpan(3, length)));
            Assert.Equal(0x55, part[length].Bits);
        }
    }

    [Fact]
    public void E4M3_spans_decode_every_code_as_scalars_do()
    {
        E4M3[] codes = new E4M3[256 + 13];
        for (int i = 0; i < codes.Length; i++) codes[i] = new E4M3((byte)i);
        for (int offset = 0; offset < 20; offset++)
        {
            float[] values = new float[codes.Length - offset];
            E4M3.ToSingle(codes.AsSpan(offset), values);
            for (int i = 0; i < values.Length; i++)
                Assert.Equal(BitConverter.SingleToUInt32Bits(codes[offset + i].ToSingle()), BitConverter.SingleToUInt32Bits(values[i]));
        }
    }

    [Fact]
    public void BF16_spans_equal_scalars()
    {
        float[] values = Interesting(5003);
        BF16[] codes = new BF16[values.Length];
        float[] back = new float[values.Length], rounded = new float[values.Length];
        BF16.FromSingle(values, codes);
        BF16.ToSingle(codes, back);
        BF16.RoundSingle(values, rounded);
        for (int i = 0; i < values.Length; i++)
        {
            Assert.Equal(BF16.FromSingle(values[i]), codes[i]);
            Assert.Equal((uint)codes[i].Bits << 16, BitConverter.SingleToUInt32Bits(back[i]));
            Assert.Equal((uint)codes[i].Bits << 16, BitConverter.SingleToUInt32Bits(rounded[i]));
        }
    }

    [Fact]
    public void E5M2_and_F16_spans_equal_scalars()
    {
        float[] values = Interesting(1000);
        E5M2[] codes = new E5M2[values.Length];
        Half[] halves = new Half[values.Length];
        float[] back = new float[values.Length];
        E5M2.FromSingle(values, codes);
        F16.FromSingle(values, halves);
        for (int i = 0; i < values.Length; i++)
        {
            Assert.Equal(E5M2.FromSingle(values[i]), codes[i]);
            Assert.Equal(BitConverter.HalfToUInt16Bits((Half)values[i]), BitConverter.HalfToUInt16Bits(halves[i]));
        }
        E5M2.ToSingle(codes, back);
        for (int i = 0; i < values.Length; i++) Assert.Equal(codes[i].ToSingle(), back[i]);
        F16.ToSingle(halves, back);
        for (int i = 0; i < values.Length; i++) Assert.Equal((float)halves[i], back[i]);
    }

    [Fact]
    public void A_short_destination_is_refused_with_both_lengths()
    {
        ArgumentException error = Assert.Throws<ArgumentException>(() => BF16.FromSingle(new float[5], new BF16[4]));
        Assert.Contains("5", error.Message, StringComparison.Ordinal);
        Assert.Contains("4", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void E5M6_pairs_take_three_bytes_in_the_documented_order()
    {
        byte[] packed = new byte[3];
        float first = new E5M6(0xABC).ToSingle(), second = new E5M6(0x123).ToSingle();
        E5M6.Pack([first, second], packed);
        Assert.Equal([0xBC, 0x3A, 0x12], packed);
    }

    [Fact]
    public void E5M6_packs_and_unpacks_every_code_and_odd_tails()
    {
        float[] values = new float[4096];
        for (int i = 0; i < 4096; i++) values[i] = new E5M6((ushort)i).ToSingle();
        foreach (int length in (int[])[0, 1, 2, 3, 127, 128, 4095, 4096])
        {
            byte[] packed = new byte[E5M6.PackedLength(length)];
            float[] back = new float[length];
            E5M6.Pack(values.AsSpan(0, length), packed);
            E5M6.Unpack(packed, back);
            for (int i = 0; i < length; i++) Assert.Equal(BitConverter.SingleToUInt32Bits(values[i]), BitConverter.SingleToUInt32Bits(back[i]));
        }
        Assert.Equal(6, E5M6.PackedLength(3));
        ArithmeticException error = Assert.Throws<ArithmeticException>(() => E5M6.Pack([1, 2, float.NaN], new byte[6]));
        Assert.Contains("index 2", error.Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentOutOfRangeException>(() => new E5M6(0x1000));
    }
}
