using Hadal.Model;
using Hadal.Tensors;
using Hadal.Training.Data;
using Hadal.Training.Recording;
using Hadal.Training.Running;

namespace Hadal.Training.Tests.Recording;

[Collection(nameof(Alone))]
public sealed class FlightRecorderTests
{
    /// <summary>Trains into a folder with a recording, and returns the weights.</summary>
    static float[] Train(RunConfiguration run, PreparedRun data, int every, Action<Trainer, StepProgress>? onStep = null, List<string>? warnings = null, CancellationToken cancel = default)
    {
        using IBackend backend = TinyRuns.Backend("cpu");
        Trainer? training = null;
        var observer = new Recorder { OnStep = step => onStep?.Invoke(training!, step) };
        using var trainer = new Trainer(run, data, backend, observer);
        training = trainer;
        using RecordWriter? writer = every == 0 ? null : new RecordWriter(run.Output, trainer.Position.Step, run.Recipe, every, message => (warnings ?? observer.Warnings).Add(message));
        if (writer is not null) trainer.Recorder = new FlightRecorder(trainer.Model, every, writer);
        trainer.Run(cancel);
        Assert.Empty(observer.Warnings);
        return trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
    }

    static RunRecording Open(string folder) => RunRecording.Open(folder, new Refusing());

    static Divergence Compare(string a, string b, double? tolerance = null)
    {
        using RunRecording left = Open(a), right = Open(b);
        return Divergence.Between(left, right, tolerance, [], []);
    }

    [Theory]
    [InlineData("fp8")]
    [InlineData("bf16")]
    [InlineData("fp32")]
    [InlineData("fp8-block-gradients")]
    [InlineData("fp8-per-tensor-delayed")]
    [Implements("V3 §3.3.3", "What dispatch carried in FP8 enters the first product of the experts without a second rounding")]
    public void Recording_changes_no_bit_and_sees_every_operand_and_cached_tensor(string recipe)
    {
        using TemporaryFolder plain = new(), recorded = new();
        RunConfiguration run = TinyRuns.Configuration(plain, 3) with { Recipe = recipe };
        PreparedRun data = TinyRuns.Prepare(run);
        Assert.Equal(Train(run, data, every: 0), Train(run with { Output = recorded.Path }, data, every: 1));

        using RunRecording recording = Open(recorded.Path);
        Assert.Equal([1, 2, 3], recording.Steps);
        Assert.Equal(recipe, recording.Recipe);
        RecordedStep step = recording.Read(2);
        Assert.False(step.Facts.IsFault);
        Assert.True(double.IsFinite(step.Facts.Loss) && step.Facts.GradientNorm > 0);
        string[] names = [.. step.Tensors.Select(t => $"{t.Kind}/{t.Layer}/{t.Name}")];
        Assert.Equal(names.Length, names.Distinct(StringComparer.Ordinal).Count());

        // Layer 0 is dense, layer 1 has experts, layer 2 is that of the MTP module.
        for (int layer = 0; layer < 3; layer++)
        {
            string[] products = ["self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_a_proj_with_mqa", "self_attn.kv_b_proj", "self_attn.o_proj",
                .. layer == 0 ? ["mlp.gate_up_proj", "mlp.down_proj"]
                    : new[] { "mlp.shared_experts.gate_up_proj", "mlp.shared_experts.down_proj", "mlp.experts.gate_up_proj", "mlp.experts.down_proj", "mlp.gate" },
                .. layer == 2 ? ["eh_proj"] : Array.Empty<string>()];
            foreach (string product in products)
            {
                foreach (string expected in new[] { $"Weight/{layer}/{product}", $"WeightGradient/{layer}/{product} gradient", $"Activation/{layer}/{product} input",
                    $"Activation/{layer}/{product} input, along tokens", $"ActivationGradient/{layer}/{product} output gradient", $"ActivationGradient/{layer}/{product} output gradient, along tokens" })
                    Assert.Contains(expected, names, StringComparer.Ordinal);
            }

            string[] caches = ["Attention.Input", "Attention.QueryLatent", "Attention.KeyValueLatent", "Attention.Output", "Middle", "FeedForward.GateUp",
                .. layer > 0 ? ["Routed.Rows", "Routed.GateUp"] : Array.Empty<string>(), .. layer == 2 ? ["Mtp.Embedded", "Mtp.Previous", "Mtp.Output"] : Array.Empty<string>()];
            foreach (string cache in caches) Assert.Contains($"Cache/{layer}/{cache}", names, StringComparer.Ordinal);
        }

        Assert.Contains("Activation/-1/lm_head input", names, StringComparer.Ordinal);
        Assert.Contains("Weight/-1/embed_tokens", names, StringComparer.Ordinal);
        Assert.All(step.Statistics, s => Assert.True(s.Elements > 0));
        Assert.All(step.Statistics.Zip(step.Tensors), pair => Assert.Equal(pair.Second.Kind is TensorKind.Weight or TensorKind.WeightGradient ? 1 : 3, pair.First.Hashes.Length));
        Assert.DoesNotContain(step.Statistics, s => s.Hashes.Contains(0UL));
        bool scaled = recipe.StartsWith("fp8", StringComparison.Ordinal);
        Assert.Equal(scaled, step.Statistics.Any(s => s.Scales.Sum() > 0));

        // What dispatch and the backward of combine carried arrives as E4M3 with power-of-two scales; quantised again in the same tiles it stays what it is.
        foreach ((TensorStatistics s, RecordedTensor tensor) in step.Statistics.Zip(step.Tensors).Where(pair => pair.First.Scales.Sum() > 0))
        {
            bool carried = tensor.Name is "mlp.experts.gate_up_proj input" or "mlp.experts.down_proj output gradient";
            if (carried && tensor.Format is "e4m3 tile power-of-two") Assert.Equal(0, s.RelativeError);
            else if (!carried) Assert.InRange(s.RelativeError, recipe is "fp8-per-tensor-delayed" ? 0 : 1e-4, recipe is "fp8-per-tensor-delayed" ? 1 : 0.2); // old maxima clip
        }

        if (scaled) Assert.Contains(step.Tensors, t => t is { Name: "Attention.Output", Format: "e5m6 tile" });
        Assert.Equal(recipe is "fp32", step.Statistics.All(s => s.Sampled == 0));
    }

