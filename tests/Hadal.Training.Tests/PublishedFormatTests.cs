using System.Runtime.InteropServices;
using System.Text.Json;
using Hadal.Formats;
using Hadal.Model;
using Hadal.Model.Conversion;
using Hadal.Numerics;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Training.Data;
using Hadal.Training.Optimization;

namespace Hadal.Training.Tests;

/// <summary>Public FP8 checkpoints: loaded, trained on, written, with ragged edges and both kinds of scales.</summary>
public sealed class PublishedFormatTests
{
    /// <summary>Widths beside multiples of 128, so that blocks end ragged in rows and columns.</summary>
    static RunConfiguration Ragged(TemporaryFolder folder, long steps, string recipe = "fp8")
    {
        RunConfiguration run = TinyRuns.Configuration(folder, steps) with { Recipe = recipe };
        string config = folder.File("source.json");
        Directory.CreateDirectory(folder.Path);
        (ModelPresets.Find("tiny", 320) with { HiddenSize = 136, IntermediateSize = 144, MoeIntermediateSize = 40, KeyValueLoraRank = 130 }).Save(config);
        return run with { Model = new ModelChoice { Preset = null, ConfigFile = config, InitialDeviation = 0.05 } };
    }

    static float[] Train(RunConfiguration run, Recorder recorder, CancellationToken cancel = default)
    {
        using IBackend backend = TinyRuns.Backend("cpu");
        using var trainer = new Trainer(run, TinyRuns.Prepare(run), backend, recorder);
        trainer.Run(cancel);
        return trainer.Model.Parameters.Values.AsSpan<float>().ToArray();
    }

    static float[] Scales(Checkpoint checkpoint, string name) => MemoryMarshal.Cast<byte, float>(checkpoint.Read(checkpoint.Get(name + "_scale_inv"))).ToArray();

    [Theory]
    [InlineData(ScaleKind.Plain)]
    [InlineData(ScaleKind.PowerOfTwo)]
    [Implements("public checkpoints", "Training under FP8 leaves a checkpoint in the published FP8 layout, with plain or power-of-two scales, and goes on from one")]
    public void What_training_leaves_in_fp8_is_the_published_layout_of_its_master_weights(ScaleKind scales)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = Ragged(folder, 3) with { Checkpoint = new CheckpointConfiguration { Every = 0, Format = WeightFormat.Fp8, Scales = scales } };
        float[] masters = Train(run, new Recorder());

        JsonElement config = JsonDocument.Parse(File.ReadAllBytes(folder.File("config.json"))).RootElement, quantization = config.GetProperty("quantization_config");
        Assert.Equal("bfloat16", config.GetProperty("torch_dtype").GetString());
        Assert.Equal("fp8", quantization.GetProperty("quant_method").GetString());
        Assert.Equal([128, 128], quantization.GetProperty("weight_block_size").EnumerateArray().Select(n => n.GetInt32()));
        Assert.Equal(scales == ScaleKind.PowerOfTwo, quantization.TryGetProperty("scale_fmt", out JsonElement form) && form.GetString() is "ue8m0");

