using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Library.Cases;
using Hadal.Kernels.Measure;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench gemm</c> and <c>hadal bench quantize</c>: kernels of the library on a GPU, checked and timed.</summary>
static class BenchKernelsVerb
{
    static readonly string[] Products = ["fp8_gemm", "fp8_gradient", "bf16_gemm"];
    static readonly string[] Casts = ["cast_", "retile_", "e5m6_"];

    public static Verb Gemm(Context context) => Create(context, "gemm", Products, "Times matrix products on a GPU: FP8 (dense, grouped), weight gradients, BF16.", "hadal bench gemm --only 4096x7168x16384");

    public static Verb Quantize(Context context) => Create(context, "quantize", Casts, "Times the casts to FP8 and the packed formats on a GPU.", "hadal bench quantize --json");

    static Verb Create(Context context, string name, string[] families, string description, string example)
    {
        Option<string?> only = Options.Text("--only", "TEXT", "Only cases whose name contains the text (several: separated by commas).");
        Option<int> device = Options.Integer("--device", "Number of the GPU.", 0, 0, 63);
        var dependent = new Option<bool>("--dependent") { Description = "Also launch programmatically dependent: the set-up of a launch beside the end of the one ahead." };
        Option<bool> json = Options.Json();
        var verb = new Verb(name, description + " Every result is compared with its definition; times are medians of launches in replayed graphs, on buffers rotated past the cache: after a pause, and back to back.",
            "hadal bench " + name, example)
        {
            only, device, dependent, json,
        };
        verb.SetAction(line =>
        {
            string[] words = line.GetValue(only)?.Split(',', StringSplitOptions.RemoveEmptyEntries) ?? [];
            KernelCase[] cases = [.. KernelCases.Benchmarks().Where(c => families.Any(f => c.Name.StartsWith(f, StringComparison.Ordinal))
                && (words.Length == 0 || words.Any(w => c.Name.Contains(w, StringComparison.Ordinal))))];
            if (cases.Length == 0) throw CommandError.WrongUse($"No case of {name} contains '{line.GetValue(only)}'.", "a part of a case's name, such as 4096x7168", "leave --only out to see them all");
            return Run(context, cases, line.GetValue(device), line.GetValue(dependent), line.GetValue(json));
        });
        return verb;
    }

    static int Run(Context context, KernelCase[] cases, int device, bool dependent, bool json)
    {
        using CudaContext gpu = CudaContext.Open(device);
        using var timer = new GraphTimer(gpu);
        double copy = timer.CopyBandwidth(gpu);
        context.Terminal.SayBackend($"{gpu.Info.Name}, {gpu.Info.Multiprocessors} multiprocessors, driver CUDA {CudaDriver.Look().VersionText}, copies at {copy / 1e12:F2} TB/s");
        var measured = new List<KernelMeasurement>();
        if (!json) context.Terminal.Output.WriteLine("| case | burst µs | TFLOP/s | TB/s | of copy | sustained µs | TFLOP/s | dependent µs | registers | spilled | error |\n|---|---|---|---|---|---|---|---|---|---|---|");
        foreach (KernelMeasurement one in KernelBenchmark.Run(gpu, cases, timer, dependent))
        {
            context.Cancellation.ThrowIfCancellationRequested();
            measured.Add(one);
            if (!json) context.Terminal.Output.WriteLine(Row(one, copy));
        }

        if (json) WriteJson(context.Terminal, gpu, copy, measured);
        return measured.TrueForAll(m => m.Result.Passed) ? ExitCode.Fine : ExitCode.Failed;
    }

    static string Row(KernelMeasurement one, double copy) => string.Create(CultureInfo.InvariantCulture,
        $"| {one.Case.Name} | {one.Time.Burst:F2} | {one.BurstFlop / 1e12:F0} | {one.BurstBytes / 1e12:F2} | {100 * one.BurstBytes / copy:F0}% | {one.Time.Sustained:F2} | {one.SustainedFlop / 1e12:F0} | {one.Dependent?.Burst:F2} | {one.Registers} | {one.SpilledBytes} | {(one.Result.Passed ? one.Result.Error.ToString("E1", CultureInfo.InvariantCulture) : "WRONG: " + one.Result.Detail)} |");

    static void WriteJson(Terminal terminal, CudaContext gpu, double copy, List<KernelMeasurement> measured) => terminal.WriteJson(json =>
    {
        json.WriteString("device", gpu.Info.Name);
        json.WriteNumber("driver", gpu.DriverVersion);
        json.WriteNumber("copy_tb_per_second", copy / 1e12);
        json.WriteStartArray("cases");
        foreach (KernelMeasurement one in measured)
        {
            json.WriteStartObject();
            json.WriteString("name", one.Case.Name);
            json.WriteBoolean("right", one.Result.Passed);
            json.WriteNumber("error", double.IsNaN(one.Result.Error) ? -1 : one.Result.Error);
            json.WriteNumber("operations", one.Case.Operations);
            json.WriteNumber("bytes", one.Case.Bytes);
            json.WriteNumber("burst_us", one.Time.Burst);
            json.WriteNumber("sustained_us", one.Time.Sustained);
            if (one.Dependent is not null) json.WriteNumber("dependent_burst_us", one.Dependent.Burst);
            json.WriteNumber("registers", one.Registers);
            json.WriteNumber("spilled_bytes", one.SpilledBytes);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
