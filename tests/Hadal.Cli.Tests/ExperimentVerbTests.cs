using System.Buffers.Binary;
using System.Text.Json;

namespace Hadal.Cli.Tests;

/// <summary><c>hadal experiment</c>: the list, one experiment from text to page, and files of earlier runs put together.</summary>
public sealed class ExperimentVerbTests
{
    static Outcome Experiment(Scratch scratch, params string[] arguments)
    {
        var environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"] };
        return HadalProcess.Run(new Setting { Environment = environment }, ["experiment", .. arguments]);
    }

    [Fact]
    public void Without_a_name_every_experiment_is_listed_with_its_question_in_one_line()
    {
        Outcome outcome = HadalProcess.Run("experiment");
        Assert.True(outcome.Code == 0, outcome.ToString());
        string[] lines = outcome.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(["fp8-loss", "block-gradients", "scaling", "moments", "balancing", "mtp", "ema", "promotion"], lines.Select(l => l.Split(' ')[0]), StringComparer.Ordinal);
        Assert.All(lines, line => Assert.InRange(line.Length, 30, 250));
    }

    [Fact]
    public void A_tiny_one_leaves_page_figures_and_picture_which_make_the_same_page_again()
    {
        using var scratch = new Scratch();
        Outcome outcome = Experiment(scratch, "moments", "--steps", "2", "--data", "arithmetic:200", "--out", scratch["pages/m.md"]);
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.StartsWith("| variant | final loss, nats | against fp32 moments |", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("| bf16 moments | ", outcome.Output, StringComparison.Ordinal);
        Assert.Contains("bf16 moments\n", outcome.Error, StringComparison.Ordinal);

        string page = File.ReadAllText(scratch["pages/m.md"]);
        Assert.Contains("# Experiment: moments", page, StringComparison.Ordinal);
        Assert.Contains("`hadal experiment moments --steps 2 --seed 1 --data \"arithmetic:200\"`", page, StringComparison.Ordinal);
        Assert.Contains(outcome.Output.Trim(), page, StringComparison.Ordinal);
        Assert.Contains("](m.png)", page, StringComparison.Ordinal);
        byte[] picture = File.ReadAllBytes(scratch["pages/m.png"]);
        Assert.Equal("PNG"u8.ToArray(), picture[1..4]);
        Assert.InRange(BinaryPrimitives.ReadInt32BigEndian(picture.AsSpan(16)), 600, 4000);
        JsonElement[] results = [.. JsonDocument.Parse(File.ReadAllText(scratch["pages/m.json"])).RootElement.GetProperty("results").EnumerateArray()];
        Assert.Equal(["fp32 moments", "bf16 moments"], results.Select(r => r.GetProperty("variant").GetString()!), StringComparer.Ordinal);
        Assert.All(results, r => Assert.Equal(2, r.GetProperty("losses").GetArrayLength()));

        // What somebody wrote below the figures stays.
        File.AppendAllText(scratch["pages/m.md"], "\n## What it shows\nNothing, in two steps.\n");
        Outcome again = Experiment(scratch, "moments", "--from", scratch["pages/m.json"], "--out", scratch["pages/m.md"]);
        Assert.True(again.Code == 0, again.ToString());
        Assert.Equal(outcome.Output, again.Output);
        Assert.Equal(page + "\n## What it shows\nNothing, in two steps.\n", File.ReadAllText(scratch["pages/m.md"]));
    }

    [Theory]
    [InlineData(2, "There is no experiment 'fp9'", "fp9")]
    [InlineData(2, "has no variant 'fp64'", "moments", "--variant", "fp64")]
    [InlineData(2, "trains nothing", "promotion", "--data", "arithmetic:100")]
    [InlineData(1, "absent.txt", "moments", "--data", "absent.txt")]
    [InlineData(1, "absent.json", "moments", "--from", "absent.json")]
    [InlineData(1, "is no result of an experiment", "moments", "--from", "global.json")]
    [InlineData(1, "nothing is held out", "moments", "--data", "CHANGELOG.md")]
    public void What_cannot_be_asked_is_refused_with_the_reason(int code, string word, params string[] arguments)
    {
        using var scratch = new Scratch();
        Outcome outcome = Experiment(scratch, arguments);
        Assert.True(outcome.Code == code, outcome.ToString());
        Assert.Contains(word, outcome.Error, StringComparison.Ordinal);
        Assert.Contains("error: ", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("fault in hadal itself", outcome.Error, StringComparison.Ordinal);
    }
}
