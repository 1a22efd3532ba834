using System.Globalization;
using Hadal.Formats;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Ranks;

/// <summary>Small runs with every part of the architecture, made on ranks.</summary>
static class RankRuns
{
    internal static RunConfiguration Configuration(TemporaryFolder folder, long steps, string recipe = "fp32", bool tied = false)
    {
        string config = folder.File("shape.json");
        (ModelPresets.Find("tiny", 320) with { Layers = 5, RoutedExperts = 8, ExpertGroups = 4, TopGroups = 2, ExpertsPerToken = 2, TieWordEmbeddings = tied }).Save(config);
        return TinyRuns.Configuration(folder, steps) with
        {
            Model = new ModelChoice { Preset = null, ConfigFile = config, InitialDeviation = 0.05 },
            Data = new DataConfiguration { Sources = ["arithmetic:64"], HeldOutEvery = 16, SequenceLength = 16 },
            Batch = new BatchConfiguration { Rows = 1, MicroBatches = 7, FirstMicroBatches = 3, RampUntil = 0.6 },
            Ema = new EmaConfiguration { Decay = 0.9, Every = 2 },
            BiasSpeed = new Hadal.Training.Optimization.StepSchedule(0.01, 0.01, 1),
            Recipe = recipe, LossScale = recipe is "fp8" ? 4096 : 1, Threads = 1, Output = folder.File("model"),
        };
    }

    internal static ParallelConfiguration Layout(int data, int pipeline, int expert, int nodes = 1, ScheduleKind schedule = ScheduleKind.OneForwardOneBackward) =>
        new() { Data = data, Pipeline = pipeline, Expert = expert, Nodes = nodes, Schedule = schedule };

    internal static IBackend Backend(int threads) => new CpuBackend(new CpuOptions(Math.Max(threads, 1), InstructionSets.Best));

    /// <summary>Runs to the end or to a cancellation.</summary>
    internal static Recorder Train(RunConfiguration run, PreparedRun data, CancellationToken cancel)
    {
        var recorder = new Recorder();
        run.Validate(); // what a run.json must pass
        if (run.Parallel.Layout.Ranks > 1)
        {
            Assert.NotNull(TrainingRun.OnRanks(run, data, Backend, recorder, cancel));
            return recorder;
        }

        using IBackend backend = Backend(1);
        using var trainer = new Trainer(run, data, backend, recorder);
        trainer.Run(cancel);
        return recorder;
    }

    /// <summary>Everything a run came to: loss, MTP loss, gradient norm and load of every step, weights, moments, average.</summary>
    internal static string[] Facts(RunConfiguration run, Recorder recorder, long step)
    {
        var lines = new List<string>(recorder.Steps.Select(s => $"step {s.Step}: loss {s.Loss:R}, MTP {s.MtpLoss:R}, norm {s.GradientNorm:R}, load {s.MaxViolation:R}"));
        lines.AddRange(recorder.Evaluations.SelectMany(e => e.Scores).Select(s => $"{s.Corpus} {s.BitsPerByte:R}"));
        lines.AddRange(State(run, step));
        return [.. lines];
    }

    /// <summary>Checksums of the state of a step.</summary>
    internal static IEnumerable<string> State(RunConfiguration run, long step)
    {
        string folder = Path.Combine(run.Output, "checkpoints", "step-" + step.ToString("D8", CultureInfo.InvariantCulture));
        using SafetensorsFile state = SafetensorsFile.Open(Path.Combine(folder, "training-state.safetensors"));
        var lines = new List<string>();
        foreach (TensorEntry entry in state.Entries) lines.Add($"{entry} {Checksum64.Compute(state.Read(entry)):x16}");
        lines.Add($"model {Checksum64.Compute(File.ReadAllBytes(Path.Combine(folder, "model.safetensors"))):x16}");
        return lines;
    }

    internal static string Difference(string what, string[] expected, string[] actual)
    {
        int at = 0;
        while (at < expected.Length && at < actual.Length && string.Equals(expected[at], actual[at], StringComparison.Ordinal)) at++;
        return $"{what}: {(at < expected.Length ? expected[at] : "nothing more")}\n  is {(at < actual.Length ? actual[at] : "nothing")}";
    }
}
