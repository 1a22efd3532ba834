using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal inspect recipe</c> and <c>hadal inspect memory</c>: what a recipe says, and what it keeps.</summary>
public sealed class InspectRecipeVerbTests
{
    [Fact]
    public void Recipes_are_listed_shown_and_become_files_that_train()
    {
        Outcome list = HadalProcess.Run("inspect", "recipe");
        Assert.True(list.Code == 0, list.ToString());
        Assert.Equal(["fp32", "bf16", "fp8", "fp8-block-gradients", "fp8-per-tensor", "fp8-per-tensor-delayed", "fp8-no-promotion", "fp8-tensor-core"], list.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split(' ')[0]), StringComparer.Ordinal);

        Outcome shown = HadalProcess.Run("inspect", "recipe", "fp8");
        Assert.True(shown.Code == 0, shown.ToString());
        foreach (string word in (string[])["forward", "inputGradient", "weightGradient", "e4m3", "e5m6", "promoted", "attentionOutputScale"]) Assert.Contains(word, shown.Output, StringComparison.OrdinalIgnoreCase);

        using var scratch = new Scratch();
        File.WriteAllText(scratch["mine.json"], HadalProcess.Run("inspect", "recipe", "fp8", "--json").Output);
        Assert.Equal(shown.Output, HadalProcess.Run("inspect", "recipe", scratch["mine.json"]).Output);
        File.WriteAllText(scratch["run.json"], """
            { "model": { "preset": "tiny" }, "tokenizer": { "vocabulary": 300 }, "data": { "sources": ["arithmetic:60"], "held_out_every": 8, "sequence_length": 32 },
              "batch": { "rows": 2 }, "budget": { "steps": 2 }, "evaluation": { "times": 0, "final_bytes": 300 }, "output": "m" }
            """);
        var home = new Setting { Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] } };
        Outcome trained = HadalProcess.Run(home, "train", scratch["run.json"], "--recipe", scratch["mine.json"]);
        Assert.True(trained.Code == 0, trained.ToString());

        File.WriteAllText(scratch["mine.json"], File.ReadAllText(scratch["mine.json"]).Replace("e4m3 128x128", "e4m3 1x128", StringComparison.Ordinal));
        Outcome refused = HadalProcess.Run("inspect", "recipe", scratch["mine.json"]);
        Assert.Equal(1, refused.Code);
        Assert.Contains("lies across the contraction", refused.Error, StringComparison.Ordinal);
        Outcome unknown = HadalProcess.Run("inspect", "recipe", "fp7");
        Assert.Equal(1, unknown.Code);
        Assert.Contains("There is no recipe 'fp7'", unknown.Error, StringComparison.Ordinal);
        Assert.Contains("hadal inspect recipe lists them", unknown.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Kept_bytes_are_those_of_the_entries_and_fp8_keeps_least()
    {
        const int Tokens = 256;
        Outcome json = HadalProcess.Run("inspect", "memory", "--preset", "nano", "--tokens", $"{Tokens}", "--json");
        Assert.True(json.Code == 0, json.ToString());
        JsonElement[] rows = [.. JsonDocument.Parse(json.Output).RootElement.GetProperty("shapes").EnumerateArray()];
        Assert.Equal(["fp32", "bf16", "fp8"], rows.Select(r => r.GetProperty("recipe").GetString()!), StringComparer.Ordinal);
        foreach (JsonElement row in rows)
        {
            foreach (string kind in (string[])["dense", "sparse"])
                Assert.Equal(row.GetProperty(kind + "_bytes_per_token").GetDouble(), row.GetProperty(kind).EnumerateArray().Sum(e => e.GetProperty("bytes").GetDouble()) / Tokens, 1.0);
        }

        double[] all = [.. rows.Select(r => r.GetProperty("bytes_per_token").GetDouble())];
        Assert.True(all[0] > 1.8 * all[1] && all[1] > 1.3 * all[2], string.Join(", ", all));

        Outcome text = HadalProcess.Run("inspect", "memory", "--model", HadalProcess.Fixture("base"), "--entries");
        Assert.True(text.Code == 0, text.ToString());
        Assert.Contains("Attention.Output ", text.Output, StringComparison.Ordinal);
        Assert.Contains("e5m6", text.Output, StringComparison.Ordinal);
        Outcome unknown = HadalProcess.Run("inspect", "memory", "--preset", "pico");
        Assert.Equal(1, unknown.Code);
        Assert.Contains("There is no shape 'pico'", unknown.Error, StringComparison.Ordinal);
        Assert.Contains("v3-671b", unknown.Error, StringComparison.Ordinal);
    }
}
