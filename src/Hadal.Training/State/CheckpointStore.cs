using System.Globalization;

namespace Hadal.Training.State;

/// <summary>
/// Checkpoints of a run: folders <c>step-00000042</c>, each with a <see cref="CheckpointManifest"/> of its files and their checksums, and a file <c>latest</c> that
/// names one. A checkpoint is written into a folder of another name, flushed, then renamed; <c>latest</c> is replaced after that; old checkpoints are deleted last.
/// Whatever happens on the way, the previous checkpoint stays as it was.
/// </summary>
/// <param name="folder">Holds the checkpoints; made when needed.</param>
/// <param name="keep">Checkpoints that are kept.</param>
public sealed class CheckpointStore(string folder, int keep)
{
    const string Prefix = "step-", Unfinished = ".tmp", Latest = "latest";

    /// <summary>Where the checkpoints are.</summary>
    public string Folder { get; } = folder;

    /// <summary>Bytes free on the disk of a folder; replaced in tests. Null when unknown.</summary>
    internal Func<string, long?> FreeBytes { get; set; } = MeasureFreeBytes;

    /// <summary>Refuses a run whose checkpoints will not fit on the disk, before it begins.</summary>
    /// <param name="bytes">About how much one checkpoint takes; all that are kept, one being written and the exported model count.</param>
    /// <exception cref="TrainingStateException">Not enough room.</exception>
    public void RequireRoom(long bytes)
    {
        long needed = bytes * (keep + 2);
        string place = Path.GetDirectoryName(Path.GetFullPath(Folder))!;
        if (FreeBytes(place) is long free && free < needed)
            Throw.State($"The run will need about {needed >> 20} MiB for its checkpoints and '{place}' has {free >> 20} MiB free.", "Free some space, keep fewer checkpoints (checkpoint.keep), or write to another disk (output).");
    }

    /// <summary>Writes one checkpoint.</summary>
    /// <param name="step">Names it.</param>
    /// <param name="bytes">About how much it will take; checked against the free space first.</param>
    /// <param name="write">Writes the files into the folder it is given.</param>
    /// <returns>The folder of the checkpoint.</returns>
    /// <exception cref="TrainingStateException">Not enough room, or the disk refused. The previous checkpoint is unchanged.</exception>
    public string Save(long step, long bytes, Action<string> write)
    {
        string final = PathOf(step), temporary = final + Unfinished;
        try
        {
            Directory.CreateDirectory(Folder);
            if (FreeBytes(Folder) is long free && free < bytes + (bytes / 20))
                Throw.State($"A checkpoint of step {step} needs about {bytes >> 20} MiB and '{Folder}' has {free >> 20} MiB free.", "Free some space or write to another disk (output); the previous checkpoint is unchanged.");
            foreach (string torn in Directory.EnumerateDirectories(Folder, Prefix + "*" + Unfinished)) Directory.Delete(torn, recursive: true);
            Directory.CreateDirectory(temporary);
            write(temporary);
            CheckpointManifest.Write(temporary);
            if (Directory.Exists(final)) Directory.Delete(final, recursive: true);
            Directory.Move(temporary, final);
            Point(Path.GetFileName(final));
            foreach (string old in Newest().Skip(keep).ToArray()) Directory.Delete(old, recursive: true);
            return final;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentOutOfRangeException)
        {
            // The last of them: a file beyond the size that file system or process may have.
            TryDelete(temporary);
            Throw.State($"The checkpoint of step {step} could not be written to '{Folder}': {exception.Message}", "Free some space, or write to another disk (output); the previous checkpoint is unchanged.", exception);
            return "";
        }
        catch
        {
            TryDelete(temporary);
            throw;
        }
    }

    /// <summary>The folder of a step's checkpoint.</summary>
    internal string PathOf(long step) => Path.Combine(Folder, Prefix + step.ToString("D8", CultureInfo.InvariantCulture));

    /// <summary>The newest checkpoint whose files are all there and unchanged, or null when there is none.</summary>
    /// <param name="report">Receives one line for each newer checkpoint that is damaged.</param>
    public string? FindUsable(Action<string> report)
    {
        foreach (string candidate in Newest())
        {
            string? problem = CheckpointManifest.Verify(candidate);
            if (problem is null) return candidate;
            report($"The checkpoint '{candidate}' is damaged ({problem}) and is left alone; the one before it is used, if there is one.");
        }

        return null;
    }

    /// <summary>Whether any checkpoint exists, damaged or not.</summary>
    public bool Any => Newest().Any();

    /// <summary>Folders of checkpoints from the newest to the oldest.</summary>
    IEnumerable<string> Newest()
    {
        if (!Directory.Exists(Folder)) return [];
        return Directory.EnumerateDirectories(Folder, Prefix + "*").Where(d => StepOf(d) >= 0).OrderByDescending(StepOf);
    }

    /// <summary>The step a checkpoint's folder is named after; −1 for another folder.</summary>
    internal static long StepOf(string path) =>
        long.TryParse(Path.GetFileName(path.AsSpan())[Prefix.Length..], NumberStyles.None, CultureInfo.InvariantCulture, out long step) ? step : -1;

    void Point(string name)
    {
        string path = Path.Combine(Folder, Latest), temporary = path + Unfinished;
        using (var file = new FileStream(temporary, FileMode.Create, FileAccess.Write))
        {
            file.Write(System.Text.Encoding.UTF8.GetBytes(name + "\n"));
            file.Flush(flushToDisk: true);
        }

        File.Move(temporary, path, overwrite: true);
    }

    static void TryDelete(string path)
    {
        try
        {
            if (Directory.Exists(path)) Directory.Delete(path, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // What is left has an unfinished name: no load looks at it, and the next save removes it.
        }
    }

    static long? MeasureFreeBytes(string path)
    {
        try
        {
            return new DriveInfo(Path.GetFullPath(path)).AvailableFreeSpace;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
