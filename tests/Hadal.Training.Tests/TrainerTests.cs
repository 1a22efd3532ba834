using Hadal.Model;
using Hadal.Tensors;
using Hadal.Training.Data;
using Hadal.Training.Running;

namespace Hadal.Training.Tests;

public sealed class TrainerTests
{
    static float[] Train(string name, RunConfiguration run, PreparedRun data, Recorder recorder, out TrainingOutcome outcome, CancellationToken cancel = default)
    {
        using IBackend backend = TinyRuns.Backend(name, Math.Max(run.Threads, 2));
        using var trainer = new Trainer(run, data, backend, recorder);
        outcome = trainer.Run(cancel);
        return trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    [Implements("public checkpoints", "A trained model is left in the public layout and loads again")]
    public void The_loss_falls_and_the_model_is_left_in_the_public_layout(string backendName)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 30) with { Evaluation = new EvaluationConfiguration { Times = 2, Bytes = 200, FinalBytes = 400, Prompts = ["2 + 2 ="], SampleTokens = 3 } };
        var recorder = new Recorder();
        float[] weights = Train(backendName, run, TinyRuns.Prepare(run), recorder, out TrainingOutcome outcome);
        Assert.Equal(TrainingStatus.Completed, outcome.Status);
        Assert.Equal(30, recorder.Steps.Count);
        Assert.Equal(30 * 3 * 2 * 24, outcome.Tokens);
        Assert.Equal(Math.Log(320), recorder.Steps[0].Loss, 0.3);
        Assert.True(recorder.Steps[^1].Loss < recorder.Steps[0].Loss - 1.5, $"loss went from {recorder.Steps[0].Loss} to {recorder.Steps[^1].Loss}");
        Assert.True(recorder.Steps[^1].MtpLoss < recorder.Steps[0].MtpLoss - 1, $"MTP loss went from {recorder.Steps[0].MtpLoss} to {recorder.Steps[^1].MtpLoss}");
        Assert.Equal([0, 15, 30], recorder.Evaluations.Select(e => e.Step));
        Assert.True(recorder.Evaluations[^1].Scores[0].BitsPerByte < recorder.Evaluations[0].Scores[0].BitsPerByte);
        Assert.Single(recorder.Samples);
        Assert.All(recorder.Steps, s => Assert.True(s.MaxViolation >= 0));

