using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;

namespace Hadal.Cli.Tests;

/// <summary>What a run of the built command left behind.</summary>
sealed record Outcome(int Code, string Output, string Error)
{
    /// <summary>Both streams, for messages of failing tests.</summary>
    public override string ToString() => $"exit code {Code}\nstandard output:\n{Output}\nstandard error:\n{Error}";
}

/// <summary>Runs the built <c>hadal</c> as a process, as a user would.</summary>
static partial class HadalProcess
{
    /// <summary>The command beside the test program.</summary>
    public static string Executable { get; } = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "hadal.exe" : "hadal");

    /// <summary>The repository, found upwards from the test program.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>A folder of the fixtures: <c>base</c>, <c>yarn</c> or <c>noqlora</c>.</summary>
    public static string Fixture(string name) => Path.Combine(Root, "tests", "fixtures", "hf-deepseek-v3", name);

    /// <summary>A folder of the fixtures of other variants: <c>fp8</c>, <c>f16</c>, <c>bf16-sharded-mtp</c>, <c>v2-softmax</c>, <c>v2-groups</c>, <c>tied-dense</c>.</summary>
    public static string Extra(string name) => Path.Combine(Root, "tests", "fixtures", "hf-extra", name);

    /// <summary>
    /// Runs a command line inside the test's own process, which need not be started and compiled anew: for verbs of which neither the process is what is proved, nor
    /// standard input or the environment is read or changed.
    /// </summary>
    public static Outcome Inside(params string[] arguments)
    {
        using StringWriter output = new() { NewLine = "\n" }, error = new() { NewLine = "\n" };
        int code = CommandLine.Run(arguments, new Framework.Terminal(TextWriter.Synchronized(output), TextWriter.Synchronized(error)));
        return new Outcome(code, output.ToString(), error.ToString());
    }

    /// <summary>Runs to the end.</summary>
    public static Outcome Run(params string[] arguments) => Run(new Setting(), arguments);

    /// <summary>Runs to the end with another setting.</summary>
    public static Outcome Run(Setting setting, params string[] arguments)
    {
        using Process process = Start(setting, arguments);
        var output = new StringBuilder();
        var error = new StringBuilder();
        Task reading = Task.WhenAll(Drain(process.StandardOutput, output), Drain(process.StandardError, error));
        if (setting.Input is not null) process.StandardInput.Write(setting.Input);
        process.StandardInput.Close();
        if (!process.WaitForExit(setting.Limit))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"hadal {string.Join(' ', arguments)} was still running after {setting.Limit}.\n{output}\n{error}");
        }

        reading.Wait();
        return new Outcome(process.ExitCode, output.ToString(), error.ToString());
    }

    /// <summary>Starts and returns at once; the caller reads, signals and disposes.</summary>
    public static Process Start(Setting setting, params string[] arguments)
    {
        string hadal = setting.Program ?? Executable;

        // A limit on the size of files is the one full disk that needs neither root nor a mount: the write that crosses it fails in the kernel.
        (string program, string[] line) = setting.LargestFileKiB is { } limit
            ? ("bash", ["-c", $"trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\"", hadal, .. arguments])
            : (hadal, arguments);
        var start = new ProcessStartInfo(program, line)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            StandardErrorEncoding = Encoding.UTF8,
            WorkingDirectory = setting.Folder ?? Root,
        };
        start.Environment.Remove("HADAL_DEBUG");

        // Most of a short run is compilation. No result depends on these, and a user's run has neither.
        start.Environment["DOTNET_TieredPGO"] = "0";
        start.Environment["DOTNET_TC_QuickJitForLoops"] = "1";
        if (setting.LargestFileKiB is not null) start.Environment["DOTNET_EnableWriteXorExecute"] = "0"; // the runtime's own large mapping is a file too
        foreach ((string name, string value) in setting.Environment) start.Environment[name] = value;
        return Process.Start(start)!;
    }

    /// <summary>Waits, at most a minute, until the process takes Ctrl-C itself: before that the signal ends it without a word.</summary>
    public static void AwaitHandler(Process process)
    {
        string threads = $"/proc/{process.Id}/task";
        for (int round = 0; round < 3000 && !process.HasExited; round++)
        {
            try
            {
                // The runtime starts this thread for the first handler.
                if (Directory.EnumerateDirectories(threads).Any(thread => File.ReadAllText(thread + "/comm").StartsWith(".NET SigHandler", StringComparison.Ordinal))) return;
            }
            catch (IOException)
            {
                // A thread ended between the two.
            }

            Thread.Sleep(20);
        }

        Assert.Fail("hadal never listened for Ctrl-C.");
    }

    /// <summary>Sends a signal by its name, such as INT or KILL.</summary>
    public static void Signal(Process process, string name)
    {
        int number = name switch { "INT" => 2, "KILL" => 9, "TERM" => 15, _ => throw new ArgumentOutOfRangeException(nameof(name), name, "expected INT, KILL or TERM") };
        _ = Kill(process.Id, number); // one that has ended hears nothing
    }

    // At once: the start of another program takes long enough on a busy machine for a short run to end.
    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);

    /// <summary>Runs until <paramref name="when"/> sees a line of standard error, sends the signal, and waits for the end.</summary>
    public static Outcome RunAndSignal(Setting setting, string signal, Func<string, bool> when, params string[] arguments)
    {
        using Process process = Start(setting, arguments);
        process.StandardInput.Close();
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        var error = new StringBuilder();
        bool sent = false;
        using var limit = new Timer(_ => process.Kill(entireProcessTree: true), null, setting.Limit, Timeout.InfiniteTimeSpan);
        while (process.StandardError.ReadLine() is { } line)
        {
            error.Append(line).Append('\n');
            if (sent || !when(line)) continue;
            Signal(process, signal);
            sent = true;
        }

        if (!process.WaitForExit(setting.Limit)) throw new TimeoutException($"hadal {string.Join(' ', arguments)} was still running after {setting.Limit}.\n{error}");
        Assert.True(sent, $"The line that was waited for did not come.\n{error}");
        return new Outcome(process.ExitCode, output.Result, error.ToString());
    }

    static async Task Drain(StreamReader reader, StringBuilder into)
    {
        var buffer = new char[4096];
        for (int read; (read = await reader.ReadAsync(buffer)) > 0;) into.Append(buffer, 0, read);
    }

    static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) return folder.FullName;
        throw new InvalidOperationException($"Hadal.slnx was not found above {AppContext.BaseDirectory}.");
    }
}

/// <summary>How a run differs from the usual one.</summary>
sealed record Setting
{
    public string? Input { get; init; }

    public string? Folder { get; init; }

    /// <summary>Another build of the command; null for the one beside the tests.</summary>
    public string? Program { get; init; }

    /// <summary>No file may grow beyond this; null for no limit.</summary>
    public int? LargestFileKiB { get; init; }

    public TimeSpan Limit { get; init; } = TimeSpan.FromMinutes(10);

    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);
}

/// <summary>A folder of its own for one test, removed afterwards.</summary>
sealed class Scratch : IDisposable
{
    public string Folder { get; } = Directory.CreateTempSubdirectory("hadal-cli-").FullName;

    public string this[string name] => Path.Combine(Folder, name);

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
