using System.Globalization;

namespace Hadal.Tensors.Cpu;

/// <summary>How the CPU backend runs. Neither value changes a bit of any result.</summary>
/// <param name="Threads">Threads that share the work, the caller included; at least 1.</param>
/// <param name="InstructionSet">Vector instructions; must be available on this machine.</param>
public sealed record CpuOptions(int Threads, InstructionSet InstructionSet)
{
    /// <summary>Environment variable with the number of threads.</summary>
    public const string ThreadsVariable = "HADAL_THREADS";

    /// <summary>Environment variable with the instruction set: <c>scalar</c>, <c>128</c>, <c>256</c> or <c>512</c>.</summary>
    public const string InstructionSetVariable = "HADAL_ISA";

    /// <summary>What the environment asks for: <c>HADAL_THREADS</c> (else one per processor) and <c>HADAL_ISA</c> (else the best).</summary>
    /// <exception cref="ArgumentException">A variable does not hold a value of its kind.</exception>
    /// <exception cref="NotSupportedException">The machine lacks the instruction set.</exception>
    public static CpuOptions FromEnvironment() =>
        Parse(Environment.GetEnvironmentVariable(ThreadsVariable), Environment.GetEnvironmentVariable(InstructionSetVariable));

    /// <summary>Reads both values as the environment writes them; null or empty means the default.</summary>
    /// <inheritdoc cref="FromEnvironment" path="/exception"/>
    public static CpuOptions Parse(string? threads, string? instructionSet)
    {
        int count = Environment.ProcessorCount;
        if (!string.IsNullOrEmpty(threads)
            && (!int.TryParse(threads, NumberStyles.None, CultureInfo.InvariantCulture, out count) || count is < 1 or > CpuThreads.MaximumCount))
        {
            throw new ArgumentException(
                $"{ThreadsVariable} is '{threads}'; expected a whole number from 1 to {CpuThreads.MaximumCount} (unset means one per processor, here {Environment.ProcessorCount}).",
                nameof(threads));
        }

        return new CpuOptions(
            Math.Min(count, CpuThreads.MaximumCount),
            string.IsNullOrEmpty(instructionSet) ? InstructionSets.Best : Set(instructionSet));
    }

    static InstructionSet Set(string name)
    {
        try
        {
            return InstructionSets.Parse(name);
        }
        catch (ArgumentException exception)
        {
            throw new ArgumentException($"{InstructionSetVariable}: {exception.Message}", exception);
        }
    }
}
