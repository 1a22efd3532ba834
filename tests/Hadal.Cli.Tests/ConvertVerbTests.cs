using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal convert</c>: values, logits and files before and after, through the commands a user types.</summary>
public sealed class ConvertVerbTests
{
    static readonly string[] Folders =
    [
        "hf-deepseek-v3/base", "hf-deepseek-v3/yarn", "hf-deepseek-v3/noqlora", "hf-extra/fp8", "hf-extra/bf16-sharded-mtp", "hf-extra/f16", "hf-extra/v2-softmax",
        "hf-extra/tied-dense",
    ];

    static readonly System.Collections.Concurrent.ConcurrentDictionary<string, Lazy<float[]>> s_sourceLogits = new(StringComparer.Ordinal);

    public static TheoryData<string, string> Cases()
    {
        var data = new TheoryData<string, string>();
        foreach (string folder in Folders)
            foreach (string type in (string[])["f32", "bf16", "f16", "fp8"]) data.Add(folder, type);
        return data;
    }

    static string Fixture(string name) => Path.Combine(HadalProcess.Root, "tests", "fixtures", name);

    static Outcome Convert(string source, string destination, params string[] rest)
    {
        Outcome outcome = HadalProcess.Inside(["convert", source, destination, .. rest]);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.False(Directory.Exists(destination + ".partial"));
        return outcome;
    }

    static float[] Logits(string model, string tokens, Scratch scratch)
    {
        string output = scratch[$"{Guid.NewGuid():N}.safetensors"];
        Outcome outcome = HadalProcess.Inside("inspect", "forward", "--model", model, "--tokens", tokens, "--out", output);
        Assert.True(outcome.Code == 0, outcome.ToString());
        using Checkpoint result = Checkpoint.Open(output);
        return MemoryMarshal.Cast<byte, float>(result.View(result.Get("logits"))).ToArray();
    }

    // Median over positions of the relative difference of a position's logits: a rounding that sends a token to another expert changes that token much, and is no error.
    static double Difference(float[] expected, float[] actual, int vocabulary)
    {
        var rows = new List<double>();
        for (int row = 0; row < expected.Length; row += vocabulary)
        {
            double difference = 0, size = 0;
            for (int i = row; i < row + vocabulary; i++)
            {
                difference += Math.Pow((double)actual[i] - expected[i], 2);
                size += (double)expected[i] * expected[i];
            }

            rows.Add(Math.Sqrt(difference / size));
        }

        return rows.Order().ElementAt(rows.Count / 2);
    }

    // The unit roundoff of the format, relative to the value; for FP8 relative to the largest value of the block: 16 of 448.
    static double Bound(string type) => type switch { "f32" => 0, "bf16" => Math.ScaleB(1, -8), "f16" => Math.ScaleB(1, -11), _ => 16.0 / 448 };

    [Theory]
    [MemberData(nameof(Cases))]
    public void Values_and_logits_stay_within_the_format(string fixture, string type)
    {
        using var scratch = new Scratch();
        string source = Fixture(fixture), result = scratch["model"], tokens = Path.Combine(source, "expected.safetensors");
        Convert(source, result, "--dtype", type);
        Dictionary<string, double[]> before = CheckpointEdit.Values(source), after = CheckpointEdit.Values(result);
        Assert.Equal(before.Keys.Order(StringComparer.Ordinal), after.Keys.Order(StringComparer.Ordinal), StringComparer.Ordinal);
        using Checkpoint written = Checkpoint.Open(result);
        foreach ((string name, double[] values) in before)
        {
            bool quantised = written.Get(name).Type == ElementType.F8E4M3;
            double bound = quantised ? Bound("fp8") : Bound(type is "fp8" ? "bf16" : type), largest = values.Max(Math.Abs);
            for (int i = 0; i < values.Length; i++)
            {
                double allowed = quantised ? bound * Math.Max(largest, 1e-4) : bound * Math.Abs(values[i]) + 3e-8 * (type is "f16" ? 1 : 0);
                // Scales of FP8 sources multiply in single precision.
                if (Math.Abs(after[name][i] - values[i]) > (allowed * 1.0001) + (1e-7 * Math.Abs(values[i]))) Assert.Fail($"{name}[{i}] was {values[i]:R} and is {after[name][i]:R}");
            }
        }

        float[] expected = s_sourceLogits.GetOrAdd(source, _ => new Lazy<float[]>(() => Logits(source, tokens, scratch))).Value, actual = Logits(result, tokens, scratch);
        if (type is "f32") Assert.Equal(expected, actual);
        Assert.InRange(Difference(expected, actual, ModelConfiguration.Load(source).VocabularySize), 0, type switch { "f32" => 0, "bf16" => 0.02, "f16" => 0.003, _ => 0.2 });
    }

