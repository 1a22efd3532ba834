// Matrix products against OpenBLAS, oneDNN and ONNX Runtime, every measurement in a process of its own, libraries taking turns.
//   dotnet run -c Release --project benchmarks/Hadal.Benchmarks [-- --rounds N --threads T]
// Prints a table in Markdown: the median of all calls of all rounds, and the fastest call, which other load disturbs least.
using System.Diagnostics;
using System.Globalization;
using Hadal.Benchmarks;
using Hadal.Tensors.Cpu;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
if (args is ["measure", ..])
{
    double[] measured = Measurement.Run(args[1], Whole(args[2]), Whole(args[3]), Whole(args[4]), Whole(args[5]));
    Console.WriteLine(string.Join(' ', measured.Select(t => t.ToString("R", CultureInfo.InvariantCulture))));
    return 0;
}

int rounds = Option("--rounds", 3), threads = Option("--threads", Environment.ProcessorCount);
(int M, int N, int K)[] shapes =
    [(1024, 1024, 1024), (128, 1024, 1024), (32, 4096, 1024), (8, 4096, 1024), (1, 4096, 1024), (1, 8192, 8192)];
string[] libraries = ["hadal", "openblas", "onednn", "onnxruntime", "hadal-bf16", "read"];
Console.WriteLine($"{threads} threads, instruction set {InstructionSets.Name(CpuOptions.FromEnvironment().InstructionSet)}, {rounds} alternating rounds, F32 (hadal-bf16: BF16 weights).");
Console.WriteLine();
Console.WriteLine("| M, N, K | library | median µs | fastest µs | GFLOP/s (median / fastest) | weights GB/s (median / fastest) |");
Console.WriteLine("|---|---|---|---|---|---|");
var ratios = new List<string>();
foreach ((int m, int n, int k) in shapes)
{
    var times = libraries.ToDictionary(l => l, _ => new List<double>(), StringComparer.Ordinal);
    for (int round = 0; round < rounds; round++)
    {
        foreach (string library in libraries) times[library].AddRange(Child(library, m, n, k, threads));
    }

    foreach (string library in libraries)
    {
        List<double> sorted = times[library];
        sorted.Sort();
        double median = sorted[sorted.Count / 2], best = sorted[0], flop = 2.0 * m * n * k, bytes = (library is "hadal-bf16" ? 2.0 : 4.0) * n * k;
        string flops = library is "read" ? "" : $"{flop / median / 1e3:F1} / {flop / best / 1e3:F1}";
        Console.WriteLine($"| {m}, {n}, {k} | {library} | {median:F1} | {best:F1} | {flops} | {bytes / median / 1e3:F1} / {bytes / best / 1e3:F1} |");
    }

    string peer = new[] { "openblas", "onednn", "onnxruntime" }.MinBy(l => Median(times[l]))!;
    ratios.Add($"| {m}, {n}, {k} | {peer} | {Median(times[peer]) / Median(times["hadal"]):F2} | {Median(times["read"]) / Median(times["hadal"]):F2} |");
}

Console.WriteLine();
Console.WriteLine("| M, N, K | best peer | its median over ours | reading the weights over ours |");
Console.WriteLine("|---|---|---|---|");
foreach (string ratio in ratios) Console.WriteLine(ratio);
return 0;

static double Median(List<double> sorted) => sorted[sorted.Count / 2];

static double[] Child(string library, int m, int n, int k, int threads)
{
    var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true, UseShellExecute = false };
    if (Path.GetFileNameWithoutExtension(Environment.ProcessPath) is "dotnet") start.ArgumentList.Add(Environment.GetCommandLineArgs()[0]);
    foreach (string argument in (string[])["measure", library, $"{m}", $"{n}", $"{k}", $"{threads}"]) start.ArgumentList.Add(argument);
    using Process process = Process.Start(start)!;
    string output = process.StandardOutput.ReadToEnd();
    process.WaitForExit();
    if (process.ExitCode != 0) throw new InvalidOperationException($"Measuring {library} failed with exit code {process.ExitCode}; is the library installed?");
    return [.. output.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Select(t => double.Parse(t, CultureInfo.InvariantCulture))];
}

static int Whole(string text) => int.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);

int Option(string name, int otherwise)
{
    int at = Array.IndexOf(args, name);
    return at >= 0 && at + 1 < args.Length ? Whole(args[at + 1]) : otherwise;
}
