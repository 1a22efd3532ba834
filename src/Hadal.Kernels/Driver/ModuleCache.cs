using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace Hadal.Kernels.Driver;

/// <summary>A kernel as the driver took it.</summary>
/// <param name="Milliseconds">Time to compile it, or to find it compiled.</param>
/// <param name="Report">What the compiler said: registers, spills, warnings. Empty when it was found compiled.</param>
public sealed record CompiledModule(double Milliseconds, string Report);

/// <summary>
/// Where compiled kernels are kept. The driver compiles PTX and keeps the machine code on disk, keyed by the PTX, its own version and the card; this class puts that
/// cache below <c>HADAL_HOME</c>, so that it can be found, measured and deleted.
/// </summary>
/// <remarks>
/// A cache of our own cannot be had without loss: the driver hands out machine code only from its linker, and what it compiles for linking ignores
/// <c>setmaxnreg</c>: the accumulators of the products spill (measured: 390 of 1450 TFLOP/s, <c>docs/log.md</c>).
/// </remarks>
public static unsafe partial class ModuleCache
{
    /// <summary>The variable by which the driver is told its folder.</summary>
    public const string Variable = "CUDA_CACHE_PATH";

    /// <summary>The folder: as the user told the driver, or <c>kernels</c> below <c>HADAL_HOME</c> (below <c>hadal</c> in the user's local application data without it).</summary>
    public static string Folder => FolderOf(Environment.GetEnvironmentVariable);

    internal static string FolderOf(Func<string, string?> variable)
    {
        if (variable(Variable) is { Length: > 0 } told) return told;
        string? home = variable("HADAL_HOME");
        if (string.IsNullOrWhiteSpace(home))
        {
            string local = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
            home = Path.Combine(local.Length > 0 ? local : Path.GetTempPath(), "hadal");
        }

        return Path.Combine(Path.GetFullPath(home), "kernels");
    }

    /// <summary>Tells the driver its folder; it reads the variable when it starts, so this comes before everything else.</summary>
    internal static void Place()
    {
        string folder = Folder;
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Trace.TraceWarning($"Compiled kernels cannot be kept in {folder}: {exception.Message} They are compiled at every start; set HADAL_HOME to a folder that can be written.");
            return;
        }

        // The runtime has an environment of its own; the driver reads the system's.
        _ = setenv(Variable, folder, 0);
    }

    /// <summary>True when this text was compiled here, for this card, by this driver.</summary>
    internal static bool Marked(string ptx, CudaContext context) => File.Exists(MarkOf(ptx, context.Info.Name, context.DriverVersion));

    /// <summary>The empty file that says so: the key is the text, the card and the driver.</summary>
    internal static string MarkOf(string ptx, string card, int driver)
    {
        string what = string.Create(CultureInfo.InvariantCulture, $"{card} {driver} {ptx}");
        return Path.Combine(Folder, "compiled", Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(what)).AsSpan(0, 16)));
    }

    /// <summary>Notes that this text was compiled here.</summary>
    internal static void Mark(string ptx, CudaContext context)
    {
        string mark = MarkOf(ptx, context.Info.Name, context.DriverVersion);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(mark)!);
            using FileStream empty = File.Create(mark);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Then it is compiled, or found compiled, once more.
        }
    }

    /// <summary>Compiles PTX, or finds it compiled, and loads it.</summary>
    internal static CompiledModule Load(string kernel, string ptx, out nint module)
    {
        const int LogBytes = 64 * 1024;
        var clock = Stopwatch.StartNew();
        byte[] text = Encoding.ASCII.GetBytes(ptx + "\0"), information = new byte[LogBytes], errors = new byte[LogBytes];
        fixed (byte* source = text, informationLog = information, errorLog = errors)
        fixed (nint* loaded = &module)
        {
            // Log buffers and their sizes, and the verbose report.
            const int Count = 5;
            int* options = stackalloc int[Count] { 3, 4, 5, 6, 12 };
            void** values = stackalloc void*[Count] { informationLog, (void*)LogBytes, errorLog, (void*)LogBytes, (void*)1 };
            int code = CudaLibrary.cuModuleLoadDataEx(loaded, source, Count, options, values);
            if (code != 0) throw CudaCheck.Failure(code, $"Compiling kernel {kernel} failed with \"{TextOf(errors)}\"");
        }

        return new CompiledModule(clock.Elapsed.TotalMilliseconds, TextOf(information));
    }

    static string TextOf(byte[] log)
    {
        int end = Array.IndexOf(log, (byte)0);
        return Encoding.UTF8.GetString(log, 0, end < 0 ? log.Length : end).Trim();
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);
}
