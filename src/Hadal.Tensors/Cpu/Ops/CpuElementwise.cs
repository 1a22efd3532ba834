using Hadal.Tensors.Cpu.Lanes;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>Element by element and row by row, sixteen lanes at a time; rows (or strips of columns) are shared among threads.</summary>
/// <typeparam name="TLanes">The instruction set.</typeparam>
sealed unsafe partial class CpuElementwise<TLanes>(CpuContext context) : IElementwiseOperations
    where TLanes : struct, ILanes<TLanes>
{
    const int Width = 16;

    /// <summary>Operands of one call: base addresses, row strides and scalars, meaning as each body says.</summary>
    struct Job
    {
        public float* A, B, C, D, E;
        public long StrideA, StrideB, StrideC, StrideD;
        public int* Integers;
        public int Rows, Columns, Parts, Group;
        public float Scalar;
        public bool Flag;
    }

    static float* F32(Tensor x) => x.IsEmpty ? null : Require32(x);

    static float* Require32(Tensor x)
    {
        Require.That(x.DType == DType.F32, $"The cpu backend computes this operation on F32; {x} was given.");
        return x.Pointer<float>();
    }

    void Run(ref Job job, delegate*<void*, int, void> body, int granules, long work)
    {
        job.Parts = (int)Math.Clamp(Math.Min(granules, work / 8192), 1, context.Threads.Count * 4);
        fixed (Job* pointer = &job) context.Threads.Run(job.Parts, body, pointer);
    }

    public void Copy(Tensor x, Tensor y)
    {
        ElementwiseChecks.Copy(x, y);
        if (x.DType == y.DType && x.DType.Size() == sizeof(float))
        {
            var job = new Job { A = (float*)x.Address, StrideA = x.RowStride, B = (float*)y.Address, StrideB = y.RowStride, Rows = x.Rows, Columns = x.Columns };
            Run(ref job, &CopyBody, x.Rows, x.Length);
            return;
        }

        Conversions.Copy(x, y); // other types are read and rounded as the definition does
    }

    static readonly Reference.ReferenceElementwise Conversions = new();

    static void CopyBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int r = first; r < end; r++)
            new ReadOnlySpan<float>(job->A + (r * job->StrideA), job->Columns).CopyTo(new Span<float>(job->B + (r * job->StrideB), job->Columns));
    }

    public void Fill(Tensor y, double value)
    {
        Require.Present(y);
        if (y.DType != DType.F32)
        {
            Conversions.Fill(y, value);
            return;
        }

        // A long vector is filled as rows so that threads can share it.
        int columns = y.IsContiguous && y.Length > 65536 ? 65536 : y.Columns;
        var job = new Job { A = y.Pointer<float>(), StrideA = y.RowStride, Rows = y.Rows, Columns = y.Columns, Scalar = (float)value };
        if (columns != y.Columns)
        {
            job.StrideA = job.Columns = columns;
            job.Rows = (int)(y.Length / columns);
            new Span<float>(job.A + ((long)job.Rows * columns), (int)(y.Length % columns)).Fill((float)value);
        }

        Run(ref job, &FillBody, job.Rows, y.Length);
    }

    static void FillBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int r = first; r < end; r++) new Span<float>(job->A + (r * job->StrideA), job->Columns).Fill(job->Scalar);
    }

    public void Add(Tensor a, Tensor b, Tensor y)
    {
        ElementwiseChecks.Add(a, b, y);
        var job = new Job { A = F32(a), StrideA = a.RowStride, B = F32(b), StrideB = b.RowStride, C = F32(y), StrideC = y.RowStride, Rows = y.Rows, Columns = y.Columns };
        Flatten(ref job, a.IsContiguous && b.IsContiguous && y.IsContiguous);
        Run(ref job, &AddBody, job.Rows, y.Length);
    }

    /// <summary>One long row becomes many of 4096, when its length allows, so that threads can share it.</summary>
    static void Flatten(ref Job job, bool contiguous)
    {
        const int Strip = 4096;
        if (!contiguous || job.Rows != 1 || job.Columns % Strip != 0) return;
        job.Rows = job.Columns / Strip;
        job.Columns = Strip;
        job.StrideA = job.StrideB = job.StrideC = Strip;
    }

    static void AddBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int r = first; r < end; r++)
        {
            float* a = job->A + (r * job->StrideA), b = job->B + (r * job->StrideB), y = job->C + (r * job->StrideC);
            int c = 0;
            for (; c + Width <= job->Columns; c += Width) (TLanes.Load(a + c) + TLanes.Load(b + c)).Store(y + c);
            if (c < job->Columns) (TLanes.LoadFirst(a + c, job->Columns - c) + TLanes.LoadFirst(b + c, job->Columns - c)).StoreFirst(y + c, job->Columns - c);
        }
    }

    public void Scale(Tensor x, double factor, Tensor y)
    {
        ElementwiseChecks.Scale(x, y);
        var job = new Job { A = F32(x), StrideA = x.RowStride, C = F32(y), StrideC = y.RowStride, Rows = y.Rows, Columns = y.Columns, Scalar = (float)factor };
        Run(ref job, &ScaleBody, job.Rows, y.Length);
    }

    static void ScaleBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        TLanes factor = TLanes.Broadcast(job->Scalar);
        for (int r = first; r < end; r++)
        {
            float* x = job->A + (r * job->StrideA), y = job->C + (r * job->StrideC);
            int c = 0;
            for (; c + Width <= job->Columns; c += Width) (TLanes.Load(x + c) * factor).Store(y + c);
            if (c < job->Columns) (TLanes.LoadFirst(x + c, job->Columns - c) * factor).StoreFirst(y + c, job->Columns - c);
        }
    }

    public void RepeatRows(Tensor x, int repeatEach, Tensor y)
    {
        ElementwiseChecks.RepeatRows(x, repeatEach, y);
        var job = new Job { A = F32(x), StrideA = x.RowStride, B = F32(y), StrideB = y.RowStride, Rows = y.Rows, Columns = y.Columns, Group = repeatEach, E = (float*)(nint)x.Rows };
        Run(ref job, &RepeatBody, y.Rows, y.Length);
    }

    static void RepeatBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        int sources = (int)(nint)job->E;
        for (int r = first; r < end; r++)
        {
            int source = job->Group > 0 ? r / job->Group : r % sources;
            new ReadOnlySpan<float>(job->A + (source * job->StrideA), job->Columns).CopyTo(new Span<float>(job->B + (r * job->StrideB), job->Columns));
        }
    }

    public void SumRowGroups(Tensor x, int groupSize, Tensor y, bool accumulate)
    {
        ElementwiseChecks.SumRowGroups(x, groupSize, y);
        var job = new Job { A = F32(x), StrideA = x.RowStride, C = F32(y), StrideC = y.RowStride, Rows = y.Rows, Columns = y.Columns, Group = groupSize, Flag = accumulate };
        Run(ref job, &SumGroupsBody, y.Rows, x.Length);
    }

    static void SumGroupsBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int r = first; r < end; r++)
        {
            float* y = job->C + (r * job->StrideC);
            for (int c = 0; c < job->Columns; c += Width)
            {
                int count = Math.Min(Width, job->Columns - c);
                TLanes sum = TLanes.LoadFirst(job->A + ((long)r * job->Group * job->StrideA) + c, count);
                for (int g = 1; g < job->Group; g++) sum += TLanes.LoadFirst(job->A + ((((long)r * job->Group) + g) * job->StrideA) + c, count);
                if (job->Flag) sum = TLanes.LoadFirst(y + c, count) + sum;
                sum.StoreFirst(y + c, count);
            }
        }
    }
}
