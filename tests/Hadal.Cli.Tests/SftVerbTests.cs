using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal sft</c> as a user meets it.</summary>
public sealed class SftVerbTests
{
    const string Base = """
        {
          "model": { "preset": "tiny" }, "tokenizer": { "vocabulary": 400 }, "data": { "sources": ["arithmetic:80"], "held_out_every": 8, "sequence_length": 48 },
          "batch": { "rows": 2 }, "budget": { "steps": 2 }, "evaluation": { "times": 0, "final_bytes": 200 }, "output": "base"
        }
        """;

    static Outcome Run(Scratch scratch, params string[] line)
    {
        var setting = new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] } };
        return HadalProcess.Run(setting, line);
    }

    static string[] Tasks(string json) => [.. JsonDocument.Parse(json).RootElement.GetProperty("tasks").EnumerateArray().Select(t => t.GetRawText())];

    [Fact]
    public void It_trains_a_base_into_a_model_whose_accuracy_eval_measures_again()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["base.json"], Base);
        Outcome trained = Run(scratch, "train", scratch["base.json"]);
        Assert.True(trained.Code == 0, trained.ToString());

        string[] line = ["sft", "--model", scratch["base"], "--output", scratch["chat"], "--steps", "6", "--tasks", "addition", "--samples", "60", "--problems", "8", "--json"];
        Outcome taught = Run(scratch, line);
        Assert.True(taught.Code == 0, taught.ToString());
        Assert.Equal(6, JsonDocument.Parse(taught.Output).RootElement.GetProperty("steps").GetInt64());
        string[] tasks = Tasks(taught.Output);
        Assert.Equal(2, tasks.Length);
        Assert.Contains("\"problems\":8", tasks[0].Replace(" ", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Contains("right: addition", taught.Error, StringComparison.Ordinal);
        Assert.Contains("held-out problems each", taught.Error, StringComparison.Ordinal);
        foreach (string file in new[] { "model.safetensors", "config.json", "tokenizer.json", "run.json", "metrics.jsonl" }) Assert.True(File.Exists(scratch["chat/" + file]), file);
        Assert.True(File.ReadLines(scratch["chat/metrics.jsonl"]).Count(l => l.Contains("\"kind\":\"task\"", StringComparison.Ordinal)) >= 4);

        Outcome scored = Run(scratch, "eval", "--tasks", "--model", scratch["chat"], "--json");
        Assert.True(scored.Code == 0, scored.ToString());
        Assert.Equal(tasks, Tasks(scored.Output));

        // A finished model is not trained over.
        Outcome again = Run(scratch, line);
        Assert.Equal(1, again.Code);
        Assert.Contains("holds a finished model", again.Error, StringComparison.Ordinal);
        Assert.Contains("--again", again.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void What_cannot_be_meant_is_refused_with_a_remedy()
    {
        using var scratch = new Scratch();
        Outcome outcome = Run(scratch, "sft", "--model", scratch["nowhere"], "--output", scratch["chat"]);
        Assert.Equal(1, outcome.Code);
        Assert.Contains("hadal quickstart trains a model to begin with", outcome.Error, StringComparison.Ordinal);
        outcome = Run(scratch, "eval", "--model", HadalProcess.Fixture("base"), "--tasks", "--data", "bundled:austen");
        Assert.NotEqual(0, outcome.Code);
        outcome = Run(scratch, "sft", "--minutes", "0");
        Assert.Equal(2, outcome.Code);
    }

    [Fact]
    public void The_example_is_a_run_that_train_understands()
    {
        using var scratch = new Scratch();
        Outcome example = Run(scratch, "sft", "--example");
        Assert.True(example.Code == 0, example.ToString());
        JsonElement run = JsonDocument.Parse(example.Output).RootElement;
        Assert.Equal(4, run.GetProperty("supervised").GetProperty("tasks").GetArrayLength());
        Assert.EndsWith("nano", run.GetProperty("model").GetProperty("from").GetString(), StringComparison.Ordinal);
    }
}
