using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Calibration;

namespace Hadal.Kernels.Device;

/// <summary>Keeps what the tensor core gives for chosen tiles.</summary>
static class Calibration
{
    public static int Run(string file)
    {
        using CudaContext context = CudaContext.Open();
        using CudaStream stream = context.CreateStream();
        string device = $"{context.Info.Name}, CUDA driver {CudaDriver.Look().VersionText}, {DateTime.UtcNow:yyyy-MM-dd}";
        CalibrationDump dump = CalibrationDump.Make(device, (kernel, tiles, a, b, c) =>
        {
            using DeviceMemory deviceA = context.Allocate(a.Length), deviceB = context.Allocate(b.Length), deviceC = context.Allocate(4L * c.Length), deviceD = context.Allocate(4L * c.Length);
            deviceA.Upload<byte>(a);
            deviceB.Upload<byte>(b);
            deviceC.Upload<float>(c);
            stream.Fill(deviceD.Address, 0xFF, deviceD.Bytes);
            using PreparedLaunch launch = context.Load(kernel).Prepare(tiles, [deviceA.Address, deviceB.Address, deviceC.Address, deviceD.Address]);
            launch.Launch(stream);
            stream.Synchronize($"Running {kernel.Name}");
            var d = new float[c.Length];
            deviceD.Download<float>(d);
            return d;
        });
        using FileStream stored = File.Create(file);
        dump.Write(stored);
        Console.WriteLine($"{dump.Tiles.Count} tiles of {device} in {file}");
        return 0;
    }
}
