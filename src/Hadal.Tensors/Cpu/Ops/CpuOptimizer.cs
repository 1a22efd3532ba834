using System.Runtime.CompilerServices;
using Hadal.Tensors.Cpu.Lanes;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>AdamW, sums of squares, moving averages.</summary>
/// <typeparam name="TLanes">The instruction set.</typeparam>
sealed unsafe class CpuOptimizer<TLanes>(CpuContext context) : IOptimizerOperations
    where TLanes : struct, ILanes<TLanes>
{
    const int Width = 16;

    struct Job
    {
        public float* Master, Gradient;
        public void* First, Second;
        public bool FirstBFloat16, SecondBFloat16;
        public long Length;
        public int Parts;
        public float Rate, Clip, Beta1, Beta2, Correction1, Correction2, Epsilon, Decay;
    }

    static float* F32(Tensor x)
    {
        Require.That(x.DType == DType.F32 && x.IsContiguous, $"The cpu backend updates contiguous F32 tensors; {x} was given.");
        return x.Pointer<float>();
    }

    public void SumOfSquares(Tensor x, Tensor sum, bool accumulate)
    {
        Require.Vector(sum, 1);
        Require.That(x.DType == DType.F32, $"The cpu backend sums squares of F32; {x} was given.");
        double squares = 0;
        for (int row = 0; row < x.Rows; row++) squares += FixedSum.Of(context.Threads, x.Pointer<float>() + (row * x.RowStride), x.Columns, squares: true);
        FixedSum.Store(sum, squares, accumulate);
    }

    public void AdamW(Tensor master, Tensor firstMoment, Tensor secondMoment, Tensor gradient, AdamWParameters parameters, Tensor state)
    {
        RoutingChecks.AdamW(master, firstMoment, secondMoment, gradient, state);
        Span<double> s = state.AsSpan<double>();
        if (s[3] == 0) return;
        var job = new Job
        {
            Master = F32(master), Gradient = F32(gradient), First = Moment(firstMoment), Second = Moment(secondMoment), FirstBFloat16 = firstMoment.DType == DType.BF16,
            SecondBFloat16 = secondMoment.DType == DType.BF16, Length = master.Length, Rate = (float)s[0], Clip = (float)s[2], Beta1 = (float)parameters.Beta1,
            Beta2 = (float)parameters.Beta2, Correction1 = (float)(1 / (1 - Math.Pow(parameters.Beta1, s[1]))), Correction2 = (float)(1 / (1 - Math.Pow(parameters.Beta2, s[1]))),
            Epsilon = (float)parameters.Epsilon, Decay = (float)parameters.WeightDecay,
        };
        job.Parts = (int)Math.Clamp(job.Length / 16384, 1, context.Threads.Count * 4);
        context.Threads.Run(job.Parts, &AdamWBody, &job);
    }

    static void* Moment(Tensor moment)
    {
        Require.That(moment.DType is DType.F32 or DType.BF16 && moment.IsContiguous, $"Moments are contiguous F32 or BF16; {moment} was given.");
        return (void*)moment.Address;
    }

    static void AdamWBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(checked((int)job->Length), part, job->Parts, Width);
        int i = first;
        if (job->FirstBFloat16 && job->SecondBFloat16)
        {
            ushort* firsts = (ushort*)job->First, seconds = (ushort*)job->Second;
            for (; i + Width <= end; i += Width)
            {
                TLanes m = TLanes.LoadBFloat16(firsts + i), v = TLanes.LoadBFloat16(seconds + i);
                Update(job, TLanes.Load(job->Gradient + i), TLanes.Load(job->Master + i), ref m, ref v).Store(job->Master + i);
                m.StoreBFloat16(firsts + i);
                v.StoreBFloat16(seconds + i);
            }
        }

        for (; i < end; i += Width)
        {
            int count = Math.Min(Width, end - i);
            TLanes m = LoadMoment(job->First, job->FirstBFloat16, i, count), v = LoadMoment(job->Second, job->SecondBFloat16, i, count);
            Update(job, TLanes.LoadFirst(job->Gradient + i, count), TLanes.LoadFirst(job->Master + i, count), ref m, ref v).StoreFirst(job->Master + i, count);
            StoreMoment(m, job->First, job->FirstBFloat16, i, count);
            StoreMoment(v, job->Second, job->SecondBFloat16, i, count);
        }
    }

    /// <summary>The new master value; the moments are replaced by theirs, not yet rounded.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static TLanes Update(Job* job, TLanes gradient, TLanes master, ref TLanes m, ref TLanes v)
    {
        TLanes g = TLanes.Broadcast(job->Clip) * gradient;
        m = TLanes.Fma(TLanes.Broadcast(job->Beta1), m, TLanes.Broadcast(1 - job->Beta1) * g);
        v = TLanes.Fma(TLanes.Broadcast(job->Beta2), v, TLanes.Broadcast(1 - job->Beta2) * g * g);
        TLanes direction = m * TLanes.Broadcast(job->Correction1) / (TLanes.Sqrt(v * TLanes.Broadcast(job->Correction2)) + TLanes.Broadcast(job->Epsilon));
        return TLanes.FmaNegated(TLanes.Broadcast(job->Rate), TLanes.Fma(TLanes.Broadcast(job->Decay), master, direction), master);
    }

    static TLanes LoadMoment(void* moment, bool bfloat16, int i, int count)
    {
        if (!bfloat16) return TLanes.LoadFirst((float*)moment + i, count);
        if (count == Width) return TLanes.LoadBFloat16((ushort*)moment + i);
        ushort* padded = stackalloc ushort[Width];
        for (int k = 0; k < count; k++) padded[k] = ((ushort*)moment)[i + k];
        return TLanes.LoadBFloat16(padded);
    }

    static void StoreMoment(TLanes value, void* moment, bool bfloat16, int i, int count)
    {
        if (!bfloat16)
        {
            value.StoreFirst((float*)moment + i, count);
            return;
        }

        if (count == Width)
        {
            value.StoreBFloat16((ushort*)moment + i);
            return;
        }

        ushort* padded = stackalloc ushort[Width];
        value.StoreBFloat16(padded);
        for (int k = 0; k < count; k++) ((ushort*)moment)[i + k] = padded[k];
    }

    public void MovingAverage(Tensor x, double decay, Tensor average)
    {
        RoutingChecks.MovingAverage(x, average);
        var job = new Job { Master = F32(average), Gradient = F32(x), Length = x.Length, Beta1 = (float)decay };
        job.Parts = (int)Math.Clamp(job.Length / 16384, 1, context.Threads.Count * 4);
        context.Threads.Run(job.Parts, &AverageBody, &job);
    }

    static void AverageBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(checked((int)job->Length), part, job->Parts, Width);
        TLanes keep = TLanes.Broadcast(job->Beta1), take = TLanes.Broadcast(1 - job->Beta1);
        for (int i = first; i < end; i += Width)
        {
            int count = Math.Min(Width, end - i);
            TLanes.Fma(keep, TLanes.LoadFirst(job->Master + i, count), take * TLanes.LoadFirst(job->Gradient + i, count)).StoreFirst(job->Master + i, count);
        }
    }
}
