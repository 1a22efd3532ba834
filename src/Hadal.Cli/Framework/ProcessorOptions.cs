using System.CommandLine;
using System.Globalization;
using Hadal.Tensors.Cpu;

namespace Hadal.Cli.Framework;

/// <summary>
/// <c>--threads</c> and <c>--isa</c> of every verb that computes. They stand for HADAL_THREADS and HADAL_ISA, over both of them; no result depends on either.
/// </summary>
static class ProcessorOptions
{
    const string ThreadsName = "--threads", InstructionSetName = "--isa";

    /// <summary>Adds both to each verb that has a choice of backend.</summary>
    public static void AddTo(RootCommand root)
    {
        foreach (Verb verb in root.Subcommands.OfType<Verb>().SelectMany(verb => verb.WithInner()).Where(verb => verb.Options.Any(option => option.Name is "--backend"))) AddTo(verb);
    }

    /// <summary>Adds both to a verb.</summary>
    public static void AddTo(Verb verb)
    {
        verb.Add(Options.OptionalInteger(ThreadsName, $"Threads of the cpu backend; no result depends on it. [default: {CpuOptions.ThreadsVariable}, else one per processor]", 1, CpuThreads.MaximumCount));
        verb.Add(Options.OptionalChoice(InstructionSetName, $"Vector instructions of the cpu backend; no result depends on it. [default: {CpuOptions.InstructionSetVariable}, else the widest of this machine]",
            [.. Enum.GetValues<InstructionSet>().Select(InstructionSets.Name)]));
    }

    /// <summary>Makes what was given hold for this process, wherever a backend is made.</summary>
    /// <exception cref="CommandError">The machine lacks the instruction set.</exception>
    public static void Apply(ParseResult line, Context context)
    {
        Command verb = line.CommandResult.Command;
        if (!verb.Options.Any(option => option.Name is InstructionSetName)) return;
        if (line.GetValue<int?>(ThreadsName) is { } threads)
        {
            context.Threads = threads;
            Environment.SetEnvironmentVariable(CpuOptions.ThreadsVariable, threads.ToString(CultureInfo.InvariantCulture));
        }

        if (line.GetValue<string?>(InstructionSetName) is not { } name) return;
        if (!InstructionSets.Available.Any(set => string.Equals(InstructionSets.Name(set), name, StringComparison.Ordinal)))
            throw CommandError.Failed($"{InstructionSetName} was given \"{name}\", which this machine lacks.", $"one of {string.Join(", ", InstructionSets.Available.Select(InstructionSets.Name))}");
        Environment.SetEnvironmentVariable(CpuOptions.InstructionSetVariable, name);
    }
}
