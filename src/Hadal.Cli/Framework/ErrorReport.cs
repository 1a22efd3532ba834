using System.Text.RegularExpressions;

namespace Hadal.Cli.Framework;

/// <summary>Turns an exception into the lines a person reads on standard error, and into an exit code. No stack trace unless HADAL_DEBUG=1.</summary>
static partial class ErrorReport
{
    static bool Debug => Environment.GetEnvironmentVariable("HADAL_DEBUG") is "1";

    /// <summary>Writes the report and returns the exit code.</summary>
    public static int Write(string command, Exception exception, TextWriter error)
    {
        Exception cause = Unwrap(exception);
        CommandError report = cause as CommandError ?? Describe(cause);
        Write(command, report, error);
        if (Debug) error.WriteLine(exception);
        return report.Code;
    }

    /// <summary>Writes one error in the one style.</summary>
    public static void Write(string command, CommandError report, TextWriter error)
    {
        error.WriteLine($"{command}: error: {report.Message}");
        if (report.Expected is not null) error.WriteLine($"  expected: {report.Expected}");
        if (report.Fix is not null) error.WriteLine($"  to fix:   {report.Fix}");
    }

    static Exception Unwrap(Exception exception)
    {
        while (exception is AggregateException or TypeInitializationException && exception.InnerException is { } inner) exception = inner;
        return exception;
    }

    // The rooms below write messages that say what was given, what was expected and how to fix it; here only the base library's own
    // exceptions need words.
    static CommandError Describe(Exception cause) => cause switch
    {
        FileNotFoundException or DirectoryNotFoundException => CommandError.Failed(Text(cause), fix: "check the spelling of the path; relative paths start in the current folder"),
        UnauthorizedAccessException => CommandError.Failed(Text(cause), fix: "check who owns the file or folder and whether it may be read or written"),
        IOException or ArgumentOutOfRangeException when IsDiskFull(cause) => CommandError.Failed(Text(cause), fix: "free some space on that disk, then run the same command again"),
        OutOfMemoryException => CommandError.Failed("There is not enough memory for this.", fix: "use a smaller model, batch or sequence length, or a machine with more memory"),
        NullReferenceException or IndexOutOfRangeException or InvalidCastException or AccessViolationException or KeyNotFoundException =>
            CommandError.Failed($"This is a fault in hadal itself ({cause.GetType().Name}: {cause.Message})", fix: "run the same command with HADAL_DEBUG=1 and report what it prints"),
        _ => CommandError.Failed(Text(cause)),
    };

    // On Unix ENOSPC is 28, a quota 122 (Linux) or 69 (macOS); Windows says ERROR_DISK_FULL (112) in the low word. A file that grows beyond what its file system
    // or the process may have (EFBIG) comes as an exception about an argument.
    static bool IsDiskFull(Exception cause) => cause is ArgumentOutOfRangeException
        ? cause.Message.StartsWith("Specified file length was too large", StringComparison.Ordinal)
        : cause.HResult is 28 or 122 or 69 || (cause.HResult & 0xFFFF) is 112 or 39;

    /// <summary>An exception's message without the name of a parameter, which means nothing to a user.</summary>
    public static string Text(Exception cause) => ParameterSuffix().Replace(cause.Message, "");

    [GeneratedRegex(@"\s*\(Parameter '[^']*'\)")]
    private static partial Regex ParameterSuffix();
}
