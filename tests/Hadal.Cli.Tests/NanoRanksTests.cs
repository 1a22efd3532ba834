using System.Diagnostics;
using System.Globalization;
using System.Text;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>docs/architecture.md §8 on the preset <c>nano</c> itself, as users run it: the same bits for any split, ranks being threads or processes.</summary>
public sealed class NanoRanksTests
{
    const int Steps = 20;

    /// <summary>A way to share the work.</summary>
    /// <param name="Pipeline">Ranks of the pipeline.</param>
    /// <param name="Expert">Ranks that share experts.</param>
    /// <param name="Data">Copies of every expert.</param>
    /// <param name="Schedule">Of the pipeline.</param>
    /// <param name="Nodes">Nodes that the sharing ranks lie on.</param>
    /// <param name="Mpi">Processes instead of threads.</param>
    /// <param name="Checked">Every message is proved.</param>
    sealed record Split(int Pipeline, int Expert, int Data, string Schedule = "1f1b", int Nodes = 1, bool Mpi = false, bool Checked = false)
    {
        internal int Ranks => Pipeline * Expert * Data;

        public override string ToString() =>
            $"{Pipeline}x{Expert}x{Data} {Schedule}{(Nodes > 1 ? $" on {Nodes} nodes" : "")}, {(Ranks == 1 ? "one rank" : Mpi ? $"{Ranks} processes of MPI" : $"{Ranks} threads")}{(Checked ? ", checked" : "")}";
    }

    static readonly Split[] Splits =
    [
        new(1, 1, 2), new(1, 1, 3, Checked: true), new(1, 1, 5), new(2, 1, 1), new(4, 1, 1, "zb1p"), new(2, 1, 1, "dualpipe"), new(4, 1, 1, "dualpipe"), new(2, 1, 1, "dualpipev"),
        new(1, 2, 1), new(1, 4, 1, Nodes: 2), new(1, 2, 2), new(1, 8, 1, Nodes: 4), new(2, 4, 1, "zb1p"), new(2, 2, 2, "dualpipe", Checked: true), new(2, 1, 2, "dualpipev"), new(2, 4, 1, "dualpipev", Nodes: 2),
        new(1, 1, 4, Mpi: true), new(2, 2, 1, "dualpipe", Mpi: true), new(1, 4, 1, Nodes: 2, Mpi: true, Checked: true), new(4, 1, 1, "zb1p", Mpi: true), new(2, 2, 2, "dualpipev", Mpi: true),
    ];

    static string RunFile(Split split) => $$"""
        {
          "model": { "preset": "nano" }, "data": { "sources": ["bundled:austen"], "sequence_length": 32 },
          "batch": { "rows": 1, "micro_batches": 7, "first_micro_batches": 3, "ramp_until": 0.6 }, "budget": { "steps": {{Steps}} }, "learning_rate": { "warmup_steps": 3 },
          "ema": { "decay": 0.9, "every": 2 }, "evaluation": { "times": 1, "bytes": 300, "final_bytes": 300, "sample_tokens": 1 }, "checkpoint": { "every": {{Steps}}, "keep": 1 }, "threads": 1,
          "parallel": { "data": {{split.Data}}, "pipeline": {{split.Pipeline}}, "expert": {{split.Expert}}, "nodes": {{split.Nodes}}, "schedule": "{{split.Schedule}}",
            "transport": "{{(split.Mpi ? "mpi" : "in-process")}}", "checked": {{(split.Checked ? "true" : "false")}} }
        }
        """;

    // Losses, norms and loads of all steps, and checksums of everything that decides the next.
    static string[] Train(Scratch scratch, Split split, string recipe, bool alone)
    {
        string folder = scratch["model"];
        if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        File.WriteAllText(scratch["run.json"], RunFile(split));
        string[] line = ["train", scratch["run.json"], "--recipe", recipe, "--output", folder];
        Outcome outcome = split.Mpi ? HadalProcess.Run(RankProcesses.Launcher(scratch), RankProcesses.Launch(split.Ranks, line))
            : alone ? HadalProcess.Run(RankProcesses.Home(scratch), line)
            : HadalProcess.Inside(line);
        Assert.True(outcome.Code == 0, $"{split}: {outcome}");
        string[] facts = [.. RankProcesses.Losses(folder), .. RankProcesses.State(folder, Steps)];
        Assert.True(facts.Length > Steps + 3, string.Join('\n', facts));
        return facts;
    }

    static void Compare(Split split, string recipe, string[] expected, string[] actual)
    {
        for (int i = 0; i < expected.Length; i++)
            Assert.True(string.Equals(expected[i], actual[i], StringComparison.Ordinal), $"{split}, {recipe}:\n{expected[i]}\n  is\n{actual[i]}");
        Assert.Equal(expected.Length, actual.Length);
    }

    // Threads are ranks of a process of their own, or of this one, which has compiled everything after the first split.
    static void CompareAll(string recipe, IEnumerable<Split> splits, Action<string>? report, bool alone)
    {
        using var scratch = new Scratch();
        var one = new Split(1, 1, 1);
        string[] expected = [];
        foreach (Split split in splits.Prepend(one))
        {
            long began = Stopwatch.GetTimestamp();
            string[] facts = Train(scratch, split, recipe, alone);
            if (split == one) expected = facts;
            Compare(split, recipe, expected, facts);
            string hash(IEnumerable<string> lines) => Checksum64.Compute(Encoding.UTF8.GetBytes(string.Join('\n', lines))).ToString("x16", CultureInfo.InvariantCulture);
            report?.Invoke(string.Create(CultureInfo.InvariantCulture,
                $"| {recipe} | {split} | {hash(facts.Take(Steps))} | {facts[^1].Split(' ')[^1]} | {hash(facts.Skip(Steps))} | {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} |"));
        }
    }

    /// <summary>Twelve splits, six in each recipe against one run of one rank; two are processes.</summary>
    [Theory]
    [Trait("tier", "full")]
    [InlineData("fp32", 1, 4, 9, 11, 13, 16)]
    [InlineData("fp8", 5, 7, 8, 12, 15, 17)]
    [Implements("V3 §3.2", "Loss and weights after 20 steps are the same bits for any split into data, pipeline and expert ranks, with ZeRO-1")]
    public void Nano_has_the_bits_of_one_rank(string recipe, params int[] splits) =>
        CompareAll(recipe, splits.Select(place => Splits[place]), TestContext.Current.TestOutputHelper!.WriteLine, alone: false);

    /// <summary>Every split in both recipes; a table of what came out (benchmarks/results).</summary>
    [Fact]
    [Trait("tier", "soak")]
    public void Nano_has_the_bits_of_one_rank_for_every_split()
    {
        ITestOutputHelper output = TestContext.Current.TestOutputHelper!;
        output.WriteLine("| recipe | pipeline x expert x data, schedule, ranks | losses | public model | masters, moments, average, model | seconds |");
        output.WriteLine("|---|---|---|---|---|---|");
        foreach (string recipe in (string[])["fp32", "fp8"]) CompareAll(recipe, Splits, output.WriteLine, alone: true);
    }
}
