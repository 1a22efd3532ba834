using System.Runtime.ExceptionServices;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Training.Data;
using Hadal.Training.Ranks;
using Hadal.Training.Recording;
using Hadal.Training.Running;

namespace Hadal.Training;

/// <summary>A run from its configuration to the public model: data, trainer, metrics. What <c>hadal train</c> and <c>hadal quickstart</c> do.</summary>
public static class TrainingRun
{
    /// <summary>Name of the file of measurements in the output folder.</summary>
    public const string MetricsFileName = "metrics.jsonl";

    /// <summary>Prepares the data, continues the newest checkpoint of the output folder or begins anew, and trains to the end or to a cancellation.</summary>
    /// <param name="run">The configuration.</param>
    /// <param name="backend">Where it runs.</param>
    /// <param name="observer">Is told what happens, beside <see cref="MetricsFileName"/>.</param>
    /// <param name="cancel">Saves and returns <see cref="TrainingStatus.Interrupted"/>; while data are prepared it ends with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="TrainingStateException">Another process trains into the same folder, or its state cannot be used.</exception>
    /// <exception cref="TrainingDataException">There is no text, or it cannot be read.</exception>
    /// <exception cref="NonFiniteTrainingException">Loss or gradient is not finite; the last checkpoint is the good one.</exception>
    public static TrainingOutcome Execute(RunConfiguration run, IBackend backend, ITrainingObserver observer, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(run);
        run.Validate();
        using FileStream claim = Claim(run.Output);
        PreparedRun data = PreparedRun.Prepare(run, ModelFiles.MtpDepth(run), observer, HadalHome.TokenCache, cancel);
        var observers = new TrainingObservers(observer);
        using var trainer = new Trainer(run, data, backend, observers);
        using var metrics = new MetricsFile(Path.Combine(run.Output, MetricsFileName), trainer.Position.Step);
        observers.Add(metrics);
        using RecordWriter? writer = run.Recording.Every == 0 ? null : new RecordWriter(run.Output, trainer.Position.Step, run.Recipe, run.Recording.Every, observers.Warned);
        if (writer is not null) trainer.Recorder = new FlightRecorder(trainer.Model, run.Recording.Every, writer);
        return trainer.Run(cancel);
    }

    /// <summary>As <see cref="Execute(RunConfiguration, IBackend, ITrainingObserver, CancellationToken)"/>, on as many ranks as the run says (<see cref="RunConfiguration.Parallel"/>).</summary>
    /// <param name="run">The configuration.</param>
    /// <param name="backends">Makes a backend with so many threads, 0 for the usual; called once for each rank of this process.</param>
    /// <param name="observer">Is told what happens, on rank 0.</param>
    /// <param name="cancel">As there, on rank 0.</param>
    /// <returns>What came out; null in a process that has not rank 0.</returns>
    /// <exception cref="RankLostException">A rank was lost; the last checkpoint is the good one.</exception>
    public static TrainingOutcome? Execute(RunConfiguration run, Func<int, IBackend> backends, ITrainingObserver observer, CancellationToken cancel)
    {
        ArgumentNullException.ThrowIfNull(run);
        run.Validate();
        RankLayout layout = run.Parallel.Layout;
        if (layout.Ranks == 1 && string.Equals(run.Parallel.Transport, RankTransports.InProcess, StringComparison.Ordinal))
        {
            using IBackend one = backends(run.Threads);
            return Execute(run, one, observer, cancel);
        }

        return OnRanks(run, prepared: null, backends, observer, cancel);
    }

    /// <summary>The run on its ranks.</summary>
    /// <param name="prepared">Its data, when they are there already.</param>
    /// <param name="over">Puts a layer over the transport; null for none.</param>
    internal static TrainingOutcome? OnRanks(
        RunConfiguration run, PreparedRun? prepared, Func<int, IBackend> backends, ITrainingObserver observer, CancellationToken cancel, Func<ProcessGroup, ProcessGroup>? over = null)
    {
        RankLayout layout = run.Parallel.Layout;
        bool shared = string.Equals(run.Parallel.Transport, RankTransports.InProcess, StringComparison.Ordinal);
        int threads = Math.Max(1, (run.Threads > 0 ? run.Threads : Environment.ProcessorCount) / (shared ? layout.Ranks : 1));
        TrainingOutcome? outcome = null;
        try
        {
            RankTransports.Run(run.Parallel.Transport, layout.Ranks, transport =>
            {
                ProcessGroup world = over?.Invoke(transport) ?? transport;
                if (run.Parallel.Checked) world = new CheckedGroup(world);
                // Rank 0 prepares the data; the others find them, in memory or in the cache.
                FileStream? claim = world.Rank == 0 ? Claim(run.Output) : null;
                try
                {
                    if (world.Rank == 0) prepared ??= PreparedRun.Prepare(run, ModelFiles.MtpDepth(run), observer, HadalHome.TokenCache, cancel);
                    world.Barrier();
                    PreparedRun data = (shared ? Volatile.Read(ref prepared) : null) ?? PreparedRun.Prepare(run, ModelFiles.MtpDepth(run), new TrainingObservers(), HadalHome.TokenCache, cancel);
                    using IBackend backend = backends(threads);
                    var engine = new RankEngine(run, data, backend, world, Trainer.Identity(run, data));
                    if (world.Rank != 0)
                    {
                        using (engine) engine.Follow();
                        return;
                    }

                    var observers = new TrainingObservers(observer);
                    using var trainer = new Trainer(run, data, observers, engine);
                    using var metrics = new MetricsFile(Path.Combine(run.Output, MetricsFileName), trainer.Position.Step);
                    observers.Add(metrics);
                    outcome = trainer.Run(cancel);
                }
                finally
                {
                    claim?.Dispose();
                }
            });
        }
        catch (RankLostException exception) when (exception is { Rank: 0, InnerException: NonFiniteTrainingException or TrainingStateException or TrainingDataException or RunConfigurationException or OperationCanceledException })
        {
            // What ended rank 0 is what ended the run.
            ExceptionDispatchInfo.Throw(exception.InnerException);
        }

        return outcome;
    }

    /// <summary>Two processes that write one run would spoil each other's checkpoints: the second is refused.</summary>
    static FileStream Claim(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
            return new FileStream(Path.Combine(folder, ".training"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            string remedy = exception switch
            {
                UnauthorizedAccessException => "Check who owns the folder and whether it may be written to",
                FileNotFoundException or DirectoryNotFoundException => "Check the spelling of the path and whether folders can be made there",
                _ when File.Exists(folder) => "That is a file: move it away",
                _ when File.Exists(Path.Combine(folder, ".training")) => "Wait for the process that trains there",
                _ => "Check the disk",
            };
            throw new TrainingStateException($"'{folder}' cannot be trained into: {exception.Message} {remedy}, or choose another output folder.", exception);
        }
    }
}
