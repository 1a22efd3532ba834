using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Hadal.Tensors.Cpu.Matrix;

namespace Hadal.Tensors.Cpu;

/// <summary>
/// What this machine can do at most, measured: the bounds that products are compared with. Both run on all threads of the options at once.
/// </summary>
public static unsafe class CpuSpeed
{
    const int Chains = 12, Steps = 1 << 16;

    /// <summary>Floating-point operations per second of independent fused multiply-adds in registers, the best of several runs.</summary>
    public static double MultiplyAdds(CpuOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        using var threads = new CpuThreads(options.Threads);
        delegate*<void*, int, void> body = InstructionSets.Require(options.InstructionSet) switch
        {
            InstructionSet.Vector512 => &Multiply<Register512, Vector512<float>>,
            InstructionSet.Vector256 => &Multiply<Register256, Vector256<float>>,
            InstructionSet.Vector128 => &Multiply<Register128, Vector128<float>>,
            _ => &Multiply<RegisterScalar, float>,
        };
        int width = options.InstructionSet switch { InstructionSet.Vector512 => 16, InstructionSet.Vector256 => 8, InstructionSet.Vector128 => 4, _ => 1 };
        float sink = 0;
        void* pointer = &sink;
        double best = Best(() => threads.Run(options.Threads * 16, body, pointer), 0.4);
        return 2.0 * Chains * width * Steps * 16 * options.Threads / best;
    }

    /// <summary>Bytes per second read from <paramref name="memory"/> when every thread only reads, the median of several runs.</summary>
    /// <param name="options">Threads; vectors of the widest kind the runtime uses.</param>
    /// <param name="memory">Host memory; beyond the last-level cache to measure main memory.</param>
    public static double ReadBandwidth(CpuOptions options, TensorMemory memory)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(memory);
        using var threads = new CpuThreads(options.Threads);
        var reading = new Reading { Start = (float*)memory.Address, Floats = memory.Bytes / 4, Parts = options.Threads * 8 };
        Reading* pointer = &reading;
        return memory.Bytes / Median(() => threads.Run(pointer->Parts, &Read, pointer), 0.6);
    }

    /// <summary>Seconds of the shortest of many calls within about <paramref name="seconds"/>.</summary>
    static double Best(Action call, double seconds) => Times(call, seconds).Min();

    static double Median(Action call, double seconds)
    {
        List<double> times = Times(call, seconds);
        times.Sort();
        return times[times.Count / 2];
    }

    static List<double> Times(Action call, double seconds)
    {
        for (int i = 0; i < 3; i++) call();
        var times = new List<double>();
        var watch = Stopwatch.StartNew();
        while (times.Count < 5 || watch.Elapsed.TotalSeconds < seconds)
        {
            long start = Stopwatch.GetTimestamp();
            call();
            times.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return times;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Multiply<TRegister, TVector>(void* context, int item)
        where TRegister : struct, IVectorRegister<TVector>
        where TVector : unmanaged
    {
        TVector x = TRegister.Broadcast(1 - (1f / 1024)), y = TRegister.Broadcast(1f / 1024);
        TVector c0 = y, c1 = y, c2 = y, c3 = y, c4 = y, c5 = y, c6 = y, c7 = y, c8 = y, c9 = y, c10 = y, c11 = y;
        for (int i = 0; i < Steps; i++)
        {
            c0 = TRegister.Fma(c0, x, y);
            c1 = TRegister.Fma(c1, x, y);
            c2 = TRegister.Fma(c2, x, y);
            c3 = TRegister.Fma(c3, x, y);
            c4 = TRegister.Fma(c4, x, y);
            c5 = TRegister.Fma(c5, x, y);
            c6 = TRegister.Fma(c6, x, y);
            c7 = TRegister.Fma(c7, x, y);
            c8 = TRegister.Fma(c8, x, y);
            c9 = TRegister.Fma(c9, x, y);
            c10 = TRegister.Fma(c10, x, y);
            c11 = TRegister.Fma(c11, x, y);
        }

        // Every chain must be used, or the compiler leaves it out.
        float* sums = stackalloc float[16];
        c0 = TRegister.Fma(c1, c2, TRegister.Fma(c3, c4, TRegister.Fma(c5, c6, TRegister.Fma(c7, c8, TRegister.Fma(c9, c10, TRegister.Fma(c11, x, c0))))));
        TRegister.Store(c0, sums);
        Volatile.Write(ref *(float*)context, sums[0]);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Read(void* context, int part)
    {
        var reading = (Reading*)context;
        long floats = reading->Floats / reading->Parts / 64 * 64;
        float* p = reading->Start + (floats * part), end = p + floats;
        Vector512<float> a = default, b = default, c = default, d = default;
        for (; p < end; p += 64)
        {
            a += Vector512.Load(p);
            b += Vector512.Load(p + 16);
            c += Vector512.Load(p + 32);
            d += Vector512.Load(p + 48);
        }

        Volatile.Write(ref reading->Sum, Vector512.Sum(a + b + c + d));
    }

    struct Reading
    {
        public float* Start;
        public long Floats;
        public int Parts;
        public float Sum;
    }
}