        using IBackend backend = TinyRuns.Backend("cpu");
        using LoadedModel loaded = ModelLoader.Load(folder.Path, backend, Recipe.Fp8);
        Assert.Empty(loaded.Warnings);
        using Checkpoint checkpoint = Checkpoint.Open(folder.Path);
        using var memory = new HostMemory(masters.Length * sizeof(float));
        Tensor flat = Tensor.View(memory, 0, DType.F32, masters.Length);
        masters.CopyTo(flat.AsSpan<float>());
        int quantised = 0, ragged = 0;
        foreach (PublicTensor tensor in CheckpointWeights.Public(loaded.Model))
        {
            TensorEntry entry = checkpoint.Get(tensor.Name);
            Tensor master = tensor.View(flat), read = tensor.View(loaded.Model.Parameters.Values);
            float[] values = [.. Enumerable.Range(0, master.Rows).SelectMany(r => master.Row<float>(r).ToArray())];
            float[] back = [.. Enumerable.Range(0, read.Rows).SelectMany(r => read.Row<float>(r).ToArray())];
            bool projection = tensor.Name.EndsWith("_proj.weight", StringComparison.Ordinal) && !tensor.Name.EndsWith("eh_proj.weight", StringComparison.Ordinal)
                || tensor.Name.EndsWith("kv_a_proj_with_mqa.weight", StringComparison.Ordinal);
            if (!projection)
            {
                bool bias = tensor.Name.EndsWith("e_score_correction_bias", StringComparison.Ordinal);
                Assert.Equal(bias ? ElementType.F32 : ElementType.BF16, entry.Type);
                Assert.Equal(values.Select(v => bias ? v : BF16.FromSingle(v).ToSingle()), back);
                continue;
            }

            // The definition, over the whole matrix at once.
            int rows = master.Rows, columns = master.Columns;
            var codes = new E4M3[rows * columns];
            var expected = new float[TileQuantizer.TileCount(rows) * TileQuantizer.TileCount(columns)];
            Assert.Equal(-1, TileQuantizer.QuantizeBlocks(values, rows, columns, columns, scales, codes, expected));
            Assert.Equal(MemoryMarshal.AsBytes(codes.AsSpan()).ToArray(), checkpoint.Read(entry));
            Assert.Equal(expected, Scales(checkpoint, tensor.Name));
            if (scales == ScaleKind.PowerOfTwo) Assert.All(expected, s => Assert.Equal(0, BitConverter.SingleToInt32Bits(s) & 0x7F_FFFF));
            var decoded = new float[values.Length];
            TileQuantizer.DequantizeBlocks(codes, expected, rows, columns, decoded, columns);
            Assert.Equal(decoded, back);
            quantised++;
            if (rows > 128 && rows % 128 != 0 && columns > 128 && columns % 128 != 0) ragged++;
        }

