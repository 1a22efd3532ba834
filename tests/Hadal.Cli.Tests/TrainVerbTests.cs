using System.Text.Json;

namespace Hadal.Cli.Tests;

public sealed class TrainVerbTests
{
    const string Run = """
        {
          "model": { "preset": "tiny" }, "tokenizer": { "vocabulary": 400 },
          "data": { "sources": ["arithmetic:80"], "held_out_every": 8, "sequence_length": 48 },
          "batch": { "rows": 4 }, "budget": { "steps": 12 }, "learning_rate": { "peak": 0.01, "warmup_steps": 3 },
          "ema": { "every": 2 }, "evaluation": { "times": 2, "bytes": 500, "prompts": ["1 + 1 ="], "sample_tokens": 4 },
          "output": "model"
        }
        """;

    static Outcome Train(Scratch scratch, params string[] more)
    {
        File.WriteAllText(scratch["run.json"], Run);
        var setting = new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] } };
        return HadalProcess.Run(setting, ["train", scratch["run.json"], .. more]);
    }

    [Fact]
    public void A_run_leaves_a_model_that_eval_scores_as_training_did_and_that_generates()
    {
        using var scratch = new Scratch();
        Outcome trained = Train(scratch, "--json");
        Assert.True(trained.Code == 0, trained.ToString());
        JsonElement report = JsonDocument.Parse(trained.Output).RootElement;
        Assert.Equal(12, report.GetProperty("steps").GetInt64());
        Assert.Contains("bits per byte: arithmetic", trained.Error, StringComparison.Ordinal);
        Assert.Contains("1 + 1 =", trained.Error, StringComparison.Ordinal);
        foreach (string file in new[] { "model.safetensors", "config.json", "tokenizer.json", "run.json", "metrics.jsonl" }) Assert.True(File.Exists(scratch["model/" + file]), file);
        byte[] picture = File.ReadAllBytes(report.GetProperty("curve").GetString()!);
        Assert.Equal("\x89PNG"u8.ToArray()[^3..], picture[1..4]);
        Assert.Equal((900, 500), (System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(picture.AsSpan(16)), System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(picture.AsSpan(20))));

        Outcome scored = HadalProcess.Run("eval", "--model", scratch["model"], "--json");
        Assert.True(scored.Code == 0, scored.ToString());
        double Score(JsonElement root) => root.GetProperty("scores")[0].GetProperty("bits_per_byte").GetDouble();
        double final = Score(report);
        Assert.Equal(final, Score(JsonDocument.Parse(scored.Output).RootElement), 1e-9);
        Assert.InRange(final, 0.5, 6);

        // The average is another model: it scores, and differently.
        Outcome average = HadalProcess.Run("eval", "--model", scratch["model"], "--ema", "--json");
        Assert.True(average.Code == 0, average.ToString());
        Assert.NotEqual(final, Score(JsonDocument.Parse(average.Output).RootElement), 1e-6);

        Outcome generated = HadalProcess.Run("generate", "--model", scratch["model"], "--prompt", "1 + 1 =", "--max-new-tokens", "5");
        Assert.True(generated.Code == 0, generated.ToString());

        // The same command again finds the run finished and changes nothing.
        byte[] weights = File.ReadAllBytes(scratch["model/model.safetensors"]);
        Outcome again = Train(scratch, "--json");
        Assert.True(again.Code == 0, again.ToString());
        Assert.Equal(weights, File.ReadAllBytes(scratch["model/model.safetensors"]));
        Assert.Equal(final, Score(JsonDocument.Parse(again.Output).RootElement), 1e-12);
    }

    [Fact]
    public void Under_fp8_a_published_checkpoint_is_left_and_gone_on_from()
    {
        using var scratch = new Scratch();
        Outcome first = Train(scratch, "--recipe", "fp8", "--checkpoint-format", "fp8-ue8m0");
        Assert.True(first.Code == 0, first.ToString());
        JsonElement config = JsonDocument.Parse(File.ReadAllBytes(scratch["model/config.json"])).RootElement;
        Assert.Equal("ue8m0", config.GetProperty("quantization_config").GetProperty("scale_fmt").GetString());

        Outcome second = Train(scratch, "--recipe", "fp8", "--from", scratch["model"], "--output", scratch["more"], "--checkpoint-format", "fp8");
        Assert.True(second.Code == 0, second.ToString());
        using (Hadal.Formats.Checkpoint left = Hadal.Formats.Checkpoint.Open(scratch["more"])) Assert.Contains(left.Entries, e => e.Name.EndsWith("_scale_inv", StringComparison.Ordinal));
        double FirstLoss(string folder) => JsonDocument.Parse(File.ReadLines(scratch[folder + "/metrics.jsonl"]).First(line => line.Contains("\"loss\"", StringComparison.Ordinal))).RootElement.GetProperty("loss").GetDouble();
        Assert.True(FirstLoss("more") < FirstLoss("model") - 0.5, $"fresh weights began at {FirstLoss("model")}, those of the checkpoint at {FirstLoss("more")}");
        Outcome scored = HadalProcess.Run("eval", "--model", scratch["more"], "--json");
        Assert.True(scored.Code == 0, scored.ToString());

        Outcome absent = Train(scratch, "--from", scratch["nowhere"], "--output", scratch["other"]);
        Assert.Equal(1, absent.Code);
        Assert.Contains("check the path given to --from", absent.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_configuration_for_the_same_folder_is_refused_and_the_model_stays()
    {
        using var scratch = new Scratch();
        Assert.Equal(0, Train(scratch).Code);
        byte[] weights = File.ReadAllBytes(scratch["model/model.safetensors"]);
        File.WriteAllText(scratch["other.json"], Run.Replace("\"peak\": 0.01", "\"peak\": 0.02", StringComparison.Ordinal));
        Outcome refused = HadalProcess.Run("train", scratch["other.json"]);
        Assert.Equal(1, refused.Code);
        Assert.Contains("there \"peak\": 0.01, here \"peak\": 0.02", refused.Error, StringComparison.Ordinal);

        // The seed decides the prepared data as well; what is told is the key that was changed.
        File.WriteAllText(scratch["other.json"], Run.Replace("\"output\"", "\"seed\": 7, \"output\"", StringComparison.Ordinal));
        Outcome seed = HadalProcess.Run("train", scratch["other.json"]);
        Assert.Equal(1, seed.Code);
        Assert.Contains("belongs to another run: there \"seed\": 1, here \"seed\": 7.", seed.Error, StringComparison.Ordinal);
        Assert.Equal(weights, File.ReadAllBytes(scratch["model/model.safetensors"]));
    }

    [Fact]
    public void The_example_can_be_read_back_and_no_run_is_wrong_use()
    {
        using var scratch = new Scratch();
        Outcome example = HadalProcess.Run("train", "--example");
        Assert.Equal(0, example.Code);
        Assert.Equal("nano", JsonDocument.Parse(example.Output).RootElement.GetProperty("model").GetProperty("preset").GetString());
        Assert.Equal(2, HadalProcess.Run("train").Code);
        File.WriteAllText(scratch["bad.json"], """{ "data": { "sequence_length": -3 } }""");
        Outcome bad = HadalProcess.Run("train", scratch["bad.json"]);
        Assert.Equal(1, bad.Code);
        Assert.Contains("data.sequence_length", bad.Error, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("tier", "full")]
    public void Quickstart_without_a_terminal_trains_prints_samples_and_leaves_a_complete_model()
    {
        using var scratch = new Scratch();
        var setting = new Setting { Folder = scratch.Folder, Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] } };
        Outcome first = HadalProcess.Run(setting, "quickstart", "--steps", "3");
        Assert.True(first.Code == 0, first.ToString());
        foreach (string file in new[] { "model.safetensors", "config.json", "tokenizer.json", "curve.png" }) Assert.True(File.Exists(scratch["models/nano/" + file]), file);
        Assert.Contains("It is a truth universally acknowledged, that", first.Output, StringComparison.Ordinal);
        Assert.Contains("austen: ", first.Output, StringComparison.Ordinal);

        // A finished model is not trained again; a conversation is offered only where somebody can type.
        Outcome second = HadalProcess.Run(setting, "quickstart");
        Assert.True(second.Code == 0, second.ToString());
        Assert.Contains("holds a trained model", second.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("trained 3 steps", second.Output, StringComparison.Ordinal);
    }
}
