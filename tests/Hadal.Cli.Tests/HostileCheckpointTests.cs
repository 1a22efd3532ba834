using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;

namespace Hadal.Cli.Tests;

/// <summary>Damaged and hostile checkpoints through the command: code 1, what, where and the remedy; or a warning where the model is whole.</summary>
public sealed class HostileCheckpointTests
{
    const string Weights = "model.safetensors", Norm = "model.norm.weight", Gate = "model.layers.1.mlp.gate.weight";

    static readonly string Quantised = "model.layers.0.mlp.down_proj.weight";

    // What is done to the file of a good checkpoint, and what the message must say beside the file's name.
    static readonly Dictionary<string, (string Fixture, Action<string> Damage, string Word)> Cases = new(StringComparer.Ordinal)
    {
        ["truncated in the data"] = ("base", path => Resize(path, -1000), "truncated or damaged"),
        ["truncated in the header"] = ("base", path => Resize(path, 100 - new FileInfo(path).Length), "truncated or damaged"),
        ["cut to nothing"] = ("base", path => Resize(path, -new FileInfo(path).Length), "8-byte header length"),
        ["something appended"] = ("base", path => Resize(path, 10), "after the last tensor"),
        ["header of 2^63 bytes"] = ("base", path => Overwrite(path, 0, [255, 255, 255, 255, 255, 255, 255, 127]), "the header claims"),
        ["header of 90 MB"] = ("base", path => Overwrite(path, 0, BitConverter.GetBytes(90_000_000L)), "the header claims"),
        ["header of no JSON"] = ("base", path => Overwrite(path, 8, "]]]]"u8.ToArray()), "not valid JSON"),
        ["header of a list"] = ("base", path => Overwrite(path, 0, [2, 0, 0, 0, 0, 0, 0, 0, (byte)'[', (byte)']']), "not a JSON object"),
        ["overlapping offsets"] = ("base", path => CheckpointEdit.Change(path, edit => Offsets(edit, Norm)[0] = Offsets(edit, Norm)[0]!.GetValue<int>() - 4), Norm),
        ["two tensors at one place"] = ("base", path => CheckpointEdit.Change(path, edit => edit.Header["copy"] = edit[Norm].DeepClone()), "overlap"),
        ["offsets beyond the end"] = ("base", path => CheckpointEdit.Change(path, edit => Offsets(edit, Norm)[1] = 2_000_000_000), "data section"),
        ["offsets backwards"] = ("base", path => CheckpointEdit.Change(path, edit => Offsets(edit, Norm)[1] = 0), "end before they begin"),
        ["negative offset"] = ("base", path => CheckpointEdit.Change(path, edit => Offsets(edit, Norm)[0] = -8), "whole number"),
        ["a shape of 2^62 elements"] = ("base", path => CheckpointEdit.Change(path, edit => edit[Norm]["shape"] = new JsonArray(1L << 31, 1L << 31)), "than a file can hold"),
        ["another shape"] = ("base", path => CheckpointEdit.Change(path, edit => edit[Norm]["shape"] = new JsonArray(8, 8)), "does not fit the model"),
        ["integers as weights"] = ("base", path => CheckpointEdit.Change(path, edit => edit[Norm]["dtype"] = "I32"), "cannot be a weight"),
        ["an unknown type"] = ("base", path => CheckpointEdit.Change(path, edit => edit[Norm]["dtype"] = "F6_E9"), "F6_E9"),
        ["FP8 without scales"] = ("fp8", path => CheckpointEdit.Change(path, edit => edit.Remove(Quantised + "_scale_inv")), Quantised + "_scale_inv"),
        ["scales of another shape"] = ("fp8", path => CheckpointEdit.Change(path, edit => edit[Quantised + "_scale_inv"]["shape"] = new JsonArray(1, 1, 4)), "one scale per 128×128 block"),
        ["an absent norm"] = ("base", path => CheckpointEdit.Change(path, edit => edit.Remove(Norm)), Norm),
        ["an absent gate"] = ("base", path => CheckpointEdit.Change(path, edit => edit.Remove(Gate)), Gate),
    };

    public static TheoryData<string> Names() => [.. Cases.Keys];

    static Scratch Copy(string fixture)
    {
        var scratch = new Scratch();
        string from = Directory.Exists(HadalProcess.Fixture(fixture)) ? HadalProcess.Fixture(fixture) : HadalProcess.Extra(fixture);
        foreach (string file in Directory.EnumerateFiles(from).Where(f => Path.GetFileName(f) is not "expected.safetensors")) File.Copy(file, scratch[Path.GetFileName(file)]);
        return scratch;
    }

    static Outcome Generate(string model) => HadalProcess.Inside("generate", "--model", model, "--token-ids", "5", "--max-new-tokens", "1", "--temperature", "0", "--print", "ids");

