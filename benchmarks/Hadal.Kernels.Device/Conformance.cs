using System.Diagnostics;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Measure;

namespace Hadal.Kernels.Device;

/// <summary>Every case against its definition; then every eighth many times.</summary>
static class Conformance
{
    public static int Run(int times, string? filter)
    {
        using CudaContext context = CudaContext.Open();
        Console.WriteLine($"{context.Info.Name}, {context.Info.Multiprocessors} SMs, CUDA {CudaDriver.Look().VersionText}");
        using var runner = new CaseRunner(context);
        KernelCase[] cases = [.. KernelCases.DeviceConformance().Where(c => filter is null || (filter.StartsWith('!') ? !c.Name.Contains(filter[1..], StringComparison.Ordinal) : c.Name.Contains(filter, StringComparison.Ordinal)))];
        int failed = 0;
        double worst = 0;
        var clock = Stopwatch.StartNew();
        foreach (KernelCase one in cases)
        {
            try
            {
                CaseResult result = runner.Check(one);
                worst = Math.Max(worst, result.Error);
                LoadedKernel kernel = runner.Load(one);
                if (kernel.LocalBytes > 0) Console.WriteLine($"SPILL {one.Name}: {kernel.LocalBytes} bytes of local memory a thread");
                if (result.Passed) continue;
                failed++;
                Console.WriteLine($"WRONG {one.Name}: error {result.Error:E2} of {result.Tolerance:E2}; {result.Detail}");
            }
            catch (CudaException error)
            {
                failed++;
                Console.WriteLine($"FAILED {one.Name}: {error.Message}");
                if (error.IsSticky) return 1;
            }
        }

        Console.WriteLine($"{cases.Length - failed} of {cases.Length} cases right, largest error {worst:E2}, {clock.Elapsed.TotalSeconds:F1} s");
        int repeated = 0, moved = 0;
        for (int i = 0; i < cases.Length && times > 1; i += 8)
        {
            int different = runner.Repeat(cases[i], times);
            repeated++;
            if (different == 0) continue;
            moved++;
            Console.WriteLine($"MOVED {cases[i].Name}: {different} of {times} runs gave other bits");
        }

        Console.WriteLine($"{repeated - moved} of {repeated} cases gave the same bits {times} times, {clock.Elapsed.TotalSeconds:F1} s");
        return failed + moved == 0 ? 0 : 1;
    }
}
