using Hadal.Training.Supervised;

namespace Hadal.Training;

/// <summary>What a supervised run learns (key <c>supervised</c>): generated questions with exact answers, several samples in a sequence that do not see each other, loss on answers alone [V3 §5.1].</summary>
public sealed record SupervisedConfiguration
{
    /// <summary>Names of the tasks; they take turns.</summary>
    public IReadOnlyList<string> Tasks { get; init; } = [.. SupervisedTask.All.Select(t => t.Name)];

    /// <summary>Samples that are made; a run longer than they last goes through them again in another order.</summary>
    public int Samples { get; init; } = 60_000;

    /// <summary>Part of the samples that think before they answer (key <c>thinking_share</c>); the others answer at once.</summary>
    public double ThinkingShare { get; init; } = 0.5;

    /// <summary>Part of the samples that follow another question and its answer in the same conversation (key <c>second_turn_share</c>).</summary>
    public double SecondTurnShare { get; init; } = 0.2;

    /// <summary>Held-out problems of each task that the final evaluation asks in both modes (key <c>problems</c>); a tenth of them, at least 8, while training.</summary>
    public int Problems { get; init; } = 100;

    /// <summary>Held-out problems of each task while training.</summary>
    internal int ProblemsWhileTraining => Math.Min(Problems, Math.Max(8, Problems / 10));

    internal void Validate()
    {
        if (Tasks.Count == 0) Throw.Configuration("supervised.tasks", "empty", $"some of {string.Join(", ", SupervisedTask.All.Select(t => t.Name))}");
        if (Tasks.Distinct(StringComparer.Ordinal).Count() != Tasks.Count) Throw.Configuration("supervised.tasks", $"{string.Join(", ", Tasks)}", "each task once");
        foreach (string task in Tasks) SupervisedTask.Find(task);
    }
}

public sealed partial record RunConfiguration
{
    /// <summary>The run of <c>hadal sft</c>: a small model of the quickstart learns to answer, for a few minutes.</summary>
    /// <param name="model">Folder of the model it begins from.</param>
    /// <param name="output">Folder that receives the result.</param>
    /// <param name="minutes">Minutes of training; the first steps are timed, then the number of steps is fixed.</param>
    /// <param name="steps">Exactly so many steps instead, for a result that does not depend on the speed of the machine; null for minutes.</param>
    public static RunConfiguration Sft(string model, string output, double minutes, long? steps = null) => new RunConfiguration
    {
        Output = output,
        Budget = steps is null ? new BudgetConfiguration { Minutes = minutes } : new BudgetConfiguration { Steps = steps },
        Supervised = new SupervisedConfiguration(),
        Data = new DataConfiguration { Sources = [], HeldOutEvery = 0, FillInMiddleRate = 0, PunctuationSplitRate = 0, SequenceLength = 256 },
        Batch = new BatchConfiguration { Rows = 8 },
        LearningRate = new Optimization.LearningRateSchedule { Peak = 4e-3, WarmupSteps = 40, ConstantUntil = 0.4, CosineUntil = 0.97, DecayedUntil = 0.97, DecayedFactor = 0.02, FinalFactor = 0.02 },
        MtpLambda = new Optimization.StepSchedule(0.1, 0.1, 1),
        Ema = new EmaConfiguration { Decay = 0.9, Every = 10 },
        Evaluation = new EvaluationConfiguration { Times = 4 },
        Checkpoint = new CheckpointConfiguration { Every = 250, Keep = 2 },
    }.BeginningFrom(model);
}
