using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal bench serve</c> measures what it says, on a small model.</summary>
public sealed class BenchServeVerbTests
{
    [Fact]
    [Trait("tier", "full")]
    public void Every_part_gives_its_numbers()
    {
        using var scratch = new Scratch();
        ServedFolder.Write(scratch["model"]);
        Outcome outcome = HadalProcess.Run("bench", "serve", "--model", scratch["model"], "--streams", "1,3", "--rounds", "1", "--prompt-tokens", "16", "--tokens", "12", "--threads", "2", "--json");
        Assert.True(outcome.Code == 0, outcome.ToString());
        JsonElement json = JsonDocument.Parse(outcome.Output).RootElement;
        foreach (string part in (string[])["engine", "http_bare_engine", "http"])
        {
            JsonElement[] rows = [.. json.GetProperty(part).EnumerateArray()];
            Assert.Equal([1, 3], rows.Select(row => row.GetProperty("streams").GetInt32()));
            foreach (JsonElement row in rows)
                foreach (string name in (string[])["prefill_tokens_per_second", "decode_tokens_per_second", "first_token_seconds", "token_seconds"])
                    Assert.True(row.GetProperty(name).GetDouble() is > 0 and < 1e7, $"{part}: {row}");
        }

        Assert.True(json.GetProperty("session_token_seconds").GetDouble() > 0 && json.GetProperty("paged_token_seconds").GetDouble() > 0);
        Assert.Equal([0, 0.6, 0.6, 1], json.GetProperty("sampling_rows").EnumerateArray().Select(row => row.GetProperty("temperature").GetDouble()));
        Assert.Equal(4, json.GetProperty("speculation_rows").GetArrayLength()); // two temperatures, two numbers of streams
        Assert.All(json.GetProperty("speculation_rows").EnumerateArray(), row => Assert.InRange(row.GetProperty("acceptance").GetDouble(), 0, 1));
        Assert.Equal([0, 1], json.GetProperty("fast_rows").EnumerateArray().Select(row => row.GetProperty("fast").GetInt32()));
        Assert.Equal([16, 64, 256], json.GetProperty("form_rows").EnumerateArray().Select(row => row.GetProperty("prompt_tokens").GetInt32()));
        JsonElement[] runs = [.. json.GetProperty("mixed_load").GetProperty("runs").EnumerateArray()];
        string[] workers = [.. runs.Select(run => run.GetProperty("workers").GetString()!).Distinct(StringComparer.Ordinal)];
        Assert.Equal("joined, in this process|separate, in this process|one process|prefill and decode as processes", string.Join('|', workers));
        Assert.Equal([false, true, false, true, false, true, false, true], runs.Select(run => run.GetProperty("goals_kept").GetBoolean()));
        Assert.All(runs, run => Assert.InRange(run.GetProperty("within_goals_waiting_included").GetDouble(), 0, 1));
        Assert.True(json.GetProperty("start_seconds").GetDouble() > 0 && json.GetProperty("start_bytes").GetInt64() > 1 << 20);
    }

    [Theory]
    [InlineData("whole numbers from 1 to 1024", "--streams", "0")]
    [InlineData("some of engine", "--parts", "engines")]
    [InlineData("together at most the model's", "--parts", "engine", "--prompt-tokens", "1000000")]
    public void Wrong_use_says_what_is_expected(string expected, params string[] arguments)
    {
        using var scratch = new Scratch();
        ServedFolder.Write(scratch["model"]);
        Outcome outcome = HadalProcess.Run(["bench", "serve", "--model", scratch["model"], .. arguments]);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(expected, outcome.Error, StringComparison.Ordinal);
    }
}
