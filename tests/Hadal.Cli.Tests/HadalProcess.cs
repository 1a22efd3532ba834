using System.Diagnostics;
using System.Text;

namespace Hadal.Cli.Tests;

/// <summary>What a run of the built command left behind.</summary>
sealed record Outcome(int Code, string Output, string Error)
{
    /// <summary>Both streams, for messages of failing tests.</summary>
    public override string ToString() => $"exit code {Code}\nstandard output:\n{Output}\nstandard error:\n{Error}";
}

/// <summary>Runs the built <c>hadal</c> as a process, as a user would.</summary>
static class HadalProcess
{
    /// <summary>The command beside the test program.</summary>
    public static string Executable { get; } = Path.Combine(AppContext.BaseDirectory, OperatingSystem.IsWindows() ? "hadal.exe" : "hadal");

    /// <summary>The repository, found upwards from the test program.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>A folder of the fixtures: <c>base</c>, <c>yarn</c> or <c>noqlora</c>.</summary>
    public static string Fixture(string name) => Path.Combine(Root, "tests", "fixtures", "hf-deepseek-v3", name);

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
        var start = new ProcessStartInfo(Executable, arguments)
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
        foreach ((string name, string value) in setting.Environment) start.Environment[name] = value;
        return Process.Start(start)!;
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

    public TimeSpan Limit { get; init; } = TimeSpan.FromMinutes(3);

    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);
}

/// <summary>A folder of its own for one test, removed afterwards.</summary>
sealed class Scratch : IDisposable
{
    public string Folder { get; } = Directory.CreateTempSubdirectory("hadal-cli-").FullName;

    public string this[string name] => Path.Combine(Folder, name);

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
