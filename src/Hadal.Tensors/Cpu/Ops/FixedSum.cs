using System.Runtime.Intrinsics;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>
/// Sums in double in one order: blocks of 4096 in four interleaved chains, blocks ascending. Squares of binary32 are exact in double, so fused or not is
/// the same. Blocks are shared among threads and added by one.
/// </summary>
static unsafe class FixedSum
{
    const int Block = 4096;

    struct Job
    {
        public float* Values;
        public double* Sums;
        public int Length, Blocks, Parts;
        public bool Squares;
    }

    /// <summary>Σ x or Σ x².</summary>
    public static double Of(CpuThreads threads, float* values, int length, bool squares)
    {
        int blocks = (length + Block - 1) / Block;
        var job = new Job { Values = values, Length = length, Blocks = blocks, Squares = squares, Parts = Math.Min((blocks + 7) / 8, threads.Count * 4) };
        job.Sums = blocks == 0 ? null : (double*)CpuScratch.Floats(2L * blocks);
        threads.Run(job.Parts, &Blocks, &job);
        double total = 0;
        for (int i = 0; i < blocks; i++) total += job.Sums[i];
        return total;
    }

    /// <summary>Writes or adds the result.</summary>
    public static void Store(Tensor total, double value, bool accumulate)
    {
        if (total.DType == DType.F64) total.AsSpan<double>()[0] = (accumulate ? total.AsSpan<double>()[0] : 0) + value;
        else total.AsSpan<float>()[0] = (float)((accumulate ? total.AsSpan<float>()[0] : 0) + value);
    }

    static void Blocks(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Blocks, part, job->Parts);
        for (int i = first; i < end; i++)
            job->Sums[i] = OfBlock(job->Values + ((long)i * Block), Math.Min(Block, job->Length - (i * Block)), job->Squares);
    }

    static double OfBlock(float* x, int length, bool squares)
    {
        Vector256<double> chains = default;
        int i = 0;
        for (; i + 4 <= length; i += 4)
        {
            Vector128<float> four = Vector128.Load(x + i);
            (Vector128<double> low, Vector128<double> high) = Vector128.Widen(four);
            Vector256<double> wide = Vector256.Create(low, high);
            chains += squares ? wide * wide : wide;
        }

        double s0 = chains[0];
        for (; i < length; i++) s0 += squares ? (double)x[i] * x[i] : x[i];
        return s0 + chains[1] + (chains[2] + chains[3]);
    }
}
