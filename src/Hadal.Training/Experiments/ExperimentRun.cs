using System.Diagnostics;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Training.Data;
using Hadal.Training.Optimization;
using Hadal.Training.Recording;
using Hadal.Training.Running;

namespace Hadal.Training.Experiments;

/// <summary>What one variant came to.</summary>
/// <param name="Name">The variant.</param>
/// <param name="Losses">Mean next-token cross-entropy of each step, nats.</param>
/// <param name="MaxViolation">Mean over the second half of the steps of the largest expert load over the mean, minus one.</param>
/// <param name="BitsPerByte">On held-out text, after the last step.</param>
/// <param name="EmaBitsPerByte">The same for the moving average of the weights; NaN without one.</param>
/// <param name="Seconds">Seconds of training.</param>
public sealed record VariantResult(string Name, double[] Losses, double MaxViolation, double BitsPerByte, double EmaBitsPerByte, double Seconds)
{
    /// <summary>Seed of the run.</summary>
    public ulong Seed { get; init; }

    /// <summary>What the flight recorder saw, as rows of Markdown below <see cref="RecordingSummary.MarkdownHeader"/>; empty without one.</summary>
    public IReadOnlyList<string> Recording { get; init; } = [];

    /// <summary>The loss smoothed with weight 0.9 on the past, as the report smooths [V3 appendix B.1].</summary>
    public double[] SmoothedLosses()
    {
        double[] smoothed = [.. Losses];
        for (int i = 1; i < smoothed.Length; i++) smoothed[i] = (0.9 * smoothed[i - 1]) + (0.1 * smoothed[i]);
        return smoothed;
    }

    /// <summary>Mean of the smoothed loss over the last tenth of the steps.</summary>
    public double FinalLoss => SmoothedLosses()[^Math.Max(1, Losses.Length / 10)..].Average();

    /// <summary>Mean over the second half of the steps of the relative distance of the smoothed losses from those of another variant.</summary>
    public double MeanDistance(VariantResult other)
    {
        ArgumentNullException.ThrowIfNull(other);
        double[] mine = SmoothedLosses(), theirs = other.SmoothedLosses();
        int half = mine.Length / 2;
        return Enumerable.Range(half, mine.Length - half).Average(i => Math.Abs(mine[i] - theirs[i]) / theirs[i]);
    }
}

/// <summary>Trains the variants of an experiment one after the other on the same prepared text.</summary>
public static class ExperimentRun
{
    const long HeldOutBytes = 20_000;
    const int RecordedEvery = 25;

    /// <summary>Runs all variants.</summary>
    /// <param name="experiment">The experiment.</param>
    /// <param name="run">From <see cref="Experiment.Base"/>.</param>
    /// <param name="backend">Where it runs.</param>
    /// <param name="observer">Is told what happens.</param>
    /// <param name="report">Called after each variant.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    /// <param name="only">Names of the variants that are run; null for all.</param>
    public static IReadOnlyList<VariantResult> Run(
        Experiment experiment, RunConfiguration run, IBackend backend, ITrainingObserver observer, Action<VariantResult>? report = null, CancellationToken cancel = default, IReadOnlyCollection<string>? only = null)
    {
        ArgumentNullException.ThrowIfNull(experiment);
        run.Validate();
        PreparedRun data = PreparedRun.Prepare(run, ModelFiles.MtpDepth(run), observer, HadalHome.TokenCache, cancel);
        if (data.HeldOut.Count == 0) Throw.Data($"Of the text in '{string.Join("', '", run.Data.Sources)}' nothing is held out, so no variant can be scored.", "Give text of several documents: a folder of files, for example.");
        var results = new List<VariantResult>();
        foreach (ExperimentVariant variant in experiment.Variants(run))
        {
            if (only is not null && !only.Contains(variant.Name, StringComparer.Ordinal)) continue;
            observer.Preparing(variant.Name);
            results.Add(Train(variant, data, backend, observer, cancel));
            report?.Invoke(results[^1]);
        }

        return results;
    }

