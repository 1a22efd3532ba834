namespace Hadal.Training;

/// <summary>Where state that can be made again is kept: <c>HADAL_HOME</c>, or <c>hadal</c> in the user's local application data.</summary>
public static class HadalHome
{
    /// <summary>The folder; it may not exist yet.</summary>
    public static string Folder
    {
        get
        {
            string? given = Environment.GetEnvironmentVariable("HADAL_HOME");
            if (!string.IsNullOrWhiteSpace(given)) return Path.GetFullPath(given);
            string local = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
            return Path.Combine(local.Length > 0 ? local : Path.GetTempPath(), "hadal");
        }
    }

    /// <summary>Tokenised texts.</summary>
    public static string TokenCache => Path.Combine(Folder, "tokens");
}
