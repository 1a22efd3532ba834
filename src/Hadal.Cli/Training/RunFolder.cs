using Hadal.Cli.Framework;
using Hadal.Training;

namespace Hadal.Cli.Training;

/// <summary>The output folder of verbs that make their run themselves.</summary>
static class RunFolder
{
    /// <summary>What to do with a folder that cannot be gone on with.</summary>
    public const string TrainAnew = "--again trains anew and keeps the folder under another name";

    /// <summary>The run that was interrupted in a folder, which goes on as it began, whatever the defaults are now; null for none.</summary>
    /// <param name="folder">The output folder.</param>
    /// <param name="lengthGiven">Whether the user gave a length, which is not taken then.</param>
    /// <param name="context">For remarks.</param>
    public static RunConfiguration? Begun(string folder, bool lengthGiven, Context context)
    {
        string begun = Path.Combine(folder, "run.json");
        if (!File.Exists(begun) || !Directory.Exists(Path.Combine(folder, "checkpoints"))) return null;
        context.Terminal.Error.WriteLine($"{folder} holds an interrupted run: it goes on as {begun} says.{(lengthGiven ? " --steps and --minutes are not taken; --again trains anew with them." : "")}");
        var warnings = new List<string>();
        try
        {
            RunConfiguration run = RunConfiguration.Load(begun, warnings) with { Output = folder };
            ModelFolder.Warn(warnings, context);
            return run;
        }
        catch (RunConfigurationException exception)
        {
            throw CommandError.Failed(exception.Message, fix: $"correct the file, or {TrainAnew}");
        }
    }

    /// <summary>Renames a folder that would be trained into anew.</summary>
    public static void KeepAside(string folder, Context context)
    {
        if (!Directory.Exists(folder)) return;
        string kept = "";
        for (int n = 1; kept.Length == 0 || Directory.Exists(kept); n++) kept = $"{Path.TrimEndingDirectorySeparator(folder)}-before-{n}";
        Directory.Move(folder, kept);
        context.Terminal.Error.WriteLine($"{folder} is kept as {kept}");
    }
}
