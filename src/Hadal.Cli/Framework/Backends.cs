using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Reference;

namespace Hadal.Cli.Framework;

/// <summary>Backends by the name a user types. There is no fallback: a name that is not here is refused.</summary>
static class Backends
{
    /// <summary>Names, the default first.</summary>
    public static string[] Names { get; } = ["cpu", "reference"];

    /// <summary>Makes the backend and says on standard error which one runs.</summary>
    public static IBackend Create(string name, Context context)
    {
        IBackend backend = Make(name);
        context.Terminal.SayBackend($"{backend.Name} ({backend.Description})");
        return backend;
    }

    /// <summary>Makes the backend; threads and instruction set of cpu come from <c>--threads</c> and <c>--isa</c>, else HADAL_THREADS and HADAL_ISA.</summary>
    /// <param name="threads">Threads of cpu instead; 0 for those of the environment.</param>
    public static IBackend Make(string name, int threads = 0) => name switch
    {
        "cpu" => new CpuBackend(threads > 0 ? CpuOptions.FromEnvironment() with { Threads = Math.Min(threads, CpuThreads.MaximumCount) } : null),
        "reference" => new ReferenceBackend(),
        _ => throw CommandError.WrongUse($"There is no backend \"{name}\".", $"one of {string.Join(", ", Names)}"),
    };
}
