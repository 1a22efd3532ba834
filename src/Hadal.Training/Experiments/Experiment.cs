using Hadal.Tensors;
using Hadal.Training.Optimization;

namespace Hadal.Training.Experiments;

/// <summary>One of the runs that an experiment compares.</summary>
/// <param name="Name">Row of the table.</param>
/// <param name="Run">What is trained.</param>
/// <param name="Moments">Element type of the optimizer's moments.</param>
/// <param name="EmaDecay">Decay of a moving average of the weights that is scored beside the final ones; 0 for none.</param>
/// <param name="Outliers">Activations that are made large; null for none.</param>
/// <param name="Nudged">Initial weights are changed in their last bit: how far such a run goes from its twin is what any change of rounding does.</param>
/// <param name="Recorded">A flight recorder looks at every 25th step.</param>
public sealed record ExperimentVariant(string Name, RunConfiguration Run, DType Moments = DType.BF16, double EmaDecay = 0, OutlierSchedule? Outliers = null, bool Nudged = false, bool Recorded = false);

/// <summary>
/// A question of the report, asked of a model small enough for two cores and a few minutes: variants that differ in one thing, with the same text, seed, order and number of
/// steps. At this scale an effect may not show; then the page says so.
/// </summary>
/// <param name="Name">What a user types.</param>
/// <param name="Question">What is compared, and what the report found.</param>
/// <param name="Variants">The first is the one the others are compared with.</param>
/// <param name="Seeds">Seeds it is asked with, unless told otherwise.</param>
public sealed record Experiment(string Name, string Question, Func<RunConfiguration, IReadOnlyList<ExperimentVariant>> Variants, int Seeds = 1)
{
    const int OutlierChannel = 5, OutlierExponent = 15, OutlierPeriod = 25;

    /// <summary>The question up to its first full stop or colon, for lists.</summary>
    public string Summary => Shorten(Question);

    internal static string Shorten(string text)
    {
        int end = text.AsSpan().IndexOfAny('.', ':');
        return end < 0 ? text : text[..end];
    }

    /// <summary>All experiments.</summary>
    public static IReadOnlyList<Experiment> All { get; } =
    [
        new("fp8-loss", "The loss of training under FP8 against BF16, over several seeds. The report finds a relative error below 0.25 % of the loss smoothed with 0.9, at 16B and 230B parameters (V3 appendix B.1). "
            + "The third variant takes the gradient of 4096 times the loss and divides by it afterwards, so that gradients lie above the floor of FP8 scales (the largest magnitude of a tile counts as at least 1e-4). The last is "
            + "BF16 again with the last bit of every initial weight changed: what any other rounding does.",
            run =>
            [
                new("bf16", run with { Recipe = "bf16" }), new("fp8", run with { Recipe = "fp8" }), new("fp8, loss x 4096", run with { Recipe = "fp8", LossScale = 4096 }),
                new("bf16, nudged", run with { Recipe = "bf16" }, Nudged: true),
            ],
            Seeds: 3),
        new("block-gradients", "Blocks of 128x128 for the gradients in the input-gradient products, instead of tiles of 1x128. The report saw a 16B model diverge after 300B tokens and suspects gradients that are large for "
            + "single tokens (V3 appendix B.2).",
            run => [.. new[] { "bf16", "fp8", "fp8-block-gradients" }.Select(r => new ExperimentVariant(r, run with { Recipe = r }, Recorded: true))], Seeds: 3),
        new("scaling", "Scales of tiles and blocks against one scale a tensor, current or delayed, without outliers and with: one channel of every norm's output is 2^15 times as large and the weights that read it 2^15 "
            + "times as small, so the model computes the same (that channel is not trained, in any variant); always, or in every 25th step. The report scales tiles because one outlier takes the range of a whole tensor, and "
            + "calls delayed scales a practice of frameworks (V3 §3.3.2).",
            run => Scaling(run with { Model = new ModelChoice { Preset = "wide", InitialDeviation = 0.02 } })),
        new("moments", "BF16 against FP32 moments of AdamW. The report keeps them in BF16 without observable loss (V3 §3.3.3).",
            run => [new("fp32 moments", run, DType.F32), new("bf16 moments", run)]),
        new("balancing", "Balancing experts by biases against an auxiliary loss. The report finds better models without the loss (V3 §4.5.2); MaxVio is the largest load over the mean, minus one.",
            run =>
            [
                new("biases (0.001) and alpha 1e-4", run),
                new("auxiliary loss, alpha 1e-2", run with { BiasSpeed = new StepSchedule(0, 0, 1), BalanceAlpha = 1e-2 }),
                new("neither", run with { BiasSpeed = new StepSchedule(0, 0, 1), BalanceAlpha = 0 }),
            ]),
        new("mtp", "Multi-token prediction against none, by the loss of the main model. The report finds better benchmarks with it (V3 §4.5.1).",
            run => [new("without MTP", run with { MtpLambda = new StepSchedule(0, 0, 1) }), new("with MTP, lambda 0.3 then 0.1", run)]),
        new("ema", "The moving average of the weights against the last ones, before the learning rate decays. The report uses it to see early what the decay will bring (V3 §3.2.3).",
            run => [new("constant learning rate", run with { LearningRate = run.LearningRate with { ConstantUntil = 1, CosineUntil = 1, DecayedUntil = 1, DecayedFactor = 1, FinalFactor = 1 } }, EmaDecay: 0.98)]),
    ];

    static IReadOnlyList<ExperimentVariant> Scaling(RunConfiguration run)
    {
        (string Name, OutlierSchedule Schedule)[] outliers =
        [
            ("", new OutlierSchedule(OutlierChannel, 0, 0)), (", outliers", new OutlierSchedule(OutlierChannel, OutlierExponent, 0)),
            (", outliers in every 25th step", new OutlierSchedule(OutlierChannel, OutlierExponent, OutlierPeriod)),
        ];
        return
        [
            new("bf16", run with { Recipe = "bf16" }, Outliers: outliers[0].Schedule),
            .. outliers.SelectMany(o => new[] { "fp8", "fp8-per-tensor", "fp8-per-tensor-delayed" }.Select(r => new ExperimentVariant(r + o.Name, run with { Recipe = r }, Outliers: o.Schedule))),
        ];
    }

    /// <summary>The run that all variants begin from: the <c>nano</c> shape on short rows of the bundled novels, or of another text.</summary>
    public static RunConfiguration Base(long steps, ulong seed, string source = "bundled:austen") => new()
    {
        Model = new ModelChoice { Preset = "nano", InitialDeviation = 0.02 },
        Tokenizer = new TokenizerConfiguration { Vocabulary = 1024 },
        Data = new DataConfiguration { Sources = [source], SequenceLength = 128 },
        Batch = new BatchConfiguration { Rows = 4 },
        Budget = new BudgetConfiguration { Steps = steps },
        LearningRate = new LearningRateSchedule
        {
            Peak = 3e-3, WarmupSteps = 40, ConstantUntil = 0.5, CosineUntil = 0.97, DecayedUntil = 0.97, DecayedFactor = 0.05, FinalFactor = 0.05,
        },
        Seed = seed,
    };
}
