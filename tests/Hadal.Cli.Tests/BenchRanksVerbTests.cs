using System.Text.Json;

namespace Hadal.Cli.Tests;

public sealed class BenchRanksVerbTests
{
    [Fact]
    public void Every_operation_is_checked_and_timed()
    {
        Outcome outcome = HadalProcess.Run("bench", "ranks", "--ranks", "3", "--from", "1KiB", "--to", "16KiB", "--repeats", "2", "--json");
        Assert.True(outcome.Code == 0, outcome.ToString());
        JsonElement[] operations = [.. JsonDocument.Parse(outcome.Output).RootElement.GetProperty("operations").EnumerateArray()];
        Assert.Equal(1 + (2 * 4), operations.Length);
        Assert.All(operations, one => Assert.True(one.GetProperty("correct").GetBoolean(), one.ToString()));
        Assert.All(operations, one => Assert.True(one.GetProperty("seconds").GetDouble() > 0, one.ToString()));
    }

    /// <summary>A barrier sends nothing: its bandwidth is left out.</summary>
    [Fact]
    public void No_bandwidth_stands_beside_the_barrier()
    {
        Outcome outcome = HadalProcess.Run("bench", "ranks", "--from", "1KiB", "--to", "1KiB", "--repeats", "2");
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.DoesNotContain("NaN", outcome.Output, StringComparison.Ordinal);
        string barrier = outcome.Output.Split('\n').Single(line => line.StartsWith("barrier", StringComparison.Ordinal));
        Assert.Equal(4, barrier.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Length); // name, bytes, all, microseconds
    }

    [Theory]
    [InlineData("2x2", "--ranks was given \"2x2\"")]
    [InlineData("0x1x1", "--ranks was given \"0x1x1\"")]
    public void A_layout_that_cannot_be_read_is_refused(string layout, string message)
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], "{}");
        Outcome outcome = HadalProcess.Run("train", scratch["run.json"], "--ranks", layout);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_schedule_that_the_layout_does_not_admit_is_refused()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], "{ \"output\": \"model\" }");
        Outcome outcome = HadalProcess.Run("train", scratch["run.json"], "--ranks", "3x1x1", "--schedule", "dualpipe");
        Assert.Equal(1, outcome.Code);
        Assert.Contains("expected an even number", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Without_GPUs_the_transport_says_what_is_missing()
    {
        Outcome outcome = HadalProcess.Run("bench", "ranks", "--transport", "nccl", "--to", "1KiB", "--repeats", "1");
        if (outcome.Code == 0) Assert.Contains("all-gather", outcome.Output, StringComparison.Ordinal); // two GPUs and NCCL are there
        else Assert.True(outcome.Error.Contains("The transport nccl needs", StringComparison.Ordinal) || outcome.Error.Contains("NCCL was not found", StringComparison.Ordinal), outcome.ToString());
    }
}