    static VariantResult Train(ExperimentVariant variant, PreparedRun data, IBackend backend, ITrainingObserver observer, CancellationToken cancel)
    {
        RunConfiguration run = variant.Run;
        long steps = run.Budget.Steps!.Value;
        using Transformer model = ModelFiles.Create(run, data.Tokenizer, backend);
        OptimizerConfiguration o = run.Optimizer;
        var optimizer = new AdamWOptimizer(backend, model.Parameters, new AdamWParameters(o.Beta1, o.Beta2, o.Epsilon, o.WeightDecay), o.Clip, variant.Moments);
        using var step = new TrainingStep(run, model, new PackedDataLoader(data.Rows, run.Seed), optimizer) { Tokenizer = data.Tokenizer };
        using WeightAverage? average = variant.EmaDecay > 0 ? new WeightAverage(checked((int)model.Parameters.Length), variant.EmaDecay) : null;
        OutlierInjection? outliers = variant.Outliers is OutlierSchedule schedule ? new OutlierInjection(model, schedule) : null;
        if (outliers is not null) step.GradientFilter = outliers.Freeze;
        if (variant.Nudged) Nudge(model);
        FlightRecorder? recorder = variant.Recorded ? new FlightRecorder(model, RecordedEvery) : null;
        step.Recorder = recorder;
        double[] losses = new double[steps];
        double violations = 0;
        var clock = Stopwatch.StartNew();
        for (long s = 1; s <= steps; s++)
        {
            cancel.ThrowIfCancellationRequested();
            var settings = new StepSettings(s, run.Batch.MicroBatches, run.LearningRate.At(s, steps), run.MtpLambda.At(s, steps), run.BiasSpeed.At(s, steps));
            outliers?.Prepare(s);
            StepResult result = step.Run(settings, (s - 1) * run.Batch.MicroBatches);
            losses[s - 1] = result.Loss;
            if (s > steps / 2) violations += result.MaxViolation;
            average?.Update(backend.Operations, model.Parameters.Values);
            double elapsed = clock.Elapsed.TotalSeconds;
            observer.Stepped(new StepProgress
            {
                Step = s, Steps = steps, Tokens = s * result.Tokens, Loss = result.Loss, MtpLoss = result.MtpLoss, LearningRate = settings.LearningRate, GradientNorm = result.GradientNorm,
                MaxViolation = result.MaxViolation, StepSeconds = elapsed / s, TokensPerSecond = s * result.Tokens / elapsed, ElapsedSeconds = elapsed, RemainingSeconds = elapsed * (steps - s) / s,
            });
        }

        outliers?.Prepare(0);
        double seconds = clock.Elapsed.TotalSeconds, ema = double.NaN, bits = Score(model, run, data, cancel);
        if (average is not null)
        {
            backend.Operations.Elementwise.Copy(average.Average(), model.Parameters.Values);
            model.Refresh();
            ema = Score(model, run, data, cancel);
        }

        return new VariantResult(variant.Name, losses, violations / Math.Max(1, steps - (steps / 2)), bits, ema, seconds) { Seed = run.Seed, Recording = [.. recorder?.Summary.MarkdownRows(variant.Name) ?? []] };
    }

    /// <summary>Every weight becomes its neighbour.</summary>
    static void Nudge(Transformer model)
    {
        foreach (ref float value in model.Parameters.Values.AsSpan<float>())
            if (value != 0) value = MathF.BitIncrement(value);
        model.Refresh();
    }

    static double Score(Transformer model, RunConfiguration run, PreparedRun data, CancellationToken cancel)
    {
        using var evaluator = new Evaluator(model, run.Data.SequenceLength, run.Batch.Rows);
        return evaluator.Score(data.HeldOut[0].Take(HeldOutBytes), cancel).BitsPerByte;
    }
}
