namespace Hadal.Cli.Framework;

/// <summary>An error in the one style of this program: what was given, what was expected, how to fix it.</summary>
sealed class CommandError : Exception
{
    /// <summary>What would have been right; null when <see cref="Exception.Message"/> says it.</summary>
    public string? Expected { get; }

    /// <summary>What to do now; null when <see cref="Exception.Message"/> says it.</summary>
    public string? Fix { get; }

    /// <summary><see cref="ExitCode.Failed"/> or <see cref="ExitCode.WrongUse"/>.</summary>
    public int Code { get; }

    CommandError(int code, string given, string? expected, string? fix)
        : base(given)
    {
        Code = code;
        Expected = expected;
        Fix = fix;
    }

    /// <summary>The command line makes no sense: exit code 2.</summary>
    public static CommandError WrongUse(string given, string? expected = null, string? fix = null) => new(ExitCode.WrongUse, given, expected, fix);

    /// <summary>It was tried and failed: exit code 1.</summary>
    public static CommandError Failed(string given, string? expected = null, string? fix = null) => new(ExitCode.Failed, given, expected, fix);
}