    [Fact]
    public void Steps_allocate_nothing_recorded_or_not_once_one_was_recorded()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 40) with { Recipe = "fp8" };
        var bytes = new List<(long Step, long Bytes)>(64);
        long before = 0;
        Train(run, TinyRuns.Prepare(run), every: 4, (_, step) =>
        {
            long now = GC.GetAllocatedBytesForCurrentThread();
            if (step.Step > 16) bytes.Add((step.Step, now - before));
            before = GC.GetAllocatedBytesForCurrentThread();
        });
        // The test's own observer keeps the steps in a list; that list doubles now and then and nothing else may.
        Assert.Equal(24, bytes.Count);
        Assert.True(bytes.Count(b => b.Bytes == 0) >= 22, string.Join(", ", bytes));
        Assert.Equal(6, bytes.Count(b => b.Step % 4 == 0));
        Assert.All(bytes.Where(b => b.Step % 4 == 0).Skip(1), b => Assert.True(b.Bytes == 0 || b.Step == 32, $"step {b.Step} allocated {b.Bytes} bytes"));
    }

    [Fact]
    public void A_weight_that_was_changed_after_a_step_is_named_with_layer_step_and_distance()
    {
        using TemporaryFolder one = new(), two = new();
        RunConfiguration run = TinyRuns.Configuration(one, 8) with { Recipe = "fp8" };
        PreparedRun data = TinyRuns.Prepare(run);
        Train(run, data, every: 1);
        double expected = 0;
        Train(run with { Output = two.Path }, data, every: 1, (trainer, step) =>
        {
            if (step.Step != 5) return;
            Parameter parameter = trainer.Model.Parameters.All.Single(p => p.Name.Equals("model.layers.1.self_attn.kv_b_proj.weight", StringComparison.Ordinal));
            Span<float> values = parameter.Value.AsSpan<float>();
            double norm = 0;
            foreach (float value in values) norm += (double)value * value;
            values[77] += 0.02f;
            expected = 0.02 / Math.Sqrt(norm);
            trainer.Model.Refresh();
        });
        Divergence parted = Compare(one.Path, two.Path);
        Assert.Equal(6, parted.Step);
        Assert.Equal(5, parted.LastEqualStep);
        Assert.Equal(6, parted.LossStep);
        TensorDifference first = parted.Differences[0];
        Assert.Equal((TensorKind.Weight, 1, "self_attn.kv_b_proj"), (first.Tensor.Kind, first.Tensor.Layer, first.Tensor.Name));
        Assert.Equal(expected, first.Difference, expected * 0.01); // one element: its lane has the whole distance
        Assert.Single(parted.Differences, d => d.Tensor.Kind == TensorKind.Weight);

        // After the weight: the first tensor that saw it, and nothing before it in the order of computation.
        Assert.Equal((TensorKind.Cache, 1, "Attention.Output", 0), (parted.Differences[1].Tensor.Kind, parted.Differences[1].Tensor.Layer, parted.Differences[1].Tensor.Name, parted.Differences[1].MicroBatch));
        Assert.DoesNotContain(parted.Differences, d => d.Tensor is { Kind: TensorKind.Activation, Layer: 0 });
        Assert.Equal([-1, 0, 1, 2], parted.Layers);
        Assert.All(parted.ByLayer.Take(5), row => Assert.All(row, d => Assert.Equal(0, d)));
        Assert.All(parted.ByLayer.Skip(6), row => Assert.All(row, d => Assert.True(d > 0)));

        // With a tolerance above that distance the first tensor is one that is further away; above all of them the runs are equal.
        Assert.NotEqual("self_attn.kv_b_proj", Compare(one.Path, two.Path, expected * 2).Differences[0].Tensor.Name, StringComparer.Ordinal);
        Assert.True(Compare(one.Path, two.Path, 1e9).IsEqual);
        Assert.True(Compare(one.Path, one.Path).IsEqual);
    }

    [Fact]
    public void Two_recipes_part_at_the_first_product_and_two_seeds_at_the_first_weight()
    {
        using TemporaryFolder one = new(), two = new(), three = new();
        RunConfiguration run = TinyRuns.Configuration(one, 4) with { Recipe = "bf16" };
        PreparedRun data = TinyRuns.Prepare(run);
        Train(run, data, every: 2);
        Train(run with { Output = two.Path, Recipe = "fp8" }, data, every: 2);
        Divergence recipes = Compare(one.Path, two.Path);
        Assert.Equal((1, null), (recipes.Step, recipes.LastEqualStep));
        Assert.Equal((TensorKind.Cache, 0, "Attention.QueryLatent", 0),
            (recipes.Differences[0].Tensor.Kind, recipes.Differences[0].Tensor.Layer, recipes.Differences[0].Tensor.Name, recipes.Differences[0].MicroBatch));
        Assert.InRange(recipes.Differences[0].Difference, 1e-3, 0.2);

        Train(run with { Output = three.Path, Seed = 9 }, data, every: 2);
        Divergence seeds = Compare(one.Path, three.Path);
        Assert.Equal((TensorKind.Weight, -1, "embed_tokens"), (seeds.Differences[0].Tensor.Kind, seeds.Differences[0].Tensor.Layer, seeds.Differences[0].Tensor.Name));
        Assert.InRange(seeds.Differences[0].Difference, 0.7, 2.5); // independent: √2
    }

    [Fact]
    public void A_resumed_run_continues_its_file_and_ends_with_the_recording_of_an_undisturbed_one()
    {
        using TemporaryFolder one = new(), two = new();
        RunConfiguration run = TinyRuns.Configuration(one, 9) with { Recipe = "fp8" };
        PreparedRun data = TinyRuns.Prepare(run);
        Train(run, data, every: 2);
        RunConfiguration again = run with { Output = two.Path, Checkpoint = new CheckpointConfiguration { Every = 3 } };
        Assert.Throws<InvalidOperationException>(() => Train(again, data, every: 2, (_, step) =>
        {
            if (step.Step == 8) throw new InvalidOperationException("killed");
        }));
        using (var torn = new FileStream(two.File("flight-001.rec"), FileMode.Append)) torn.Write([3, 0, 0, 0, 200, 0, 0, 0, 1, 2]); // as a killed process leaves it
        Train(again, data, every: 2);
        Assert.False(File.Exists(two.File("flight-002.rec")));
        using RunRecording resumed = Open(two.Path);
        Assert.Equal([1, 2, 4, 6, 8], resumed.Steps);
        Assert.True(Compare(one.Path, two.Path).IsEqual);
    }

    [Fact]
    public void A_damaged_file_is_left_and_recording_goes_on_in_a_new_one_with_a_warning()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 6) with { Checkpoint = new CheckpointConfiguration { Every = 4 } };
        PreparedRun data = TinyRuns.Prepare(run);
        float[] expected = Train(run, data, every: 1);
        Directory.Delete(folder.File("checkpoints"), recursive: true);
        using var stop = new CancellationTokenSource();
        Train(run, data, every: 1, (_, step) =>
        {
            if (step.Step == 4) stop.Cancel();
        }, cancel: stop.Token);
        byte[] bytes = File.ReadAllBytes(folder.File("flight-001.rec"));
        bytes[bytes.Length / 2] ^= 4;
        File.WriteAllBytes(folder.File("flight-001.rec"), bytes);
        var warnings = new List<string>();
        Assert.Equal(expected, Train(run, data, every: 1, warnings: warnings));
        Assert.Contains("is damaged", Assert.Single(warnings), StringComparison.Ordinal);
        Assert.Equal(bytes, File.ReadAllBytes(folder.File("flight-001.rec")));
        using RunRecording recording = RunRecording.Open(folder.Path, warnings);
        Assert.Equal(2, warnings.Count);
        Assert.Equal([5, 6], recording.Steps.Where(s => s > 4));
        Assert.True(recording.Steps.Count is > 2 and < 6);
    }

    [Fact]
    public void A_disk_that_refuses_ends_the_recording_and_not_the_run()
    {
        using TemporaryFolder one = new(), two = new();
        RunConfiguration run = TinyRuns.Configuration(one, 3);
        PreparedRun data = TinyRuns.Prepare(run);
        float[] expected = Train(run, data, every: 0);
        Directory.CreateDirectory(two.File("flight-001.rec"));
        Directory.CreateDirectory(two.File("flight-002.rec"));
        var warnings = new List<string>();
        Assert.Equal(expected, Train(run with { Output = two.Path }, data, every: 1, warnings: warnings));
        Assert.Equal(2, warnings.Count);
        Assert.Contains("goes on in a new file", warnings[0], StringComparison.Ordinal);
        Assert.Contains("has stopped; training goes on", warnings[1], StringComparison.Ordinal);
    }

    [Fact]
    public void The_step_that_failed_is_recorded_whatever_its_number()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 30) with { Recipe = "bf16" };
        PreparedRun data = TinyRuns.Prepare(run);
        Assert.Throws<NonFiniteTrainingException>(() => Train(run, data, every: 1000, (trainer, step) =>
        {
            if (step.Step != 7) return;
            Parameter parameter = trainer.Model.Parameters.All.Single(p => p.Name.Equals("model.layers.1.self_attn.o_proj.weight", StringComparison.Ordinal));
            parameter.Value.AsSpan<float>()[5] = float.PositiveInfinity;
            trainer.Model.Refresh();
        }));
        using RunRecording recording = Open(folder.Path);
        Assert.Equal([1, 8], recording.Steps);
        RecordedStep failed = recording.Read(8);
        Assert.True(failed.Facts.IsFault);
        int first = failed.Statistics.ToList().FindIndex(s => s.NonFinite > 0);
        Assert.Equal("layer 1, self_attn.o_proj", failed.Tensors[first].Title);
    }

    [Fact]
    public void Whatever_a_file_holds_reading_ends_in_steps_or_in_a_clear_refusal()
    {
        using TemporaryFolder folder = new(), other = new();
        RunConfiguration run = TinyRuns.Configuration(folder, 2);
        Train(run, TinyRuns.Prepare(run), every: 1);
        byte[] good = File.ReadAllBytes(folder.File("flight-001.rec"));
        var random = new Random(11);
        string path = other.File("flight-001.rec");
        for (int trial = 0; trial < 300; trial++)
        {
            byte[] bytes = trial % 3 == 0 ? good[..random.Next(good.Length)] : [.. good];
            for (int flips = random.Next(4); flips > 0 && bytes.Length > 0; flips--) bytes[random.Next(trial % 2 == 0 ? Math.Min(bytes.Length, 300) : bytes.Length)] ^= (byte)(1 << random.Next(8));
            File.WriteAllBytes(path, bytes);
            ReadAll(other.Path);
        }

        // A right checksum over a wrong payload.
        for (int trial = 0; trial < 300; trial++)
        {
            byte[] payload = new byte[random.Next(64)];
            random.NextBytes(payload);
            if (trial % 2 == 0 && payload.Length > 3) payload.AsSpan(0, 3).Fill(0xFF);
            WriteForged(path, trial % 4 == 0 ? 1 : trial % 4 == 1 ? 2 : 3, payload);
            ReadAll(other.Path);
        }

        Assert.Throws<FileNotFoundException>(() => Open(other.File("nowhere")));
    }

    static void WriteForged(string path, int kind, byte[] payload)
    {
        using var file = new FileStream(path, FileMode.Create);
        file.Write(RecordFormat.Magic);
        var record = new RecordBuilder();
        var hash = new Hadal.Formats.Checksum64();
        RecordHeader.Build(record, new RecordHeader(RecordFormat.Version, "fp8", 1));
        record.End(hash);
        if (kind != 1) file.Write(record.Bytes);
        StepRecord.BuildTable(record, [new RecordedTensor(TensorKind.Weight, 0, "w", "f32")], 1);
        record.End(hash);
        if (kind == 3) file.Write(record.Bytes);
        record.Begin(kind);
        foreach (byte value in payload) record.Integer(value);
        record.End(hash);
        file.Write(record.Bytes);
    }

    static void ReadAll(string folder)
    {
        try
        {
            using RunRecording recording = RunRecording.Open(folder, new List<string>());
            foreach (long step in recording.Steps) recording.Read(step);
            RecordingSummary.Of(recording);
        }
        catch (InvalidDataException exception)
        {
            Assert.NotEmpty(exception.Message);
        }
    }

    [Fact]
    public void The_summary_of_a_recorder_is_that_of_its_recording()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = TinyRuns.Configuration(folder, 4) with { Recipe = "fp8-block-gradients" };
        PreparedRun data = TinyRuns.Prepare(run);
        using IBackend backend = TinyRuns.Backend("cpu");
        using var trainer = new Trainer(run, data, backend, new Recorder());
        using var writer = new RecordWriter(run.Output, 0, run.Recipe, 1, Assert.Fail);
        var recorder = new FlightRecorder(trainer.Model, 1, writer);
        trainer.Recorder = recorder;
        trainer.Run(default);
        using RunRecording recording = Open(folder.Path);
        string[] live = [.. recorder.Summary.MarkdownRows("arm")], read = [.. RecordingSummary.Of(recording).MarkdownRows("arm")];
        Assert.Equal(live, read);
        Assert.Contains(live, row => row.StartsWith("| arm | gradient | e4m3 block |", StringComparison.Ordinal));
        Assert.Equal(4, recorder.Summary.Steps);
    }

    /// <summary>A warning fails the test.</summary>
    sealed class Refusing : List<string>, ICollection<string>
    {
        void ICollection<string>.Add(string item) => Assert.Fail(item);
    }
}