    static void Refused(Outcome outcome, params string[] words)
    {
        Assert.True(outcome.Code == 1, outcome.ToString());
        Assert.Empty(outcome.Output);
        Assert.StartsWith("hadal ", outcome.Error.Split('\n').First(line => line.Contains("error: ", StringComparison.Ordinal)), StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("fault in hadal itself", outcome.Error, StringComparison.Ordinal);
        foreach (string word in words) Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_bad_file_is_refused_with_its_name_and_the_reason(string name)
    {
        (string fixture, Action<string> damage, string word) = Cases[name];
        using Scratch model = Copy(fixture);
        damage(model[Weights]);
        Refused(Generate(model.Folder), model.Folder, word);
    }

    [Fact]
    public void A_flipped_bit_in_a_model_that_Hadal_wrote_is_found()
    {
        using Scratch model = new();
        Assert.Equal(0, HadalProcess.Inside("convert", HadalProcess.Fixture("base"), model["copy"]).Code);
        Assert.Equal(0, Generate(model["copy"]).Code);
        string file = model["copy/" + Weights];
        byte[] bytes = File.ReadAllBytes(file);
        foreach (int position in (int[])[bytes.Length / 3, bytes.Length / 2, bytes.Length - 1])
        {
            Overwrite(file, position, [(byte)(bytes[position] ^ 1)]);
            Refused(Generate(model["copy"]), Weights, "checksum");
            Overwrite(file, position, [bytes[position]]);
        }

        Assert.Equal(0, Generate(model["copy"]).Code);
    }

    [Fact]
    public void Tensors_that_the_model_has_no_place_for_warn()
    {
        using Scratch model = Copy("base");
        CheckpointEdit.Change(model[Weights], edit => edit.Add("model.layers.0.adapter.weight", "F32", [2], new byte[8]));
        Outcome outcome = Generate(model.Folder);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains("warning: ", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("model.layers.0.adapter.weight", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Shards_that_do_not_belong_together_are_refused()
    {
        const string Index = "model.safetensors.index.json", Second = "model-00002-of-00003.safetensors";
        using Scratch model = Copy("bf16-sharded-mtp");
        Assert.Equal(0, Generate(model.Folder).Code);
        File.Move(model[Second], model["elsewhere"]);
        Refused(Generate(model.Folder), Second, "Fetch the missing shard");
        File.Copy(model["model-00001-of-00003.safetensors"], model[Second]);
        Refused(Generate(model.Folder), "shard");
        File.Move(model["elsewhere"], model[Second], overwrite: true);
        string index = File.ReadAllText(model[Index]);
        File.WriteAllText(model[Index], index[..(index.Length / 2)]);
        Refused(Generate(model.Folder), Index, "not valid JSON");
        File.WriteAllText(model[Index], index.Replace(Second, "../../" + Second, StringComparison.Ordinal));
        Refused(Generate(model.Folder), Index, "plain file name");
    }

    [Fact]
    public void Configurations_that_cannot_be_are_refused()
    {
        using Scratch model = Copy("base");
        string config = File.ReadAllText(model["config.json"]);
        (string Key, JsonNode? Value, string Word)[] cases =
        [
            ("hidden_size", -4, "hidden_size"), ("hidden_size", "wide", "hidden_size"), ("num_hidden_layers", 0, "num_hidden_layers"), ("vocab_size", 2_000_000_000, "vocab_size"),
            ("qk_rope_head_dim", 3, "qk_rope_head_dim"), ("n_group", 3, "n_group"), ("topk_group", 99, "topk_group"), ("rms_norm_eps", 0, "rms_norm_eps"),
            ("scoring_func", "relu", "scoring_func"), ("model_type", "llama", "model_type"), ("hidden_act", "gelu", "hidden_act"), ("attention_bias", true, "attention_bias"),
            ("kv_lora_rank", null, "kv_lora_rank"), ("quantization_config", new JsonObject { ["quant_method"] = "int4" }, "quant_method"),
        ];
        foreach ((string key, JsonNode? value, string word) in cases)
        {
            JsonObject changed = JsonNode.Parse(config)!.AsObject();
            changed[key] = value;
            File.WriteAllText(model["config.json"], changed.ToJsonString());
            Refused(Generate(model.Folder), "config.json", word, "expected");
        }

        foreach (string text in (string[])["", "{", "[1]", config[..(config.Length / 2)], "{\"a\":" + new string('[', 5000)])
        {
            File.WriteAllText(model["config.json"], text);
            Refused(Generate(model.Folder), "config.json");
        }
    }

    [Fact]
    public void Token_files_of_another_kind_are_refused_and_nothing_is_written()
    {
        using var scratch = new Scratch();
        byte[] Ids(params int[] ids) => MemoryMarshal.AsBytes(ids.AsSpan()).ToArray();
        (string Type, int[] Shape, byte[] Data, string Word)[] cases =
        [
            ("F32", [1, 2], new byte[8], "input_ids"), ("I32", [4], Ids(1, 2, 3, 4), "input_ids"), ("I32", [1, 2], Ids(1, 320), "320"), ("I32", [1, 2], Ids(1, -1), "-1"),
            ("I32", [1, 0], [], "input_ids"), ("I32", [0, 4], [], "input_ids"),
        ];
        foreach ((string type, int[] shape, byte[] data, string word) in cases)
        {
            string header = new JsonObject
            {
                ["input_ids"] = new JsonObject { ["dtype"] = type, ["shape"] = new JsonArray([.. shape.Select(n => (JsonNode)n)]), ["data_offsets"] = new JsonArray(0, data.Length) },
            }.ToJsonString();
            File.WriteAllBytes(scratch["tokens.safetensors"], [.. BitConverter.GetBytes((long)header.Length), .. Encoding.UTF8.GetBytes(header), .. data]);
            Refused(HadalProcess.Inside("inspect", "forward", "--model", HadalProcess.Fixture("base"), "--tokens", scratch["tokens.safetensors"], "--out", scratch["o.safetensors"]), word);
            Assert.False(File.Exists(scratch["o.safetensors"]));
        }
    }

    static JsonArray Offsets(CheckpointEdit edit, string tensor) => edit[tensor]["data_offsets"]!.AsArray();

    static void Resize(string path, long change)
    {
        using FileStream file = File.OpenWrite(path);
        file.SetLength(file.Length + change);
    }

    static void Overwrite(string path, long at, byte[] bytes)
    {
        using FileStream file = File.OpenWrite(path);
        file.Position = at;
        file.Write(bytes);
    }
}