        using IBackend backend = TinyRuns.Backend(backendName);
        using LoadedModel loaded = ModelLoader.Load(folder.Path, backend, Recipe.Fp32);
        Assert.Empty(loaded.Warnings);
        Assert.Equal(weights, loaded.Model.Parameters.Values.AsSpan<float>().ToArray());
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    [Implements("architecture §8", "A run that was interrupted or killed ends with the same bits")]
    public void Interrupted_anywhere_and_continued_it_gives_the_same_bits(string backendName)
    {
        using var one = new TemporaryFolder();
        using var two = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(one, 9);
        PreparedRun data = TinyRuns.Prepare(run);
        var undisturbed = new Recorder();
        float[] expected = Train(backendName, run, data, undisturbed, out _);

        RunConfiguration again = run with { Output = two.Path, Threads = 3, Checkpoint = new CheckpointConfiguration { Every = 4 } };
        var losses = new List<double>();
        float[] actual = [];
        TrainingOutcome outcome;
        int stops = 0;
        do
        {
            using var cancel = new CancellationTokenSource();
            int left = 1 + (stops * 2 % 3);
            var recorder = new Recorder { OnStep = _ => { if (--left == 0) cancel.Cancel(); } };
            actual = Train(backendName, again, data, recorder, out outcome, cancel.Token);
            losses.AddRange(recorder.Steps.Select(s => s.Loss));
            Assert.True(++stops < 20);
        }
        while (outcome.Status == TrainingStatus.Interrupted);
        Assert.True(stops > 3);
        Assert.Equal(undisturbed.Steps.Select(s => s.Loss), losses);
        Assert.Equal(expected, actual);
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    public void A_process_that_died_between_checkpoints_repeats_the_steps_with_the_same_bits(string backendName)
    {
        using var one = new TemporaryFolder();
        using var two = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(one, 7);
        PreparedRun data = TinyRuns.Prepare(run);
        float[] expected = Train(backendName, run, data, new Recorder(), out _);

        RunConfiguration again = run with { Output = two.Path, Checkpoint = new CheckpointConfiguration { Every = 2 } };
        var dying = new Recorder { OnStep = s => { if (s.Step == 5) throw new InvalidOperationException("killed"); } };
        Assert.Throws<InvalidOperationException>(() => Train(backendName, again, data, dying, out _));
        var resumed = new Recorder();
        Assert.Equal(expected, Train(backendName, again, data, resumed, out _));
        Assert.Equal(5, resumed.Steps[0].Step);
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    public void A_damaged_newest_checkpoint_falls_back_to_the_one_before_with_the_same_bits(string backendName)
    {
        using var one = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(one, 6) with { Checkpoint = new CheckpointConfiguration { Every = 2 } };
        PreparedRun data = TinyRuns.Prepare(run);
        float[] expected = Train(backendName, run, data, new Recorder(), out _);
        string newest = Path.Combine(one.Path, "checkpoints", "step-00000006", "training-state.safetensors");
        byte[] bytes = File.ReadAllBytes(newest);
        bytes[bytes.Length / 2] ^= 0x10;
        File.WriteAllBytes(newest, bytes);
        var recorder = new Recorder();
        Assert.Equal(expected, Train(backendName, run, data, recorder, out _));
        Assert.Contains("is damaged", Assert.Single(recorder.Warnings), StringComparison.Ordinal);
        Assert.Equal([5, 6], recorder.Steps.Select(s => s.Step));
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    public void State_of_another_run_is_refused(string backendName)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 2);
        PreparedRun data = TinyRuns.Prepare(run);
        Train(backendName, run, data, new Recorder(), out _);
        var exception = Assert.Throws<TrainingStateException>(() => Train(backendName, run with { Optimizer = run.Optimizer with { Beta2 = 0.99 } }, data, new Recorder(), out _));
        Assert.Contains("there \"beta2\": 0.95, here \"beta2\": 0.99", exception.Message, StringComparison.Ordinal);
        Assert.Throws<TrainingStateException>(() => Train(backendName, run with { Model = run.Model with { Preset = "nano" } }, data, new Recorder(), out _));
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    public void A_loss_that_is_not_a_number_stops_before_the_update(string backendName)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 5);
        using IBackend backend = TinyRuns.Backend(backendName);
        using var trainer = new Trainer(run, TinyRuns.Prepare(run), backend, new Recorder());
        Parameter norm = trainer.Model.Parameters.All.First(p => p.Kind == ParameterKind.Norm);
        norm.Value.AsSpan<float>()[0] = float.NaN;
        float[] before = trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
        var exception = Assert.Throws<NonFiniteTrainingException>(() => trainer.Run(default));
        Assert.Contains("step 1", exception.Message, StringComparison.Ordinal);
        Assert.Equal(before, trainer.Model.Parameters.Values.AsSpan<float>().ToArray());
        Assert.False(Directory.Exists(Path.Combine(folder.Path, "checkpoints")));
    }

