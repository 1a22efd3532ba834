using Hadal.Kernels.Ir;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Ptx;

namespace Hadal.Kernels.Device;

/// <summary>Writes PTX, for a compiler that reports registers and spills.</summary>
static class Dump
{
    public static int Run(string folder, string? tuneFile)
    {
        Directory.CreateDirectory(folder);
        IEnumerable<KernelCase> cases = tuneFile is null ? KernelCases.DeviceConformance().Concat(KernelCases.Benchmarks()).Concat(KernelCases.Diagnostics()) : Tuning.Read(tuneFile);
        foreach (KernelCase one in cases)
        {
            Kernel kernel = one.Build();
            try
            {
                File.WriteAllText(Path.Combine(folder, kernel.Name + ".ptx"), PtxPrinter.Print(kernel));
            }
            catch (Verify.KernelVerificationException refused)
            {
                Console.WriteLine(refused.Message);
            }
        }

        return 0;
    }

    /// <summary>Names the kernels of the benchmarks, each once, with the digest of its PTX. Groups of other numbers have kernels of the same name.</summary>
    public static int Digests()
    {
        var named = new HashSet<string>(StringComparer.Ordinal);
        foreach (KernelCase one in KernelCases.Benchmarks())
        {
            Kernel kernel = one.Build();
            string line = $"{kernel.Name} {PtxDigest.Of(kernel)}";
            if (named.Add(line)) Console.WriteLine(line);
        }

        return 0;
    }
}
