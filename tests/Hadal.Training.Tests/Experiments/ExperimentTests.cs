using Hadal.Tensors;
using Hadal.Training.Experiments;

namespace Hadal.Training.Tests.Experiments;

public sealed class ExperimentTests
{
    public static TheoryData<string> Names() => [.. Experiment.All.Select(e => e.Name)];

    static RunConfiguration Small(TemporaryFolder folder) => TinyRuns.Configuration(folder, 6) with { Ema = new EmaConfiguration(), Batch = new BatchConfiguration { Rows = 2 } };

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_experiment_compares_runs_that_differ_in_what_it_names(string name)
    {
        using var folder = new TemporaryFolder();
        Experiment experiment = Experiment.All.Single(e => string.Equals(e.Name, name, StringComparison.Ordinal));
        using IBackend backend = TinyRuns.Backend("cpu");
        var told = new List<string>();
        IReadOnlyList<VariantResult> results = ExperimentRun.Run(experiment, Small(folder), backend, new Recorder(), r => told.Add(r.Name));
        Assert.Equal(experiment.Variants(Small(folder)).Select(v => v.Name), results.Select(r => r.Name), StringComparer.Ordinal);
        Assert.Equal(results.Select(r => r.Name), told, StringComparer.Ordinal);
        Assert.All(results, r =>
        {
            Assert.Equal(6, r.Losses.Length);
            Assert.All(r.Losses, l => Assert.True(double.IsFinite(l)));
            Assert.InRange(r.BitsPerByte, 0.1, 20);
        });
        Assert.Equal(0, results[0].MeanDistance(results[0]));

        // Variants begin with the same weights and rows, so the first loss differs by rounding at most; and every variant is a run of its own.
        Assert.All(results, r => Assert.Equal(results[0].Losses[0], r.Losses[0], 0.05));
        Assert.All(results.Skip(1), r => Assert.NotEqual(results[0].Losses, r.Losses));
        Assert.Equal(string.Equals(name, "ema", StringComparison.Ordinal), results.Any(r => !double.IsNaN(r.EmaBitsPerByte)));
    }

    [Fact]
    public void Smoothing_keeps_nine_tenths_of_the_past()
    {
        var result = new VariantResult("x", [1, 2, 2, 2, 2, 2, 2, 2, 2, 2], 0, 0, double.NaN, 0);
        Assert.Equal(1.1, result.SmoothedLosses()[1], 12);
        Assert.Equal(2 - Math.Pow(0.9, 9), result.FinalLoss, 12);
    }
}
