using Hadal.Tensors;
using Hadal.Training.Experiments;

namespace Hadal.Training.Tests.Experiments;

public sealed class ExperimentTests
{
    /// <summary>Every experiment; the one of several model sizes computes more than all others together.</summary>
    public static IEnumerable<TheoryDataRow<string>> Names() =>
        Experiment.All.Select(e => e.Name is "scaling" ? new TheoryDataRow<string>(e.Name).WithTrait("tier", "full") : new TheoryDataRow<string>(e.Name));

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

    [Fact]
    [Trait("tier", "full")]
    public void Outliers_change_no_bit_of_bf16_and_spoil_one_scale_a_tensor()
    {
        using var folder = new TemporaryFolder();
        using IBackend backend = TinyRuns.Backend("cpu");
        RunConfiguration run = Small(folder) with { Model = new ModelChoice { Preset = "wide", InitialDeviation = 0.02 } };
        VariantResult Train(string recipe, int exponent, int period)
        {
            var experiment = new Experiment("one", "", r => [new(recipe, r with { Recipe = recipe }, Outliers: new OutlierSchedule(5, exponent, period))]);
            return ExperimentRun.Run(experiment, run, backend, new Recorder())[0];
        }

        VariantResult plain = Train("bf16", 0, 0);
        Assert.Equal(plain.Losses, Train("bf16", 15, 0).Losses);
        VariantResult sometimes = Train("bf16", 15, 2);
        Assert.Equal(plain.Losses, sometimes.Losses);
        Assert.Equal(plain.BitsPerByte, sometimes.BitsPerByte);
        double Distance(string recipe) => Math.Abs(Train(recipe, 15, 0).Losses[^1] - Train(recipe, 0, 0).Losses[^1]);

        // Of four tiles of a row one has the outlier; one scale a tensor loses all four.
        (double tiles, double whole) = (Distance("fp8"), Distance("fp8-per-tensor"));
        Assert.True(whole > 1.3 * tiles, $"tiles moved by {tiles}, one scale by {whole}");
    }

    [Fact]
    public void A_report_comes_back_from_its_file_and_seeds_are_put_together()
    {
        using var folder = new TemporaryFolder();
        ExperimentReport Report(ulong seed, double loss) => new()
        {
            Name = "x", Command = $"hadal experiment x --seed {seed}", Date = "2026-01-02", Machine = "one", Setting = "small.",
            Results = [new("a", [2, 2, 2], 0.5, 1.5, double.NaN, 3) { Seed = seed }, new("b", [loss, loss, loss], double.NaN, 1.25, double.NaN, 4) { Seed = seed }],
        };
        File.WriteAllText(folder.File("1.json"), Report(1, 2.02).ToJson());
        File.WriteAllText(folder.File("2.json"), Report(2, 2.06).ToJson());
        ExperimentReport merged = ExperimentReport.Merge([ExperimentReport.Load(folder.File("1.json")), ExperimentReport.Load(folder.File("2.json"))]);
        Assert.Equal(4, merged.Results.Count);
        Assert.Equal("+2.00 ± 1.00 %", merged.Table[2][2]);
        Assert.Equal(2.04, merged.Series[1].Y[2], 12);
        Assert.Equal(Report(1, 2.02).ToJson(), ExperimentReport.Load(folder.File("1.json")).ToJson());
        Assert.Throws<ArgumentException>(() => ExperimentReport.Merge([merged, merged with { Name = "y" }]));
        File.WriteAllText(folder.File("3.json"), "{}");
        Assert.Throws<ArgumentException>(() => ExperimentReport.Load(folder.File("3.json")));
    }

    [Fact]
    public void Variants_that_were_run_apart_become_the_whole_experiment()
    {
        ExperimentReport One(string variant, ulong seed) => new()
        {
            Name = "mtp", Command = $"hadal experiment mtp --steps 3 --seed {seed} --variant \"{variant}\"", Date = "2026-01-02", Machine = "one", Setting = "small.",
            Results = [new(variant, [2, 2, 2], 0.5, 1.5, double.NaN, 3) { Seed = seed }],
        };
        string[] names = [.. Experiment.All.Single(e => e.Name is "mtp").Variants(Experiment.Base(3, 1)).Select(v => v.Name)];
        ExperimentReport merged = ExperimentReport.Merge([One(names[1], 5), One(names[0], 4), One(names[1], 4), One(names[0], 5)]);
        Assert.Equal("hadal experiment mtp --steps 3 --seed 4 --seeds 2", merged.Command);
        Assert.Equal([(names[0], 4UL), (names[0], 5UL), (names[1], 4UL), (names[1], 5UL)], merged.Results.Select(r => (r.Name, r.Seed)));
        Assert.Contains("--variant", ExperimentReport.Merge([One(names[1], 5), One(names[0], 4)]).Command, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ExperimentReport.Merge([One(names[0], 4), One(names[0], 4)]));
    }

    [Fact]
    [Implements("V3 §3.3.2", "Without promotion a product of depth 4096 errs by percents, with promotion every 128 by less than a thousandth")]
    public void Products_err_more_the_deeper_they_are_unless_they_are_promoted()
    {
        (double shallow, _) = PromotionExperiment.Products(128, positive: true, 1);
        (double deep, double promoted) = PromotionExperiment.Products(4096, positive: true, 1);
        Assert.InRange(deep, Math.Max(0.01, 4 * shallow), 0.2);
        Assert.InRange(promoted, 0, 0.002);
    }
}
