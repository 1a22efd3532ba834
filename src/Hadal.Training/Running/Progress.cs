using System.Runtime.InteropServices;
using Hadal.Training.Supervised;

namespace Hadal.Training.Running;

/// <summary>What a run consists of, told before the first step.</summary>
/// <param name="Parameters">Elements of all weights.</param>
/// <param name="ActiveParameters">Elements that work on one token: embedding counted as one row, of the experts only those chosen; MTP not counted.</param>
/// <param name="Vocabulary">Entries of the tokenizer.</param>
/// <param name="TrainingTokens">Tokens of one epoch.</param>
/// <param name="TokensPerStep">Tokens of a full step.</param>
/// <param name="FirstStep">1, or the step after the one that was resumed.</param>
/// <param name="HeldOutBytes">Held-out bytes by corpus.</param>
/// <param name="Backend">What runs where.</param>
public sealed record RunSummary(
    long Parameters, long ActiveParameters, int Vocabulary, long TrainingTokens, int TokensPerStep, long FirstStep,
    IReadOnlyList<(string Corpus, long Bytes)> HeldOutBytes, string Backend);

/// <summary>One optimizer step.</summary>
[StructLayout(LayoutKind.Auto)]
public readonly record struct StepProgress
{
    /// <summary>From 1.</summary>
    public required long Step { get; init; }

    /// <summary>Steps of the run; 0 while a budget in minutes is still being measured.</summary>
    public required long Steps { get; init; }

    /// <summary>Tokens consumed so far, this step included.</summary>
    public required long Tokens { get; init; }

    /// <summary>Mean next-token cross-entropy of the step, nats.</summary>
    public required double Loss { get; init; }

    /// <summary>Mean cross-entropy of the MTP modules, nats; NaN without.</summary>
    public required double MtpLoss { get; init; }

    /// <summary>Learning rate of the step.</summary>
    public required double LearningRate { get; init; }

    /// <summary>Global norm of the gradient before clipping.</summary>
    public required double GradientNorm { get; init; }

    /// <summary>Largest expert load over the mean load, minus 1, worst layer (MaxVio [LFB §4.1]); NaN without experts.</summary>
    public required double MaxViolation { get; init; }

    /// <summary>Duration of the step, seconds.</summary>
    public required double StepSeconds { get; init; }

    /// <summary>Training tokens per second of this process so far, evaluations and checkpoints not counted.</summary>
    public required double TokensPerSecond { get; init; }

    /// <summary>Seconds of training in this process so far, everything counted.</summary>
    public required double ElapsedSeconds { get; init; }

    /// <summary>Expected seconds to the last step; NaN while unknown.</summary>
    public required double RemainingSeconds { get; init; }
}

/// <summary>Bits per byte of one held-out text.</summary>
/// <param name="Corpus">Its name.</param>
/// <param name="BitsPerByte">Total negative log-likelihood in nats / (ln 2 · bytes).</param>
/// <param name="Bytes">Bytes that were scored.</param>
/// <param name="Documents">Documents they are in.</param>
/// <param name="Tokens">Tokens they are in.</param>
public sealed record TextScore(string Corpus, double BitsPerByte, long Bytes, int Documents, long Tokens);

/// <summary>Something worth telling happened. All calls come from the thread that runs the trainer, between two steps.</summary>
public interface ITrainingObserver
{
    /// <summary>A stage of the preparation begins, for example <c>training a tokenizer</c>.</summary>
    void Preparing(string what);

    /// <summary>Training begins.</summary>
    void Started(RunSummary run);

    /// <summary>A step was made.</summary>
    void Stepped(in StepProgress step);

    /// <summary>Held-out text was scored.</summary>
    /// <param name="step">Step it belongs to.</param>
    /// <param name="final">True for the last evaluation, over <see cref="EvaluationConfiguration.FinalBytes"/>.</param>
    void Evaluated(long step, IReadOnlyList<TextScore> scores, bool final);

    /// <summary>Held-out problems were asked: a supervised run.</summary>
    /// <param name="step">Step it belongs to.</param>
    /// <param name="scores">Both modes of each task.</param>
    /// <param name="final">True for the last evaluation.</param>
    void TasksScored(long step, IReadOnlyList<TaskScore> scores, bool final)
    {
    }

    /// <summary>A prompt was continued.</summary>
    void Sampled(long step, string prompt, string continuation);

    /// <summary>A training state is on disk.</summary>
    void Saved(long step, string path);

    /// <summary>Something is not as expected but training goes on.</summary>
    void Warned(string message);
}

/// <summary>Tells several observers, in the order they joined.</summary>
public sealed class TrainingObservers : ITrainingObserver
{
    readonly List<ITrainingObserver> _observers;

    /// <summary>Begins with these.</summary>
    public TrainingObservers(params ReadOnlySpan<ITrainingObserver> observers) => _observers = [.. observers];

    /// <summary>One more, told from now on.</summary>
    public void Add(ITrainingObserver observer) => _observers.Add(observer);

    /// <inheritdoc/>
    public void Preparing(string what)
    {
        foreach (ITrainingObserver observer in _observers) observer.Preparing(what);
    }

    /// <inheritdoc/>
    public void Started(RunSummary run)
    {
        foreach (ITrainingObserver observer in _observers) observer.Started(run);
    }

    /// <inheritdoc/>
    public void Stepped(in StepProgress step)
    {
        foreach (ITrainingObserver observer in _observers) observer.Stepped(step);
    }

    /// <inheritdoc/>
    public void Evaluated(long step, IReadOnlyList<TextScore> scores, bool final)
    {
        foreach (ITrainingObserver observer in _observers) observer.Evaluated(step, scores, final);
    }

    /// <inheritdoc/>
    public void TasksScored(long step, IReadOnlyList<TaskScore> scores, bool final)
    {
        foreach (ITrainingObserver observer in _observers) observer.TasksScored(step, scores, final);
    }

    /// <inheritdoc/>
    public void Sampled(long step, string prompt, string continuation)
    {
        foreach (ITrainingObserver observer in _observers) observer.Sampled(step, prompt, continuation);
    }

    /// <inheritdoc/>
    public void Saved(long step, string path)
    {
        foreach (ITrainingObserver observer in _observers) observer.Saved(step, path);
    }

    /// <inheritdoc/>
    public void Warned(string message)
    {
        foreach (ITrainingObserver observer in _observers) observer.Warned(message);
    }
}
