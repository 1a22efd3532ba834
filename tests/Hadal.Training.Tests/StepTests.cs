using System.Text;
using Hadal.Formats;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Training.Data;
using Hadal.Training.Running;

namespace Hadal.Training.Tests;

/// <summary>Tests that measure the process as a whole: nothing runs beside them.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;

/// <summary>docs/architecture.md §4 and §8 for the whole step of the trainer: forward, backward, gradient tree, clip, AdamW, biases, weight average, metrics.</summary>
[Collection(nameof(Alone))]
public sealed class StepTests
{
    internal const int Warm = 12;

    /// <summary>Bytes allocated between two steps, by the training thread and by all threads.</summary>
    internal sealed class Allocations : ITrainingObserver
    {
        long _thread, _process;

        public List<(long Thread, long Process)> Steps { get; } = new(256);

        public void Stepped(in StepProgress step)
        {
            long thread = GC.GetAllocatedBytesForCurrentThread(), process = GC.GetTotalAllocatedBytes(precise: true);
            if (step.Step > Warm) Steps.Add((thread - _thread, process - _process));
            _process = GC.GetTotalAllocatedBytes(precise: true);
            _thread = GC.GetAllocatedBytesForCurrentThread();
        }

        public void Preparing(string what)
        {
        }

        public void Started(RunSummary run)
        {
        }

        public void Evaluated(long step, IReadOnlyList<TextScore> scores, bool final)
        {
        }

        public void Sampled(long step, string prompt, string continuation)
        {
        }

        public void Saved(long step, string path)
        {
        }

        public void Warned(string message) => Assert.Fail(message);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void A_step_of_the_trainer_allocates_nothing_after_warm_up(int threads)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 60) with { Ema = new EmaConfiguration { Decay = 0.9, Every = 1 } };
        PreparedRun data = TinyRuns.Prepare(run);
        using IBackend backend = TinyRuns.Backend("cpu", threads);
        var allocations = new Allocations();
        var observers = new TrainingObservers(allocations);
        using var trainer = new Trainer(run, data, backend, observers);
        using var metrics = new MetricsFile(folder.File("metrics.jsonl"), 0);
        observers.Add(metrics);
        trainer.Run(TestContext.Current.CancellationToken);
        Assert.Equal(60 - Warm, allocations.Steps.Count);
        Assert.All(allocations.Steps, step => Assert.Equal(0, step.Thread));

        // The runner's own threads may allocate now and then; what the workers or the average's thread allocated would be in every step.
        Assert.Equal(0, allocations.Steps.Select(step => step.Process).Order().ElementAt(allocations.Steps.Count / 2));
    }

    /// <summary>The same for ranks, on each of them: pipeline, experts across ranks, sums, exchange of weights, average.</summary>
    [Theory]
    [InlineData(2, 2, 1)]
    [InlineData(1, 1, 3)]
    public void A_step_on_ranks_allocates_nothing_after_warm_up(int pipeline, int expert, int data)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = Ranks.RankRuns.Configuration(folder, 60, "fp8") with
        {
            LossScale = 1, Ema = new EmaConfiguration { Decay = 0.9, Every = 1 }, Batch = new BatchConfiguration { Rows = 1, MicroBatches = 8 },
            Parallel = Ranks.RankRuns.Layout(data, pipeline, expert, schedule: pipeline > 1 ? Hadal.Parallel.Schedules.ScheduleKind.DualPipe : Hadal.Parallel.Schedules.ScheduleKind.OneForwardOneBackward),
        };
        int ranks = run.Parallel.Layout.Ranks;
        var notes = new (Ranks.OrderNotes? Group, long[] Allocated)[ranks];
        TrainingRun.OnRanks(run, TinyRuns.Prepare(run), Ranks.RankRuns.Backend, new Allocations(), TestContext.Current.CancellationToken, group =>
        {
            long[] allocated = new long[1000];
            var over = new Ranks.OrderNotes(group, allocated);
            notes[group.Rank] = (over, allocated);
            return over;
        });
        Assert.All(notes, (rank, index) =>
        {
            // The orders of a step and of its average; rank 0 also passes each on to several ranks.
            Assert.True(rank.Group!.Count >= 120, $"Rank {index} saw {rank.Group.Count} orders.");
            int[] between = [.. Enumerable.Range(1, rank.Group.Count - 1).Select(i => (int)(rank.Allocated[i] - rank.Allocated[i - 1])).Skip(4 * Warm).SkipLast(12)]; // the last ones gather a checkpoint
            Assert.True(between.Count(bytes => bytes > 0) <= between.Length / 20, $"Rank {index} allocated between its orders: {string.Join(' ', between)}.");
        });
    }

    /// <summary>Everything a short run computes: loss, MTP loss and gradient norm of every step, then weights, moments and average.</summary>
    static string[] Run(InstructionSet set, int threads)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 5) with
        {
            Ema = new EmaConfiguration { Decay = 0.9, Every = 1 },
            Evaluation = new EvaluationConfiguration { Times = 1, Bytes = 200, FinalBytes = 200, Prompts = ["2 + 2 ="], SampleTokens = 4 },
        };
        PreparedRun data = TinyRuns.Prepare(run);
        using var backend = new CpuBackend(new CpuOptions(threads, set));
        var recorder = new Recorder();
        using (var trainer = new Trainer(run, data, backend, recorder)) trainer.Run(TestContext.Current.CancellationToken);
        var lines = new List<string>(recorder.Steps.Select(s => $"step {s.Step}: loss {s.Loss:R}, MTP {s.MtpLoss:R}, norm {s.GradientNorm:R}, load {s.MaxViolation:R}"));
        lines.AddRange(recorder.Evaluations.SelectMany(e => e.Scores).Select(s => $"{s.Corpus} {s.BitsPerByte:R}"));
        lines.AddRange(recorder.Samples);
        using SafetensorsFile state = SafetensorsFile.Open(folder.File("checkpoints/step-00000005/training-state.safetensors"));
        foreach (TensorEntry entry in state.Entries) lines.Add($"{entry} {Checksum64.Compute(state.Read(entry)):x16}");
        lines.Add($"model {Checksum64.Compute(File.ReadAllBytes(folder.File("model.safetensors"))):x16}");
        return [.. lines];
    }

    [Fact]
    public void A_short_run_has_the_same_bits_on_every_instruction_set_and_any_number_of_threads()
    {
        string[] expected = Run(InstructionSet.Scalar, 1);
        Assert.True(expected.Length > 10, string.Join('\n', expected));
        foreach (InstructionSet set in InstructionSets.Available)
        {
            foreach (int threads in (int[])[1, 2, 5])
            {
                string[] actual = Run(set, threads);
                Assert.True(expected.AsSpan().SequenceEqual(actual), Difference(set, threads, expected, actual));
            }
        }
    }

    static string Difference(InstructionSet set, int threads, string[] expected, string[] actual)
    {
        var text = new StringBuilder($"{set}, {threads} threads:\n");
        for (int i = 0; i < expected.Length; i++)
            if (!string.Equals(expected[i], actual[i], StringComparison.Ordinal)) text.Append(expected[i]).Append("\n  is now ").Append(actual[i]).Append('\n');
        return text.ToString();
    }
}
