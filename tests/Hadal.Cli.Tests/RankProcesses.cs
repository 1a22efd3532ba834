using System.Diagnostics;
using System.Globalization;
using System.Text;
using Hadal.Formats;

namespace Hadal.Cli.Tests;

/// <summary>Runs of <c>hadal train</c> on ranks, some of them processes that mpirun starts, and what they leave behind.</summary>
static class RankProcesses
{
    /// <summary>A home of its own, and mpirun as root and on machines that forbid reading each other's memory.</summary>
    internal static Setting Home(Scratch scratch) => new()
    {
        Environment = new Dictionary<string, string>(StringComparer.Ordinal) { ["HADAL_HOME"] = scratch["home"], ["OMPI_ALLOW_RUN_AS_ROOT"] = "1", ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1", ["OMPI_MCA_btl_vader_single_copy_mechanism"] = "none" },
        Limit = TimeSpan.FromMinutes(5),
    };

    /// <summary>As <see cref="Home"/>, for mpirun instead of hadal.</summary>
    internal static Setting Launcher(Scratch scratch) => Home(scratch) with { Program = "mpirun" };

    /// <summary>The line of mpirun that starts so many ranks of hadal.</summary>
    internal static string[] Launch(int ranks, params string[] arguments) => LaunchProgram(ranks, HadalProcess.Executable, arguments);

    /// <summary>The line of mpirun that starts so many ranks of a program.</summary>
    internal static string[] LaunchProgram(int ranks, string program, params string[] arguments) =>
        ["--oversubscribe", "--bind-to", "none", "-n", ranks.ToString(CultureInfo.InvariantCulture), program, .. arguments];

    /// <summary>Checksums of masters, moments and average at a step, and of the public model.</summary>
    internal static string[] State(string folder, int step)
    {
        using SafetensorsFile state = SafetensorsFile.Open(Path.Combine(folder, $"checkpoints/step-{step:D8}/training-state.safetensors"));
        return [.. state.Entries.Select(entry => $"{entry} {Checksum64.Compute(state.Read(entry)):x16}"), $"model {Checksum64.Compute(File.ReadAllBytes(Path.Combine(folder, "model.safetensors"))):x16}"];
    }

    /// <summary>Losses, gradient norm and load of every step, as they were written.</summary>
    internal static string[] Losses(string folder) =>
        [.. File.ReadLines(Path.Combine(folder, "metrics.jsonl")).Where(line => line.StartsWith("{\"kind\":\"step\"", StringComparison.Ordinal)).Select(line => line[..line.IndexOf(",\"step_seconds\"", StringComparison.Ordinal)])];

    /// <summary>Processes below mpirun, with their ranks.</summary>
    internal static List<(int Process, int Rank)> Ranks(int launcher)
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

    /// <summary>Waits until something has happened.</summary>
    internal static void Until(Func<bool> happened, TimeSpan limit, Func<string> say)
    {
        for (var watch = Stopwatch.StartNew(); !happened();)
        {
            Assert.True(watch.Elapsed < limit, $"It did not happen within {limit}.\n{say()}");
            Thread.Sleep(50);
        }
    }
}

/// <summary>A run under mpirun that a test disturbs.</summary>
sealed class LaunchedRanks : IDisposable
{
    readonly Process _launcher;
    readonly StringBuilder _text = new();
    readonly Task _reading;

    internal LaunchedRanks(Scratch scratch, int ranks, params string[] arguments)
    {
        _launcher = HadalProcess.Start(RankProcesses.Launcher(scratch), RankProcesses.Launch(ranks, arguments));
        _launcher.StandardInput.Close();
        _reading = Task.WhenAll(Read(_launcher.StandardOutput), Read(_launcher.StandardError));
    }

    /// <summary>Both streams so far.</summary>
    internal string Text
    {
        get
        {
            lock (_text) return _text.ToString();
        }
    }

    internal int Code => _launcher.ExitCode;

    internal bool HasExited => _launcher.HasExited;

    /// <summary>The processes of the ranks; a rank's process is its place.</summary>
    internal int[] Processes(int ranks)
    {
        RankProcesses.Until(() => RankProcesses.Ranks(_launcher.Id).Count == ranks, TimeSpan.FromSeconds(60), () => Text);
        return [.. RankProcesses.Ranks(_launcher.Id).OrderBy(one => one.Rank).Select(one => one.Process)];
    }

    /// <summary>Waits for the end of mpirun and of both streams.</summary>
    internal void Wait(TimeSpan limit)
    {
        Assert.True(_launcher.WaitForExit(limit), $"mpirun was still running after {limit}.\n{Text}");
        Assert.True(((IAsyncResult)_reading).AsyncWaitHandle.WaitOne(TimeSpan.FromSeconds(20)), $"The streams did not end: somebody holds them.\n{Text}");
    }

    public void Dispose()
    {
        if (!_launcher.HasExited) _launcher.Kill(entireProcessTree: true);
        _launcher.Dispose();
    }

    Task Read(StreamReader reader) => Task.Run(() =>
    {
        while (reader.ReadLine() is { } line)
            lock (_text) _text.AppendLine(line);
    });
}
