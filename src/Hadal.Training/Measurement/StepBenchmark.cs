using System.Diagnostics;
using Hadal.Formats;
using Hadal.Model;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Measurement;
using Hadal.Training.Data;
using Hadal.Training.Optimization;

namespace Hadal.Training.Measurement;

/// <summary>What <see cref="StepBenchmark"/> found.</summary>
/// <param name="TokensPerStep">Tokens of one step.</param>
/// <param name="StepSeconds">Seconds of each measured step, in order.</param>
/// <param name="AllocatedBytes">Managed bytes that the calling thread allocated in the measured steps together.</param>
/// <param name="ProfiledSeconds">Seconds of the fastest profiled step, which other load disturbed least; 0 without a profile.</param>
/// <param name="Operations">Where that step's time went, longest first.</param>
/// <param name="Products">Its matrix products once more, by shape.</param>
/// <param name="Parameters">Parameters of the model, MTP modules included.</param>
/// <param name="ActiveParameters">Of those, at work on one token of the main model.</param>
public sealed record StepMeasurement(
    int TokensPerStep, IReadOnlyList<double> StepSeconds, long AllocatedBytes, double ProfiledSeconds, IReadOnlyList<OperationTime> Operations, IReadOnlyList<OperationTime> Products,
    long Parameters, long ActiveParameters)
{
    /// <summary>Median seconds of a step.</summary>
    public double MedianSeconds => StepSeconds.Order().ElementAt(StepSeconds.Count / 2);

    /// <summary>Training tokens per second, by the median step.</summary>
    public double TokensPerSecond => TokensPerStep / MedianSeconds;
}

/// <summary>What the flight recorder costs.</summary>
/// <param name="PlainSeconds">Median seconds of steps that are not recorded.</param>
/// <param name="RecordedSeconds">Median seconds of the steps between them, which are.</param>
/// <param name="StepBytes">Bytes one recorded step takes in the file.</param>
/// <param name="Tensors">Tensors that are recorded.</param>
public sealed record RecordingCost(double PlainSeconds, double RecordedSeconds, long StepBytes, int Tensors)
{
    /// <summary>Part of the training time, when every so many steps are recorded.</summary>
    public double Share(int every) => ((RecordedSeconds / PlainSeconds) - 1) / every;
}

/// <summary>Steps under two recipes, in turn.</summary>
/// <param name="Recipe">The one that is compared with.</param>
/// <param name="Seconds">Median seconds of the run's own step.</param>
/// <param name="OtherSeconds">Median seconds of a step under <paramref name="Recipe"/> beside it.</param>
/// <param name="Ratio">Median of the quotients of neighbouring steps.</param>
public sealed record RecipeComparison(string Recipe, double Seconds, double OtherSeconds, double Ratio);

/// <summary>
/// Times the trainer's own <see cref="TrainingStep"/> on random rows: batch, sequence length, optimizer, MTP and balance loss as the run says. Steps are timed
/// on the backend as it is; a profile by operation comes from further steps of a second model on a <see cref="TimedBackend"/>.
/// </summary>
public static class StepBenchmark
{
    /// <summary>Measures.</summary>
    /// <param name="run">The run; its vocabulary is <see cref="TokenizerConfiguration.Vocabulary"/>, its texts are not read.</param>
    /// <param name="backend">Where it runs.</param>
    /// <param name="warmUp">Steps that are not counted: they compile and take memory.</param>
    /// <param name="steps">Steps that are timed; at least 1.</param>
    /// <param name="profiled">Steps that are profiled, after as many warm-up steps of their own; 0 for no profile.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/> between two steps.</param>
    public static StepMeasurement Measure(RunConfiguration run, IBackend backend, int warmUp, int steps, int profiled, CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(steps, 1);
        var seconds = new double[steps];
        int tokens;
        long allocated, parameters, active;
        using (var session = new Session(run, backend))
        {
            for (int i = 0; i < warmUp; i++) session.Step(cancel);
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < steps; i++) seconds[i] = session.Step(cancel);
            allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            tokens = session.Tokens;
            parameters = session.Model.Parameters.All.Sum(p => (long)p.Length);
            active = ModelFiles.ActiveParameters(session.Model);
        }

        if (profiled == 0) return new StepMeasurement(tokens, seconds, allocated, 0, [], [], parameters, active);
        using var timed = new TimedBackend(backend);
        using var second = new Session(run, timed);
        for (int i = 0; i < warmUp; i++) second.Step(cancel);
        double fastest = double.PositiveInfinity;
        IReadOnlyList<OperationTime> operations = [], products = [];
        for (int i = 0; i < profiled; i++)
        {
            timed.Profile.Clear();
            double one = second.Step(cancel);
            if (one >= fastest) continue;
            fastest = one;
            operations = timed.Profile.Times;
            products = timed.Profile.Products;
        }

