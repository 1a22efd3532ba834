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

    /// <summary>The two corrections after multiplying by the reciprocal give the correctly rounded quotient.</summary>
    [Fact]
    public void Division_by_corrections_is_correctly_rounded()
    {
        var random = new CounterRandom(17, RandomPurpose.TestData);
        for (ulong i = 0; i < 200; i++)
        {
            float scale = TileScale.ForE4M3((float)(random.Uniform(i) * Math.Pow(10, random.Below(i, 40) - 20)), ScaleKind.Plain);
            float reciprocal = 1 / scale;
            for (uint code = 0; code < 0x7F80; code += 1 + (uint)random.Below(i * 70000 + code, 7))
            {
                float value = BitConverter.UInt32BitsToSingle(code << 16);
                float expected = value / scale;
                if (expected > 450 || expected < 1e-9f) continue; // below 2^−10 every code is 0
                float quotient = value * reciprocal;
                for (int correction = 0; correction < 2; correction++)
                    quotient = MathF.FusedMultiplyAdd(MathF.FusedMultiplyAdd(quotient, scale, -value), -reciprocal, quotient);
                Assert.Equal(expected, quotient);
            }
        }
    }
}
