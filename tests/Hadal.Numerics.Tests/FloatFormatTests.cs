namespace Hadal.Numerics.Tests;

/// <summary>Every code, every midpoint between neighbours and its neighbouring floats, for the formats small enough to enumerate.</summary>
public sealed class FloatFormatTests
{
    public static TheoryData<string> Names() => ["E4M3", "E5M2", "E5M6"];

    static FloatFormat Format(string name) => name switch { "E4M3" => FloatFormat.E4M3, "E5M2" => FloatFormat.E5M2, _ => FloatFormat.E5M6 };

    static int EncodeSingle(string name, float value) => name switch
    {
        "E4M3" => E4M3.FromSingle(value).Bits,
        "E5M2" => E5M2.FromSingle(value).Bits,
        _ => E5M6.FromSingle(value).Bits,
    };

    static int EncodeDouble(string name, double value) => name switch
    {
        "E4M3" => E4M3.FromDouble(value).Bits,
        "E5M2" => E5M2.FromDouble(value).Bits,
        _ => E5M6.FromDouble(value).Bits,
    };

    static float Decode(string name, int code) => name switch
    {
        "E4M3" => new E4M3((byte)code).ToSingle(),
        "E5M2" => new E5M2((byte)code).ToSingle(),
        _ => new E5M6((ushort)code).ToSingle(),
    };

    [Theory]
    [InlineData("E4M3", 448, 0.015625, 0.001953125)]
    [InlineData("E5M2", 57344, 6.103515625e-05, 1.52587890625e-05)]
    [InlineData("E5M6", 130048, 6.103515625e-05, 9.5367431640625e-07)]
    public void Largest_smallest_normal_and_smallest_subnormal_are_the_published_ones(string name, double largest, double smallestNormal, double smallest)
    {
        FloatFormat format = Format(name);
        Assert.Equal(largest, format.Decode(format.LargestCode));
        Assert.Equal(smallestNormal, format.Decode(1 << format.MantissaBits));
        Assert.Equal(smallest, format.Decode(1));
    }

    [Theory]
    [InlineData(0x00, 0.0)]
    [InlineData(0x38, 1.0)]
    [InlineData(0x3C, 1.5)]
    [InlineData(0xB9, -1.125)]
    [InlineData(0x07, 0.013671875)]
    [InlineData(0x78, 256.0)]
    public void E4M3_codes_worked_out_by_hand(int code, double value) => Assert.Equal(value, FloatFormat.E4M3.Decode(code));

