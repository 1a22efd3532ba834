using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Gemm;

namespace Hadal.Kernels.Tests;

/// <summary>The FP8 weight gradient against its definition in double, run by the interpreter under adversarial orders.</summary>
public sealed class GradientTests
{
    public static TheoryData<string> Names => new(GradientCases.Conformance().Select(c => c.Name));

    [Theory]
    [MemberData(nameof(Names))]
    public void Equals_the_reference(string name)
    {
        KernelCase it = GradientCases.Conformance().Single(c => string.Equals(c.Name, name, StringComparison.Ordinal));
        for (ulong seed = 1; seed <= 2; seed++)
        {
            CaseResult result = it.Interpret(seed, multiprocessors: 2 + (int)seed);
            Assert.True(result.Passed, result.Detail);

            // The interpreter's products are exact: what is left is the rounding of the chunks' sums.
            Assert.InRange(result.Error, 0, 1e-6);
        }
    }

    [Fact]
    public void A_wrong_scale_is_noticed()
    {
        KernelCase it = GradientCases.Conformance().First();
        KernelCase wrong = it with { Buffers = [.. it.Buffers.Select(b => string.Equals(b.Name, "b_scale", StringComparison.Ordinal) ? CaseBuffer.Of("b_scale", b.Bytes / 4, () => new float[b.Bytes / 4]) : b)] };
        Assert.False(wrong.Interpret(1).Passed);
    }

    [Fact]
    public void Interleaved_places_are_a_permutation_that_puts_a_threads_columns_together()
    {
        int[] places = [.. Enumerable.Range(0, 32).Select(n => GradientScales.Place(ColumnScaleOrder.Interleaved, n))];
        Assert.Equal(Enumerable.Range(0, 32), places.Order());
        for (int q = 0; q < 4; q++)
            Assert.Equal(Enumerable.Range(4 * q, 4), ((int[])[2 * q, 2 * q + 1, 8 + 2 * q, 9 + 2 * q]).Select(n => places[n]));
    }
}
