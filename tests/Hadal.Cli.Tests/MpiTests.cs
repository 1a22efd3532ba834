using System.Diagnostics;
using System.Globalization;
using System.Text;
using Hadal.Formats;

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

    static Setting Home(Scratch scratch) => new()
    {
        Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"], ["OMPI_ALLOW_RUN_AS_ROOT"] = "1", ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1", ["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none" },
    };

    static Setting Launcher(Scratch scratch) => Home(scratch) with { Program = "mpirun" };

    static string[] Launch(int ranks, params string[] arguments) => ["--oversubscribe", "--bind-to", "none", "-n", ranks.ToString(CultureInfo.InvariantCulture), HadalProcess.Executable, .. arguments];

    static string[] State(string folder, int step)
    {
        using SafetensorsFile state = SafetensorsFile.Open(Path.Combine(folder, $"checkpoints/step-{step:D8}/training-state.safetensors"));
        return [.. state.Entries.Select(entry => $"{entry} {Checksum64.Compute(state.Read(entry)):x16}"), $"{Checksum64.Compute(File.ReadAllBytes(Path.Combine(folder, "model.safetensors"))):x16}"];
    }

    [Theory]
    [InlineData("4", "1f1b", "fp32")]
    [InlineData("2x2x1", "dualpipe", "fp8")]
    public void Four_processes_train_the_bits_of_one(string layout, string schedule, string recipe)
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], Run(20));
        Outcome one = HadalProcess.Run(Home(scratch), "train", scratch["run.json"], "--recipe", recipe, "--output", scratch["one"]);
        Assert.True(one.Code == 0, one.ToString());
        Outcome four = HadalProcess.Run(Launcher(scratch), Launch(4, "train", scratch["run.json"], "--recipe", recipe, "--output", scratch["four"], "--ranks", layout, "--schedule", schedule, "--transport", "mpi"));
        Assert.True(four.Code == 0, four.ToString());
        Assert.Equal(State(scratch["one"], 20), State(scratch["four"], 20));
        Assert.Equal(1, four.Output.Split("trained 20 steps").Length - 1); // only the first rank speaks
    }

    [Fact]
    public void Every_byte_arrives()
    {
        using var scratch = new Scratch();
        Outcome outcome = HadalProcess.Run(Launcher(scratch), Launch(3, "bench", "ranks", "--transport", "mpi", "--ranks", "3", "--to", "300KB", "--repeats", "3"));
        Assert.True(outcome.Code == 0, outcome.ToString());
        Assert.Contains("all-to-all, uneven", outcome.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("WRONG", outcome.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Another_number_of_processes_is_refused_with_the_command()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], Run(4));
        Outcome outcome = HadalProcess.Run(Launcher(scratch), Launch(2, "train", scratch["run.json"], "--ranks", "3", "--transport", "mpi"));
        Assert.NotEqual(0, outcome.Code);
        Assert.Contains("mpirun -n 3 hadal", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_killed_process_is_named_by_the_others_and_none_is_left()
    {
        using var scratch = new Scratch();
        File.WriteAllText(scratch["run.json"], Run(100_000));
        using Process launcher = HadalProcess.Start(Launcher(scratch), Launch(4, "train", scratch["run.json"], "--ranks", "2x1x2", "--schedule", "dualpipe", "--transport", "mpi"));
        launcher.StandardInput.Close();
        var error = new StringBuilder();
        Task<string> output = launcher.StandardOutput.ReadToEndAsync();
        Task reading = Task.Run(() =>
        {
            while (launcher.StandardError.ReadLine() is { } line)
                lock (error) error.AppendLine(line);
        });
        string Error()
        {
            lock (error) return error.ToString();
        }

        try
        {
            Until(() => Directory.Exists(scratch["model/checkpoints/step-00000004"]), TimeSpan.FromSeconds(120), Error);
            int victim = Ranks(launcher.Id).Single(rank => rank.Rank == 2).Process;
            int[] all = [.. Ranks(launcher.Id).Select(rank => rank.Process)];
            Assert.Equal(4, all.Length);
            using (Process process = Process.GetProcessById(victim)) process.Kill();
            Assert.True(launcher.WaitForExit(TimeSpan.FromSeconds(60)), Error());
            Assert.True(((IAsyncResult)reading).AsyncWaitHandle.WaitOne(TimeSpan.FromSeconds(10)), "The error stream did not end.");
            Assert.NotEqual(0, launcher.ExitCode);
            Assert.Contains("Rank 2 was lost: its process ended", Error(), StringComparison.Ordinal);
            Until(() => all.All(id => !Directory.Exists($"/proc/{id}")), TimeSpan.FromSeconds(20), Error);
        }
        finally
        {
            if (!launcher.HasExited) launcher.Kill(entireProcessTree: true);
        }

        // The last checkpoint is whole: one process goes on from it.
        File.WriteAllText(scratch["run.json"], Run(100_000));
        Outcome resumed = HadalProcess.RunAndSignal(Home(scratch), "INT", line => line.Contains("step", StringComparison.Ordinal), "train", scratch["run.json"]);
        Assert.True(resumed.Code == 130, resumed.ToString());
        Assert.DoesNotContain("damaged", resumed.Error, StringComparison.Ordinal);
    }

    // Processes below mpirun, with their ranks.
    static List<(int Process, int Rank)> Ranks(int launcher)
    {
        var found = new List<(int, int)>();
        foreach (Process process in Process.GetProcessesByName("hadal"))
        {
            using (process)
            {
                try
                {
                    string[] status = File.ReadAllLines($"/proc/{process.Id}/status");
                    if (!status.Any(line => line.Equals($"PPid:\t{launcher}", StringComparison.Ordinal))) continue;
                    string? rank = File.ReadAllText($"/proc/{process.Id}/environ").Split('\0').FirstOrDefault(entry => entry.StartsWith("OMPI_COMM_WORLD_RANK=", StringComparison.Ordinal));
                    if (rank is not null) found.Add((process.Id, int.Parse(rank.Split('=')[1], CultureInfo.InvariantCulture)));
                }
                catch (IOException)
                {
                    // It has ended.
                }
            }
        }

        return found;
    }

    static void Until(Func<bool> happened, TimeSpan limit, Func<string> say)
    {
        for (var watch = Stopwatch.StartNew(); !happened();)
        {
            Assert.True(watch.Elapsed < limit, $"It did not happen within {limit}.\n{say()}");
            Thread.Sleep(50);
        }
    }
}
