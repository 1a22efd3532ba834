using System.Diagnostics;
using System.Runtime.Intrinsics;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations;

namespace Hadal.Benchmarks;

/// <summary>One library, one shape, one process: OpenMP workers that spin after a call would otherwise slow the next library.</summary>
static unsafe class Measurement
{
    /// <summary>Microseconds of each of a number of calls; the first calls warm up and are left out.</summary>
    public static double[] Run(string library, int m, int n, int k, int threads)
    {
        using var x = new HostMemory(4L * m * k);
        using var w = new HostMemory(4L * n * k);
        using var y = new HostMemory(4L * m * n);
        Fill((float*)x.Address, (long)m * k);
        Fill((float*)w.Address, (long)n * k);
        float* px = (float*)x.Address, pw = (float*)w.Address, py = (float*)y.Address;
        switch (library)
        {
            case "openblas":
                Peers.SetOpenBlasThreads(threads);
                return Checked(Time(() => Peers.OpenBlas(px, pw, py, m, n, k)), px, pw, py, m, n, k);
            case "onednn":
                Peers.SetOneDnnThreads(threads);
                return Checked(Time(() => Peers.OneDnn(px, pw, py, m, n, k)), px, pw, py, m, n, k);
            case "onnxruntime":
                using (var product = new OnnxProduct(px, pw, py, m, n, k, threads)) return Checked(Time(product.Run), px, pw, py, m, n, k);
            case "read":
                return ReadAll(w, threads);
            case "hadal":
                return Checked(Own(bfloat16: false, x, w, y, m, n, k, threads), px, pw, py, m, n, k);
            case "hadal-bf16":
                return Own(bfloat16: true, x, w, y, m, n, k, threads);
            default:
                throw new ArgumentException($"'{library}' is no library; write one of hadal, hadal-bf16, openblas, onednn, onnxruntime, read.", nameof(library));
        }
    }

    static double[] Own(bool bfloat16, HostMemory x, HostMemory w, HostMemory y, int m, int n, int k, int threads)
    {
        CpuOptions options = CpuOptions.FromEnvironment();
        using var workers = new CpuThreads(threads);
        using var matrix = new CpuMatrix(new CpuContext(workers, options.InstructionSet));
        Tensor values = Tensor.View(w, 0, bfloat16 ? DType.BF16 : DType.F32, n, k);
        if (bfloat16)
        {
            float* from = (float*)w.Address;
            ushort* to = (ushort*)w.Address;
            for (long i = 0; i < (long)n * k; i++) to[i] = (ushort)(BitConverter.SingleToUInt32Bits(from[i]) >> 16);
        }

        using PreparedWeight weight = matrix.Prepare([values], ProductUses.Forward);
        Tensor input = Tensor.View(x, 0, DType.F32, m, k), output = Tensor.View(y, 0, DType.F32, m, n);
        return Time(() => matrix.Forward(input, weight, output));
    }

    /// <summary>Reads all weights once with all threads and does nothing else: the bound of a product with one row.</summary>
    static double[] ReadAll(HostMemory memory, int threads)
    {
        using var workers = new CpuThreads(threads);
        var state = new Reading { Start = (float*)memory.Address, Floats = memory.Bytes / 4, Parts = threads * 8 };
        return Time(() => ReadOnce(workers, state));
    }

    static void ReadOnce(CpuThreads workers, Reading reading) => workers.Run(reading.Parts, &ReadPart, &reading);

    static void ReadPart(void* context, int part)
    {
        var reading = (Reading*)context;
        float* p = reading->Start + (reading->Floats / reading->Parts * part), end = p + (reading->Floats / reading->Parts / 64 * 64);
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

    static double[] Time(Action call)
    {
        var watch = Stopwatch.StartNew();
        do call();
        while (watch.ElapsedMilliseconds < 50);
        var times = new List<double>();
        watch.Restart();
        while (times.Count < 15 || (watch.ElapsedMilliseconds < 300 && times.Count < 5000))
        {
            long start = Stopwatch.GetTimestamp();
            call();
            times.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
        }

        return [.. times];
    }

    /// <summary>The times, if some outputs are what double precision says.</summary>
    static double[] Checked(double[] times, float* x, float* w, float* y, int m, int n, int k)
    {
        for (int sample = 0; sample < 64; sample++)
        {
            int row = (int)(sample * 2654435761L % m), column = (int)(sample * 40503L % n);
            double expected = 0, size = 0;
            for (int i = 0; i < k; i++)
            {
                double term = (double)x[((long)row * k) + i] * w[((long)column * k) + i];
                expected += term;
                size += Math.Abs(term);
            }

            double given = y[((long)row * n) + column];
            if (!(Math.Abs(given - expected) <= 1e-5 * size)) throw new InvalidOperationException($"y[{row}, {column}] is {given}; expected {expected}.");
        }

        return times;
    }

    static void Fill(float* values, long count)
    {
        for (long i = 0; i < count; i++) values[i] = ((i * 2654435761L) & 0xFFFF) / 65536f - 0.5f;
    }

    struct Reading
    {
        public float* Start;
        public long Floats;
        public int Parts;
        public float Sum;
    }
}
