namespace Hadal.Cli.Framework;

/// <summary>What <c>hadal</c> tells the program that started it.</summary>
static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Fine = 0;

    /// <summary>Tried and failed: a bad file, a full disk, a check that did not hold.</summary>
    public const int Failed = 1;

    /// <summary>Not tried: the command line makes no sense.</summary>
    public const int WrongUse = 2;

    /// <summary>Stopped by Ctrl-C (or SIGTERM) after saving what can be saved.</summary>
    public const int Interrupted = 130;
}
