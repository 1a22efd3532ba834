using Hadal.Tensors;
using Hadal.Training.Measurement;

namespace Hadal.Training.Tests.Measurement;

public sealed class StepBenchmarkTests
{
    [Fact]
    public void A_measured_step_allocates_nothing_and_its_profile_covers_the_step()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, steps: 1);
        using IBackend backend = TinyRuns.Backend("cpu");
        StepMeasurement measured = StepBenchmark.Measure(run, backend, warmUp: 3, steps: 4, profiled: 2);
        Assert.Equal(2 * 3 * 24, measured.TokensPerStep);
        Assert.Equal(4, measured.StepSeconds.Count);
        Assert.All(measured.StepSeconds, seconds => Assert.True(seconds > 0));
        Assert.Equal(0, measured.AllocatedBytes);
        Assert.True(measured.ActiveParameters > 0 && measured.ActiveParameters < measured.Parameters);
        Assert.Equal(measured.TokensPerStep / measured.MedianSeconds, measured.TokensPerSecond, 1e-6);

        double inOperations = measured.Operations.Sum(o => o.Seconds);
        Assert.True(inOperations > 0 && inOperations <= measured.ProfiledSeconds, $"{inOperations} of {measured.ProfiledSeconds}");
        foreach (string group in (string[])["matrix", "attention", "norm", "routing", "optimizer", "loss", "embedding", "SwiGLU"])
            Assert.Contains(measured.Operations, o => o.Group.Equals(group, StringComparison.Ordinal));
        Assert.Equal(measured.Operations.Sum(o => o.Flop), measured.Products.Sum(o => o.Flop), 1e-6 * measured.Products.Sum(o => o.Flop));
    }

    [Fact]
    public void Without_a_profile_there_is_none()
    {
        using var folder = new TemporaryFolder();
        using IBackend backend = TinyRuns.Backend("cpu");
        StepMeasurement measured = StepBenchmark.Measure(TinyRuns.Configuration(folder, steps: 1), backend, warmUp: 0, steps: 1, profiled: 0);
        Assert.Empty(measured.Operations);
        Assert.Single(measured.StepSeconds);
    }
}
