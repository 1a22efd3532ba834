using System.Globalization;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Measure;

namespace Hadal.Cli.Diagnosis;

/// <summary>What <c>hadal doctor</c> says of the GPU: what it is and that kernels ran on it, or why it is not used.</summary>
static class Gpu
{
    const string Name = "gpu";

    public static IEnumerable<Check> Examine()
    {
        CudaState state = CudaDriver.Look();
        if (state.Devices.Count == 0)
        {
            yield return new Check(Name, CheckState.Note, state.Refusal ?? "none");
            yield break;
        }

        foreach (CudaDeviceInfo device in state.Devices) yield return Examine(device, state);
    }

    // Proof that it works: small products against their definition.
    static Check Examine(CudaDeviceInfo device, CudaState state)
    {
        string what = string.Create(CultureInfo.InvariantCulture, $"{device.Name}, {device.Multiprocessors} multiprocessors, {device.MemoryBytes >> 30} GiB, driver CUDA {state.VersionText}");
        if (device.Refusal is { } refusal) return new Check(Name, CheckState.Warning, refusal);
        try
        {
            using CudaContext context = CudaContext.Open(device.Ordinal);
            using var runner = new CaseRunner(context);
            KernelCase[] cases = [.. KernelCases.Conformance().Where(c => c.Name.StartsWith("fp8_gemm", StringComparison.Ordinal))];
            foreach (KernelCase one in cases)
            {
                CaseResult result = runner.Check(one);
                if (!result.Passed) return new Check(Name, CheckState.Bad, $"{what}; {one.Name} came out wrong: {result.Detail}");
            }

            return new Check(Name, CheckState.Good, $"{what}; ran {cases.Length} products, all right; compiled kernels in {ModuleCache.Folder}");
        }
        catch (CudaException exception)
        {
            return new Check(Name, CheckState.Bad, $"{what}; {exception.Message}");
        }
    }
}
