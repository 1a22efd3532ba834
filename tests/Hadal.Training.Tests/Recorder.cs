using Hadal.Training.Running;

namespace Hadal.Training.Tests;

/// <summary>Keeps what a run told.</summary>
public sealed class Recorder : ITrainingObserver
{
    public List<StepProgress> Steps { get; } = [];

    public List<(long Step, IReadOnlyList<TextScore> Scores, bool Final)> Evaluations { get; } = [];

    public List<string> Samples { get; } = [];

    public List<string> Saves { get; } = [];

    public List<string> Warnings { get; } = [];

    public RunSummary? Run { get; private set; }

    public Action<StepProgress>? OnStep { get; init; }

    public void Preparing(string what)
    {
    }

    public void Started(RunSummary run) => Run = run;

    public void Stepped(in StepProgress step)
    {
        Steps.Add(step);
        OnStep?.Invoke(step);
    }

    public void Evaluated(long step, IReadOnlyList<TextScore> scores, bool final) => Evaluations.Add((step, scores, final));

    public void Sampled(long step, string prompt, string continuation) => Samples.Add(continuation);

    public void Saved(long step, string path) => Saves.Add(path);

    public void Warned(string message) => Warnings.Add(message);
}
