using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Parallel.Mpi;
using Hadal.Parallel.Ranks;
using Hadal.Training;
using Hadal.Training.Running;

namespace Hadal.Cli.Training;

/// <summary>Trains with a display and says at the end what came out.</summary>
static class RunReport
{
    /// <summary>Trains, draws the curve and reports; the same for <c>train</c> and <c>quickstart</c>.</summary>
    /// <param name="name">The command that continues an interrupted run, for the message.</param>
    /// <returns>The outcome, null on a rank that is not the first; standard output has its figures unless <paramref name="json"/> asked for an object or the run was interrupted.</returns>
    public static TrainingOutcome? Train(Context context, RunConfiguration run, string backend, bool json, string name)
    {
        run = run with { Threads = context.Threads ?? run.Threads };
        Hadal.Tensors.IBackend Device(int threads) => Backends.Make(backend, threads);
        if (MpiRanks.LaunchedSize > 1 && run.Parallel.Transport is not RankTransports.Mpi)
            throw CommandError.WrongUse($"{MpiRanks.LaunchedSize} processes were started by mpirun or srun, and the run's transport is {run.Parallel.Transport}.", $"--transport mpi and --ranks with {MpiRanks.LaunchedSize} ranks", "otherwise each process would train the whole run");
        bool first = run.Parallel.Transport is not RankTransports.Mpi || MpiRanks.LaunchedRank == 0;
        TrainingOutcome? outcome = first
            ? TrainingDisplay.Show(context.Terminal, run, observer => TrainingRun.Execute(run, Device, observer, context.Cancellation)!)
            : TrainingRun.Execute(run, Device, new TrainingObservers(), context.Cancellation);
        if (outcome is null) return null;
        if (outcome.Status == TrainingStatus.Interrupted)
        {
            context.Terminal.Error.WriteLine(outcome.Step > 0
                ? $"interrupted: step {outcome.Step} is saved in {outcome.Folder}; {name} goes on from there"
                : "interrupted before the first step: nothing to save");
            return outcome;
        }

        string curve = Path.Combine(outcome.Folder, Curve.FileName);
        MetricsHistory history = MetricsHistory.Read(Path.Combine(outcome.Folder, TrainingRun.MetricsFileName));
        bool drawn = Curve.TryDraw(history, FormattableString.Invariant($"{Path.GetFileName(Path.TrimEndingDirectorySeparator(outcome.Folder))}: {outcome.Tokens / 1e6:F1}M tokens in {outcome.Seconds / 60:F1} minutes"), curve);
        if (json) WriteJson(context.Terminal, outcome, drawn ? curve : null);
        else Write(context.Terminal.Output, outcome, drawn ? curve : null);
        return outcome;
    }

    static void Write(TextWriter output, TrainingOutcome outcome, string? curve)
    {
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"trained {outcome.Steps:N0} steps, {outcome.Tokens:N0} tokens in {outcome.Seconds:F0} s"));
        foreach (TextScore score in outcome.Scores)
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{score.Corpus}: {score.BitsPerByte:F3} bits per byte on {score.Bytes:N0} held-out bytes"));
        TaskReport.Write(output, outcome.TaskScores);
        output.WriteLine($"model: {outcome.Folder}");
        if (curve is not null) output.WriteLine($"curve: {curve}");
    }

    static void WriteJson(Terminal terminal, TrainingOutcome outcome, string? curve) => terminal.WriteJson(json =>
    {
        json.WriteNumber("steps", outcome.Steps);
        json.WriteNumber("tokens", outcome.Tokens);
        json.WriteNumber("seconds", outcome.Seconds);
        json.WriteString("model", outcome.Folder);
        if (curve is not null) json.WriteString("curve", curve);
        ScoreReport.Write(json, outcome.Scores);
        if (outcome.TaskScores.Count > 0) TaskReport.Write(json, outcome.TaskScores);
    });
}
