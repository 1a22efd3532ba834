namespace Hadal.Server.Database;

/// <summary>Files and folders that only their owner may read (mode 600 and 700; on Windows the user's profile protects them).</summary>
static class PrivateFiles
{
    public static void CreateFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
            return;
        }

        Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    /// <summary>Appends text; a new file is private from its first byte on.</summary>
    public static void Append(string path, string text)
    {
        var options = new FileStreamOptions { Mode = FileMode.Append, Access = FileAccess.Write, Share = FileShare.Read };
        if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        using var writer = new StreamWriter(path, options);
        writer.Write(text);
    }

    /// <summary>Replaces a file whole.</summary>
    public static void Write(string path, string text)
    {
        string next = path + ".next";
        File.Delete(next);
        Append(next, text);
        File.Move(next, path, overwrite: true);
    }
}
