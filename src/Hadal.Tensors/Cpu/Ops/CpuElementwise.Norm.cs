using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>RMSNorm, rotation and SwiGLU.</summary>
sealed unsafe partial class CpuElementwise<TLanes>
{
    static readonly int[] EvenSigns = [.. Enumerable.Range(0, Width).Select(i => i % 2 == 0 ? int.MinValue : 0)];
    static readonly int[] OddSigns = [.. Enumerable.Range(0, Width).Select(i => i % 2 == 1 ? int.MinValue : 0)];

    public void RmsNorm(Tensor x, Tensor weight, double epsilon, Tensor y, Tensor inverseRms)
    {
        ElementwiseChecks.RmsNorm(x, weight, y, inverseRms);
        var job = new Job
        {
            A = F32(x), StrideA = x.RowStride, B = F32(weight), C = F32(y), StrideC = y.RowStride, D = F32(inverseRms), Rows = x.Rows, Columns = x.Columns,
            Scalar = (float)epsilon,
        };
        Run(ref job, &NormBody, x.Rows, x.Length);
    }

    static void NormBody(void* context, int part)
    {
        var job = (Job*)context;
        int columns = job->Columns;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int r = first; r < end; r++)
        {
            float* x = job->A + (r * job->StrideA), y = job->C + (r * job->StrideC);
            TLanes squares = TLanes.Zero;
            for (int c = 0; c < columns; c += Width)
            {
                TLanes v = TLanes.LoadFirst(x + c, Math.Min(Width, columns - c));
                squares = TLanes.Fma(v, v, squares);
            }

            float inverse = 1 / MathF.Sqrt((TLanes.Sum(squares) / columns) + job->Scalar);
            if (job->D != null) job->D[r] = inverse;
            TLanes factor = TLanes.Broadcast(inverse);
            for (int c = 0; c < columns; c += Width)
            {
                int count = Math.Min(Width, columns - c);
                (TLanes.LoadFirst(x + c, count) * factor * TLanes.LoadFirst(job->B + c, count)).StoreFirst(y + c, count);
            }
        }
    }

    public void RmsNormBackwardInput(Tensor dy, Tensor x, Tensor weight, Tensor inverseRms, Tensor dx, bool accumulate)
    {
        ElementwiseChecks.RmsNormBackwardInput(dy, x, weight, inverseRms, dx);
        var job = new Job
        {
            A = F32(x), StrideA = x.RowStride, B = F32(dy), StrideB = dy.RowStride, C = F32(dx), StrideC = dx.RowStride, D = F32(inverseRms), E = F32(weight),
            Rows = x.Rows, Columns = x.Columns, Flag = accumulate,
        };
        Run(ref job, &NormBackwardBody, x.Rows, x.Length);
    }

    static void NormBackwardBody(void* context, int part)
    {
        var job = (Job*)context;
        int columns = job->Columns;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int r = first; r < end; r++)
        {
            float* x = job->A + (r * job->StrideA), dy = job->B + (r * job->StrideB), dx = job->C + (r * job->StrideC);
            TLanes dot = TLanes.Zero;
            for (int c = 0; c < columns; c += Width)
            {
                int count = Math.Min(Width, columns - c);
                dot = TLanes.Fma(TLanes.LoadFirst(dy + c, count) * TLanes.LoadFirst(job->E + c, count), TLanes.LoadFirst(x + c, count), dot);
            }

            float inverse = job->D[r];
            TLanes factor = TLanes.Broadcast(inverse), slope = TLanes.Broadcast(TLanes.Sum(dot) / columns * inverse * inverse);
            for (int c = 0; c < columns; c += Width)
            {
                int count = Math.Min(Width, columns - c);
                TLanes scaled = TLanes.LoadFirst(dy + c, count) * TLanes.LoadFirst(job->E + c, count);
                TLanes value = factor * TLanes.FmaNegated(TLanes.LoadFirst(x + c, count), slope, scaled);
                if (job->Flag) value = TLanes.LoadFirst(dx + c, count) + value;
                value.StoreFirst(dx + c, count);
            }
        }
    }

    public void RmsNormBackwardWeight(Tensor dy, Tensor x, Tensor inverseRms, Tensor dWeight, bool accumulate)
    {
        ElementwiseChecks.RmsNormBackwardWeight(dy, x, inverseRms, dWeight);
        var job = new Job
        {
            A = F32(x), StrideA = x.RowStride, B = F32(dy), StrideB = dy.RowStride, C = F32(dWeight), D = F32(inverseRms), Rows = x.Rows, Columns = x.Columns, Flag = accumulate,
        };
        int granules = (x.Columns + Width - 1) / Width;
        job.Parts = (int)Math.Clamp(Math.Min(granules, x.Length / 8192), 1, context.Threads.Count); // wide strips: rows are read in long runs
        context.Threads.Run(job.Parts, &NormWeightBody, &job);
    }

    static void NormWeightBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Columns, part, job->Parts, Width);
        int lanes = (end - first + Width - 1) / Width;
        float* sums = CpuScratch.Floats(lanes * (long)Width);
        new Span<float>(sums, lanes * Width).Clear();
        for (int r = 0; r < job->Rows; r++)
        {
            float* x = job->A + (r * job->StrideA) + first, dy = job->B + (r * job->StrideB) + first;
            TLanes inverse = TLanes.Broadcast(job->D[r]);
            int c = 0;
            for (; c + Width <= end - first; c += Width) TLanes.Fma(TLanes.Load(dy + c), TLanes.Load(x + c) * inverse, TLanes.Load(sums + c)).Store(sums + c);
            if (c == end - first) continue;
            int count = end - first - c;
            TLanes.Fma(TLanes.LoadFirst(dy + c, count), TLanes.LoadFirst(x + c, count) * inverse, TLanes.Load(sums + c)).Store(sums + c);
        }

        for (int c = first; c < end; c += Width)
        {
            int count = Math.Min(Width, end - c);
            TLanes sum = TLanes.Load(sums + (c - first));
            if (job->Flag) sum = TLanes.LoadFirst(job->C + c, count) + sum;
            sum.StoreFirst(job->C + c, count);
        }
    }

    public void Rope(Tensor x, Tensor positions, Tensor table, bool inverse, Tensor y)
    {
        ElementwiseChecks.Rope(x, positions, table, y);
        int heads = x.Rank == 3 ? x[1] : 1;
        foreach (int position in positions.AsSpan<int>())
            if ((uint)position >= (uint)table.Rows) Require.That(condition: false, $"Position {position} is outside the rotary table of {table.Rows} positions.");
        var job = new Job
        {
            A = F32(x), StrideA = x.RowStride, C = F32(y), StrideC = y.RowStride, B = F32(table), StrideB = table.RowStride, Integers = positions.Pointer<int>(),
            Rows = x.Rows, Columns = x.Columns, Group = heads, Flag = inverse,
        };
        Run(ref job, &RopeBody, x.Rows, x.Length);
    }

    static void RopeBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        fixed (int* signs = job->Flag ? OddSigns : EvenSigns)
        {
            TLanes sign = TLanes.Load((float*)signs);
            for (int r = first; r < end; r++)
            {
                float* x = job->A + (r * job->StrideA), y = job->C + (r * job->StrideC), angles = job->B + (job->Integers[r / job->Group] * job->StrideB);
                for (int c = 0; c < job->Columns; c += Width)
                {
                    int count = Math.Min(Width, job->Columns - c);
                    TLanes v = TLanes.LoadFirst(x + c, count), angle = TLanes.LoadFirst(angles + c, count);
                    TLanes sine = TLanes.XorBits(TLanes.DuplicateOdd(angle), sign);
                    TLanes.Fma(TLanes.SwapPairs(v), sine, v * TLanes.DuplicateEven(angle)).StoreFirst(y + c, count);
                }
            }
        }
    }

    static int RowsInUse(Tensor rowCount, int rows)
    {
        if (rowCount.IsEmpty) return rows;
        int used = rowCount.AsSpan<int>()[0];
        Require.That(used >= 0 && used <= rows, $"{used} rows are in use; the buffer holds {rows}.");
        return used;
    }

    public void SwiGlu(Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor y)
    {
        ElementwiseChecks.SwiGlu(gateUp, rowWeight, rowCount, y);
        var job = new Job
        {
            A = F32(gateUp), StrideA = gateUp.RowStride, D = F32(rowWeight), C = F32(y), StrideC = y.RowStride, Rows = RowsInUse(rowCount, y.Rows), Columns = y.Columns,
        };
        Run(ref job, &SwiGluBody, job.Rows, (long)job.Rows * job.Columns * 4);
    }

    static void SwiGluBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        TLanes one = TLanes.Broadcast(1);
        for (int r = first; r < end; r++)
        {
            float* gate = job->A + (r * job->StrideA), up = gate + job->Columns, y = job->C + (r * job->StrideC);
            TLanes weight = TLanes.Broadcast(job->D == null ? 1 : job->D[r]);
            for (int c = 0; c < job->Columns; c += Width)
            {
                int count = Math.Min(Width, job->Columns - c);
                TLanes g = TLanes.LoadFirst(gate + c, count);
                TLanes silu = g / (one + LaneMath<TLanes>.Exp(TLanes.Zero - g));
                (silu * TLanes.LoadFirst(up + c, count) * weight).StoreFirst(y + c, count);
            }
        }
    }

    public void SwiGluBackward(Tensor dy, Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor dGateUp, Tensor dRowWeight)
    {
        ElementwiseChecks.SwiGluBackward(dy, gateUp, rowWeight, rowCount, dGateUp, dRowWeight);
        var job = new Job
        {
            A = F32(gateUp), StrideA = gateUp.RowStride, B = F32(dy), StrideB = dy.RowStride, C = F32(dGateUp), StrideC = dGateUp.RowStride, D = F32(rowWeight),
            E = F32(dRowWeight), Rows = RowsInUse(rowCount, dy.Rows), Columns = dy.Columns,
        };
        Run(ref job, &SwiGluBackwardBody, job.Rows, (long)job.Rows * job.Columns * 6);
    }

    static void SwiGluBackwardBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        TLanes one = TLanes.Broadcast(1);
        for (int r = first; r < end; r++)
        {
            float* gate = job->A + (r * job->StrideA), up = gate + job->Columns, dy = job->B + (r * job->StrideB);
            float* dGate = job->C + (r * job->StrideC), dUp = dGate + job->Columns;
            TLanes weight = TLanes.Broadcast(job->D == null ? 1 : job->D[r]), dot = TLanes.Zero;
            for (int c = 0; c < job->Columns; c += Width)
            {
                int count = Math.Min(Width, job->Columns - c);
                TLanes g = TLanes.LoadFirst(gate + c, count), u = TLanes.LoadFirst(up + c, count), d = TLanes.LoadFirst(dy + c, count);
                TLanes sigmoid = one / (one + LaneMath<TLanes>.Exp(TLanes.Zero - g)), silu = g * sigmoid;
                dot = TLanes.Fma(d * silu, u, dot);
                TLanes weighted = d * weight;
                (weighted * u * (sigmoid * TLanes.Fma(g, one - sigmoid, one))).StoreFirst(dGate + c, count);
                (weighted * silu).StoreFirst(dUp + c, count);
            }

            if (job->E != null) job->E[r] = TLanes.Sum(dot);
        }
    }
}
