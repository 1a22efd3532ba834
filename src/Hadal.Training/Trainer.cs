using System.Diagnostics;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Training.Data;
using Hadal.Training.Ranks;
using Hadal.Training.Running;
using Hadal.Training.State;
using Hadal.Training.Supervised;

namespace Hadal.Training;

/// <summary>How a run ended.</summary>
public enum TrainingStatus
{
    /// <summary>The last step was made.</summary>
    Completed,
    /// <summary>Cancelled between two steps; the state is saved and the same call continues it.</summary>
    Interrupted,
}

/// <summary>How a run ended and what it reached.</summary>
/// <param name="Status">Completed or interrupted.</param>
/// <param name="Step">Steps made.</param>
/// <param name="Steps">Steps of the run.</param>
/// <param name="Tokens">Tokens consumed.</param>
/// <param name="Seconds">Seconds of training, over all processes that worked on the run.</param>
/// <param name="Scores">The final evaluation; empty when interrupted.</param>
/// <param name="Folder">Where the model is.</param>
public sealed record TrainingOutcome(
    TrainingStatus Status, long Step, long Steps, long Tokens, double Seconds, IReadOnlyList<TextScore> Scores, string Folder)
{
    /// <summary>Accuracy on held-out problems after a supervised run; empty otherwise, and when interrupted.</summary>
    public IReadOnlyList<TaskScore> TaskScores { get; init; } = [];
}

/// <summary>
/// Trains a model as a <see cref="RunConfiguration"/> says [V3 §4.2]: restores the newest usable checkpoint of the output folder or begins anew, makes
/// steps, measures, samples and saves, and leaves the public model in the output folder. Given data, configuration and number of steps, its result is the
/// same bits for any number of threads, and whether it was interrupted or not.
/// </summary>
public sealed partial class Trainer : IDisposable
{
    /// <summary>With a budget in minutes: steps that are made at least before their duration is believed, the first ones compile; and the latest that are looked at.</summary>
    const int LeastMeasuredSteps = 12, MeasuredSteps = 48;

    /// <summary>Characters of an answer that are shown while training.</summary>
    const int LongestShown = 200;

    /// <summary>With a budget in minutes: the part of it after which the number of steps is fixed. Schedules stand at their beginning until then.</summary>
    const double MeasuredPart = 0.15;

    readonly RunConfiguration _run;
    readonly PreparedRun _data;
    readonly Hadal.Formats.ModelConfiguration _configuration;
    readonly ITrainingObserver _observer;
    readonly ITrainingEngine _engine;
    readonly Evaluator _evaluator;
    readonly Continuation _continuation;
    readonly double[] _recentSeconds = new double[MeasuredSteps];
    TrainingPosition _position;
    double _evaluationSeconds;
    long _evaluationBytes, _evaluatedStep;

    /// <summary>Builds model and optimizer, and restores a checkpoint when there is one.</summary>
    /// <param name="run">The configuration.</param>
    /// <param name="data">Its data, from <see cref="PreparedRun.Prepare"/>.</param>
    /// <param name="backend">Where it runs.</param>
    /// <param name="observer">Is told what happens.</param>
    /// <exception cref="TrainingStateException">The output folder holds the state of another run or version, or only damaged ones.</exception>
    public Trainer(RunConfiguration run, PreparedRun data, IBackend backend, ITrainingObserver observer)
        : this(run, data, observer, run.Parallel.Layout.Ranks == 1 ? new LocalEngine(run, data, backend) : throw new ArgumentException($"The run has {run.Parallel.Layout.Ranks} ranks and one backend was given; TrainingRun.Execute makes one for each.", nameof(run)))
    {
    }

    /// <summary>As the other, over an engine that it disposes.</summary>
    internal Trainer(RunConfiguration run, PreparedRun data, ITrainingObserver observer, ITrainingEngine engine)
    {
        run.Validate();
        _run = run;
        _data = data;
        _observer = observer;
        _engine = engine;
        _configuration = ModelFiles.Configuration(run, data.Tokenizer);
        _evaluator = new Evaluator(Model, run.Data.SequenceLength, run.Batch.Rows);
        _continuation = new Continuation(Model, Math.Min(run.Data.SequenceLength, 128));
        _checkpoints = new CheckpointStore(Path.Combine(run.Output, "checkpoints"), run.Checkpoint.Keep);
        Restore();
    }

    /// <summary>The model that is trained.</summary>
    public Transformer Model => _engine.Model;

    /// <summary>Its tokenizer.</summary>
    public Hadal.Text.Tokenizer Tokenizer => _data.Tokenizer;

    /// <summary>Records steps; null for none. Set before <see cref="Run"/>.</summary>
    public Recording.FlightRecorder? Recorder
    {
        get => _engine.Recorder;
        set => _engine.Recorder = value;
    }

    /// <summary>Where the run stands.</summary>
    public TrainingPosition Position => _position;

