using Hadal.Formats;

namespace Hadal.Model.Conversion;

/// <summary>A directory in the public layout as a whole: which of its files belong to a model, and how one appears or replaces another at once.</summary>
static class ModelDirectory
{
    const string Configuration = "config.json", Partial = ".partial", Replaced = ".replaced";

    static readonly string[] Prefixes = ["tokenizer", "special_tokens_map", "added_tokens", "vocab", "merges", "generation_config", "chat_template", "LICENSE", "NOTICE", "README"];
    static readonly string[] Endings = [".md", ".jinja", ".py"];

    /// <summary>Files that go with the weights: tokenizer, chat template, licence, documentation.</summary>
    internal static string[] SideFiles(string directory) =>
        [.. Directory.EnumerateFiles(directory).Where(IsSideFile).OrderBy(Path.GetFileName, StringComparer.Ordinal)];

    /// <summary>Refuses a destination whose content could be lost.</summary>
    /// <exception cref="IOException">Something is there that may not be replaced; the message names it.</exception>
    internal static void RequireReplaceable(string source, string destination, bool overwrite)
    {
        if (File.Exists(destination)) throw new IOException($"{destination} is a file. Choose a directory that is not there yet.");
        if (string.Equals(Resolve(source), Resolve(destination), StringComparison.Ordinal))
            throw new IOException($"{destination} is the directory to be read. Choose another one; a checkpoint is not converted in place.");
        if (!Directory.Exists(destination)) return;
        string? other = Directory.EnumerateFileSystemEntries(destination).FirstOrDefault(path => !IsModelFile(path));
        if (other is not null)
            throw new IOException($"{destination} holds '{Path.GetFileName(other)}', which is no part of a converted model and would be lost. Choose another directory, or move it away.");
        if (!overwrite && Directory.EnumerateFileSystemEntries(destination).Any())
            throw new IOException($"{destination} holds a model already. Choose another directory, or allow it to be replaced (--force).");
    }

    /// <summary>A fresh directory beside the destination; what a killed process left there is removed.</summary>
    internal static string CreatePartial(string destination)
    {
        string partial = Path.TrimEndingDirectorySeparator(Path.GetFullPath(destination)) + Partial;
        if (Directory.Exists(partial)) Directory.Delete(partial, recursive: true);
        Directory.CreateDirectory(partial);
        return partial;
    }

    /// <summary>Makes a complete partial directory appear under its name.</summary>
    internal static void Publish(string partial, string destination)
    {
        string place = Path.TrimEndingDirectorySeparator(Path.GetFullPath(destination));
        if (!Directory.Exists(place))
        {
            Directory.Move(partial, place);
            return;
        }

        string old = place + Replaced;
        if (Directory.Exists(old)) Directory.Delete(old, recursive: true);
        Directory.Move(place, old);
        try
        {
            Directory.Move(partial, place);
        }
        catch
        {
            Directory.Move(old, place);
            throw;
        }

        Directory.Delete(old, recursive: true);
    }

    /// <summary>Removes a partial directory; the first error is the one to tell.</summary>
    internal static void TryDelete(string partial)
    {
        try
        {
            if (Directory.Exists(partial)) Directory.Delete(partial, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The next conversion to this place removes it.
        }
    }

    static bool IsModelFile(string path)
    {
        string name = Path.GetFileName(path);
        return File.Exists(path) && (name is Configuration or Checkpoint.IndexFileName || name.EndsWith(".safetensors", StringComparison.Ordinal)
            || name.EndsWith(AtomicFile.PartialSuffix, StringComparison.Ordinal) || IsSideFile(path));
    }

    static bool IsSideFile(string path)
    {
        string name = Path.GetFileName(path);
        return Array.Exists(Prefixes, prefix => name.StartsWith(prefix, StringComparison.Ordinal)) || Array.Exists(Endings, ending => name.EndsWith(ending, StringComparison.Ordinal));
    }

    // Links are followed, so that two names of one directory are recognised.
    static string Resolve(string path)
    {
        string full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        return Directory.Exists(full) ? new DirectoryInfo(full).ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? full : full;
    }
}
