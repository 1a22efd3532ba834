using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Calibration;
using Hadal.Kernels.Measure;

namespace Hadal.Kernels.Device;

/// <summary>Keeps what single instructions give for chosen inputs.</summary>
static class Instructions
{
    public static int Run(string file)
    {
        using CudaContext context = CudaContext.Open();
        using var runner = new CaseRunner(context);
        InstructionDump dump = InstructionDump.Make($"{context.Info.Name}, CUDA driver {CudaDriver.Look().VersionText}, {DateTime.UtcNow:yyyy-MM-dd}", runner.Check);
        using FileStream stored = File.Create(file);
        dump.Write(stored);
        Console.WriteLine($"{dump.Results.Count} instructions of {dump.Device} in {file}");
        return 0;
    }
}
