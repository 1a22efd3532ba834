using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal inspect experts</c> on a model of a few steps.</summary>
public sealed class InspectExpertsVerbTests
{
    [Fact]
    public void Routing_is_shown_recorded_and_counted()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], """
            { "model": { "preset": "tiny" }, "tokenizer": { "vocabulary": 300 }, "data": { "sources": ["arithmetic:60"], "held_out_every": 8, "sequence_length": 64 },
              "batch": { "rows": 2 }, "budget": { "steps": 2 }, "evaluation": { "times": 0, "final_bytes": 500 }, "output": "m" }
            """);
        var environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] };
        Outcome trained = HadalProcess.Run(new Setting { Environment = environment }, "train", scratch["run.json"]);
        Assert.True(trained.Code == 0, trained.ToString());
        Outcome json = HadalProcess.Run("inspect", "experts", "--model", scratch["m"], "--data", "arithmetic:20", "--windows", "3", "--window-tokens", "100", "--sample", "50", "--output", scratch["r.json"], "--json");
        Assert.True(json.Code == 0, json.ToString());
        JsonElement shown = JsonDocument.Parse(json.Output).RootElement;
        Assert.Equal(3, shown.GetProperty("windows").GetInt32());
        Assert.Equal(300, shown.GetProperty("tokens").GetInt32());
        JsonElement layer = shown.GetProperty("layers")[0];
        Assert.Equal(600, layer.GetProperty("counts").EnumerateArray().Sum(c => c.GetInt32())); // two of four experts for each token
        Assert.InRange(layer.GetProperty("effective_experts").GetDouble(), 1, 4);
        JsonElement file = JsonDocument.Parse(File.ReadAllText(scratch["r.json"])).RootElement;
        Assert.Equal("hadal-routing", file.GetProperty("format").GetString());
        Assert.Equal(3, file.GetProperty("windows").GetArrayLength());
        Assert.Equal(50 * 2 * 2, file.GetProperty("windows")[0].GetProperty("choices")[0].GetBytesFromBase64().Length);
        Outcome text = HadalProcess.Run("inspect", "experts", "--model", scratch["m"], "--data", "arithmetic:20", "--windows", "1", "--window-tokens", "100");
        Assert.Contains("4 experts, 2 of them for a token, 100 tokens in 1 windows", text.Output, StringComparison.Ordinal);
        Outcome other = HadalProcess.Run("plan", "serve", "--routing", scratch["r.json"]);
        Assert.Equal(1, other.Code);
        Assert.Contains("The routing has 4 experts", other.Error, StringComparison.Ordinal);
        Assert.Equal(1, HadalProcess.Run("inspect", "experts", "--model", HadalProcess.Extra("tied-dense"), "--data", "arithmetic:20").Code);
    }
}
