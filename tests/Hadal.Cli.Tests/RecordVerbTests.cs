using System.Text.Json;

namespace Hadal.Cli.Tests;

public sealed class RecordVerbTests
{
    const string Run = """
        {
          "model": { "preset": "tiny" }, "tokenizer": { "vocabulary": 400 },
          "data": { "sources": ["arithmetic:80"], "held_out_every": 8, "sequence_length": 48 },
          "batch": { "rows": 4 }, "budget": { "steps": 8 }, "learning_rate": { "peak": 0.01, "warmup_steps": 3 },
          "evaluation": { "times": 0 }, "recipe": "fp8", "output": "a"
        }
        """;

    static Outcome Train(Scratch scratch, Setting? setting, params string[] more)
    {
        File.WriteAllText(scratch["run.json"], Run);
        var environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] };
        return HadalProcess.Run((setting ?? new Setting()) with { Environment = environment }, ["train", scratch["run.json"], .. more]);
    }

    [Fact]
    public void Two_recipes_are_recorded_shown_and_told_apart_with_picture_and_page()
    {
        using var scratch = new Scratch();
        Outcome trained = Train(scratch, null, "--record-interval", "2");
        Assert.True(trained.Code == 0, trained.ToString());
        Assert.DoesNotContain("warning", trained.Error, StringComparison.Ordinal);
        Outcome other = Train(scratch, null, "--record-interval", "2", "--recipe", "bf16", "--output", scratch["b"]);
        Assert.True(other.Code == 0, other.ToString());

        Outcome shown = HadalProcess.Run("inspect", "record", scratch["a"], "--json");
        Assert.True(shown.Code == 0, shown.ToString());
        JsonElement record = JsonDocument.Parse(shown.Output).RootElement;
        Assert.Equal("fp8", record.GetProperty("recipe").GetString());
        Assert.Equal(5, record.GetProperty("steps").GetInt32());
        JsonElement tensor = record.GetProperty("tensors").EnumerateArray().First(t => t.GetProperty("name").ValueEquals("self_attn.o_proj input") && t.GetProperty("layer").GetInt32() == 1);
        Assert.Equal("e4m3 tile power-of-two", tensor.GetProperty("format").GetString());
        Assert.InRange(tensor.GetProperty("error").GetProperty("value").GetDouble(), 0.001, 0.1);
        Assert.True(tensor.GetProperty("scales").GetArrayLength() > 0);
        Outcome table = HadalProcess.Run("inspect", "record", scratch["a"], "--tensor", "layer 1, self_attn.o_proj", "--step", "4");
        Assert.True(table.Code == 0, table.ToString());
        Assert.Contains("gradient: layer 1, self_attn.o_proj output gradient, along tokens (step 4)", table.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("q_a_proj", table.Output, StringComparison.Ordinal);

        Outcome parted = HadalProcess.Run("inspect", "diverge", scratch["a"], scratch["b"], "--out", scratch["d.png"], "--html", scratch["d.html"]);
        Assert.True(parted.Code == 0, parted.ToString());
        Assert.StartsWith("The runs part in step 1, first in the cache layer 0, Attention.QueryLatent, by 0.0", parted.Output, StringComparison.Ordinal);
        byte[] picture = File.ReadAllBytes(scratch["d.png"]);
        Assert.Equal("PNG"u8.ToArray(), picture[1..4]);
        Assert.Equal(1800, System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(picture.AsSpan(16)));
        string page = File.ReadAllText(scratch["d.html"]);
        Assert.Contains("<svg", page, StringComparison.Ordinal);
        Assert.Contains("prefers-color-scheme:dark", page, StringComparison.Ordinal);
        Assert.DoesNotContain("<script", page, StringComparison.Ordinal);
        Assert.DoesNotContain("http", page.Replace("http://www.w3.org/2000/svg", "", StringComparison.Ordinal), StringComparison.Ordinal); // nothing from elsewhere
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);

        JsonElement equal = JsonDocument.Parse(HadalProcess.Run("inspect", "diverge", scratch["a"], scratch["a"], "--json").Output).RootElement;
        Assert.True(equal.GetProperty("equal").GetBoolean());
        Assert.Equal(5, equal.GetProperty("steps_compared").GetInt32());
    }

    [Fact]
    public void A_full_disk_for_the_recording_is_a_warning_and_the_run_ends_with_the_same_bits()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["long.json"], Run.Replace("\"steps\": 8", "\"steps\": 200", StringComparison.Ordinal).Replace("\"a\"", "\"c\"", StringComparison.Ordinal));
        Outcome free = HadalProcess.Run(new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] } }, "train", scratch["long.json"]);
        Assert.True(free.Code == 0, free.ToString());
        byte[] weights = File.ReadAllBytes(scratch["c/model.safetensors"]);

        // Room for the model and its training state, not for a recording of every step.
        int kib = (int)(new DirectoryInfo(scratch["c"]).EnumerateFiles("*", SearchOption.AllDirectories).Max(f => f.Length) / 1024) + 64;
        var limit = new Setting { LargestFileKiB = kib, Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] } };
        Outcome full = HadalProcess.Run(limit, "train", scratch["long.json"], "--record-interval", "1", "--output", scratch["d"]);
        Assert.True(full.Code == 0, full.ToString());
        Assert.Contains("Recording goes on in a new file.", full.Error, StringComparison.Ordinal);
        Assert.Equal(weights, File.ReadAllBytes(scratch["d/model.safetensors"]));
        Outcome read = HadalProcess.Run("inspect", "record", scratch["d"], "--json");
        Assert.True(read.Code == 0, read.ToString());
        Assert.Equal(200, JsonDocument.Parse(read.Output).RootElement.GetProperty("steps").GetInt32());
    }

    [Fact]
    public void What_cannot_be_read_is_refused_with_the_reason()
    {
        using var scratch = new Scratch();
        Directory.CreateDirectory(scratch["empty"]);
        Outcome none = HadalProcess.Run("inspect", "record", scratch["empty"]);
        Assert.Equal(1, none.Code);
        Assert.Contains("hadal train --record", none.Error, StringComparison.Ordinal);
        File.WriteAllText(scratch["empty/flight-001.rec"], "nothing of the kind");
        Outcome foreign = HadalProcess.Run("inspect", "diverge", scratch["empty"], scratch["empty"]);
        Assert.Equal(1, foreign.Code);
        Assert.Contains("does not begin as a flight recorder's file does", foreign.Error, StringComparison.Ordinal);
        Assert.Equal(1, HadalProcess.Run("inspect", "record", scratch["nowhere"]).Code);
        Assert.Equal(2, HadalProcess.Run("inspect", "diverge", "a", "b", "--tolerance", "-1").Code);
        Assert.Equal(2, HadalProcess.Run("train", "run.json", "--record-interval", "0").Code);
    }
}
