using System.Diagnostics;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Library;
using Hadal.Model;

namespace Hadal.Kernels.Device;

/// <summary>How long a start takes that loads every kernel of a list: from nothing, or from what the driver has compiled before.</summary>
static class Cold
{
    /// <summary>The kernels of this library that a model needs: a training step of 4,096 tokens and decode steps of 64 and 128 sequences.</summary>
    public static IReadOnlyList<Kernel> Kernels(string name)
    {
        TransformerShape model = KnownShapes.All.FirstOrDefault(s => string.Equals(s.Name, name, StringComparison.Ordinal)).Shape
            ?? throw new ArgumentException($"No model is called '{name}': there are {string.Join(", ", KnownShapes.All.Select(s => s.Name))}.");
        StepShape step = ModelStep.Of(model);
        return [.. ((IEnumerable<Kernel>)[.. StepKernels.Training(step, 4096, 132), .. StepKernels.Decoding(step, 64, 132), .. StepKernels.Decoding(step, 128, 132)]).DistinctBy(k => k.Name, StringComparer.Ordinal)];
    }

    /// <summary>Names them, with the digest of each; needs no GPU.</summary>
    public static int List(string name)
    {
        foreach (Kernel kernel in Kernels(name)) Console.WriteLine($"{kernel.Name} {Ptx.PtxDigest.Of(kernel)}");
        return 0;
    }

    /// <summary>One start. The time to record the kernels and to print their PTX is part of it.</summary>
    public static int Run(string name)
    {
        bool found = Directory.Exists(ModuleCache.Folder) && Directory.EnumerateFiles(ModuleCache.Folder, "*", SearchOption.AllDirectories).Any();
        var clock = Stopwatch.StartNew();
        IReadOnlyList<Kernel> kernels = Kernels(name);
        double recorded = clock.Elapsed.TotalSeconds;
        using CudaContext context = CudaContext.Open();
        double opened = clock.Elapsed.TotalSeconds;
        double slowest = 0;
        string slow = "";
        Lock gate = new();
        Parallel.ForEach(kernels, kernel =>
        {
            context.MakeCurrent();
            LoadedKernel loaded = context.Load(kernel);
            lock (gate)
            {
                if (loaded.Compiled.Milliseconds <= slowest) return;
                (slowest, slow) = (loaded.Compiled.Milliseconds, kernel.Name);
            }
        });
        Console.WriteLine(
            $"{name}: {kernels.Count} kernels, {(found ? "found compiled" : "compiled")}, {clock.Elapsed.TotalSeconds:F2} s: recording {recorded:F2}, opening the GPU {opened - recorded:F2}, loading {clock.Elapsed.TotalSeconds - opened:F2} on {Environment.ProcessorCount} processors; slowest {slow} {slowest:F0} ms; cache {ModuleCache.Folder}");
        return 0;
    }
}
