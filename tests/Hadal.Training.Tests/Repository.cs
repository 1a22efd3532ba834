namespace Hadal.Training.Tests;

/// <summary>Files of the repository that tests read.</summary>
static class Repository
{
    /// <summary>The folder that holds Hadal.slnx, found upwards from the test program.</summary>
    internal static string Root { get; } = Find();

    static string Find()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
            if (File.Exists(Path.Combine(folder.FullName, "Hadal.slnx"))) return folder.FullName;
        throw new InvalidOperationException($"Hadal.slnx was not found above {AppContext.BaseDirectory}.");
    }
}
