using Hadal.Inference;
using Hadal.Model;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Text;
using Hadal.Training.Data;
using Hadal.Training.Supervised;

namespace Hadal.Training.Tests.Supervised;

/// <summary>The supervised stage as a run: learns, resumes with the same bits, and measures what it reached.</summary>
public sealed class SupervisedRunTests
{
    /// <summary>A model to begin from, once for all tests: its weights are random, its tokenizer learned.</summary>
    static readonly Lazy<TemporaryFolder> Base = new(() =>
    {
        var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 1);
        using IBackend backend = TinyRuns.Backend("cpu");
        using var trainer = new Trainer(run, TinyRuns.Prepare(run), backend, new Recorder());
        trainer.Run(default);
        return folder;
    });

    internal static RunConfiguration Configuration(TemporaryFolder folder, long steps)
    {
        RunConfiguration run = RunConfiguration.Sft(Base.Value.Path, folder.Path, 1, steps);
        return run with
        {
            Supervised = run.Supervised! with { Tasks = ["addition", "sorting"], Samples = 400, Problems = 8 },
            Data = run.Data with { SequenceLength = 240 },
            Batch = new BatchConfiguration { Rows = 2, MicroBatches = 2, FirstMicroBatches = 2 },
            Evaluation = new EvaluationConfiguration { Times = 0 },
            Checkpoint = new CheckpointConfiguration { Every = 0 },
        };
    }

    internal static PreparedRun Prepare(RunConfiguration run) => PreparedRun.Prepare(run, ModelFiles.MtpDepth(run), new Recorder(), cache: null);

    static float[] Train(RunConfiguration run, Recorder recorder, out TrainingOutcome outcome, int threads = 2, CancellationToken cancel = default)
    {
        using IBackend backend = TinyRuns.Backend("cpu", threads);
        using var trainer = new Trainer(run, Prepare(run), backend, recorder);
        outcome = trainer.Run(cancel);
        return trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
    }

    [Fact]
    public void The_loss_on_answers_falls_and_both_modes_are_measured()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = Configuration(folder, 60) with { Evaluation = new EvaluationConfiguration { Times = 2 } };
        var recorder = new Recorder();
        Train(run, recorder, out TrainingOutcome outcome);
        Assert.Equal(TrainingStatus.Completed, outcome.Status);
        Assert.True(recorder.Steps[^1].Loss < recorder.Steps[0].Loss - 2, $"loss went from {recorder.Steps[0].Loss} to {recorder.Steps[^1].Loss}");
        Assert.True(recorder.Steps[^1].MtpLoss < recorder.Steps[0].MtpLoss - 1);
        Assert.Equal([("addition", false, 8), ("addition", true, 8), ("sorting", false, 8), ("sorting", true, 8)], outcome.TaskScores.Select(s => (s.Task, s.Thinks, s.Problems)));
        Assert.All(outcome.TaskScores, s => Assert.InRange(s.MeanTokens, 1, TaskEvaluation.LongestThought));
        Assert.NotEmpty(recorder.Samples);

        // What the run left is measured again with the same result.
        using IBackend backend = TinyRuns.Backend("cpu");
        using LoadedModel loaded = ModelLoader.Load(folder.Path, backend, Recipe.Fp32, withMtp: false);
        IReadOnlyList<TaskScore> again = TaskEvaluation.Score(loaded.Model, Tokenizer.Load(folder.File("tokenizer.json")), TaskEvaluation.Problems(["addition", "sorting"], 8), null, default);
        Assert.Equal(outcome.TaskScores, again);
    }

    [Fact]
    [Implements("architecture §8", "A run that was interrupted or killed ends with the same bits")]
    public void Interrupted_and_continued_on_any_number_of_threads_it_gives_the_same_bits()
    {
        using var one = new TemporaryFolder();
        using var two = new TemporaryFolder();
        float[] expected = Train(Configuration(one, 7), new Recorder(), out _, threads: 1);
        float[] actual = [];
        TrainingOutcome outcome;
        int stops = 0;
        do
        {
            using var cancel = new CancellationTokenSource();
            int left = 3;
            var recorder = new Recorder { OnStep = _ => { if (--left == 0) cancel.Cancel(); } };
            actual = Train(Configuration(two, 7), recorder, out outcome, threads: 1 + stops, cancel.Token);
            Assert.True(++stops < 6);
        }
        while (outcome.Status == TrainingStatus.Interrupted);
        Assert.True(stops > 1);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void Every_instruction_set_gives_the_same_bits()
    {
        float[]? expected = null;
        foreach (InstructionSet set in InstructionSets.Available)
        {
            using var folder = new TemporaryFolder();
            using var backend = new CpuBackend(new CpuOptions(2, set));
            RunConfiguration run = Configuration(folder, 2);
            run = run with { Supervised = run.Supervised! with { Problems = 1 } };
            using var trainer = new Trainer(run, Prepare(run), backend, new Recorder());
            trainer.Run(default);
            float[] weights = trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
            expected ??= weights;
            Assert.True(expected.AsSpan().SequenceEqual(weights), $"{set} gives other bits");
        }
    }

    [Fact]
    public void An_answer_counts_when_the_model_says_it_greedily()
    {
        using IBackend backend = TinyRuns.Backend("cpu");
        using LoadedModel loaded = ModelLoader.Load(Base.Value.Path, backend, Recipe.Fp32, withMtp: false);
        Tokenizer tokenizer = Tokenizer.Load(Base.Value.File("tokenizer.json"));
        TaskProblem[] problems = [.. TaskEvaluation.Problems(["addition"], 72)]; // in both modes, so many that most of them wait in line
        for (int i = 0; i < 3; i++)
        {
            // The slow twin says what the model answers; that becomes the right answer of three of the problems.
            using var session = new GenerationSession(loaded.Model, 256);
            var said = new List<int>();
            Generator.Generate(session, ChatSample.Prompt(tokenizer, [problems[i]], thinks: false).ToArray(), TaskEvaluation.LongestAnswer, SamplingParameters.Greedy, [tokenizer.RequireId(SpecialTokens.EndOfSentence)], id =>
            {
                said.Add(id);
                return true;
            });
            problems[i] = problems[i] with { Answer = tokenizer.Decode([.. said], skipSpecial: true).Trim() };
        }

        TaskScore direct = TaskEvaluation.Score(loaded.Model, tokenizer, problems, null, default).Single(s => !s.Thinks);
        Assert.Equal(3, direct.Right);
        Assert.Equal(3.0 / 72, direct.Accuracy);
    }

    [Fact]
    public void The_run_is_written_and_read_again_and_runs_of_text_keep_their_form()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = Configuration(folder, 5);
        var warnings = new List<string>();
        RunConfiguration read = RunConfiguration.Parse(run.ToJson(), "run.json", warnings);
        Assert.Empty(warnings);
        Assert.Equal(run.ToJson(), read.ToJson());
        Assert.Equal(["addition", "sorting"], read.Supervised!.Tasks);
        Assert.DoesNotContain("supervised", new RunConfiguration().ToJson(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"tasks": ["addition", "poetry"]}""", "'supervised.tasks' is 'poetry'; expected some of addition, dates, sorting, countdown.")]
    [InlineData("""{"tasks": []}""", "'supervised.tasks' is empty")]
    [InlineData("""{"tasks": ["dates", "dates"]}""", "each task once")]
    [InlineData("""{"samples": 0}""", "'supervised.samples' is 0; expected an integer from 1")]
    [InlineData("""{"thinking_share": 1.5}""", "'supervised.thinking_share' is 1.5")]
    public void Settings_that_cannot_be_meant_are_refused(string section, string message)
    {
        var exception = Assert.Throws<RunConfigurationException>(() => RunConfiguration.Parse($$"""{"supervised": {{section}}}""", "run.json", new List<string>()));
        Assert.Contains(message, exception.Message, StringComparison.Ordinal);
    }
}
