namespace Hadal.Cli.Framework;

/// <summary>Words for what the parser refuses, in the one style of errors.</summary>
static class OptionError
{
    // Our own option parsers put what was given and what was expected into the parser's one string.
    const char Separator = '\n';

    /// <summary>The message of an option parser.</summary>
    public static string Message(string given, string expected) => given + Separator + expected;

    /// <summary>The error of a line that the parser refused.</summary>
    public static CommandError Report(string message, string command)
    {
        string[] parts = message.Split(Separator, 2);
        return CommandError.WrongUse(parts[0], parts.Length > 1 ? parts[1] : null, $"{command} --help lists the options and shows examples");
    }
}
