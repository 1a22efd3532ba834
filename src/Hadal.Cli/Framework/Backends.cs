using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Reference;

namespace Hadal.Cli.Framework;

/// <summary>Backends by the name a user types; what runs where is said on standard error, never chosen silently.</summary>
static class Backends
{
    /// <summary>Makes the backend and says so.</summary>
    public static IBackend Create(string name, int threads, Terminal terminal)
    {
        IBackend backend = name switch
        {
            "cpu" => new CpuBackend(threads > 0 ? CpuOptions.FromEnvironment() with { Threads = threads } : null),
            "reference" => new ReferenceBackend(),
            _ => throw CommandError.WrongUse($"There is no backend \"{name}\".", "reference"),
        };
        terminal.Error.WriteLine($"backend: {backend.Name} ({backend.Description})");
        return backend;
    }
}
