using System.Diagnostics;

namespace Hadal.Cli.Tests;

/// <summary>Ranks that are real processes, started by mpirun.</summary>
[Trait("tier", "full")]
public sealed class MpiTests
{
    static string Run(int steps) => $$"""
        {
          "model": { "preset": "tiny" }, "tokenizer": { "vocabulary": 400 },
          "data": { "sources": ["arithmetic:80"], "held_out_every": 8, "sequence_length": 24 },
          "batch": { "rows": 1, "micro_batches": 5 }, "budget": { "steps": {{steps}} }, "learning_rate": { "peak": 0.01, "warmup_steps": 3 },
          "ema": { "every": 2 }, "evaluation": { "times": 1, "bytes": 300 }, "checkpoint": { "every": 4 }, "threads": 1, "output": "model"
        }
        """;

    [Theory]
    [InlineData("4", "1f1b", "fp32")]
    [InlineData("2x2x1", "dualpipe", "fp8")]
    public void Four_processes_train_the_bits_of_one(string layout, string schedule, string recipe)
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], Run(20));
        Outcome one = HadalProcess.Run(RankProcesses.Home(scratch), "train", scratch["run.json"], "--recipe", recipe, "--output", scratch["one"]);
        Assert.True(one.Code == 0, one.ToString());
        Outcome four = HadalProcess.Run(RankProcesses.Launcher(scratch), RankProcesses.Launch(4, "train", scratch["run.json"], "--recipe", recipe, "--output", scratch["four"], "--ranks", layout, "--schedule", schedule, "--transport", "mpi"));
        Assert.True(four.Code == 0, four.ToString());
        Assert.Equal(RankProcesses.State(scratch["one"], 20), RankProcesses.State(scratch["four"], 20));
        Assert.Equal(1, four.Output.Split("trained 20 steps").Length - 1); // only the first rank speaks
    }

    [Fact]
    public void Every_byte_arrives()
    {
        using var scratch = new Scratch();
        Outcome outcome = HadalProcess.Run(RankProcesses.Launcher(scratch), RankProcesses.Launch(3, "bench", "ranks", "--transport", "mpi", "--ranks", "3", "--to", "300KB", "--repeats", "3"));
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains("all-to-all, uneven", outcome.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("WRONG", outcome.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_number_of_processes_is_refused_with_the_command()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], Run(4));
        Outcome outcome = HadalProcess.Run(RankProcesses.Launcher(scratch), RankProcesses.Launch(2, "train", scratch["run.json"], "--ranks", "3", "--transport", "mpi"));
        Assert.NotEqual(0, outcome.Code);
        Assert.Contains("mpirun -n 3 hadal", outcome.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void A_killed_process_is_named_none_is_left_and_the_same_command_ends_with_the_same_bits(int victim)
    {
        const int Steps = 120;
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], Run(Steps));
        Outcome one = HadalProcess.Run(RankProcesses.Home(scratch), "train", scratch["run.json"], "--output", scratch["one"]);
        Assert.True(one.Code == 0, one.ToString());
        string[] line = ["train", scratch["run.json"], "--output", scratch["four"], "--ranks", "2x1x2", "--schedule", "dualpipe", "--transport", "mpi"];
        using (var ranks = new LaunchedRanks(scratch, 4, line))
        {
            int[] processes = ranks.Processes(4);
            RankProcesses.Until(() => Directory.Exists(scratch["four/checkpoints/step-00000008"]) || ranks.HasExited, TimeSpan.FromSeconds(240), () => ranks.Text);
            using (Process process = Process.GetProcessById(processes[victim])) process.Kill();
            long killed = Stopwatch.GetTimestamp();
            ranks.Wait(TimeSpan.FromSeconds(120));
            Assert.NotEqual(0, ranks.Code);
            Assert.Contains($"Rank {victim} was lost: its process ended", ranks.Text, StringComparison.Ordinal);
            RankProcesses.Until(() => processes.All(id => !Directory.Exists($"/proc/{id}")), TimeSpan.FromSeconds(60), () => ranks.Text);
            TestContext.Current.TestOutputHelper!.WriteLine($"rank {victim}: from the kill to the end of mpirun and of all processes: {Stopwatch.GetElapsedTime(killed)}");
        }

        Assert.False(Directory.Exists(scratch[$"four/checkpoints/step-{Steps:D8}"]), "The run had ended before its rank was killed.");
        Outcome again = HadalProcess.Run(RankProcesses.Launcher(scratch), RankProcesses.Launch(4, line));
        Assert.True(again.Code == 0, again.ToString());
        Assert.Equal(RankProcesses.State(scratch["one"], Steps), RankProcesses.State(scratch["four"], Steps));
    }
}
