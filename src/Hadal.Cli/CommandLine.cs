using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using Hadal.Cli.Framework;
using Hadal.Cli.Verbs;

namespace Hadal.Cli;

/// <summary>The command <c>hadal</c>: finds the verb, runs it, reports its errors.</summary>
static class CommandLine
{
    /// <summary>Every verb, in the order of the help.</summary>
    public static RootCommand Create(Context context)
    {
        var root = new RootCommand("Hadal trains DeepSeek-V3 models on your own text, looks into them, and talks to them. Pure C#, on any CPU.")
        {
            QuickstartVerb.Create(context),
            TrainVerb.Create(context),
            SftVerb.Create(context),
            EvalVerb.Create(context),
            ChatVerb.Create(context),
            GenerateVerb.Create(context),
#if SERVER
            ServeVerb.Create(context),
#endif
            InspectVerb.Create(context),
            TokenizerVerb.Create(context),
            ConvertVerb.Create(context),
            PlanVerb.Create(context),
            BenchVerb.Create(context),
            ExperimentVerb.Create(context),
            ConformanceVerb.Create(context),
            DoctorVerb.Create(context),
        };
        ProcessorOptions.AddTo(root);
        foreach (HelpOption help in root.Options.OfType<HelpOption>()) help.Action = new HelpWithExamples((HelpAction)help.Action!,
            "hadal quickstart", "hadal chat", "hadal train --example > run.json", "hadal train run.json", "hadal train --help");
        return root;
    }

    /// <summary>Runs one command line and returns the exit code.</summary>
    public static int Run(IReadOnlyList<string> arguments) => Run(arguments, new Terminal());

    /// <summary>Runs one command line on the given streams and returns the exit code.</summary>
    public static int Run(IReadOnlyList<string> arguments, Terminal terminal)
    {
        using var interruption = new Interruption();
        var context = new Context(terminal, interruption);
        RootCommand root = Create(context);
        ParseResult line = root.Parse(arguments, new ParserConfiguration { EnablePosixBundling = false, ResponseFileTokenReplacer = null });
        string command = NameOf(line.CommandResult);
        string? error = MissingVerb(line) ?? (line.Errors.Count > 0 ? line.Errors[0].Message : MistypedOption(line));
        if (error is not null)
        {
            ErrorReport.Write(command, OptionError.Report(error, command), terminal.Error);
            return ExitCode.WrongUse;
        }

        try
        {
            ProcessorOptions.Apply(line, context);
            return line.Invoke(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                ProcessTerminationTimeout = null,
                Output = terminal.Output,
                Error = terminal.Error,
            });
        }
        catch (OperationCanceledException) when (interruption.Token.IsCancellationRequested)
        {
            terminal.Error.WriteLine($"{command}: interrupted");
            return ExitCode.Interrupted;
        }
        catch (Exception exception)
        {
            return ErrorReport.Write(command, exception, terminal.Error);
        }
    }

    // Where verbs are inside, one of them must follow; the parser says only that something is missing.
    static string? MissingVerb(ParseResult line)
    {
        Command at = line.CommandResult.Command;
        if (at.Subcommands.Count == 0 || at.Action is not null || line.Errors.Count == 0) return null;
        string? word = line.UnmatchedTokens.FirstOrDefault();
        string given = word is null ? "No command was given." : word.StartsWith('-') ? $"{word} stands where a command belongs." : $"There is no command \"{word}\".{Meant(word, at)}";
        return OptionError.Message(given, $"one of {string.Join(", ", at.Subcommands.Select(verb => verb.Name))}");
    }

    // The command that is one or two letters away from what was typed.
    static string Meant(string word, Command at)
    {
        Command? nearest = at.Subcommands.MinBy(verb => Distance(word, verb.Name));
        return nearest is not null && Distance(word, nearest.Name) <= Math.Min(2, nearest.Name.Length / 3) ? $" Did you mean {nearest.Name}?" : "";
    }

    // Letters to change, add or take away.
    static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            (int diagonal, row[0]) = (row[0], i);
            for (int j = 1; j <= b.Length; j++)
                (diagonal, row[j]) = (row[j], Math.Min(Math.Min(row[j], row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)));
        }

        return row[^1];
    }

    // The parser takes an option it does not know for a file when a verb has files. After "--" everything is one.
    static string? MistypedOption(ParseResult line)
    {
        if (line.Tokens.Any(token => token.Type == TokenType.DoubleDash)) return null;
        string? word = line.CommandResult.Children.OfType<ArgumentResult>().SelectMany(argument => argument.Tokens).Select(token => token.Value).FirstOrDefault(value => value.StartsWith("--", StringComparison.Ordinal));
        return word is null ? null : OptionError.Message($"There is no option {word}.", "an option of this verb, or a file (after \"--\" when its name begins so)");
    }

    // "hadal tokenizer train", from the innermost verb outwards.
    static string NameOf(CommandResult result)
    {
        var names = new Stack<string>();
        for (SymbolResult? at = result; at is CommandResult command; at = at.Parent)
            names.Push(command.Command is RootCommand ? "hadal" : command.Command.Name);
        return string.Join(' ', names);
    }
}
