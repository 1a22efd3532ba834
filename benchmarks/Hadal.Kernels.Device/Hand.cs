using System.Runtime.InteropServices;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;
using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Measure;

namespace Hadal.Kernels.Device;

/// <summary>
/// What the language costs: the PTX of a prototype that writes it by hand (<c>Golden</c>, one file a shape) beside the kernel of the library, on the same memory, in turns. A third rival is the
/// library's kernel without the two instructions of dependent launches, which the prototype has not got.
/// More rivals are files of a folder, named by shape and what they try (4096x7168x16384-WHAT.ptx), with the entry of one or the other. The files' entry is <c>fp8_gemm_nt</c>: maps a, b, a_scale, d; pointers b_scale, d, clock; a map that is not read.
/// </summary>
static class Hand
{
    const int SharedBytes = 217152;
    static readonly (int M, int N, int K, string Tile)[] Shapes = [(4096, 7168, 16384, "wg2w2n128s4c2g16late"), (4096, 4096, 7168, "wg2w2n128s4c2g16late"), (4096, 7168, 2048, "wg2w2n128s4c1g16late")];
    static readonly string[] Rivals = ["library", "library without dependent launch", "by hand"];

    public static int Run(int turns, string? folder)
    {
        using CudaContext context = CudaContext.Open();
        using var timer = new GraphTimer(context) { PauseMilliseconds = 25 };
        Console.WriteLine($"{context.Info.Name}, CUDA {CudaDriver.Look().VersionText}, {turns} turns; ratio: time of the library over time by hand, turn by turn");
        int different = 0;
        foreach ((int m, int n, int k, string tile) in Shapes)
            if (!Compare(context, timer, m, n, k, GemmConfig.Parse(tile), turns, folder is null ? [] : [.. Directory.GetFiles(folder, $"{m}x{n}x{k}-*.ptx").Order(StringComparer.Ordinal)])) different++;
        return different == 0 ? 0 : 1;
    }

    static bool Compare(CudaContext context, GraphTimer timer, int m, int n, int k, GemmConfig config, int turns, string[] files)
    {
        Kernel ours = Fp8GemmKernel.Build(new GemmShape(n, k), config);
        var map = (TensorMapParameter)ours.Parameters[0];
        Kernel hand = ours with
        {
            Name = "fp8_gemm_nt",
            SharedBytes = SharedBytes,
            Parameters =
            [
                map, ours.Parameters[1], ours.Parameters[2], new TensorMapParameter("d_map", ElementType.BF16, 64, 16, Swizzle.Bytes128),
                new PointerParameter("b_scale", ElementType.F32), new PointerParameter("d", ElementType.BF16), new PointerParameter("clock", ElementType.F32), map with { Name = "unused" },
            ],
        };
        string text = Ptx.PtxPrinter.Print(ours), alone = string.Join('\n', text.Split('\n').Where(l => !l.Contains("griddepcontrol", StringComparison.Ordinal)));
        string[] rivals = [.. Rivals[..2], .. files.Select(f => Path.GetFileNameWithoutExtension(f)), Rivals[2]], texts = [text, alone, .. files.Select(File.ReadAllText), Read($"fp8-hand-{m}x{n}x{k}.ptx")];
        bool[] byHand = [.. texts.Select(t => t.Contains(".entry fp8_gemm_nt(", StringComparison.Ordinal))];
        LoadedKernel[] loaded = [.. texts.Select((t, i) => LoadedKernel.Load(byHand[i] ? hand : ours with { SharedBytes = Math.Max(ours.SharedBytes, SharedBytes + 128) }, t))];
        Fp8Operands operands = Fp8Operands.Make(OperandKind.Normal, m, n, k, 1, 1);
        int blocks = Fp8GemmKernel.Blocks((m + config.TileM - 1) / config.TileM, new GemmShape(n, k), config, context.Info.Multiprocessors);
        var launches = loaded.Select(_ => new List<PreparedLaunch>()).ToArray();
        var memory = new List<DeviceMemory>();
        var results = new DeviceMemory[loaded.Length];
        for (int set = 0; set < 2; set++)
        {
            DeviceMemory a = Put(operands.A), b = Put(operands.B), aScale = Put(operands.AScale), bScale = Put(operands.BScale);
            var ta = new TensorDescription(a.Address, ElementType.E4M3, m, k, k);
            var tb = new TensorDescription(b.Address, ElementType.E4M3, n, k, k);
            var ts = new TensorDescription(aScale.Address, ElementType.F32, operands.Chunks, m, 4L * operands.ScaleStride);
            for (int rival = 0; rival < loaded.Length; rival++)
            {
                DeviceMemory d = Keep(context.Allocate(2L * m * n));
                results[rival] = d;
                launches[rival].Add(!byHand[rival]
                    ? loaded[rival].Prepare(blocks, [ta, tb, ts, bScale.Address, d.Address, (uint)m])
                    : loaded[rival].Prepare(blocks, [ta, tb, ts, new TensorDescription(d.Address, ElementType.BF16, m, n, 2L * n), bScale.Address, d.Address, d.Address, ta]));
            }
        }

        double[][] times = timer.MeasureInTurns(launches, turns);
        double flop = 2.0 * m * n * k / 1e6;
        for (int rival = 0; rival < loaded.Length; rival++)
        {
            double[] own = [.. times.Select(t => t[rival]).Order()], ratio = [.. times.Select(t => t[rival] / t[^1]).Order()];
            Console.WriteLine(
                $"{m}x{n}x{k} {rivals[rival]}: median {Quartile(own, 2):F2} us {flop / Quartile(own, 2):F0} TFLOP/s, ratio {Quartile(ratio, 2):F4} (half of the turns {Quartile(ratio, 1):F4} to {Quartile(ratio, 3):F4}), {loaded[rival].Registers} registers {loaded[rival].LocalBytes} local");
        }

        byte[][] bits = [.. results.Select(r =>
        {
            var read = new byte[r.Bytes];
            r.Download<byte>(read);
            return read;
        })];
        bool same = bits.All(b => b.AsSpan().SequenceEqual(bits[0]));
        Console.WriteLine($"{m}x{n}x{k} {(same ? "the same bits" : "WRONG: other bits")}");
        foreach (PreparedLaunch launch in launches.SelectMany(l => l)) launch.Dispose();
        foreach (DeviceMemory one in memory) one.Dispose();
        return same;

        DeviceMemory Keep(DeviceMemory one)
        {
            memory.Add(one);
            return one;
        }

        DeviceMemory Put<T>(T[] values)
            where T : unmanaged
        {
            DeviceMemory one = Keep(context.Allocate((long)values.Length * Marshal.SizeOf<T>()));
            one.Upload<T>(values);
            return one;
        }
    }

    static double Quartile(double[] ordered, int quarter) => ordered[Math.Min(ordered.Length - 1, ordered.Length * quarter / 4)];

    static string Read(string name)
    {
        using Stream stream = typeof(Hand).Assembly.GetManifestResourceStream(name) ?? throw new InvalidOperationException($"The program has no resource {name}.");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
