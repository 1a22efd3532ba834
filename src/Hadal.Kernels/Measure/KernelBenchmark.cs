using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Cases;

namespace Hadal.Kernels.Measure;

/// <summary>What a case of the library did on a GPU.</summary>
/// <param name="Case">The case.</param>
/// <param name="Result">Its comparison with the definition.</param>
/// <param name="Time">Its times, launched as any grid is.</param>
/// <param name="Dependent">Its times, launched programmatically dependent: the set-up of a launch runs beside the end of the one ahead.</param>
/// <param name="Registers">Registers a thread at launch.</param>
/// <param name="SpilledBytes">Local memory a thread.</param>
public sealed record KernelMeasurement(KernelCase Case, CaseResult Result, LaunchTime Time, LaunchTime? Dependent, int Registers, int SpilledBytes)
{
    /// <summary>Floating-point operations per second in a burst.</summary>
    public double BurstFlop => Case.Operations / Time.Burst * 1e6;

    /// <summary>Floating-point operations per second sustained.</summary>
    public double SustainedFlop => Case.Operations / Time.Sustained * 1e6;

    /// <summary>Bytes per second in a burst, each byte that must move counted once.</summary>
    public double BurstBytes => Case.Bytes / Time.Burst * 1e6;
}

/// <summary>Checks and times cases of the library, as <c>hadal bench gemm</c> and <c>hadal bench quantize</c> do.</summary>
public static class KernelBenchmark
{
    /// <summary>Runs cases in their order.</summary>
    /// <param name="context">The GPU.</param>
    /// <param name="cases">The cases.</param>
    /// <param name="timer">How they are timed.</param>
    /// <param name="dependent">Also launched programmatically dependent.</param>
    public static IEnumerable<KernelMeasurement> Run(CudaContext context, IEnumerable<KernelCase> cases, GraphTimer timer, bool dependent)
    {
        ArgumentNullException.ThrowIfNull(cases);
        using var runner = new CaseRunner(context);
        foreach (KernelCase one in cases)
        {
            CaseResult result = runner.Check(one);
            LaunchTime time = runner.Time(one, timer);
            LoadedKernel kernel = runner.Load(one);
            yield return new KernelMeasurement(one, result, time, dependent ? runner.Time(one, timer, dependent: true) : null, kernel.Registers, kernel.LocalBytes);
        }
    }
}
