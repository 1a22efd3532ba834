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

    /// <summary>One start. The time to record the kernels and to print their PTX is part of it; they go under the opening of the GPU.</summary>
    public static int Run(string name, int processes = 0)
    {
        bool found = Directory.Exists(ModuleCache.Folder) && Directory.EnumerateFiles(ModuleCache.Folder, "*", SearchOption.AllDirectories).Any();
        var clock = Stopwatch.StartNew();
        double printed = 0;
        Task<IReadOnlyList<PrintedKernel>> printing = Task.Run(() =>
        {
            IReadOnlyList<PrintedKernel> texts = PrintedKernel.Of(Kernels(name));
            printed = clock.Elapsed.TotalSeconds;
            return texts;
        });
        using CudaContext context = CudaContext.Open();
        double opened = clock.Elapsed.TotalSeconds;
        IReadOnlyList<PrintedKernel> kernels = printing.GetAwaiter().GetResult();
        double ready = clock.Elapsed.TotalSeconds;
        int missing = ModuleCompiler.Prepare(context, kernels, processes);
        double prepared = clock.Elapsed.TotalSeconds;
        Parallel.ForEach(kernels, kernel =>
        {
            context.MakeCurrent();
            context.Load(kernel);
        });
        double loaded = clock.Elapsed.TotalSeconds;
        Console.WriteLine(
            $"{name}: {kernels.Count} kernels, {(found ? "found compiled" : "compiled")}, {loaded:F2} s: GPU open after {opened:F2}, kernels printed after {printed:F2}, {missing} compiled by {(processes > 0 ? processes : Math.Min(Environment.ProcessorCount, ModuleCompiler.MostProcesses))} processes in {prepared - ready:F2}, loading {loaded - prepared:F2}; {Environment.ProcessorCount} processors; cache {ModuleCache.Folder}");
        return 0;
    }
}
