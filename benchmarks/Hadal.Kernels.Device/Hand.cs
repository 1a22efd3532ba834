using System.Runtime.InteropServices;
using Hadal.Kernels.Driver;
using Hadal.Kernels.Ir;
using Hadal.Kernels.Launch;
using Hadal.Kernels.Library.Gemm;
using Hadal.Kernels.Measure;

namespace Hadal.Kernels.Device;

/// <summary>
/// What the language costs: a hand-written PTX file of the FP8 product beside the kernel of the library, on the same memory and by the same timer, in turns.
/// The file's entry is <c>fp8_gemm_nt</c>: maps a, b, a_scale, d; pointers b_scale, d, clock; a map that is not read.
/// </summary>
static class Hand
{
    public static int Run(string file, string shapeText, string tile, int sharedBytes)
    {
        int[] shape = [.. shapeText.Split('x').Select(t => int.Parse(t, System.Globalization.CultureInfo.InvariantCulture))];
        (int m, int n, int k) = (shape[0], shape[1], shape[2]);
        GemmConfig config = GemmConfig.Parse(tile);
        using CudaContext context = CudaContext.Open();
        using var timer = new GraphTimer(context) { SustainedMilliseconds = 600 };
        Kernel ours = Fp8GemmKernel.Build(new GemmShape(n, k), config);
        var map = (TensorMapParameter)ours.Parameters[0];
        Kernel hand = ours with
        {
            Name = "fp8_gemm_nt",
            SharedBytes = sharedBytes,
            Parameters =
            [
                map, ours.Parameters[1], ours.Parameters[2], new TensorMapParameter("d_map", ElementType.BF16, 64, 16, Swizzle.Bytes128),
                new PointerParameter("b_scale", ElementType.F32), new PointerParameter("d", ElementType.BF16), new PointerParameter("clock", ElementType.F32), map with { Name = "unused" },
            ],
        };
        LoadedKernel loaded = context.Load(ours), loadedHand = LoadedKernel.Load(hand, File.ReadAllText(file));
        Fp8Operands operands = Fp8Operands.Make(OperandKind.Normal, m, n, k, 1, 1);
        var ourLaunches = new List<PreparedLaunch>();
        var handLaunches = new List<PreparedLaunch>();
        int blocks = Fp8GemmKernel.Blocks((m + config.TileM - 1) / config.TileM, new GemmShape(n, k), config, context.Info.Multiprocessors);
        var results = new List<(DeviceMemory Ours, DeviceMemory Hand)>();
        for (int set = 0; set < 2; set++)
        {
            DeviceMemory Put<T>(T[] values)
                where T : unmanaged
            {
                DeviceMemory memory = context.Allocate((long)values.Length * Marshal.SizeOf<T>());
                memory.Upload<T>(values);
                return memory;
            }

            DeviceMemory a = Put(operands.A), b = Put(operands.B), aScale = Put(operands.AScale), bScale = Put(operands.BScale), d = context.Allocate(2L * m * n), other = context.Allocate(2L * m * n);
            results.Add((d, other));
            var ta = new TensorDescription(a.Address, ElementType.E4M3, m, k, k);
            var tb = new TensorDescription(b.Address, ElementType.E4M3, n, k, k);
            var ts = new TensorDescription(aScale.Address, ElementType.F32, operands.Chunks, m, 4L * operands.ScaleStride);
            ourLaunches.Add(loaded.Prepare(blocks, [ta, tb, ts, bScale.Address, d.Address, (uint)m]));
            handLaunches.Add(loadedHand.Prepare(blocks, [ta, tb, ts, new TensorDescription(other.Address, ElementType.BF16, m, n, 2L * n), bScale.Address, other.Address, d.Address, ta]));
        }

        for (int round = 0; round < 3; round++)
        {
            LaunchTime one = timer.Measure(ourLaunches), two = timer.Measure(handLaunches);
            double single = timer.MeasureSingle(context, ourLaunches), singleHand = timer.MeasureSingle(context, handLaunches), flop = 2.0 * m * n * k / 1e6;
            Console.WriteLine($"{shapeText} library {flop / one.Burst:F0} burst {flop / one.Sustained:F0} sustained {flop / single:F0} single | hand {flop / two.Burst:F0} {flop / two.Sustained:F0} {flop / singleHand:F0} TFLOP/s | hand over library, burst {one.Burst / two.Burst:F4}, single {single / singleHand:F4}");
        }

        var mine = new ushort[(long)m * n];
        var theirs = new ushort[(long)m * n];
        results[0].Ours.Download<ushort>(mine);
        results[0].Hand.Download<ushort>(theirs);
        Console.WriteLine(mine.AsSpan().SequenceEqual(theirs) ? "the same bits" : "other bits");
        return 0;
    }
}
