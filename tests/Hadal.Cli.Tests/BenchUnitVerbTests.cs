using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal bench unit</c>, on few ranks.</summary>
public sealed class BenchUnitVerbTests
{
    [Theory]
    [InlineData("prefill")]
    [InlineData("decode")]
    public void A_unit_runs_and_is_right(string kind)
    {
        Outcome run = HadalProcess.Run("bench", "unit", "--kind", kind, "--nodes", "2", "--gpus", "2", "--layers", "2", "--tokens", "4", "--steps", "3", "--step-minutes", "10", "--skew", "1", "--json");
        Assert.True(run.Code == 0, run.ToString());
        JsonElement unit = JsonDocument.Parse(run.Output).RootElement;
        Assert.True(unit.GetProperty("right").GetBoolean());
        Assert.Equal(2 * 2 * 4 * 4 * 3, unit.GetProperty("checked_rows").GetInt32()); // micro-batches, layers, ranks, tokens, steps
        Assert.Equal(3, unit.GetProperty("steps").GetArrayLength());
        Assert.All(unit.GetProperty("steps").EnumerateArray(), step => Assert.True(step.GetProperty("layer_seconds").GetDouble() > 0));
    }

    [Fact]
    public void A_unit_that_cannot_be_is_refused()
    {
        Outcome few = HadalProcess.Run("bench", "unit", "--nodes", "1", "--gpus", "2", "--slots", "3");
        Assert.Equal(1, few.Code);
        Assert.Contains("at least as many slots as experts", few.Error, StringComparison.Ordinal);
        Assert.Contains("hadal inspect experts --output", HadalProcess.Run("bench", "unit", "--routing", "nowhere.json").Error, StringComparison.Ordinal);
    }
}
