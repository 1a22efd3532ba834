using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Tensors;
using Hadal.Tensors.Conformance;

namespace Hadal.Cli.Diagnosis;

/// <summary>The examination behind <c>hadal doctor</c>.</summary>
static class Doctor
{
    const long OneGiB = 1L << 30;

    /// <summary>All checks, in the order they are shown.</summary>
    public static IEnumerable<Check> Examine(CancellationToken cancel)
    {
        yield return new Check("version", CheckState.Note, Version);
        yield return new Check("runtime", CheckState.Good, Machine.Runtime);
        yield return new Check("system", CheckState.Note, Machine.OperatingSystem);
        yield return new Check("processor", CheckState.Note, Machine.ProcessorName());
        yield return Vectors();
        yield return new Check("threads", CheckState.Good, Machine.Processors.ToString());
        yield return Memory();
        yield return Disk();
        foreach (Check gpu in Gpu.Examine()) yield return gpu;
        foreach (string name in Backends.Names) yield return Backend(name, cancel);
    }

    static string Version => typeof(Doctor).Assembly.GetName().Version?.ToString(3) ?? "unknown";

    static Check Vectors()
    {
        string sets = string.Join(", ", Machine.InstructionSets());
        return Machine.VectorBits >= 256
            ? new Check("vectors", CheckState.Good, $"{Machine.VectorBits} bits ({sets})")
            : new Check("vectors", CheckState.Warning, $"{Machine.VectorBits} bits ({sets}); everything runs, several times slower than with AVX2 or AVX-512"
                + (Machine.IsNative ? "; publish the native build with -p:IlcInstructionSet=x86-64-v4" : ""));
    }

    // Proof that a backend runs here: every operation against its definition.
    static Check Backend(string name, CancellationToken cancel)
    {
        using IBackend backend = Backends.Make(name);
        ConformanceResult[] results = [.. ConformanceSuite.Cases.Select(one =>
        {
            cancel.ThrowIfCancellationRequested();
            return ConformanceSuite.Run(backend, one);
        })];
        ConformanceResult[] failed = [.. results.Where(result => !result.Passed)];
        return failed.Length == 0
            ? new Check("backend " + name, CheckState.Good, $"{backend.Description}; ran {results.Length} conformance cases, all passed")
            : new Check("backend " + name, CheckState.Bad, $"{backend.Description}; {failed.Length} of {results.Length} conformance cases failed, the first: {failed[0]}");
    }

    static Check Memory() => Machine.MemoryBytes >= 2 * OneGiB
        ? new Check("memory", CheckState.Good, GiB(Machine.MemoryBytes))
        : new Check("memory", CheckState.Warning, $"{GiB(Machine.MemoryBytes)}; the quickstart wants 2 GiB");

    static Check Disk() => Machine.FreeBytes(".") switch
    {
        null => new Check("disk", CheckState.Note, "the system does not say how much is free in this folder"),
        >= OneGiB and long free => new Check("disk", CheckState.Good, $"{GiB(free)} free in this folder"),
        long free => new Check("disk", CheckState.Warning, $"{GiB(free)} free in this folder; a training run wants 1 GiB"),
    };

    static string GiB(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{(double)bytes / OneGiB:0.0} GiB");
}
