using System.Diagnostics;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Measure;

namespace Hadal.Kernels.Device;

/// <summary>Every case against its definition, several at a time; then the small ones, the chosen configurations and every eighth of the large ones many times.</summary>
static class Conformance
{
    public static int Run(int times, string? filter, bool smallOnly)
    {
        using CudaContext context = CudaContext.Open();
        Console.WriteLine($"{context.Info.Name}, {context.Info.Multiprocessors} SMs, CUDA {CudaDriver.Look().VersionText}");
        KernelCase[] small = [.. KernelCases.Sanitized().Where(Chosen)];
        KernelCase[] large = smallOnly ? [] : [.. KernelCases.DeviceConformance().Where(Chosen).ExceptBy(small.Select(c => c.Name), c => c.Name, StringComparer.Ordinal)];
        KernelCase[] cases = [.. small, .. large];
        int failed = 0, moved = 0, spilled = 0;
        double worst = 0;
        var clock = Stopwatch.StartNew();
        Lock gate = new();
        bool sound = Work(context, cases, (runner, one) =>
        {
            CaseResult result = runner.Check(one);
            int local = runner.Load(one).LocalBytes;
            lock (gate)
            {
                worst = Math.Max(worst, result.Error);
                if (local > 0) Say($"SPILL {one.Name}: {local} bytes of local memory a thread", ref spilled);
                if (!result.Passed) Say($"WRONG {one.Name}: error {result.Error:E2} of {result.Tolerance:E2}; {result.Detail}", ref failed);
            }
        }, error => Say(error, ref failed));
        Console.WriteLine($"{cases.Length - failed} of {cases.Length} cases right, {spilled} with spills, largest error {worst:E2}, {clock.Elapsed.TotalSeconds:F1} s");
        foreach (IGrouping<string, KernelCase> family in cases.GroupBy(Family, StringComparer.Ordinal)) Console.WriteLine($"  {family.Key}: {family.Count()} cases");
        if (times <= 1 || !sound) return failed == 0 && sound ? 0 : 1;
        KernelCase[] repeated = [.. small, .. large.Where((_, i) => i % 8 == 0)];
        Work(context, repeated, (runner, one) =>
        {
            int different = runner.Repeat(one, times);
            if (different == 0) return;
            lock (gate) Say($"MOVED {one.Name}: {different} of {times} runs gave other bits", ref moved);
        }, error => Say(error, ref failed));
        Console.WriteLine($"{repeated.Length - moved} of {repeated.Length} cases gave the same bits {times} times, {clock.Elapsed.TotalSeconds:F1} s");
        return failed + moved == 0 ? 0 : 1;

        bool Chosen(KernelCase one) => filter is null || (filter.StartsWith('!') ? !one.Name.Contains(filter[1..], StringComparison.Ordinal) : one.Name.Contains(filter, StringComparison.Ordinal));

        static string Family(KernelCase one)
        {
            string name = one.Name.StartsWith("chosen ", StringComparison.Ordinal) ? one.Name[7..] : one.Name;
            return (name.Length < one.Name.Length ? "chosen " : "") + name.Split(' ')[0].Split("_gemm_")[0];
        }

        static void Say(string line, ref int counter)
        {
            counter++;
            Console.WriteLine(line);
        }
    }

    /// <summary>A launch that its kernel refuses. It costs the context, so it runs by itself.</summary>
    public static int Refuse()
    {
        using CudaContext context = CudaContext.Open();
        var runner = new CaseRunner(context);
        try
        {
            runner.Check(GradientCases.Misaligned());
            Console.WriteLine("WRONG: misaligned offsets were not refused");
            return 1;
        }
        catch (CudaException error)
        {
            Console.WriteLine($"refused as it should be: {error.Message}");
            return error.IsSticky ? 0 : 1;
        }
    }

    /// <summary>Runs cases on several streams. False when the GPU is lost, which ends it.</summary>
    static bool Work(CudaContext context, KernelCase[] cases, Action<CaseRunner, KernelCase> run, Action<string> failed)
    {
        int next = -1;
        bool lost = false;
        Lock gate = new();
        Thread[] workers = [.. Enumerable.Range(0, Math.Clamp(Environment.ProcessorCount / 2, 1, 8)).Select(_ => new Thread(() =>
        {
            context.MakeCurrent();
            using var runner = new CaseRunner(context);
            for (int at = Interlocked.Increment(ref next); at < cases.Length && !lost; at = Interlocked.Increment(ref next))
            {
                try
                {
                    run(runner, cases[at]);
                }
                catch (CudaException error)
                {
                    lock (gate) failed($"FAILED {cases[at].Name}: {error.Message}");
                    if (error.IsSticky) lost = true;
                }
            }
        }))];
        foreach (Thread worker in workers) worker.Start();
        foreach (Thread worker in workers) worker.Join();
        return !lost;
    }
}
