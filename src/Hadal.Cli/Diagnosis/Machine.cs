using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Arm = System.Runtime.Intrinsics.Arm;

namespace Hadal.Cli.Diagnosis;

/// <summary>Facts about the machine that decide what runs how fast. Read without platform calls.</summary>
static class Machine
{
    /// <summary>For example <c>.NET 10.0.12</c>.</summary>
    public static string Runtime => $"{RuntimeInformation.FrameworkDescription}, {RuntimeInformation.RuntimeIdentifier}{(IsNative ? ", native build" : "")}";

    /// <summary>True in the ahead-of-time build.</summary>
    public static bool IsNative => !System.Runtime.CompilerServices.RuntimeFeature.IsDynamicCodeSupported;

    /// <summary>Name and version of the system.</summary>
    public static string OperatingSystem => $"{RuntimeInformation.OSDescription}, {RuntimeInformation.OSArchitecture}";

    /// <summary>Threads that may run at once here (processors, or a container's limit).</summary>
    public static int Processors => Environment.ProcessorCount;

    /// <summary>Width of the vectors that the compiled code uses, in bits; 0 when there are none.</summary>
    public static int VectorBits => Vector512.IsHardwareAccelerated ? 512 : Vector256.IsHardwareAccelerated ? 256 : Vector128.IsHardwareAccelerated ? 128 : 0;

    /// <summary>Memory this process may use, in bytes (a container's limit counts).</summary>
    public static long MemoryBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Free bytes of the disk that holds <paramref name="folder"/>; null when the system does not say.</summary>
    public static long? FreeBytes(string folder)
    {
        try
        {
            return new DriveInfo(Path.GetFullPath(folder)).AvailableFreeSpace;
        }
        catch (Exception exception) when (exception is IOException or ArgumentException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>The processor's name, as the system tells it.</summary>
    public static string ProcessorName()
    {
        const string list = "/proc/cpuinfo";
        if (File.Exists(list))
        {
            foreach (string line in File.ReadLines(list))
            {
                if (line.StartsWith("model name", StringComparison.Ordinal) && line.IndexOf(':') is > 0 and int colon)
                    return line[(colon + 1)..].Trim();
            }
        }

        return Environment.GetEnvironmentVariable("PROCESSOR_IDENTIFIER") ?? RuntimeInformation.ProcessArchitecture.ToString();
    }

    /// <summary>Instruction sets that matter here and that both the processor and the compiled code have.</summary>
    public static IReadOnlyList<string> InstructionSets()
    {
        (string Name, bool Has)[] sets =
        [
            ("SSE4.2", Sse42.IsSupported), ("AVX", Avx.IsSupported), ("AVX2", Avx2.IsSupported), ("FMA", Fma.IsSupported), ("F16C/BMI2", Bmi2.IsSupported),
            ("AVX-VNNI", AvxVnni.IsSupported), ("AVX-512 F/BW/DQ/VL", Avx512F.VL.IsSupported && Avx512BW.IsSupported && Avx512DQ.IsSupported),
            ("AVX-512 VBMI", Avx512Vbmi.IsSupported), ("AVX10.1", Avx10v1.IsSupported), ("AdvSimd", Arm.AdvSimd.IsSupported), ("Dp", Arm.Dp.IsSupported),
        ];
        return [.. sets.Where(set => set.Has).Select(set => set.Name)];
    }
}
