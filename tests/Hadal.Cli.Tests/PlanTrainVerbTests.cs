using System.Globalization;
using System.Text.Json;
using System.Xml.Linq;
using Hadal.Cli.Framework;
using Hadal.Parallel.Schedules;
using Hadal.Training;

namespace Hadal.Cli.Tests;

public sealed class PlanTrainVerbTests
{
    static Outcome Fine(params string[] words)
    {
        Outcome outcome = HadalProcess.Run(words);
        Assert.True(outcome.Code == 0, outcome.ToString());
        return outcome;
    }

    [Fact]
    public void The_published_layout_is_planned_as_json_and_as_a_page()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-plan-").FullName;
        try
        {
            string page = Path.Combine(folder, "plan.html");
            Outcome outcome = Fine("plan", "train", "--preset", "v3-671b", "--layout", "16x64x2", "--schedule", "dualpipe", "--json", "--html", page);
            JsonElement root = JsonDocument.Parse(outcome.Output).RootElement;
            Assert.Equal(("16x64x2", "dualpipe", 120), (root.GetProperty("layout").GetString(), root.GetProperty("schedule").GetString(), root.GetProperty("pipeline_micro_batches").GetInt32()));
            Assert.InRange(root.GetProperty("step_seconds").GetDouble(), 18.5, 19.5);
            Assert.Equal(16, root.GetProperty("ranks").GetArrayLength());
            string html = File.ReadAllText(page);
            Assert.StartsWith("<!doctype html>", html, StringComparison.Ordinal);
            Assert.DoesNotContain("<script", html, StringComparison.Ordinal);
            Assert.DoesNotContain("src=", html, StringComparison.Ordinal);

            // Drawings are whole documents inside the page.
            for (int at = html.IndexOf("<svg", StringComparison.Ordinal), found = 0; ; found++)
            {
                if (at < 0)
                {
                    Assert.Equal(5, found);
                    break;
                }

                int end = html.IndexOf("</svg>", at, StringComparison.Ordinal) + 6;
                Assert.NotNull(XDocument.Parse(html[at..end]).Root);
                at = html.IndexOf("<svg", end, StringComparison.Ordinal);
            }
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>What the plan prints for <c>hadal train</c> is read there as the same layout.</summary>
    [Theory]
    [InlineData("16x64x2", "dualpipe", 16, 64, 2)]
    [InlineData("8x32x8", "zb1p", 8, 32, 8)]
    public void The_printed_options_give_the_planned_layout(string layout, string schedule, int pipeline, int expert, int data)
    {
        string line = Fine("plan", "train", "--preset", "v3-671b", "--layout", layout, "--schedule", schedule).Output.Split('\n').Single(text => text.Contains("for hadal train", StringComparison.Ordinal));
        string[] words = line[line.IndexOf("--ranks", StringComparison.Ordinal)..].Split([' ', ','], StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(("--ranks", "--schedule", "nodes"), (words[0], words[2], words[5]));
        ParallelConfiguration read = RankOptions.Apply(new ParallelConfiguration { Nodes = int.Parse(words[4], CultureInfo.InvariantCulture) }, words[1], words[3], transport: null);
        Assert.Equal((pipeline, expert, data), (read.Pipeline, read.Expert, read.Data));
        Assert.Equal(schedule, PipelineSchedule.Name(read.Schedule));
        Assert.Equal(expert / 8, read.Nodes);
    }

    /// <summary>From measured layers to a compared plan, all by commands.</summary>
    [Fact]
    public void A_run_is_planned_with_times_of_this_machine()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-plan-").FullName;
        try
        {
            string run = Path.Combine(folder, "run.json"), cluster = Path.Combine(folder, "cluster.json"), layer = Path.Combine(folder, "layer.json");
            File.WriteAllText(run, """{"model":{"preset":"tiny"},"data":{"sequence_length":16},"batch":{"rows":2,"micro_batches":16},"tokenizer":{"vocabulary":300}}""");
            File.WriteAllText(cluster, """{"nodes":1,"gpus_per_node":4,"memory_bytes":1e9,"peak_flops":1e11,"memory_bandwidth":1e10,"node_bandwidth":5e9,"network_bandwidth":1e9}""");
            Fine("bench", "layer", "--run", run, "--warm-up", "1", "--rounds", "2", "--output", layer);
            Outcome outcome = Fine("plan", "train", run, "--cluster", cluster, "--costs", layer);
            Assert.StartsWith("run.json on cluster: PP", outcome.Output, StringComparison.Ordinal);
            Assert.Contains("layouts, the fastest first", outcome.Output, StringComparison.Ordinal);
            Assert.Contains("Times of layers were measured on cpu", outcome.Output, StringComparison.Ordinal);
            Outcome other = HadalProcess.Run("plan", "train", run, "--cluster", cluster, "--costs", layer, "--recipe", "fp8");
            Assert.Equal(1, other.Code);
            Assert.Contains("hadal bench layer --recipe fp8", other.Error, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Fact]
    public void The_published_figures_stand_beside_the_planned_ones()
    {
        Assert.Contains("bubble: waiting by the schedule alone", Fine("plan", "train", "--published").Output, StringComparison.Ordinal);
        Assert.Contains("\"gpus_per_node\": 8", Fine("plan", "train", "--example").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Planned_and_traced_stand_side_by_side()
    {
        Outcome outcome = Fine("bench", "pipeline", "--preset", "tiny", "--rows", "1", "--sequence-length", "16", "--micro-batches", "4", "--warm-up", "1", "--steps", "2", "--json");
        JsonElement root = JsonDocument.Parse(outcome.Output).RootElement;
        Assert.True(root.GetProperty("planned_seconds").GetDouble() > 0);
        double traced = root.GetProperty("traced_seconds").GetDouble();
        Assert.Contains(traced, root.GetProperty("traced_steps").EnumerateArray().Select(step => step.GetDouble()));
        foreach (JsonElement rank in root.GetProperty("rank_seconds").EnumerateArray())
            Assert.Equal(traced, rank.GetProperty("traced_busy").GetDouble() + rank.GetProperty("traced_idle").GetDouble(), 9);
        Assert.Equal(2, root.GetProperty("step_means").GetProperty("F&B").GetArrayLength());
    }

    [Fact]
    public void Schedules_are_compared_and_every_round_is_written()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-bench-").FullName;
        try
        {
            string file = Path.Combine(folder, "pipeline.json");
            string[] small = ["bench", "pipeline", "--compare", "--balanced", "--layers", "1", "--preset", "tiny", "--rows", "1", "--sequence-length", "8", "--micro-batches", "4", "--warm-up", "0", "--steps", "1"];
            Outcome outcome = Fine([.. small, "--output", file]);
            Assert.Contains("DualPipeV", outcome.Output, StringComparison.Ordinal);
            JsonElement root = JsonDocument.Parse(File.ReadAllText(file)).RootElement;
            Assert.Equal([3.0, 1, 0, 2], root.GetProperty("rank_time").EnumerateArray().Select(one => one.GetProperty("formula").GetDouble()));
            Assert.All(root.GetProperty("rank_time").EnumerateArray(), one => Assert.All(one.GetProperty("idle").EnumerateArray(), idle => Assert.Equal(one.GetProperty("formula").GetDouble(), idle.GetDouble())));
            if (Environment.ProcessorCount < 2) return;
            Assert.Equal(["1f1b", "zb1p", "dualpipe", "dualpipev"], root.GetProperty("schedules").EnumerateArray().Select(one => one.GetProperty("schedule").GetString()), StringComparer.Ordinal);
            Assert.True(root.GetProperty("layer_costs").GetProperty("sparse").GetProperty("pair").GetDouble() > 0);
            Outcome odd = HadalProcess.Run([.. small, "--ranks", "3"]);
            Assert.Equal(2, odd.Code);
            Assert.Contains("expected an even number", odd.Error, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [Theory]
    [InlineData(2, "one of them")]
    [InlineData(1, "There is no shape 'v9'", "--preset", "v9")]
    [InlineData(1, "expected PPxEPxDP", "--preset", "v3-671b", "--layout", "16")]
    [InlineData(1, "takes 16 GPUs and the cluster has 2048", "--preset", "v3-671b", "--layout", "16x1x1")]
    [InlineData(1, "cannot be read", "--preset", "v3-671b", "--cluster", "nowhere.json")]
    [InlineData(1, "layouts can be run on 2048 GPUs", "--preset", "v3-671b", "--micro-batches", "7")]
    [InlineData(1, "There is no file nowhere.json", "nowhere.json")]
    public void What_cannot_be_planned_is_said(int code, string because, params string[] words)
    {
        Outcome outcome = HadalProcess.Run(["plan", "train", .. words]);
        Assert.Equal(code, outcome.Code);
        Assert.Contains(because, outcome.Error, StringComparison.Ordinal);
        Assert.Empty(outcome.Output);
    }
}