    [Fact]
    public void Fp8_is_laid_out_as_the_published_checkpoints()
    {
        using var scratch = new Scratch();
        string source = HadalProcess.Extra("bf16-sharded-mtp");
        Convert(source, scratch["model"], "--dtype", "fp8", "--scale-format", "ue8m0");
        using Checkpoint model = Checkpoint.Open(scratch["model"]);
        foreach (TensorEntry entry in model.Entries)
        {
            string name = entry.Name;
            bool projection = name.EndsWith("_proj.weight", StringComparison.Ordinal) && !name.EndsWith("eh_proj.weight", StringComparison.Ordinal) || name.EndsWith("kv_a_proj_with_mqa.weight", StringComparison.Ordinal);
            ElementType expected = name.EndsWith("_scale_inv", StringComparison.Ordinal) || name.EndsWith("e_score_correction_bias", StringComparison.Ordinal) ? ElementType.F32
                : projection ? ElementType.F8E4M3 : ElementType.BF16;
            Assert.True(entry.Type == expected, entry.ToString());
            if (projection) Assert.Equal([(entry.Shape[0] + 127) / 128, (entry.Shape[1] + 127) / 128], model.Get(name + "_scale_inv").Shape);
        }

        foreach (TensorEntry scale in model.Entries.Where(e => e.Name.EndsWith("_scale_inv", StringComparison.Ordinal)))
            foreach (float value in MemoryMarshal.Cast<byte, float>(model.Read(scale))) Assert.Equal(0, BitConverter.SingleToInt32Bits(value) & 0x7F_FFFF);
        Assert.Contains(model.Entries, e => e.Name is "model.layers.2.eh_proj.weight");
        JsonElement config = JsonDocument.Parse(File.ReadAllBytes(scratch["model/config.json"])).RootElement, quantization = config.GetProperty("quantization_config");
        Assert.Equal("bfloat16", config.GetProperty("torch_dtype").GetString());
        Assert.Equal(("fp8", "e4m3", "dynamic", "ue8m0"), (quantization.GetProperty("quant_method").GetString(), quantization.GetProperty("fmt").GetString(),
            quantization.GetProperty("activation_scheme").GetString(), quantization.GetProperty("scale_fmt").GetString()));
        Assert.Equal([128, 128], quantization.GetProperty("weight_block_size").EnumerateArray().Select(n => n.GetInt32()));
    }

