using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using Hadal.Kernels.Ir;

namespace Hadal.Kernels.Driver;

/// <summary>A kernel and its PTX.</summary>
/// <param name="Kernel">The kernel.</param>
/// <param name="Text">Its PTX.</param>
public sealed record PrintedKernel(Kernel Kernel, string Text)
{
    /// <summary>Verifies and prints kernels, several at a time; needs no GPU.</summary>
    public static IReadOnlyList<PrintedKernel> Of(IReadOnlyList<Kernel> kernels)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        var printed = new PrintedKernel[kernels.Count];
        Parallel.For(0, printed.Length, i => printed[i] = new PrintedKernel(kernels[i], Ptx.PtxPrinter.Print(kernels[i])));
        return printed;
    }
}

/// <summary>
/// Compiles many kernels at a start. The driver compiles one module at a time in a process, however many threads and contexts ask, so kernels that it has not compiled before are divided among
/// processes of the same program, which leave what they compiled in the folder that all share (<see cref="ModuleCache"/>); loading finds it there.
/// </summary>
/// <remarks>
/// A program that calls <see cref="Prepare"/> gives its arguments to <see cref="Serve"/> when the first is <see cref="Verb"/>. What has been compiled is known from an empty file a kernel, named
/// by the digest of PTX, driver and card, beside the driver's own cache; a wrong one costs time only. A process takes the next kernel when it has compiled one, the longest first; it opens the
/// GPU for itself, which the driver does one after the other, a quarter of a second each: so more than <see cref="MostProcesses"/> do not help.
/// </remarks>
public static class ModuleCompiler
{
    /// <summary>The first argument of a process that compiles.</summary>
    public const string Verb = "compile-kernels";

    /// <summary>Processes at most.</summary>
    public const int MostProcesses = 10;

    /// <summary>Kernels below which no process is worth its start.</summary>
    const int Fewest = 4;

    /// <summary>Compiles those of some kernels that this machine has not compiled yet, in processes beside each other, and waits for them.</summary>
    /// <param name="context">The GPU.</param>
    /// <param name="kernels">The kernels.</param>
    /// <param name="processes">How many processes at most; zero for as many as help.</param>
    /// <returns>How many kernels were missing.</returns>
    public static int Prepare(CudaContext context, IReadOnlyList<PrintedKernel> kernels, int processes = 0)
    {
        ArgumentNullException.ThrowIfNull(context);
        ArgumentNullException.ThrowIfNull(kernels);
        if (processes <= 0) processes = Math.Min(Environment.ProcessorCount, MostProcesses);
        string[] missing = [.. kernels.Select(k => k.Text).Distinct(StringComparer.Ordinal).Where(text => !ModuleCache.Marked(text, context))];
        if (missing.Length < Fewest) return missing.Length;

        // The time to compile goes with the length of the text, about.
        var queue = new ConcurrentQueue<string>(missing.OrderByDescending(text => text.Length));
        (string Program, string[] Arguments)? command = Command();
        Thread[] threads = [.. Enumerable.Range(0, command is null ? 0 : Math.Min(processes, missing.Length / 2) - 1).Select(_ => new Thread(() => Feed(command!.Value, context.Ordinal, queue)))];
        foreach (Thread one in threads) one.Start();
        Drain(context, queue);
        foreach (Thread one in threads) one.Join();

        // What a process had in hand when it failed is compiled when it is loaded.
        return missing.Length;
    }

    /// <summary>The process that compiles: takes PTX from the standard input until it ends, and writes a line for each.</summary>
    /// <param name="arguments">The program's arguments: the verb and the number of the GPU.</param>
    public static int Serve(IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        using CudaContext context = CudaContext.Open(arguments.Count > 1 && int.TryParse(arguments[1], NumberStyles.None, CultureInfo.InvariantCulture, out int ordinal) ? ordinal : 0);
        using var input = new BinaryReader(Console.OpenStandardInput(), Encoding.UTF8);
        using Stream output = Console.OpenStandardOutput();
        try
        {
            output.WriteByte((byte)'\n');
            while (true)
            {
                Compile(context, input.ReadString());
                output.WriteByte((byte)'\n');
            }
        }
        catch (Exception ended) when (ended is EndOfStreamException or IOException)
        {
            return 0;
        }
    }

    static void Compile(CudaContext context, string text)
    {
        ModuleCache.Load("of a start", text, out nint module);
        _ = CudaLibrary.cuModuleUnload(module);
        ModuleCache.Mark(text, context);
    }

    static void Drain(CudaContext context, ConcurrentQueue<string> queue)
    {
        while (queue.TryDequeue(out string? text)) Compile(context, text);
    }

    static void Feed((string Program, string[] Arguments) command, int ordinal, ConcurrentQueue<string> queue)
    {
        var start = new ProcessStartInfo(command.Program) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false };
        foreach (string one in command.Arguments) start.ArgumentList.Add(one);
        start.ArgumentList.Add(Verb);
        start.ArgumentList.Add(ordinal.ToString(CultureInfo.InvariantCulture));
        try
        {
            using Process? process = Process.Start(start);
            if (process is null) return;
            process.ErrorDataReceived += (_, line) =>
            {
                if (line.Data is { Length: > 0 } said) Trace.TraceWarning($"A process that compiles kernels: {said}");
            };
            process.BeginErrorReadLine();
            using (var output = new BinaryWriter(process.StandardInput.BaseStream, Encoding.UTF8))
            {
                // A line when its GPU is open, then one a kernel; none when it failed.
                while (process.StandardOutput.BaseStream.ReadByte() >= 0 && queue.TryDequeue(out string? text))
                {
                    output.Write(text);
                    output.Flush();
                }
            }

            process.WaitForExit();
        }
        catch (Exception failed) when (failed is IOException or System.ComponentModel.Win32Exception or InvalidOperationException)
        {
            Trace.TraceWarning($"Kernels are compiled by fewer processes: {failed.Message}");
        }
    }

    /// <summary>This program again: itself where it is native, else the host with the program's file.</summary>
    static (string Program, string[] Arguments)? Command()
    {
        if (Environment.ProcessPath is not { } path) return null;
        if (!string.Equals(Path.GetFileNameWithoutExtension(path), "dotnet", StringComparison.Ordinal)) return (path, []);
        string file = Environment.GetCommandLineArgs()[0];
        return File.Exists(file) ? (path, [file]) : null;
    }
}
