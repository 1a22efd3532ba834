using System.Globalization;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Measure;

namespace Hadal.Kernels.Device;

/// <summary>Times the tiles that a file names.</summary>
static class Tuning
{
    public static int Run(string file, string[] flags) => Run(Read(file), flags);

    /// <summary>Times the library's own benchmark cases that one of some filters, separated by commas, lets through: a name begins with its part before a star and contains the rest.</summary>
    public static int Benchmarks(string filters, string[] flags) => Run(Filtered(filters), flags);

    /// <summary>Launches such cases so many times, one after the other, without looking at what they leave.</summary>
    public static int Launch(string filters, int times)
    {
        using CudaContext context = CudaContext.Open();
        using var runner = new CaseRunner(context);
        foreach (KernelCase one in Filtered(filters))
        {
            runner.Launch(one, times);
            Console.WriteLine($"{one.Name}: {times} launches");
        }

        return 0;
    }

    static IEnumerable<KernelCase> Filtered(string filters) => filters.Split(',').Select(f => f.Split('*')).SelectMany(f => f[0] is "parts"
        ? KernelCases.Diagnostics().Where(c => c.Name.Contains(f[^1], StringComparison.Ordinal))
        : KernelCases.Benchmarks().Where(c => c.Name.StartsWith(f[0], StringComparison.Ordinal) && c.Name.Contains(f[^1], StringComparison.Ordinal)));

    static int Run(IEnumerable<KernelCase> cases, string[] flags)
    {
        using CudaContext context = CudaContext.Open();
        using var runner = new CaseRunner(context);
        bool check = flags.Contains("check"), sustained = flags.Contains("sustained"), dependent = flags.Contains("pdl");
        using var timer = new GraphTimer(context) { Bursts = sustained ? 11 : 5, PauseMilliseconds = sustained ? 40 : 25, SustainedMilliseconds = sustained ? 600 : 0 };
        Console.WriteLine($"{context.Info.Name}, {context.Info.Multiprocessors} SMs, CUDA {CudaDriver.Look().VersionText}, copy {timer.CopyBandwidth(context) / 1e12:F2} TB/s");
        int wrong = 0;
        foreach (KernelCase one in cases)
        {
            try
            {
                string verdict = "";
                if (check)
                {
                    CaseResult result = runner.Check(one);
                    verdict = result.Passed ? $" right {result.Error:E1}" : $" WRONG {result.Error:E1} {result.Detail}";
                    if (!result.Passed) wrong++;
                }

                LoadedKernel kernel = runner.Load(one);
                if (flags.Contains("single"))
                {
                    double single = runner.TimeSingle(one, timer);
                    Console.WriteLine($"{one.Name} | single launches {single:F2} us {one.Operations / single / 1e6:F0} TFLOP/s{verdict}");
                    continue;
                }

                LaunchTime time = runner.Time(one, timer, dependent);
                string steady = sustained ? $" | sustained {time.Sustained:F2} us {one.Operations / time.Sustained / 1e6:F0}" : "";
                Console.WriteLine($"{one.Name} | {time.Burst:F2} us {one.Operations / time.Burst / 1e6:F0} TFLOP/s {one.Bytes / time.Burst / 1e6:F2} TB/s{steady} | {kernel.Registers} registers {kernel.LocalBytes} local, {kernel.Compiled.Milliseconds:F0} ms{verdict} | ptx {Ptx.PtxDigest.Of(kernel.Kernel)[..12]}");
            }
            catch (CudaException error)
            {
                Console.WriteLine($"FAILED {one.Name}: {error.Message}");
                if (error.IsSticky) return 1;
            }
            catch (Exception error) when (error is ArgumentException or Verify.KernelVerificationException)
            {
                Console.WriteLine($"REFUSED {one.Name}: {error.Message}");
            }
        }

        return wrong == 0 ? 0 : 1;
    }

    /// <summary>The cases of a file. Those of one line share their operands.</summary>
    public static IEnumerable<KernelCase> Read(string file)
    {
        foreach (string line in File.ReadLines(file))
        {
            string[] words = line.Split('#')[0].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (words.Length < 2) continue;
            bool grouped = words[0] is "c" or "m";
            OperandKind kind = words[^1] is "clipped" ? OperandKind.Clipped : OperandKind.Normal;
            int[] sizes = grouped ? [.. words[1].Split(',').Select(Whole)] : [];
            int[] shape = [.. words[grouped ? 2 : 0].Split('x').Select(Whole)];
            string[] tiles = words[grouped ? 3 : 1].Split('|');
            Fp8Problem? problem = null;
            foreach (string tile in tiles)
            {
                GemmConfig config = GemmConfig.Parse(tile);
                yield return words[0] switch
                {
                    "c" => Fp8GemmCases.Contiguous(Offsets(sizes), shape[^2], shape[^1], config, kind, sampled: true,
                        problem ??= Fp8GemmCases.ContiguousProblem(Offsets(sizes), shape[^2], shape[^1], kind, sampled: true)),
                    "m" => Fp8GemmCases.Masked(sizes, shape[0], shape[^2], shape[^1], config, kind, sampled: true,
                        problem ??= Fp8GemmCases.MaskedProblem(sizes, shape[0], shape[^2], shape[^1], kind, sampled: true)),
                    _ => Fp8GemmCases.Dense(shape[0], shape[1], shape[2], config, kind, sampled: true,
                        problem ??= Fp8GemmCases.DenseProblem(shape[0], shape[1], shape[2], kind, sampled: true)),
                };
            }
        }
    }

    static int[] Offsets(int[] sizes)
    {
        var offsets = new int[sizes.Length + 1];
        for (int i = 0; i < sizes.Length; i++) offsets[i + 1] = offsets[i] + sizes[i];
        return offsets;
    }

    static int Whole(string text) => int.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);
}