    [Theory]
    [MemberData(nameof(Names))]
    public void Decoding_equals_the_definition_for_every_code(string name)
    {
        FloatFormat format = Format(name);
        for (int code = 0; code < format.CodeCount; code++)
        {
            double expected = format.Decode(code);
            float actual = Decode(name, code);
            Assert.True(BitConverter.DoubleToInt64Bits(expected) == BitConverter.DoubleToInt64Bits(actual) || (double.IsNaN(expected) && float.IsNaN(actual)), $"{name} 0x{code:X}: {actual}, not {expected}");
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_code_survives_decoding_and_encoding(string name)
    {
        FloatFormat format = Format(name);
        for (int code = 0; code < format.CodeCount; code++)
        {
            float value = Decode(name, code);
            if (!float.IsFinite(value)) continue;
            Assert.Equal(code, EncodeSingle(name, value));
            Assert.Equal(code, EncodeDouble(name, value));
            Assert.Equal(code, format.Encode(value));
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Around_every_midpoint_the_nearer_code_wins_and_ties_go_to_the_even_one(string name)
    {
        FloatFormat format = Format(name);
        foreach (int signBit in (int[])[0, format.SignBit])
            for (int code = 0; code < format.LargestCode; code++)
            {
                double sign = signBit == 0 ? 1 : -1;
                double midpoint = (format.Decode(code) + format.Decode(code + 1)) / 2 * sign;
                float single = (float)midpoint;
                Assert.Equal(midpoint, single);
                int even = signBit | ((code & 1) == 0 ? code : code + 1);
                int inner = signBit | code, outer = signBit | (code + 1);
                float towardsZero = sign > 0 ? float.BitDecrement(single) : float.BitIncrement(single);
                float away = sign > 0 ? float.BitIncrement(single) : float.BitDecrement(single);
                Assert.Equal((even, inner, outer), (EncodeSingle(name, single), EncodeSingle(name, towardsZero), EncodeSingle(name, away)));
                Assert.Equal(even, EncodeDouble(name, midpoint));
                Assert.Equal(inner, EncodeDouble(name, sign > 0 ? double.BitDecrement(midpoint) : double.BitIncrement(midpoint)));
                Assert.Equal(outer, EncodeDouble(name, sign > 0 ? double.BitIncrement(midpoint) : double.BitDecrement(midpoint)));
                Assert.Equal((even, inner, outer), (format.Encode(midpoint), format.Encode(towardsZero), format.Encode(away)));
            }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Overflow_saturates_and_zero_keeps_its_sign(string name)
    {
        FloatFormat format = Format(name);
        float largest = (float)format.Decode(format.LargestCode);
        foreach (float value in (float[])[float.BitIncrement(largest), largest * 1.03f, largest * 1.04f, largest * 2, 1e30f, float.MaxValue, float.PositiveInfinity])
        {
            Assert.Equal(format.LargestCode, EncodeSingle(name, value));
            Assert.Equal(format.LargestCode | format.SignBit, EncodeSingle(name, -value));
            Assert.Equal(format.LargestCode | format.SignBit, EncodeDouble(name, -value));
            Assert.Equal(format.LargestCode | format.SignBit, format.Encode(-value));
        }
        Assert.Equal(format.LargestCode, EncodeDouble(name, 1e300));
        Assert.Equal(0, EncodeSingle(name, 0f));
        Assert.Equal(format.SignBit, EncodeSingle(name, -0f));
        foreach (float tiny in (float[])[float.Epsilon, 1e-40f, float.BitDecrement((float)format.Decode(1) / 2)])
        {
            Assert.Equal(0, EncodeSingle(name, tiny));
            Assert.Equal(format.SignBit, EncodeSingle(name, -tiny));
        }
        Assert.Equal(format.SignBit, EncodeDouble(name, -double.Epsilon));
    }

    [Fact]
    public void NaN_stays_NaN_where_the_format_has_one_and_throws_where_it_has_none()
    {
        foreach (float nan in (float[])[float.NaN, -float.NaN, BitConverter.UInt32BitsToSingle(0x7F80_0001)])
        {
            Assert.Equal(0x7F, E4M3.FromSingle(nan).Bits);
            Assert.Equal(0x7F, E4M3.FromDouble(nan).Bits);
            Assert.Equal(0x7F, E5M2.FromSingle(nan).Bits);
            Assert.Throws<ArithmeticException>(() => E5M6.FromSingle(nan));
            Assert.Throws<ArithmeticException>(() => FloatFormat.E5M6.Encode(nan));
        }
        Assert.True(new E4M3(0xFF).IsNaN);
        Assert.False(new E4M3(0x7E).IsNaN);
        Assert.True(new E5M2(0xFC).IsInfinity);
        Assert.Equal(float.NegativeInfinity, new E5M2(0xFC).ToSingle());
        Assert.True(new E5M2(0x7D).IsNaN);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Random_floats_encode_as_the_definition_says(string name)
    {
        FloatFormat format = Format(name);
        var random = new CounterRandom(1, RandomPurpose.TestData);
        for (ulong i = 0; i < 200_000; i++)
        {
            uint bits = random.UInt32(i);
            // Half of them over all floats, half around the range of the format.
            float value = BitConverter.UInt32BitsToSingle((i & 1) == 0 ? bits : (bits & 0x807F_FFFF) | ((100 + (bits >> 16) % 50) << 23));
            if (float.IsNaN(value)) continue;
            Assert.Equal(format.Encode(value), EncodeSingle(name, value));
        }
    }
}
