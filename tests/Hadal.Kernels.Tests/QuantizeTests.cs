using Hadal.Kernels.Library.Cases;
using Hadal.Numerics;

namespace Hadal.Kernels.Tests;

/// <summary>The quantising kernels against the definitions of <see cref="TileQuantizer"/>, bit for bit, run by the interpreter.</summary>
public sealed class QuantizeTests
{
    public static TheoryData<string> Names => new(QuantizeCases.Conformance().Select(c => c.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void Has_the_bits_of_the_definition(string name)
    {
        CaseResult result = QuantizeCases.Conformance().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal)).Interpret(seed: 3);
        Assert.True(result.Passed, result.Detail);
    }

    [Fact]
    public void A_changed_input_is_noticed()
    {
        KernelCase it = QuantizeCases.Rows(4, 128, ScaleKind.Plain, CaseValues.Normal, 5);
        KernelCase wrong = it with { Buffers = [.. it.Buffers.Select(b => b.Content is { } content ? b with { Content = () => Changed(content()) } : b)] };
        Assert.True(it.Interpret(1).Passed);
        Assert.False(wrong.Interpret(1).Passed);
    }

    static byte[] Changed(byte[] bytes)
    {
        bytes[301] ^= 0x40;
        return bytes;
    }

    /// <summary>
    /// One correction after multiplying by the reciprocal gives a quotient within 2⁻⁴⁷ of the true one before its rounding. A code can differ from that of the correctly
    /// rounded quotient only where the true one lies so near to the middle of two float32 beside a border B of codes (five significant bits): |V·2ᵏ − S·(B·2²⁰ ± 1)| ≤ 4
    /// with 24-bit V and S, which asks S to lie within 4 of a multiple of 2²⁰. Here every such scale (within 16), border and side is tried, with neighbours of the value.
    /// </summary>
    [Fact]
    public void One_correction_gives_the_code_of_the_correctly_rounded_quotient()
    {
        int tried = 0;
        for (long c = 8; c <= 16; c++)
            for (long d = -16; d <= 16; d++)
            {
                long s = (c << 20) + d;
                if (s is < 1 << 23 or >= 1 << 24) continue;
                for (long border = 16; border < 32; border++)
                    for (int side = -1; side <= 1; side += 2)
                    {
                        Int128 product = (Int128)s * ((border << 20) + side);
                        int k = 0;
                        while ((product >> k) >= 1 << 24) k++;
                        for (long v = (long)(product >> k) - 2; v <= (long)(product >> k) + 2; v++)
                        {
                            // The border's place among the codes: 2^-10 to 2^9, and a scale in the middle of its range.
                            for (int place = -12; place <= 8; place += 4, tried++)
                            {
                                float scale = s * MathF.ScaleB(1, -30), value = v * MathF.ScaleB(1, k - 24 - 30 + place);
                                Same(value, scale);
                            }
                        }
                    }
            }

        Assert.True(tried > 50_000);
    }

    [Fact]
    public void One_correction_gives_the_codes_of_random_values()
    {
        var random = new CounterRandom(17, RandomPurpose.TestData);
        for (ulong i = 0; i < 200; i++)
        {
            float scale = TileScale.ForE4M3((float)(random.Uniform(i) * Math.Pow(10, random.Below(i, 40) - 20)), ScaleKind.Plain);
            for (uint code = 0; code < 0x7F80; code += 1 + (uint)random.Below(i * 70000 + code, 7))
            {
                float value = BitConverter.UInt32BitsToSingle(code << 16 | (uint)random.Below(code, 1 << 16));
                if (value / scale <= 450) Same(value, scale);
            }
        }
    }

    static void Same(float value, float scale)
    {
        float reciprocal = 1 / scale, quotient = value * reciprocal;
        quotient = MathF.FusedMultiplyAdd(MathF.FusedMultiplyAdd(quotient, scale, -value), -reciprocal, quotient);
        if (E4M3.FromSingle(value / scale).Bits != E4M3.FromSingle(quotient).Bits) Assert.Fail($"{value:R} / {scale:R}: {E4M3.FromSingle(quotient).Bits:x} for {E4M3.FromSingle(value / scale).Bits:x}");
    }
}