    [Fact]
    public void Shards_tokenizer_spelling_and_foreign_keys_survive_a_way_there_and_back()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["source"]);
        foreach (string file in Directory.EnumerateFiles(HadalProcess.Fixture("yarn"))) File.Copy(file, scratch["source/" + Path.GetFileName(file)]);
        File.Delete(scratch["source/expected.safetensors"]);
        foreach (string file in (string[])["tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE"]) File.WriteAllText(scratch["source/" + file], file);
        JsonObject config = JsonNode.Parse(File.ReadAllText(scratch["source/config.json"]))!.AsObject();
        config["colour"] = "blue";
        File.WriteAllText(scratch["source/config.json"], config.ToJsonString());

        Outcome there = Convert(scratch["source"], scratch["there"], "--max-shard-size", "100KiB", "--config-style", "rope-parameters", "--json");
        string[] shards = [.. JsonDocument.Parse(there.Output).RootElement.GetProperty("files").EnumerateArray().Select(f => f.GetString()!)];
        Assert.True(shards.Length > 3);
        Assert.Contains("colour", there.Error, StringComparison.Ordinal);
        foreach (string shard in shards) Assert.InRange(new FileInfo(scratch["there/" + shard]).Length, 1, 140 * 1024);
        JsonElement newer = JsonDocument.Parse(File.ReadAllBytes(scratch["there/config.json"])).RootElement;
        Assert.Equal("yarn", newer.GetProperty("rope_parameters").GetProperty("rope_type").GetString());
        Assert.False(newer.TryGetProperty("rope_theta", out _) || newer.TryGetProperty("rope_scaling", out _) || newer.TryGetProperty("torch_dtype", out _));

        Convert(scratch["there"], scratch["back"], "--config-style", "hub");
        Assert.Equal("blue", JsonDocument.Parse(File.ReadAllBytes(scratch["back/config.json"])).RootElement.GetProperty("colour").GetString());
        Assert.True(ModelConfiguration.Load(scratch["back"]).RopeScaling == ModelConfiguration.Load(scratch["source"]).RopeScaling);
        Assert.NotNull(ModelConfiguration.Load(scratch["back"]).RopeScaling);
        foreach (string file in (string[])["tokenizer.json", "tokenizer_config.json", "README.md", "LICENSE"]) Assert.Equal(file, File.ReadAllText(scratch["back/" + file]));
        using Checkpoint first = Checkpoint.Open(scratch["source"]), last = Checkpoint.Open(scratch["back"]);
        Assert.Equal(first.Entries.Select(e => e.ToString()), last.Entries.Select(e => e.ToString()), StringComparer.Ordinal);
        foreach (TensorEntry entry in first.Entries) Assert.Equal(first.Read(entry), last.Read(last.Get(entry.Name)));
    }

    [Fact]
    public void Fp8_to_fp8_keeps_every_code_and_other_scales_requantise()
    {
        using var scratch = new Scratch();
        string source = HadalProcess.Extra("fp8");
        Convert(source, scratch["same"], "--dtype", "fp8");
        using Checkpoint before = Checkpoint.Open(source), after = Checkpoint.Open(scratch["same"]);
        foreach (TensorEntry entry in before.Entries.Where(e => e.Type == ElementType.F8E4M3))
        {
            Assert.Equal(before.Read(entry), after.Read(after.Get(entry.Name)));
            Assert.Equal(before.Read(before.Get(entry.Name + "_scale_inv")), after.Read(after.Get(entry.Name + "_scale_inv")));
        }

        Convert(source, scratch["round"], "--dtype", "fp8", "--scale-format", "ue8m0");
        using Checkpoint round = Checkpoint.Open(scratch["round"]);
        foreach (TensorEntry scale in round.Entries.Where(e => e.Name.EndsWith("_scale_inv", StringComparison.Ordinal)))
            foreach (float value in MemoryMarshal.Cast<byte, float>(round.Read(scale))) Assert.Equal(0, BitConverter.SingleToInt32Bits(value) & 0x7F_FFFF);
    }

    [Fact]
    public void What_exists_is_replaced_only_by_force_and_never_when_something_would_be_lost()
    {
        using var scratch = new Scratch();
        string source = HadalProcess.Fixture("base");
        Convert(source, scratch["model"], "--dtype", "bf16");
        long small = new FileInfo(scratch["model/model.safetensors"]).Length;
        Refused(1, "--force", "convert", source, scratch["model"], "--dtype", "f32");
        Assert.Equal(small, new FileInfo(scratch["model/model.safetensors"]).Length);
        Convert(source, scratch["model"], "--dtype", "f32", "--force");
        Assert.True(new FileInfo(scratch["model/model.safetensors"]).Length > 1.9 * small);
        Assert.Equal(["model"], Directory.EnumerateFileSystemEntries(scratch.Folder).Select(Path.GetFileName), StringComparer.Ordinal);

        Directory.CreateDirectory(scratch["model/checkpoints"]);
        Refused(1, "checkpoints", "convert", source, scratch["model"], "--dtype", "f32", "--force");
        Assert.True(Directory.Exists(scratch["model/checkpoints"]));
        Refused(1, "in place", "convert", scratch["model"], scratch["model"] + Path.DirectorySeparatorChar, "--force");
        File.WriteAllText(scratch["file"], "");
        Refused(1, "is a file", "convert", source, scratch["file"], "--force");
        Refused(1, "no/such/model", "convert", "no/such/model", scratch["new"]);
        Refused(2, "--dtype", "convert", source, scratch["new"], "--dtype", "int4");
        Refused(2, "--dtype fp8", "convert", source, scratch["new"], "--scale-format", "ue8m0");
        Refused(2, "--max-shard-size", "convert", source, scratch["new"], "--max-shard-size", "big");
        Refused(2, "OUT", "convert", source);
        Directory.CreateDirectory(scratch["empty"]);
        Convert(source, scratch["empty"]);
    }

    [Fact]
    public void Damaged_and_impossible_sources_leave_the_destination_as_it_was()
    {
        using var scratch = new Scratch();
        Convert(HadalProcess.Fixture("base"), scratch["old"], "--dtype", "bf16");
        byte[] old = File.ReadAllBytes(scratch["old/model.safetensors"]);
        const string Projection = "model.layers.0.mlp.down_proj.weight", Norm = "model.norm.weight";
        (string Word, string Type, Action<string> Damage)[] cases =
        [
            ("checksum", "bf16", file => Flip(file, -100)),
            ("bytes", "bf16", file => { using FileStream stream = File.OpenWrite(file); stream.SetLength(stream.Length - 64); }),
            (Norm, "bf16", file => CheckpointEdit.Change(file, edit => edit.Remove(Norm))),
            ("cannot be a weight", "bf16", file => CheckpointEdit.Change(file, edit => edit[Norm]["dtype"] = "I32")),
            ("F4_E2M1", "bf16", file => CheckpointEdit.Change(file, edit => edit.Add("extra", "F4_E2M1", [4], [1, 2]))),
            ("no scales", "bf16", file => CheckpointEdit.Change(file, edit => edit.Add("extra", "F8_E4M3", [2, 2], [1, 2, 3, 4]))),
            (Projection, "fp8", file => CheckpointEdit.Change(file, edit => MemoryMarshal.Cast<byte, float>(edit.Bytes(Projection))[7] = float.NaN)),
            ("beyond the range of F16", "f16", file => CheckpointEdit.Change(file, edit => MemoryMarshal.Cast<byte, float>(edit.Bytes(Projection))[7] = 65520)),
        ];
        foreach ((string word, string type, Action<string> damage) in cases)
        {
            // The copy is Hadal's own, so it carries a checksum; editing drops it.
            Convert(HadalProcess.Fixture("base"), scratch["bad"], "--force");
            string file = scratch["bad/model.safetensors"];
            if (word is not ("checksum" or "bytes")) CheckpointEdit.Change(file, edit => edit.Header.Remove("__metadata__"));
            damage(file);
            Refused(1, word, "convert", scratch["bad"], scratch["old"], "--dtype", type, "--force");
            Assert.Equal(old, File.ReadAllBytes(scratch["old/model.safetensors"]));
            Assert.False(Directory.Exists(scratch["old.partial"]));
        }
    }

    [Fact]
    public void Tensors_without_a_place_are_kept_and_said_and_what_is_not_finite_is_said()
    {
        using var scratch = new Scratch();
        Convert(HadalProcess.Fixture("base"), scratch["source"]);
        CheckpointEdit.Change(scratch["source/model.safetensors"], edit =>
        {
            edit.Header.Remove("__metadata__");
            MemoryMarshal.Cast<byte, float>(edit.Bytes("model.norm.weight"))[3] = float.PositiveInfinity;
            edit.Add("adapter.table", "I64", [2], new byte[16]);
            edit.Add("adapter.weight", "F32", [2, 2], [0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 128, 191, 0, 0, 0, 0]);
        });
        Outcome outcome = Convert(scratch["source"], scratch["out"], "--dtype", "bf16");
        Assert.Contains("adapter.table", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("model.norm.weight holds 1 values", outcome.Error, StringComparison.Ordinal);
        using Checkpoint result = Checkpoint.Open(scratch["out"]);
        Assert.Equal(ElementType.I64, result.Get("adapter.table").Type);
        Assert.Equal([0x80, 0x3F, 0, 0x40, 0x80, 0xBF, 0, 0], result.Read(result.Get("adapter.weight")));
    }

    [Fact]
    public void A_full_disk_is_said_and_the_old_model_stays()
    {
        using var scratch = new Scratch();
        Convert(HadalProcess.Fixture("base"), scratch["out"], "--dtype", "bf16");
        byte[] old = File.ReadAllBytes(scratch["out/model.safetensors"]);
        Outcome outcome = HadalProcess.Run(new Setting { LargestFileKiB = 200 }, "convert", HadalProcess.Fixture("base"), scratch["out"], "--dtype", "f32", "--force");
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Contains("to fix:   free some space", outcome.Error, StringComparison.Ordinal);
        Assert.Equal(old, File.ReadAllBytes(scratch["out/model.safetensors"]));
        Assert.Equal(["out"], Directory.EnumerateFileSystemEntries(scratch.Folder).Select(Path.GetFileName), StringComparer.Ordinal);
    }

    [Fact]
    public void Memory_does_not_grow_with_the_model()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["large"]);
        const int Vocabulary = 60_000, Hidden = 512;
        JsonObject config = JsonNode.Parse(File.ReadAllText(Path.Combine(HadalProcess.Extra("tied-dense"), "config.json")))!.AsObject();
        int hidden = config["hidden_size"]!.GetValue<int>();
        config["vocab_size"] = Vocabulary * Hidden / hidden;
        File.WriteAllText(scratch["large/config.json"], config.ToJsonString());
        long[] Shape(TensorEntry e) => e.Name is "model.embed_tokens.weight" ? [Vocabulary * Hidden / hidden, hidden] : e.Shape;
        using (Checkpoint small = Checkpoint.Open(HadalProcess.Extra("tied-dense")))
        using (var writer = new CheckpointWriter(scratch["large"], small.Entries.Select(e => new TensorDeclaration(e.Name, e.Type, Shape(e)))))
        {
            byte[] zeros = new byte[1 << 20];
            foreach (TensorEntry entry in small.Entries)
            {
                long length = Shape(entry).Aggregate((long)entry.Type.Size(), (a, b) => a * b);
                if (entry.Name is "model.embed_tokens.weight") for (long at = 0; at < length; at += zeros.Length) writer.Append(entry.Name, zeros.AsSpan(0, (int)Math.Min(zeros.Length, length - at)));
                else writer.Write(entry.Name, small.Read(entry));
            }

            writer.Commit();
        }

        Assert.True(new FileInfo(scratch["large/model.safetensors"]).Length > 100_000_000);
        var setting = new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["DOTNET_GCHeapHardLimit"] = "0x2800000" } }; // 40 MiB
        Outcome outcome = HadalProcess.Run(setting, "convert", scratch["large"], scratch["out"], "--dtype", "bf16");
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.InRange(new FileInfo(scratch["out/model.safetensors"]).Length, 61_000_000, 63_000_000);
    }

    static void Flip(string file, int fromEnd)
    {
        byte[] bytes = File.ReadAllBytes(file);
        bytes[^-fromEnd] ^= 4;
        File.WriteAllBytes(file, bytes);
    }

    static void Refused(int code, string word, params string[] line)
    {
        Outcome outcome = HadalProcess.Inside(line);
        Assert.True(outcome.Code == code, $"{string.Join(' ', line)}\n{outcome}");
        Assert.Empty(outcome.Output);
        Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at Hadal", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("fault in hadal itself", outcome.Error, StringComparison.Ordinal);
    }
}
