using System.Text.Json;

namespace Hadal.Cli.Tests;

public sealed class BenchVerbTests
{
    [Fact]
    public void Bench_step_says_tokens_per_second_and_where_the_time_goes()
    {
        Outcome outcome = HadalProcess.Run("bench", "step", "--preset", "tiny", "--rows", "2", "--sequence-length", "16", "--warm-up", "2", "--steps", "2", "--profiled-steps", "1", "--shapes");
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Matches(@"\d+ tokens/s; step ", outcome.Output);
        Assert.Contains("attention: backward", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("outside operations", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("forward 32x48x96", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("backend: cpu", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Bench_step_and_decode_speak_json()
    {
        Outcome step = HadalProcess.Run("bench", "step", "--preset", "tiny", "--rows", "1", "--sequence-length", "8", "--warm-up", "2", "--steps", "3", "--profiled-steps", "1", "--json");
        Assert.True(step.Code == 0, step.ToString());
        using var json = JsonDocument.Parse(step.Output);
        Assert.Equal(3, json.RootElement.GetProperty("step_seconds").GetArrayLength());
        Assert.True(json.RootElement.GetProperty("tokens_per_second").GetDouble() > 0);
        Assert.NotEqual(0, json.RootElement.GetProperty("operations").GetArrayLength());
        Outcome decode = HadalProcess.Run("bench", "decode", "--preset", "tiny", "--prompt-tokens", "8", "--tokens", "16", "--json");
        Assert.True(decode.Code == 0, decode.ToString());
        using var decoded = JsonDocument.Parse(decode.Output);
        Assert.Equal(0, decoded.RootElement.GetProperty("allocated_bytes").GetInt64());
        Assert.True(decoded.RootElement.GetProperty("tokens_per_second").GetDouble() > 0);
    }

    [Fact]
    public void Bench_step_sets_one_recipe_against_another_and_says_where_the_time_goes()
    {
        Outcome outcome = HadalProcess.Run("bench", "step", "--preset", "tiny", "--rows", "2", "--sequence-length", "16", "--warm-up", "1", "--steps", "2", "--profiled-steps", "1", "--recipe", "fp8", "--against", "fp32");
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Matches(@"fp8 against fp32: \d+\.\d+ times as long", outcome.Output);
        Assert.Contains("outside operations", outcome.Output, StringComparison.Ordinal);
        Outcome unknown = HadalProcess.Run("bench", "step", "--preset", "tiny", "--against", "fp3");
        Assert.Equal(1, unknown.Code);
        Assert.Contains("There is no recipe 'fp3'", unknown.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("step", "--preset", "huge")]
    [InlineData("step", "--run", "no-such-run.json")]
    [InlineData("decode", "--preset", "tiny", "--prompt-tokens", "200", "--tokens", "200")]
    [InlineData("decode", "--preset", "tiny", "--model", "somewhere")]
    public void Bad_requests_are_refused_with_a_remedy(params string[] arguments)
    {
        Outcome outcome = HadalProcess.Run(["bench", .. arguments]);
        Assert.NotEqual(0, outcome.Code);
        Assert.Empty(outcome.Output);
        Assert.Contains("error: ", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
    }
}