    /// <summary>Runs to the end of the budget or to a cancellation, whichever is first. Call once.</summary>
    /// <exception cref="NonFiniteTrainingException">Loss or gradient is not finite; the last checkpoint is the good one.</exception>
    /// <exception cref="TrainingStateException">A checkpoint could not be written.</exception>
    public TrainingOutcome Run(CancellationToken cancel)
    {
        var clock = Stopwatch.StartNew();
        double secondsBefore = _position.Seconds, stepSeconds = 0;
        long tokensBefore = _position.Tokens;
        int made = 0;
        _observer.Started(Summary());
        if (_position.Steps == 0 && _run.Budget.Minutes is null) _position = _position with { Steps = PlanSteps() };
        try
        {
            if (_position.Step == 0 && _run.Evaluation.Times > 0 && _run.Supervised is null) EvaluateAndSample(0, cancel);
            while (_position.Steps == 0 || _position.Step < _position.Steps)
            {
                cancel.ThrowIfCancellationRequested();
                double began = clock.Elapsed.TotalSeconds;
                StepSettings settings = Settings(_position.Step + 1);
                StepResult result = _engine.Run(settings, _position.NextMicroBatch);
                double ended = clock.Elapsed.TotalSeconds;
                stepSeconds += ended - began;
                _recentSeconds[made++ % MeasuredSteps] = ended - began;
                Advance(settings, result, secondsBefore + ended);
                if (_engine.HasAverage && _position.Step % _run.Ema.Every == 0) _engine.UpdateAverage();
                bool planned = _position.Steps == 0 && made >= LeastMeasuredSteps && ended > MeasuredPart * 60 * _run.Budget.Minutes!.Value;
                if (planned) _position = _position with { Steps = PlanSteps(ended, Math.Min(made, MeasuredSteps)) };

                double perSecond = (_position.Tokens - tokensBefore) / stepSeconds;
                double left = _position.Steps == 0 ? Math.Max(0, (60 * _run.Budget.Minutes!.Value) - ended) : RemainingSeconds(stepSeconds / made);
                _observer.Stepped(new StepProgress
                {
                    Step = _position.Step, Steps = _position.Steps, Tokens = _position.Tokens, Loss = result.Loss, MtpLoss = result.MtpLoss,
                    LearningRate = settings.LearningRate, GradientNorm = result.GradientNorm, MaxViolation = result.MaxViolation,
                    StepSeconds = ended - began, TokensPerSecond = perSecond, ElapsedSeconds = ended, RemainingSeconds = left,
                });
                if (IsEvaluated(_position.Step) || (planned && _run.Evaluation.Times > 0)) EvaluateAndSample(_position.Step, cancel);
                if (_run.Checkpoint.Every > 0 && _position.Step % _run.Checkpoint.Every == 0 && _position.Step != _position.Steps) Save();
            }

            IReadOnlyList<TextScore> scores = Evaluate(_run.Evaluation.FinalBytes, cancel);
            IReadOnlyList<TaskScore> taskScores = AskTasks(_run.Supervised?.Problems ?? 0, answered: null, cancel);
            _position = _position with { Seconds = secondsBefore + clock.Elapsed.TotalSeconds };
            Save();
            ModelFiles.Export(_run.Output, _configuration, Model, _data.Tokenizer, _run.Checkpoint);
            _observer.Evaluated(_position.Step, scores, final: true);
            if (taskScores.Count > 0) _observer.TasksScored(_position.Step, taskScores, final: true);
            return Outcome(TrainingStatus.Completed, scores) with { TaskScores = taskScores };
        }
        catch (OperationCanceledException) when (cancel.IsCancellationRequested)
        {
            if (_position.Step > 0) Save();
            return Outcome(TrainingStatus.Interrupted, []);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _evaluator.Dispose();
        _continuation.Dispose();
        _engine.Dispose();
    }

    TrainingOutcome Outcome(TrainingStatus status, IReadOnlyList<TextScore> scores) =>
        new(status, _position.Step, _position.Steps, _position.Tokens, _position.Seconds, scores, _run.Output);

    StepSettings Settings(long step)
    {
        // While a budget in minutes is measured the run counts as endless: its schedules stand at their beginning, as they do for the first steps of any run.
        long steps = _position.Steps == 0 ? long.MaxValue / 2 : _position.Steps;
        return new StepSettings(step, _run.Batch.Schedule.At(step, steps), _run.LearningRate.At(step, steps), _run.MtpLambda.At(step, steps), _run.BiasSpeed.At(step, steps));
    }

    void Advance(StepSettings settings, StepResult result, double seconds) => _position = _position with
    {
        Step = settings.Step,
        NextMicroBatch = _position.NextMicroBatch + settings.MicroBatches,
        Tokens = _position.Tokens + result.Tokens,
        Seconds = seconds,
    };

    /// <summary>Steps of a budget in steps or tokens.</summary>
    long PlanSteps()
    {
        if (_run.Budget.Steps is long steps) return steps;
        long tokens = _run.Budget.Tokens!.Value, low = 1, high = Math.Max(1, tokens / _engine.TokensPerMicroBatch);
        while (low < high)
        {
            long middle = low + ((high - low + 1) / 2);
            if (_run.Batch.Schedule.Through(middle, middle) * _engine.TokensPerMicroBatch <= tokens) low = middle;
            else high = middle - 1;
        }

        return low;
    }

    /// <summary>Steps that fit a budget in minutes, judged by the steps made so far; evaluations and the final one are set aside.</summary>
    long PlanSteps(double elapsed, int measured)
    {
        double[] recent = [.. _recentSeconds[..measured].Order()];
        double perStep = recent[measured / 2];
        double perByte = _evaluationBytes == 0 ? 0 : _evaluationSeconds / _evaluationBytes;
        double final = perByte * _data.HeldOut.Sum(t => (double)t.Take(_run.Evaluation.FinalBytes).Bytes);
        if (_run.Supervised is { } supervised) final += _evaluationSeconds * supervised.Problems / supervised.ProblemsWhileTraining;
        double aside = final + (_evaluationSeconds * _run.Evaluation.Times);
        double grown = (double)_run.Batch.MicroBatches / _run.Batch.FirstMicroBatches; // a ramp makes later steps longer
        double left = (60 * _run.Budget.Minutes!.Value) - elapsed - aside;
        return _position.Step + Math.Max(1, (long)(left / (perStep * grown)));
    }

    double RemainingSeconds(double perStep) =>
        ((_position.Steps - _position.Step) * perStep) + (_evaluationSeconds * (1 - ((double)_position.Step / _position.Steps)) * _run.Evaluation.Times);

    bool IsEvaluated(long step)
    {
        // An evaluation right after the one that came with the plan would say the same again.
        long times = _run.Evaluation.Times;
        return times > 0 && _position.Steps > 0 && (_evaluatedStep == 0 || step - _evaluatedStep > _position.Steps / (4 * times)) && step < _position.Steps && step * times / _position.Steps != (step - 1) * times / _position.Steps;
    }

    void EvaluateAndSample(long step, CancellationToken cancel)
    {
        long began = Stopwatch.GetTimestamp();
        _evaluatedStep = step;
        IReadOnlyList<TextScore> scores = Evaluate(_run.Evaluation.Bytes, cancel);
        _evaluationBytes = scores.Sum(s => s.Bytes);
        _observer.Evaluated(step, scores, final: false);
        if (_run.Supervised is not null) AskAndTell(step, cancel);
        if (step > 0)
        {
            foreach (string prompt in _run.Evaluation.Prompts)
            {
                cancel.ThrowIfCancellationRequested();
                _observer.Sampled(step, prompt, _continuation.Continue(_data.Tokenizer, prompt, _run.Evaluation.SampleTokens, _run.Evaluation.Temperature, _run.Seed, cancel));
            }
        }

        _evaluationSeconds = Stopwatch.GetElapsedTime(began).TotalSeconds;
    }

    List<TextScore> Evaluate(long bytes, CancellationToken cancel)
    {
        _engine.GatherWeights();
        var scores = new List<TextScore>();
        foreach (HeldOutText text in _data.HeldOut) scores.Add(_evaluator.Score(text.Take(bytes), cancel));
        return scores;
    }

    void AskAndTell(long step, CancellationToken cancel)
    {
        var answers = new System.Collections.Concurrent.ConcurrentBag<TaskAnswer>();
        _observer.TasksScored(step, AskTasks(_run.Supervised!.ProblemsWhileTraining, answers.Add, cancel), final: false);
        foreach (string task in _run.Supervised.Tasks)
        {
            // One answer of each task with its chain of thought; the same problem every time, whichever came first.
            TaskAnswer? shown = answers.Where(a => string.Equals(a.Problem.Task, task, StringComparison.Ordinal)).OrderByDescending(a => a.Thinks).ThenBy(a => a.Problem.Key, StringComparer.Ordinal).FirstOrDefault();
            if (shown is not null) _observer.Sampled(step, shown.Problem.Question + " ", shown.Said.Length > LongestShown ? shown.Said[..LongestShown] + " …" : shown.Said);
        }
    }

    IReadOnlyList<TaskScore> AskTasks(int each, Action<TaskAnswer>? answered, CancellationToken cancel)
    {
        if (_run.Supervised is null) return [];
        TaskProblem[] asked = [.. _data.Problems.GroupBy(p => p.Task, StringComparer.Ordinal).SelectMany(g => g.Take(each))];
        return TaskEvaluation.Score(Model, _data.Tokenizer, asked, answered, cancel);
    }

    RunSummary Summary() => new(
        Model.Parameters.All.Sum(p => (long)p.Length), ModelFiles.ActiveParameters(Model), _data.Tokenizer.VocabularySize, _data.Rows.TokenCount,
        _engine.TokensPerMicroBatch * _run.Batch.MicroBatches, _position.Step + 1, [.. _data.HeldOut.Select(t => (t.Corpus, t.Bytes))], Model.Backend.Description + (_run.Parallel.Layout.Ranks > 1 ? $", {_run.Parallel.Layout}, {_run.Parallel.Transport}" : ""));
}