        Assert.True(quantised > 20 && ragged >= 3, $"{quantised} matrices in FP8, {ragged} of them ragged on both sides");
    }

    [Fact]
    [Implements("public checkpoints", "Training under FP8 leaves a checkpoint in the published FP8 layout, with plain or power-of-two scales, and goes on from one")]
    public void Training_goes_on_from_an_fp8_checkpoint_and_resumes_with_the_same_bits_whatever_is_written()
    {
        using TemporaryFolder first = new(), second = new(), third = new();
        RunConfiguration run = Ragged(first, 40) with { Checkpoint = new CheckpointConfiguration { Every = 0, Format = WeightFormat.Fp8, Scales = ScaleKind.PowerOfTwo } };
        var before = new Recorder();
        Train(run, before);

        // The loss begins where it had ended, not at that of fresh weights.
        RunConfiguration more = TinyRuns.Configuration(second, 8) with { Recipe = "fp8", Checkpoint = new CheckpointConfiguration { Every = 3, Format = WeightFormat.Fp8 } };
        more = more.BeginningFrom(first.Path);
        var after = new Recorder();
        float[] expected = Train(more, after);
        Assert.Empty(after.Warnings);
        Assert.True(after.Steps[0].Loss < before.Steps[0].Loss - 1.5, $"the first run began at {before.Steps[0].Loss} and ended at {before.Steps[^1].Loss}, the second began at {after.Steps[0].Loss}");
        using (Checkpoint left = Checkpoint.Open(second.Path)) Assert.Contains(left.Entries, e => e.Type == ElementType.F8E4M3);

        // Another format of the files, and a stop in between: not a bit differs, for the training state has the float32 weights.
        RunConfiguration again = more with { Output = third.Path, Checkpoint = new CheckpointConfiguration { Every = 2 } };
        using var stop = new CancellationTokenSource();
        Train(again, new Recorder { OnStep = s => { if (s.Step == 5) stop.Cancel(); } }, stop.Token);
        Assert.Equal(expected, Train(again, new Recorder()));
    }

    [Fact]
    public void What_cannot_be_begun_from_is_refused_with_the_reason()
    {
        using TemporaryFolder source = new(), folder = new();
        Train(Ragged(source, 1) with { Checkpoint = new CheckpointConfiguration { Every = 0, Format = WeightFormat.Fp8 } }, new Recorder());
        RunConfiguration run = (TinyRuns.Configuration(folder, 2) with { Recipe = "fp8" }).BeginningFrom(source.Path);
        using (FileStream file = File.OpenWrite(source.File("model.safetensors"))) file.SetLength(file.Length - 100);
        Assert.Contains("'model.from' cannot be used", Assert.Throws<RunConfigurationException>(() => Train(run, new Recorder())).Message, StringComparison.Ordinal);
        Assert.Contains("only fp8 files have scales",
            Assert.Throws<RunConfigurationException>(() => (run with { Checkpoint = new CheckpointConfiguration { Scales = ScaleKind.PowerOfTwo } }).Validate()).Message, StringComparison.Ordinal);
        Assert.Contains("one of f32, bf16, fp8", Assert.Throws<RunConfigurationException>(() => RunConfiguration.Parse("""{ "checkpoint": { "format": "int4" } }""", "run.json", [])).Message, StringComparison.Ordinal);

        // Every key that was written is read again.
        var warnings = new List<string>();
        RunConfiguration full = run with { LossScale = 64, Checkpoint = new CheckpointConfiguration { Format = WeightFormat.Fp8, Scales = ScaleKind.PowerOfTwo } };
        RunConfiguration read = RunConfiguration.Parse(full.ToJson(), "run.json", warnings);
        Assert.Empty(warnings);
        Assert.Equal((full.Checkpoint, full.LossScale, full.Model), (read.Checkpoint, read.LossScale, read.Model));
    }

    /// <summary>The fixture was written by the public library: 136, 144 and 132 wide.</summary>
    [Theory]
    [InlineData(ScaleKind.Plain)]
    [InlineData(ScaleKind.PowerOfTwo)]
    [Implements("public checkpoints", "Training under FP8 leaves a checkpoint in the published FP8 layout, with plain or power-of-two scales, and goes on from one")]
    public void A_public_fp8_checkpoint_with_ragged_edges_is_loaded_trained_on_and_written(ScaleKind scales)
    {
        string fixture = Path.Combine(Repository.Root, "tests", "fixtures", "hf-extra", "fp8");
        using TemporaryFolder folder = new();
        using IBackend backend = TinyRuns.Backend("cpu");
        using LoadedModel loaded = ModelLoader.Load(fixture, backend, Recipe.Fp8);
        using Checkpoint original = Checkpoint.Open(fixture);

        // Written untouched it keeps every code.
        ModelWriter.Write(folder.File("same"), loaded.Model, loaded.Configuration, WeightFormat.Fp8);
        using (Checkpoint same = Checkpoint.Open(folder.File("same")))
        {
            foreach (TensorEntry entry in original.Entries.Where(e => e.Type == ElementType.F8E4M3))
                Assert.Equal(original.Read(entry), same.Read(same.Get(entry.Name)));
        }

        RunConfiguration run = TinyRuns.Configuration(folder, 12) with { Data = new DataConfiguration { SequenceLength = 20 }, Batch = new BatchConfiguration { Rows = 2 }, Recipe = "fp8" };
        int width = 21;
        var tokens = new int[2 * width];
        var random = new CounterRandom(1, RandomPurpose.TestData);
        for (int i = 0; i < tokens.Length; i++) tokens[i] = random.Below((ulong)i, loaded.Configuration.VocabularySize);
        var optimizer = new AdamWOptimizer(backend, loaded.Model.Parameters, new AdamWParameters(0.9, 0.95, 1e-8, 0.1), 1);
        using var step = new TrainingStep(run, loaded.Model, new PackedDataLoader(new TokenRows(tokens, width), 1), optimizer);
        double[] losses = [.. Enumerable.Range(1, 12).Select(s => step.Run(new StepSettings(s, 1, 3e-3, 0, 0.001), s - 1).Loss)];
        Assert.True(losses[^1] < losses[0] - 0.5, string.Join(", ", losses));

        ModelWriter.Write(folder.File("trained"), loaded.Model, loaded.Configuration, WeightFormat.Fp8, scales);
        using LoadedModel back = ModelLoader.Load(folder.File("trained"), backend, Recipe.Fp8);
        Assert.Empty(back.Warnings);
        Assert.Equal(scales == ScaleKind.PowerOfTwo, back.Configuration.Quantization!.PowerOfTwoScales);
        double Loss(Transformer model)
        {
            using var chunk = new SequenceChunk(model, 2, width - 1, training: false);
            chunk.SetTokens(tokens, width);
            chunk.Forward();
            return chunk.Losses[0].AsSpan<float>().ToArray().Average();
        }

        Assert.Equal(Loss(loaded.Model), Loss(back.Model), 0.05);
        const string Changed = "model.layers.0.self_attn.o_proj.weight";
        using Checkpoint trained = Checkpoint.Open(folder.File("trained"));
        Assert.NotEqual(original.Read(original.Get(Changed)), trained.Read(trained.Get(Changed)));
    }
}
