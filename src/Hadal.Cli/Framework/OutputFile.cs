namespace Hadal.Cli.Framework;

/// <summary>Files that a verb is going to write: nothing that exists is replaced unless the user says so.</summary>
static class OutputFile
{
    /// <summary>The switch that allows it.</summary>
    public static System.CommandLine.Option<bool> Force() => Options.Switch("--force", "Replace the output when it exists already.");

    /// <summary>Refuses, before any computation, a path at which no file can be written; an existing file may be replaced.</summary>
    /// <param name="path">The file.</param>
    /// <param name="option">The option it was given to, for the message.</param>
    public static void Require(string path, string option)
    {
        string full = Path.GetFullPath(path), folder = Path.GetDirectoryName(full) ?? full;
        if (Directory.Exists(full) || Path.EndsInDirectorySeparator(path)) throw CommandError.Failed($"{path} is a folder.", $"a file to be written, for {option}", "name a file inside it");
        if (!Directory.Exists(folder)) throw CommandError.Failed($"There is no folder {folder} for the file of {option}.", "a file in a folder that exists", "make the folder, or choose another path");
    }

    /// <summary>Settles where the file goes and refuses what is there already.</summary>
    /// <param name="given">A file, or a folder that gets a file of the usual name.</param>
    /// <param name="usualName">Name inside a folder.</param>
    /// <param name="force">Whether an existing file may be replaced.</param>
    /// <returns>The path; its folder exists.</returns>
    public static string Prepare(string given, string usualName, bool force)
    {
        string path = Directory.Exists(given) || Path.EndsInDirectorySeparator(given) ? Path.Combine(given, usualName) : given;
        if (Directory.Exists(path)) throw CommandError.Failed($"{path} is a folder.", "a file to be written", "choose another --output");
        if (File.Exists(path) && !force) throw CommandError.Failed($"{path} exists already.", "a file that is not there yet", "choose another --output, or replace the file with --force");
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        return path;
    }
}
