using System.Text.Json;
using System.Xml.Linq;

namespace Hadal.Cli.Tests;

public sealed class PlanScheduleVerbTests
{
    static Outcome Plan(params string[] rest) => HadalProcess.Inside(["plan", "schedule", .. rest]);

    static Outcome Fine(params string[] rest)
    {
        Outcome outcome = Plan(rest);
        Assert.True(outcome.Code == 0, outcome.ToString());
        return outcome;
    }

    [Fact]
    public void Json_holds_every_step_with_its_time()
    {
        Outcome outcome = Fine("--kind", "dualpipe", "--ranks", "8", "--micro-batches", "20", "--format", "json");
        Assert.Empty(outcome.Error);
        JsonElement root = JsonDocument.Parse(outcome.Output).RootElement;
        Assert.Equal((6.0, 6.0, 66.0), (root.GetProperty("idle").GetDouble(), root.GetProperty("idleFormula").GetDouble(), root.GetProperty("makespan").GetDouble()));
        JsonElement[] ranks = [.. root.GetProperty("ranks").EnumerateArray()];
        Assert.Equal(Enumerable.Range(0, 8), ranks.Select(rank => rank.GetProperty("rank").GetInt32()));
        JsonElement first = ranks[0].GetProperty("steps")[0];
        Assert.Equal(("F", 0, 0, 0.0, 1.0), (first.GetProperty("kind").GetString(), first.GetProperty("phase").GetInt32(), first.GetProperty("microBatch").GetInt32(),
            first.GetProperty("start").GetDouble(), first.GetProperty("end").GetDouble()));
        foreach (JsonElement rank in ranks)
        {
            double busy = 0, last = 0;
            foreach (JsonElement step in rank.GetProperty("steps").EnumerateArray())
            {
                string kind = step.GetProperty("kind").GetString()!;
                Assert.Contains(kind, ["F", "B", "b", "W", "F&B", "send", "recv"], StringComparer.Ordinal);
                Assert.Equal(kind is "F&B", step.TryGetProperty("backwardPhase", out _) && step.TryGetProperty("backwardMicroBatch", out _));
                Assert.Equal(kind is "send" or "recv", step.TryGetProperty("peer", out _));
                Assert.True(step.GetProperty("start").GetDouble() >= last);
                last = step.GetProperty("end").GetDouble();
                if (kind is not ("send" or "recv")) busy += last - step.GetProperty("start").GetDouble();
            }

            Assert.Equal(60, busy);
        }
    }

    [Fact]
    public void Text_fits_a_page_in_a_pipe()
    {
        Outcome outcome = Fine();
        string[] lines = outcome.Output.TrimEnd('\n').Split('\n');
        Assert.StartsWith("DualPipe: 8 ranks, 20 micro-batches", lines[0], StringComparison.Ordinal);
        Assert.All(lines, line => Assert.InRange(line.Length, 0, 120));
        Assert.Contains(lines, line => line.StartsWith("rank 7  F10 F11 F12", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.Contains("F7&B13", StringComparison.Ordinal));
        Assert.Contains("recv", Fine("--format", "json").Output, StringComparison.Ordinal);
        Assert.Contains("receive of gradient 0 (phase 0) from rank 1", Fine("--format", "list", "--kind", "1f1b").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Pictures_are_written_to_files()
    {
        using var scratch = new Scratch();
        string svg = scratch["v.svg"], png = scratch["v.png"];
        string[] schedule = ["--kind", "dualpipev", "--ranks", "4", "--micro-batches", "10"];
        Outcome outcome = Fine([.. schedule, "--format", "svg", "--output", svg]);
        Assert.Empty(outcome.Output);
        XElement root = XDocument.Load(svg).Root!;
        XNamespace space = root.Name.Namespace;
        Assert.Equal("svg", root.Name.LocalName);
        Assert.Equal(4, root.Elements(space + "text").Count(text => text.Value.StartsWith("rank ", StringComparison.Ordinal)));

        // Per rank 20 forwards and 20 backwards, and a W for each backward that is split.
        Assert.Equal(4 * 40 + 7 + 6 + 5 + 4, root.Elements(space + "rect").Count(box => box.Element(space + "title") is not null));
        Fine([.. schedule, "--format", "png", "--output", png]);
        byte[] picture = File.ReadAllBytes(png);
        Assert.Equal([0x89, (byte)'P', (byte)'N', (byte)'G'], picture[..4]);
        Assert.Equal(1, Plan([.. schedule, "--format", "png", "--output", png]).Code);
        Fine([.. schedule, "--format", "png", "--output", png, "--force"]);
    }

    [Theory]
    [InlineData("expected an even number", "--ranks", "7")]
    [InlineData("expected an even number", "--micro-batches", "21")]
    [InlineData("at least twice the ranks", "--micro-batches", "14")]
    [InlineData("one of dualpipe, dualpipev, 1f1b, zb1p", "--kind", "gpipe")]
    [InlineData("a number above 0", "--overlapped", "0")]
    [InlineData("a number from", "--backward-weights", "-1")]
    public void What_makes_no_schedule_is_refused_with_the_reason(string reason, params string[] options)
    {
        Outcome outcome = Plan(options);
        Assert.True(outcome.Code == 2, outcome.ToString());
        Assert.Contains(reason, outcome.Error, StringComparison.Ordinal);
        Assert.Empty(outcome.Output);
    }

    [Fact]
    public void Costs_where_the_formula_is_no_bound_are_said()
    {
        Outcome outcome = Fine("--backward-weights", "2", "--communication", "0.5");
        Assert.Contains("no bound", outcome.Error, StringComparison.Ordinal);
    }
}
