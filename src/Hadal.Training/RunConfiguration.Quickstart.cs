namespace Hadal.Training;

public sealed partial record RunConfiguration
{
    /// <summary>The run of <c>hadal quickstart</c>: <c>nano</c> on the bundled texts and generated arithmetic, for a few minutes.</summary>
    /// <param name="output">Folder that receives the model.</param>
    /// <param name="minutes">Minutes of training; the first steps are timed, then the number of steps is fixed.</param>
    /// <param name="steps">Exactly so many steps instead, for a result that does not depend on the speed of the machine; null for minutes.</param>
    public static RunConfiguration Quickstart(string output, double minutes, long? steps = null) => new()
    {
        Output = output,
        Budget = steps is null ? new BudgetConfiguration { Minutes = minutes } : new BudgetConfiguration { Steps = steps },
        Model = new ModelChoice { Preset = "nano", InitialDeviation = 0.05 },
        Tokenizer = new TokenizerConfiguration { Vocabulary = 4096 },
        Data = new DataConfiguration { Sources = ["bundled:austen", "bundled:kjv", "arithmetic:400"], SequenceLength = 256 },
        Batch = new BatchConfiguration { Rows = 8 },
        LearningRate = new Optimization.LearningRateSchedule { Peak = 6e-3, WarmupSteps = 60, ConstantUntil = 0.5, CosineUntil = 0.97, DecayedUntil = 0.97, DecayedFactor = 0.02, FinalFactor = 0.02 },
        Ema = new EmaConfiguration { Decay = 0.9, Every = 10 }, // remembers about a tenth of the run
        Evaluation = new EvaluationConfiguration
        {
            Times = 6,
            Bytes = 12_000,
            Prompts = ["It is a truth universally acknowledged, that", "In the beginning God"],
            SampleTokens = 40,
        },
        Checkpoint = new CheckpointConfiguration { Every = 250, Keep = 2 },
    };
}
