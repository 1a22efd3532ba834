using Hadal.Tensors;
using Hadal.Training.Optimization;

namespace Hadal.Training.Experiments;

/// <summary>One of the runs that an experiment compares.</summary>
/// <param name="Name">Row of the table.</param>
/// <param name="Run">What is trained.</param>
/// <param name="Moments">Element type of the optimizer's moments.</param>
/// <param name="EmaDecay">Decay of a moving average of the weights that is scored beside the final ones; 0 for none.</param>
public sealed record ExperimentVariant(string Name, RunConfiguration Run, DType Moments = DType.BF16, double EmaDecay = 0);

/// <summary>
/// A question of the report, asked of a model small enough for two cores and a few minutes: variants that differ in one thing, with the same text, seed, order and number of
/// steps. At this scale an effect may not show; then the page says so.
/// </summary>
/// <param name="Name">What a user types.</param>
/// <param name="Question">What is compared, and what the report found.</param>
/// <param name="Variants">The first is the one the others are compared with.</param>
public sealed record Experiment(string Name, string Question, Func<RunConfiguration, IReadOnlyList<ExperimentVariant>> Variants)
{
    /// <summary>All experiments.</summary>
    public static IReadOnlyList<Experiment> All { get; } =
    [
        new("precision", "Training under FP8 against BF16. The report finds less than 0.25 % difference of the smoothed loss at 16B and 230B parameters (V3 appendix B.1), and divergence of a 16B model "
            + "after 300B tokens when gradients are quantised in blocks (appendix B.2).",
            run => [.. new[] { "bf16", "fp32", "fp8", "fp8-block-gradients", "fp8-per-tensor" }.Select(r => new ExperimentVariant(r, run with { Recipe = r }))]),
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

    /// <summary>The run that all variants begin from: the <c>nano</c> shape on short rows of the bundled texts.</summary>
    public static RunConfiguration Base(long steps, ulong seed) => new()
    {
        Model = new ModelChoice { Preset = "nano", InitialDeviation = 0.02 },
        Tokenizer = new TokenizerConfiguration { Vocabulary = 1024 },
        Data = new DataConfiguration { Sources = ["bundled:austen"], SequenceLength = 128 },
        Batch = new BatchConfiguration { Rows = 4 },
        Budget = new BudgetConfiguration { Steps = steps },
        LearningRate = new LearningRateSchedule
        {
            Peak = 3e-3, WarmupSteps = 40, ConstantUntil = 0.5, CosineUntil = 0.97, DecayedUntil = 0.97, DecayedFactor = 0.05, FinalFactor = 0.05,
        },
        Seed = seed,
    };
}
