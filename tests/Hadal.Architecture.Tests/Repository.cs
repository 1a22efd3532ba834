using System.Diagnostics;

namespace Hadal.Architecture.Tests;

/// <summary>The working tree as git sees it.</summary>
static class Repository
{
    static readonly HashSet<string> BinaryExtensions = new(StringComparer.OrdinalIgnoreCase)
    {
        ".safetensors", ".png", ".br", ".xz", ".gz", ".bin", ".ico", ".gguf", ".zip",
    };

    /// <summary>The folder that holds Hadal.slnx, found upwards from the test binaries.</summary>
    public static string Root { get; } = Find();

    /// <summary>Paths relative to <see cref="Root"/>, with forward slashes: tracked files, and new ones that git does not ignore.</summary>
    public static IReadOnlyList<string> Files { get; } = List();

    /// <summary>Those of <see cref="Files"/> that hold text.</summary>
    public static IEnumerable<string> TextFiles => Files.Where(path => !BinaryExtensions.Contains(Path.GetExtension(path)));

    /// <summary>C# files below a folder of <see cref="Root"/>, for example <c>src/</c>.</summary>
    public static IEnumerable<string> CSharp(string below) =>
        Files.Where(path => path.StartsWith(below, StringComparison.Ordinal) && path.EndsWith(".cs", StringComparison.Ordinal));

    public static string Read(string path) => File.ReadAllText(Path.Combine(Root, path));

    static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) return folder.FullName;
        throw new InvalidOperationException($"Hadal.slnx was not found above {AppContext.BaseDirectory}.");
    }

    static List<string> List()
    {
        if (!Path.Exists(Path.Combine(Root, ".git"))) return Walk();
        var start = new ProcessStartInfo("git", ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        {
            WorkingDirectory = Root,
            RedirectStandardOutput = true,
            UseShellExecute = false,
        };
        using Process git = Process.Start(start)!;
        string output = git.StandardOutput.ReadToEnd();
        git.WaitForExit();
        if (git.ExitCode != 0) throw new InvalidOperationException($"git ls-files ended with code {git.ExitCode} in {Root}.");
        return [.. output.Split('\0', StringSplitOptions.RemoveEmptyEntries).Where(path => File.Exists(Path.Combine(Root, path))).Distinct(StringComparer.Ordinal)];
    }

    // An unpacked archive has no git: take every file outside the folders that builds and runs make.
    static List<string> Walk()
    {
        string[] made = ["artifacts", "models", "runs-out", "node_modules", "bin", "obj"];
        return [.. Directory.EnumerateFiles(Root, "*", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(Root, path).Replace('\\', '/'))
            .Where(path => !path.Split('/').Any(made.Contains))];
    }
}
