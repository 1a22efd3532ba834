using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Hadal.Kernels.Driver;

/// <summary>A kernel as machine code of one card.</summary>
/// <param name="Binary">The module.</param>
/// <param name="FromDisk">It was compiled earlier.</param>
/// <param name="Milliseconds">Time to compile it, or to read it.</param>
/// <param name="Report">What the compiler said: registers, spills, warnings. Empty from the disk.</param>
public sealed record CompiledModule(byte[] Binary, bool FromDisk, double Milliseconds, string Report);

/// <summary>
/// Compiled kernels on disk, one file each: named by a hash of the PTX, the driver's version and the card's kind, and holding a checksum. A damaged or unreadable
/// file is compiled again. Several processes may share the folder: files appear by renaming.
/// </summary>
public sealed unsafe class ModuleCache
{
    static readonly byte[] Magic = "HADALK01"u8.ToArray();
    readonly string? _folder;

    /// <summary>A cache in a folder, which is made when needed; with null nothing is kept.</summary>
    public ModuleCache(string? folder) => _folder = folder;

    /// <summary>Where files lie, or null.</summary>
    public string? Folder => _folder;

    /// <summary>The user's cache: <c>kernels</c> below <c>HADAL_HOME</c>, or below <c>hadal</c> in the user's local application data.</summary>
    public static ModuleCache OfUser()
    {
        string? home = Environment.GetEnvironmentVariable("HADAL_HOME");
        if (string.IsNullOrWhiteSpace(home))
        {
            string local = Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData);
            home = Path.Combine(local.Length > 0 ? local : Path.GetTempPath(), "hadal");
        }

        return new ModuleCache(Path.Combine(Path.GetFullPath(home), "kernels"));
    }

    /// <summary>The module of a kernel: read, or compiled and kept.</summary>
    internal CompiledModule Get(string kernel, string ptx, CudaDeviceInfo card, int driverVersion)
    {
        var clock = Stopwatch.StartNew();
        string? file = _folder is null ? null : Path.Combine(_folder, KeyOf(ptx, card, driverVersion) + ".cubin");
        if (file is not null && Read(file) is { } kept) return new CompiledModule(kept, true, clock.Elapsed.TotalMilliseconds, "");
        (byte[] binary, string report) = Compile(kernel, ptx);
        var module = new CompiledModule(binary, false, clock.Elapsed.TotalMilliseconds, report);
        if (file is not null) Write(file, binary);
        return module;
    }

    /// <summary>The name of a module's file: sixteen bytes of a hash, in hexadecimal.</summary>
    internal static string KeyOf(string ptx, CudaDeviceInfo card, int driverVersion)
    {
        string text = string.Create(CultureInfo.InvariantCulture, $"{driverVersion}\n{card.Name}\n{card.Major}.{card.Minor}\n{ptx}");
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)).AsSpan(0, 16));
    }

    /// <summary>The module in a file, or null when there is none or it is damaged.</summary>
    internal static byte[]? Read(string file)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(file);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }

        if (bytes.Length <= Magic.Length + 32 || !bytes.AsSpan(0, Magic.Length).SequenceEqual(Magic)) return null;
        byte[] module = bytes[(Magic.Length + 32)..];
        return SHA256.HashData(module).AsSpan().SequenceEqual(bytes.AsSpan(Magic.Length, 32)) ? module : null;
    }

    /// <summary>Keeps a module; a folder that cannot be written only means compiling again next time.</summary>
    internal static void Write(string file, byte[] module)
    {
        string temporary = $"{file}.{Environment.ProcessId}.new";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            using (FileStream stream = File.Create(temporary))
            {
                stream.Write(Magic);
                stream.Write(SHA256.HashData(module));
                stream.Write(module);
            }

            File.Move(temporary, file, overwrite: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Trace.TraceWarning($"The compiled kernel could not be kept in {file}: {exception.Message} Set HADAL_HOME to a folder that can be written.");
        }
    }

    /// <summary>Compiles PTX with the driver.</summary>
    static (byte[] Binary, string Report) Compile(string kernel, string ptx)
    {
        const int LogBytes = 64 * 1024;
        byte[] text = Encoding.ASCII.GetBytes(ptx + "\0"), information = new byte[LogBytes], errors = new byte[LogBytes];
        fixed (byte* source = text, informationLog = information, errorLog = errors)
        {
            // Log buffers and their sizes, and the verbose report.
            const int Count = 5;
            int* options = stackalloc int[Count] { 3, 4, 5, 6, 12 };
            void** values = stackalloc void*[Count] { informationLog, (void*)LogBytes, errorLog, (void*)LogBytes, (void*)1 };
            nint state;
            CudaCheck.Ok(CudaLibrary.cuLinkCreate_v2(Count, options, values, &state), $"Preparing to compile kernel {kernel}");
            try
            {
                byte[] name = Encoding.ASCII.GetBytes(kernel + ".ptx\0");
                int code;
                fixed (byte* fileName = name) code = CudaLibrary.cuLinkAddData_v2(state, 1, source, (nuint)text.Length, fileName, 0, null, null);
                void* binary = null;
                nuint size = 0;
                if (code == 0) code = CudaLibrary.cuLinkComplete(state, &binary, &size);
                if (code != 0) throw CudaCheck.Failure(code, $"Compiling kernel {kernel} failed with \"{TextOf(errors)}\"");
                return (new ReadOnlySpan<byte>(binary, (int)size).ToArray(), TextOf(information));
            }
            finally
            {
                _ = CudaLibrary.cuLinkDestroy(state);
            }
        }
    }

    static string TextOf(byte[] log)
    {
        int end = Array.IndexOf(log, (byte)0);
        return Encoding.UTF8.GetString(log, 0, end < 0 ? log.Length : end).Trim();
    }
}
