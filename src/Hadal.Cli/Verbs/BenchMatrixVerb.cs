using System.CommandLine;
using System.Globalization;
using Hadal.Cli.Framework;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Measurement;

namespace Hadal.Cli.Verbs;

/// <summary><c>hadal bench matrix</c>: products of the CPU backend against what the machine can do.</summary>
static class BenchMatrixVerb
{
    const long ReadBytes = 1L << 29;

    public static Verb Create(Context context)
    {
        Option<bool> json = Options.Json();
        var verb = new Verb("matrix", "Times matrix products on the CPU beside the measured peak of multiply-adds and of reading memory.",
            "hadal bench matrix", "hadal bench matrix --json")
        {
            json,
        };
        ProcessorOptions.AddTo(verb);
        verb.SetAction(line =>
        {
            CpuOptions options = CpuOptions.FromEnvironment();
            using var backend = new CpuBackend(options);
            context.Terminal.SayBackend($"{backend.Name} ({backend.Description})");
            double peak = CpuSpeed.MultiplyAdds(options), bandwidth;
            using (var memory = new HostMemory(ReadBytes))
                bandwidth = CpuSpeed.ReadBandwidth(options, memory);

            var times = new List<ProductTime>();
            foreach (ProductShape shape in MatrixBenchmark.Shapes)
            {
                context.Cancellation.ThrowIfCancellationRequested();
                times.Add(MatrixBenchmark.Measure(backend, shape, DType.F32));
                times.Add(MatrixBenchmark.Measure(backend, shape, DType.BF16));
            }

            if (line.GetValue(json)) WriteJson(context.Terminal, backend, peak, bandwidth, times);
            else WriteText(context.Terminal.Output, peak, bandwidth, times);
            return ExitCode.Fine;
        });
        return verb;
    }

    static void WriteText(TextWriter output, double peak, double bandwidth, List<ProductTime> times)
    {
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"multiply-adds in registers: {peak / 1e9:F1} GFLOP/s; reading {ReadBytes >> 20} MiB: {bandwidth / 1e9:F1} GB/s"));
        output.WriteLine();
        output.WriteLine("    M     N     K  weights  median us  fastest us   GFLOP/s  of peak  weights GB/s  of read");
        foreach (ProductTime time in times)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{time.Shape.M,5} {time.Shape.N,5} {time.Shape.K,5} {time.Weights,8} {1e6 * time.MedianSeconds,10:F1} {1e6 * time.BestSeconds,11:F1} {time.FlopPerSecond / 1e9,9:F1} {100 * time.FlopPerSecond / peak,7:F1}% {time.WeightBytesPerSecond / 1e9,13:F1} {100 * time.WeightBytesPerSecond / bandwidth,7:F1}%"));
        }
    }

    static void WriteJson(Terminal terminal, CpuBackend backend, double peak, double bandwidth, List<ProductTime> times) => terminal.WriteJson(json =>
    {
        json.WriteString("backend", backend.Name);
        json.WriteString("description", backend.Description);
        json.WriteNumber("peak_gflop_per_second", peak / 1e9);
        json.WriteNumber("read_gb_per_second", bandwidth / 1e9);
        json.WriteStartArray("products");
        foreach (ProductTime time in times)
        {
            json.WriteStartObject();
            json.WriteNumber("m", time.Shape.M);
            json.WriteNumber("n", time.Shape.N);
            json.WriteNumber("k", time.Shape.K);
            json.WriteString("weights", time.Weights.ToString());
            json.WriteNumber("median_seconds", time.MedianSeconds);
            json.WriteNumber("best_seconds", time.BestSeconds);
            json.WriteNumber("gflop_per_second", time.FlopPerSecond / 1e9);
            json.WriteNumber("weight_gb_per_second", time.WeightBytesPerSecond / 1e9);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
