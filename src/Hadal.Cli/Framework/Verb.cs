using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;

namespace Hadal.Cli.Framework;

/// <summary>A command that knows examples of its use; its help shows them.</summary>
sealed class Verb : Command
{
    /// <summary>A verb without an action of its own when it holds others.</summary>
    /// <param name="name">What the user types.</param>
    /// <param name="description">One sentence or a few.</param>
    /// <param name="examples">Whole command lines, each ready to be typed.</param>
    public Verb(string name, string description, params string[] examples)
        : base(name, description)
    {
        Examples = examples;
    }

    /// <summary>Whole command lines, each ready to be typed.</summary>
    public IReadOnlyList<string> Examples { get; }

    /// <summary>This verb and those inside it.</summary>
    public IEnumerable<Verb> WithInner() => Subcommands.OfType<Verb>().SelectMany(verb => verb.WithInner()).Prepend(this);
}

/// <summary>What a verb is given beside its options.</summary>
/// <param name="Terminal">The two streams.</param>
/// <param name="Interruption">Ctrl-C.</param>
sealed record Context(Terminal Terminal, Interruption Interruption)
{
    /// <summary>Cancelled by the first Ctrl-C.</summary>
    public CancellationToken Cancellation => Interruption.Token;

    /// <summary>What <c>--threads</c> asked for, over a file's; null when it was not given.</summary>
    public int? Threads { get; set; }
}

/// <summary>The usual help, then the verb's examples and the exit codes.</summary>
/// <param name="usual">The help without them.</param>
/// <param name="beginning">Command lines to begin with, for the help of the command itself.</param>
sealed class HelpWithExamples(HelpAction usual, params string[] beginning) : SynchronousCommandLineAction
{
    /// <inheritdoc/>
    public override bool Terminating => true;

    /// <inheritdoc/>
    public override bool ClearsParseErrors => true;

    /// <inheritdoc/>
    public override int Invoke(ParseResult parseResult)
    {
        usual.Invoke(parseResult);
        TextWriter output = parseResult.InvocationConfiguration.Output;
        IReadOnlyList<string> examples = parseResult.CommandResult.Command is Verb verb ? verb.Examples : beginning;
        if (examples.Count > 0)
        {
            output.WriteLine(examples.Count == 1 ? "Example:" : "Examples:");
            foreach (string example in examples) output.WriteLine("  " + example);
            output.WriteLine();
        }

        output.WriteLine("Exit codes: 0 fine, 1 failed, 2 wrong use, 130 interrupted. HADAL_DEBUG=1 adds stack traces to errors.");
        return ExitCode.Fine;
    }
}