    [Theory]
    [InlineData("fp32")]
    [InlineData("fp8")]
    public void A_fault_is_named_by_tensor_layer_micro_batch_and_document(string recipe)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 5) with { Recipe = recipe };
        using IBackend backend = TinyRuns.Backend("cpu");
        using var trainer = new Trainer(run, TinyRuns.Prepare(run), backend, new Recorder());

        // A weight so large that squares overflow: finite itself, infinite in what it makes of every token.
        Parameter down = trainer.Model.Parameters.All.First(p => p.Name.Contains("layers.1.self_attn.kv_a_proj", StringComparison.Ordinal));
        down.Value.AsSpan<float>().Fill(3e38f);
        trainer.Model.Refresh();
        float[] before = trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
        string message = Assert.Throws<NonFiniteTrainingException>(() => trainer.Run(default)).Message;
        Assert.Contains("step 1", message, StringComparison.Ordinal);
        Assert.Contains("micro-batch 0", message, StringComparison.Ordinal);
        Assert.Contains("layer 1, Attention.KeyValueLatent", message, StringComparison.Ordinal);
        Assert.Contains("in the document that ", message, StringComparison.Ordinal);
        Assert.Equal(before, trainer.Model.Parameters.Values.AsSpan<float>().ToArray());
    }

    [Fact]
    public void A_fault_that_is_born_in_the_backward_is_named_where_it_appeared()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 5) with { Recipe = "bf16" };
        string Fail(Action<Transformer> prepare)
        {
            using IBackend backend = TinyRuns.Backend("cpu");
            using var trainer = new Trainer(run, TinyRuns.Prepare(run), backend, new Recorder());
            Multiply(trainer.Model, "lm_head.weight", 1e30f); // the loss is large and finite, and so are its first gradients
            prepare(trainer.Model);
            trainer.Model.Refresh();
            float[] before = trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
            string message = Assert.Throws<NonFiniteTrainingException>(() => trainer.Run(default)).Message;
            Assert.Equal(before, trainer.Model.Parameters.Values.AsSpan<float>().ToArray());
            Assert.Contains("The gradient norm of step 1", message, StringComparison.Ordinal);
            Assert.Contains(", in micro-batch 0", message, StringComparison.Ordinal);
            Assert.Contains("in the document that ", message, StringComparison.Ordinal);
            return message;
        }

        // A small norm before large weights: the forward is as it was, the gradient behind the weights overflows; the next product that sees it is the one before.
        string operand = Fail(model =>
        {
            Multiply(model, "model.layers.1.input_layernorm.weight", 1e-20f);
            Multiply(model, "model.layers.1.self_attn.q_a_proj.weight", 1e20f);
            Multiply(model, "model.layers.1.self_attn.kv_a_proj_with_mqa.weight", 1e20f);
        });
        Assert.Contains("first in layer 0, mlp.down_proj output gradient, token ", operand, StringComparison.Ordinal);

        // A large norm before small weights: every operand is finite, and their product, the gradient of the weights, is not.
        string weight = Fail(model =>
        {
            Multiply(model, "model.layers.0.post_attention_layernorm.weight", 1e20f);
            Multiply(model, "model.layers.0.mlp.gate_up_proj.weight", 1e-20f);
        });
        Assert.Contains("not finite is the gradient of model.layers.0.mlp.gate_up_proj.weight", weight, StringComparison.Ordinal);
        Assert.Contains("most of it comes from token ", weight, StringComparison.Ordinal);
    }

    static void Multiply(Transformer model, string name, float factor)
    {
        Parameter parameter = model.Parameters.All.Single(p => p.Name.Equals(name, StringComparison.Ordinal));
        foreach (ref float value in parameter.Value.AsSpan<float>()) value *= factor;
    }

    [Theory]
    [InlineData("fp32")]
    [InlineData("fp8")]
    public void After_a_fault_the_last_good_checkpoint_is_there_and_goes_on_with_the_same_bits(string recipe)
    {
        using TemporaryFolder one = new(), two = new();
        RunConfiguration run = TinyRuns.Configuration(one, 8) with { Recipe = recipe };
        PreparedRun data = TinyRuns.Prepare(run);
        float[] expected = Train("cpu", run, data, new Recorder(), out _);

        RunConfiguration again = run with { Output = two.Path, Checkpoint = new CheckpointConfiguration { Every = 2 } };
        using (IBackend backend = TinyRuns.Backend("cpu"))
        {
            Transformer? model = null;
            var spoiling = new Recorder
            {
                OnStep = s =>
                {
                    if (s.Step != 5) return;
                    model!.Parameters.All.First(p => p.Kind == ParameterKind.Norm).Value.AsSpan<float>()[3] = float.PositiveInfinity;
                    model.Refresh();
                },
            };
            using var trainer = new Trainer(again, data, backend, spoiling);
            model = trainer.Model;
            Assert.Throws<NonFiniteTrainingException>(() => trainer.Run(default));
        }

        Assert.Equal(["step-00000002", "step-00000004"], Directory.EnumerateDirectories(Path.Combine(two.Path, "checkpoints")).Select(Path.GetFileName).Order(StringComparer.Ordinal), StringComparer.Ordinal);
        var resumed = new Recorder();
        Assert.Equal(expected, Train("cpu", again, data, resumed, out _));
        Assert.Equal(5, resumed.Steps[0].Step);
    }

    /// <summary>Spoilt after the step and before its checkpoint: in a checkpoint between, in the last one, in the one that Ctrl-C writes.</summary>
    [Theory]
    [InlineData(4, false, float.NaN)]
    [InlineData(6, false, float.PositiveInfinity)]
    [InlineData(3, true, float.NegativeInfinity)]
    public void Weights_that_are_not_finite_are_never_saved_and_the_checkpoint_before_goes_on_with_the_same_bits(int step, bool cancelled, float value)
    {
        using TemporaryFolder one = new(), two = new();
        RunConfiguration run = TinyRuns.Configuration(one, 6);
        PreparedRun data = TinyRuns.Prepare(run);
        float[] expected = Train("cpu", run, data, new Recorder(), out _);

        RunConfiguration again = run with { Output = two.Path, Checkpoint = new CheckpointConfiguration { Every = 2 } };
        using var cancel = new CancellationTokenSource();
        using (IBackend backend = TinyRuns.Backend("cpu"))
        {
            Transformer? model = null;
            var spoiling = new Recorder
            {
                OnStep = s =>
                {
                    if (s.Step != step) return;
                    model!.Parameters.All.Single(p => p.Name is "model.layers.1.self_attn.o_proj.weight").Value.AsSpan<float>()[7] = value;
                    if (cancelled) cancel.Cancel();
                },
            };
            using var trainer = new Trainer(again, data, backend, spoiling);
            model = trainer.Model;
            string message = Assert.Throws<NonFiniteTrainingException>(() => trainer.Run(cancel.Token)).Message;
            Assert.Contains($"The checkpoint of step {step} was not written: the weight model.layers.1.self_attn.o_proj.weight, element 7, is ", message, StringComparison.Ordinal);
            Assert.Contains("The checkpoint before it is unchanged", message, StringComparison.Ordinal);
        }

        string last = $"step-{(step - 1) / 2 * 2:D8}";
        Assert.Equal(last, Directory.EnumerateDirectories(Path.Combine(two.Path, "checkpoints")).Select(Path.GetFileName).Max(StringComparer.Ordinal), StringComparer.Ordinal);
        Assert.False(File.Exists(Path.Combine(two.Path, "model.safetensors")));
        Assert.Equal(expected, Train("cpu", again, data, new Recorder(), out _));
    }

    [Theory]
    [InlineData("fp8")]
    [InlineData("fp8-per-tensor-delayed")]
    [Implements("architecture §8", "A run that was interrupted or killed ends with the same bits")]
    public void Under_fp8_the_loss_falls_and_an_interrupted_run_ends_with_the_same_bits(string recipe)
    {
        using var one = new TemporaryFolder();
        using var two = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(one, 24) with { Recipe = recipe };
        PreparedRun data = TinyRuns.Prepare(run);
        var recorder = new Recorder();
        float[] expected = Train("cpu", run, data, recorder, out _);
        Assert.True(recorder.Steps[^1].Loss < recorder.Steps[0].Loss - 1, $"loss went from {recorder.Steps[0].Loss} to {recorder.Steps[^1].Loss}");

        RunConfiguration again = run with { Output = two.Path, Threads = 3, Checkpoint = new CheckpointConfiguration { Every = 5 } };
        var dying = new Recorder { OnStep = s => { if (s.Step == 13) throw new InvalidOperationException("killed"); } };
        Assert.Throws<InvalidOperationException>(() => Train("cpu", again, data, dying, out _));
        Assert.Equal(expected, Train("cpu", again, data, new Recorder(), out _));
    }

    [Theory]
    [MemberData(nameof(TinyRuns.Backends), MemberType = typeof(TinyRuns))]
    public void Bits_per_byte_do_not_depend_on_how_windows_are_batched_and_agree_with_single_windows(string backendName)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 1);
        PreparedRun data = TinyRuns.Prepare(run);
        using IBackend backend = TinyRuns.Backend(backendName);
        using Transformer model = ModelFiles.Create(run, data.Tokenizer, backend);
        HeldOutText text = data.HeldOut[0].Take(300);
        using var wide = new Evaluator(model, 24, 5);
        using var narrow = new Evaluator(model, 24, 1);
        TextScore score = wide.Score(text);
        Assert.Equal(score.BitsPerByte, narrow.Score(text).BitsPerByte, 9);

        // One document by hand: every token after BOS is scored exactly once.
        double nats = 0;
        long bytes = 0;
        foreach (HeldOutDocument document in text.Documents)
        {
            bytes += document.Bytes;
            int[] scoredTimes = new int[document.Tokens.Length];
            foreach ((int start, int first) in wide.Windows(document.Tokens.Length))
            {
                using var chunk = new SequenceChunk(model, 1, Math.Min(24, document.Tokens.Length - 1 - start), training: false);
                chunk.SetTokens(document.Tokens.AsSpan(start, chunk.Length + 1), chunk.Length + 1);
                chunk.Forward();
                for (int t = first; t < chunk.Length; t++)
                {
                    nats += chunk.Losses[0].AsSpan<float>()[t];
                    scoredTimes[start + t + 1]++;
                }
            }

            Assert.Equal(0, scoredTimes[0]);
            Assert.All(scoredTimes[1..], n => Assert.Equal(1, n));
        }

        Assert.Equal(nats / (Math.Log(2) * bytes), score.BitsPerByte, 5);
        Assert.Equal(bytes, score.Bytes);
    }

    [Fact]
    public void A_budget_in_minutes_becomes_a_number_of_steps_that_a_resumed_run_keeps()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 1) with
        {
            Budget = new BudgetConfiguration { Minutes = 0.02 },
            Evaluation = new EvaluationConfiguration { Times = 2, Bytes = 200, FinalBytes = 200 },
        };
        PreparedRun data = TinyRuns.Prepare(run);
        long planned = 0;
        using var cancel = new CancellationTokenSource();
        var first = new Recorder
        {
            OnStep = s =>
            {
                if (s.Steps == 0) return;
                planned = s.Steps;
                cancel.Cancel();
            },
        };
        Train("cpu", run, data, first, out TrainingOutcome outcome, cancel.Token);
        Assert.True(first.Steps.Count >= 12, $"planned after {first.Steps.Count} steps");
        Assert.All(first.Steps.SkipLast(1), s => Assert.Equal(0, s.Steps));
        Assert.Equal(outcome.Step, first.Steps[^1].Step);
        Assert.True(planned > outcome.Step);

        var second = new Recorder();
        Train("cpu", run, data, second, out TrainingOutcome completed);
        Assert.Equal(TrainingStatus.Completed, completed.Status);
        Assert.Equal(planned, completed.Step);
        Assert.All(second.Steps, s => Assert.Equal(planned, s.Steps));
    }
}
