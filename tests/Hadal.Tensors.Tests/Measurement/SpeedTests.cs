using Hadal.Tensors.Cpu;
using Hadal.Tensors.Measurement;

namespace Hadal.Tensors.Tests.Measurement;

/// <summary>What is measured about the machine is a number that makes sense, on every instruction set. How large it is is nobody's test.</summary>
public sealed class SpeedTests
{
    [Fact]
    public void Wider_vectors_multiply_more()
    {
        var rates = InstructionSets.Available.ToDictionary(set => set, set => CpuSpeed.MultiplyAdds(new CpuOptions(1, set)));
        Assert.All(rates.Values, rate => Assert.InRange(rate, 1e7, 1e13));
        Assert.True(rates[InstructionSets.Best] >= rates[InstructionSet.Scalar], string.Join(", ", rates));
    }

    [Fact]
    public void Reading_has_a_bandwidth()
    {
        using var memory = new HostMemory(8 << 20);
        Assert.InRange(CpuSpeed.ReadBandwidth(new CpuOptions(2, InstructionSets.Best), memory), 1e7, 1e14);
    }

    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    public void A_product_has_times(DType weights)
    {
        using var backend = new CpuBackend(new CpuOptions(2, InstructionSets.Best));
        ProductTime time = MatrixBenchmark.Measure(backend, new ProductShape(9, 40, 33), weights, seconds: 0.02);
        Assert.True(time.BestSeconds > 0 && time.BestSeconds <= time.MedianSeconds, time.ToString());
        Assert.Equal(2.0 * 9 * 40 * 33 / time.MedianSeconds, time.FlopPerSecond, 1e-3);
        Assert.Equal(weights.Size() * 40.0 * 33 / time.MedianSeconds, time.WeightBytesPerSecond, 1e-3);
    }
}
