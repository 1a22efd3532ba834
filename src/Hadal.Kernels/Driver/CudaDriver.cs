using System.Globalization;
using System.Runtime.InteropServices;

namespace Hadal.Kernels.Driver;

/// <summary>What one GPU is.</summary>
/// <param name="Ordinal">Its number, from 0.</param>
/// <param name="Name">As the driver calls it.</param>
/// <param name="Uuid">Its identity, sixteen bytes in hexadecimal.</param>
/// <param name="Major">Compute capability, before the point.</param>
/// <param name="Minor">Compute capability, after the point.</param>
/// <param name="Multiprocessors">Streaming multiprocessors.</param>
/// <param name="MemoryBytes">Device memory.</param>
/// <param name="L2Bytes">Second-level cache.</param>
/// <param name="SharedBytesPerBlock">Shared memory that a block may ask for.</param>
public sealed record CudaDeviceInfo(
    int Ordinal, string Name, string Uuid, int Major, int Minor, int Multiprocessors, long MemoryBytes, int L2Bytes, int SharedBytesPerBlock)
{
    /// <summary>Why the kernels here do not run on it, or null when they do: they are written for compute capability 9.0.</summary>
    public string? Refusal => (Major, Minor) == (9, 0)
        ? null
        : string.Create(CultureInfo.InvariantCulture, $"{Name} has compute capability {Major}.{Minor}; the kernels use instructions of 9.0 (H100, H200) only. Use the cpu backend on this machine.");
}

/// <summary>What the driver on this machine offers.</summary>
/// <param name="Refusal">Why no GPU can be used, with what to do about it; null when at least one can.</param>
/// <param name="DriverVersion">The CUDA version the driver implements, such as 13000 for 13.0; zero without a driver.</param>
/// <param name="Devices">Every GPU it shows, usable or not.</param>
public sealed record CudaState(string? Refusal, int DriverVersion, IReadOnlyList<CudaDeviceInfo> Devices)
{
    /// <summary>True when a GPU can be used.</summary>
    public bool IsUsable => Refusal is null;

    /// <summary>The driver's CUDA version as people write it.</summary>
    public string VersionText => string.Create(CultureInfo.InvariantCulture, $"{DriverVersion / 1000}.{DriverVersion % 1000 / 10}");
}

/// <summary>Finds the NVIDIA driver. Never throws for what a machine lacks: it says so.</summary>
public static unsafe class CudaDriver
{
    /// <summary>The oldest CUDA version of a driver that has what the kernels need: PTX 8.1, tensor maps, launches in clusters.</summary>
    public const int OldestVersion = 12010;

    static readonly Lock Gate = new();
    static CudaState? _state;

    /// <summary>Looks once and remembers.</summary>
    public static CudaState Look()
    {
        lock (Gate) return _state ??= Examine(CudaLibrary.Name);
    }

    /// <summary>The examination, for a library of this name.</summary>
    internal static CudaState Examine(string library)
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return Refused("GPUs are used on 64-bit x86 Linux only; this system runs on the cpu backend.");
        if (!NativeLibrary.TryLoad(library, out nint handle))
            return Refused($"The NVIDIA driver's library {library} was not found. Install the driver, or in a container pass the GPU through; the cpu backend needs neither.");

        // Newer functions are bound at their first call: those an old driver lacks must not be reached.
        if (!NativeLibrary.TryGetExport(handle, "cuDriverGetVersion", out nint address))
            return Refused($"{library} is not the NVIDIA driver's library: it has no cuDriverGetVersion.");
        int version = 0;
        int code = ((delegate* unmanaged<int*, int>)address)(&version);
        return code != 0 ? Refused($"The NVIDIA driver did not tell its version (error {code}).") : Examine(version);
    }

    /// <summary>What follows from a driver's version, before its devices are asked for.</summary>
    internal static string? RefusalOf(int version) => version >= OldestVersion
        ? null
        : string.Create(CultureInfo.InvariantCulture, $"The NVIDIA driver implements CUDA {version / 1000}.{version % 1000 / 10}; {OldestVersion / 1000}.{OldestVersion % 1000 / 10} or newer is needed (driver 530 or newer). Update it, or use the cpu backend.");

    static CudaState Examine(int version)
    {
        if (RefusalOf(version) is { } old) return Refused(old, version);
        ModuleCache.Place();
        int code = CudaLibrary.cuInit(0);
        if (code != 0) return Refused($"The NVIDIA driver could not start: {CudaCheck.Describe(code)} Check that nvidia-smi shows a GPU.", version);
        int count = 0;
        code = CudaLibrary.cuDeviceGetCount(&count);
        if (code != 0 || count == 0) return Refused("The NVIDIA driver shows no GPU. Check nvidia-smi and CUDA_VISIBLE_DEVICES; the cpu backend works without one.", version);
        var devices = new CudaDeviceInfo[count];
        for (int i = 0; i < count; i++) devices[i] = Describe(i);
        return new CudaState(Array.Exists(devices, d => d.Refusal is null) ? null : devices[0].Refusal, version, devices);
    }

    static CudaState Refused(string why, int version = 0) => new(why, version, []);

    static CudaDeviceInfo Describe(int ordinal)
    {
        int device;
        CudaCheck.Ok(CudaLibrary.cuDeviceGet(&device, ordinal), $"GPU {ordinal}");
        byte* name = stackalloc byte[256];
        CudaCheck.Ok(CudaLibrary.cuDeviceGetName(name, 256, device), $"Name of GPU {ordinal}");
        byte* uuid = stackalloc byte[16];
        CudaCheck.Ok(CudaLibrary.cuDeviceGetUuid_v2(uuid, device), $"Identity of GPU {ordinal}");
        nuint bytes;
        CudaCheck.Ok(CudaLibrary.cuDeviceTotalMem_v2(&bytes, device), $"Memory of GPU {ordinal}");
        int opened = device;
        return new CudaDeviceInfo(
            ordinal,
            Marshal.PtrToStringUTF8((nint)name) ?? "",
            Convert.ToHexStringLower(new ReadOnlySpan<byte>(uuid, 16)),
            Attribute(75),
            Attribute(76),
            Attribute(16),
            (long)bytes,
            Attribute(38),
            Attribute(97));

        int Attribute(int number)
        {
            int value;
            CudaCheck.Ok(CudaLibrary.cuDeviceGetAttribute(&value, number, opened), $"Attribute {number} of GPU {ordinal}");
            return value;
        }
    }
}
