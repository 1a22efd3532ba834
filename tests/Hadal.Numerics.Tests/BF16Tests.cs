namespace Hadal.Numerics.Tests;

public sealed class BF16Tests
{
    [Fact]
    public void Every_code_decodes_to_its_definition_and_back()
    {
        for (int code = 0; code <= 0xFFFF; code++)
        {
            var value = new BF16((ushort)code);
            int exponent = (code >> 7) & 0xFF, mantissa = code & 0x7F;
            double expected = exponent == 255 ? (mantissa == 0 ? double.PositiveInfinity : double.NaN)
                : exponent == 0 ? mantissa * Math.ScaleB(1, -133) : (128 + mantissa) * Math.ScaleB(1, exponent - 134);
            if ((code & 0x8000) != 0) expected = -expected;
            float actual = value.ToSingle();
            Assert.Equal(expected, actual);
            Assert.Equal(double.IsNaN(expected), value.IsNaN);
            int back = BF16.FromSingle(actual).Bits, backFromDouble = BF16.FromDouble(actual).Bits;
            int quiet = double.IsNaN(expected) ? code | 0x40 : code;
            Assert.Equal((quiet, quiet), (back, backFromDouble));
        }
    }

    [Fact]
    public void Around_every_midpoint_the_nearer_code_wins_and_ties_go_to_the_even_one()
    {
        for (int code = 0; code < 0x7F80; code++)
        {
            // The step above the largest finite value is the one to 2^128, which rounds to infinity.
            double below = new BF16((ushort)code).ToSingle();
            double above = code == 0x7F7F ? Math.ScaleB(1, 128) : new BF16((ushort)(code + 1)).ToSingle();
            double midpoint = (below + above) / 2;
            int even = (code & 1) == 0 ? code : code + 1;
            float single = (float)midpoint;
            Assert.Equal(midpoint, single);
            Assert.Equal((even, code, code + 1), (BF16.FromSingle(single).Bits, BF16.FromSingle(float.BitDecrement(single)).Bits, BF16.FromSingle(float.BitIncrement(single)).Bits));
            Assert.Equal(0x8000 | even, BF16.FromSingle(-single).Bits);
            // A double just beside the midpoint would round to the midpoint as a float, and then, wrongly, to even.
            Assert.Equal((even, code, code + 1),
                (BF16.FromDouble(midpoint).Bits, BF16.FromDouble(double.BitDecrement(midpoint)).Bits, BF16.FromDouble(double.BitIncrement(midpoint)).Bits));
            Assert.Equal(0x8000 | (code + 1), BF16.FromDouble(-double.BitIncrement(midpoint)).Bits);
        }
    }

    [Fact]
    public void Beyond_the_range_is_infinity_and_infinity_stays()
    {
        Assert.Equal(0x7F80, BF16.FromSingle(float.MaxValue).Bits);
        Assert.Equal(0xFF80, BF16.FromSingle(float.NegativeInfinity).Bits);
        Assert.Equal(0x7F80, BF16.FromDouble(1e300).Bits);
        Assert.Equal(0xFF80, BF16.FromDouble(double.NegativeInfinity).Bits);
        Assert.Equal(0x8000, BF16.FromDouble(-1e-300).Bits);
        Assert.True(BF16.FromDouble(double.NaN).IsNaN);
        Assert.True(BF16.FromSingle(BitConverter.UInt32BitsToSingle(0x7F80_0001)).IsNaN);
    }

    [Fact]
    public void What_is_not_finite_is_found_wherever_it_stands()
    {
        float[] bad = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];
        for (int length = 0; length < 70; length++)
        {
            float[] wide = [.. Enumerable.Range(0, length).Select(i => i % 3 == 0 ? float.MaxValue : i % 3 == 1 ? -float.Epsilon : 0)];
            BF16[] narrow = [.. wide.Select(value => new BF16((ushort)(BitConverter.SingleToUInt32Bits(value) >> 16)))]; // cut, so that the largest stays finite
            Assert.Equal((-1, -1), (TileQuantizer.FirstNonFinite(wide), BF16.FirstNonFinite(narrow)));
            for (int at = length - 1; at >= 0; at--)
            {
                wide[at] = bad[at % 3];
                narrow[at] = BF16.FromSingle(wide[at]);
                Assert.Equal((at, at), (TileQuantizer.FirstNonFinite(wide), BF16.FirstNonFinite(narrow)));
            }
        }
    }
}