        return new StepMeasurement(tokens, seconds, allocated, fastest, operations, products, parameters, active);
    }

    /// <summary>Measures what recording costs: steps that are recorded, into a file, in turn with steps that are not.</summary>
    /// <inheritdoc cref="Measure" path="/param"/>
    /// <param name="pairs">Pairs of steps that are timed; at least 1.</param>
    public static RecordingCost MeasureRecording(RunConfiguration run, IBackend backend, int warmUp, int pairs, CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pairs, 1);
        string folder = Directory.CreateTempSubdirectory("hadal-recording-").FullName;
        try
        {
            using var session = new Session(run, backend);
            using var writer = new Recording.RecordWriter(folder, 0, run.Recipe, 2, message => throw new IOException(message));
            var recorder = new Recording.FlightRecorder(session.Model, 2, writer);
            session.Record(recorder);
            for (int i = 0; i < Math.Max(2, (warmUp + 1) / 2 * 2); i++) session.Step(cancel);
            double[] plain = new double[pairs], recorded = new double[pairs];
            for (int i = 0; i < pairs; i++)
            {
                plain[i] = session.Step(cancel); // the odd one
                recorded[i] = session.Step(cancel);
            }

            long bytes = new FileInfo(writer.Path!).Length / recorder.Summary.Steps;
            return new RecordingCost(plain.Order().ElementAt(pairs / 2), recorded.Order().ElementAt(pairs / 2), bytes, recorder.Summary.Tensors.Count);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Times steps under the run's recipe in turn with steps under another, so that both see the same machine.</summary>
    /// <inheritdoc cref="Measure" path="/param"/>
    /// <param name="recipe">The other recipe.</param>
    /// <param name="pairs">Pairs of steps that are timed; at least 1.</param>
    public static RecipeComparison Compare(RunConfiguration run, string recipe, IBackend backend, int warmUp, int pairs, CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(pairs, 1);
        using Session own = new(run, backend), other = new(run with { Recipe = recipe }, backend);
        for (int i = 0; i < warmUp; i++)
        {
            own.Step(cancel);
            other.Step(cancel);
        }

        double[] seconds = new double[pairs], others = new double[pairs], ratios = new double[pairs];
        for (int i = 0; i < pairs; i++)
        {
            seconds[i] = own.Step(cancel);
            others[i] = other.Step(cancel);
            ratios[i] = seconds[i] / others[i];
        }

        return new RecipeComparison(recipe, Median(seconds), Median(others), Median(ratios));
    }

    static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

    /// <summary>A model and its training step on random rows.</summary>
    sealed class Session : IDisposable
    {
        readonly RunConfiguration _run;
        readonly TrainingStep _step;
        long _made;

        public Session(RunConfiguration run, IBackend backend)
        {
            _run = run;
            ModelConfiguration configuration = ModelFiles.Configuration(run, run.Tokenizer.Vocabulary);
            Model = new Transformer(backend, ModelLoader.Shape(configuration), Recipe.Find(run.Recipe));
            Initialization.Normal(Model, run.Seed, run.Model.InitialDeviation);
            int width = run.Data.SequenceLength + 1 + configuration.MtpLayers;
            var rows = new int[Math.Max(64, run.Batch.Rows * run.Batch.MicroBatches) * width];
            var random = new CounterRandom(run.Seed, RandomPurpose.TestData);
            for (int i = 0; i < rows.Length; i++) rows[i] = random.Below((ulong)i, configuration.VocabularySize);
            OptimizerConfiguration o = run.Optimizer;
            var optimizer = new AdamWOptimizer(backend, Model.Parameters, new Tensors.Operations.AdamWParameters(o.Beta1, o.Beta2, o.Epsilon, o.WeightDecay), o.Clip);
            _step = new TrainingStep(run, Model, new PackedDataLoader(new TokenRows(rows, width), run.Seed), optimizer);
        }

        public Transformer Model { get; }

        public int Tokens => _step.TokensPerMicroBatch * _run.Batch.MicroBatches;

        public void Record(Recording.FlightRecorder recorder) => _step.Recorder = recorder;

        public double Step(CancellationToken cancel)
        {
            cancel.ThrowIfCancellationRequested();
            long step = ++_made;
            var settings = new StepSettings(step, _run.Batch.MicroBatches, _run.LearningRate.Peak, _run.MtpLambda.At(step, long.MaxValue / 2), _run.BiasSpeed.At(step, long.MaxValue / 2));
            long start = Stopwatch.GetTimestamp();
            _step.Run(settings, (step - 1) * _run.Batch.MicroBatches);
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }

        public void Dispose()
        {
            _step.Dispose();
            Model.Dispose();
        }
    }
}
