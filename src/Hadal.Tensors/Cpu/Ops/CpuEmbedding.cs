using Hadal.Tensors.Cpu.Lanes;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>Embedding rows and the loss on the vocabulary.</summary>
/// <typeparam name="TLanes">The instruction set.</typeparam>
sealed unsafe class CpuEmbedding<TLanes>(CpuContext context) : IEmbeddingOperations
    where TLanes : struct, ILanes<TLanes>
{
    const int Width = 16;

    struct Job
    {
        public float* A, B, C;
        public long StrideA, StrideB;
        public int* Tokens;
        public int Rows, Columns, Parts;
        public float Weight;
    }

    static float* F32(Tensor x)
    {
        Require.That(x.DType == DType.F32, $"The cpu backend computes this operation on F32; {x} was given.");
        return x.Pointer<float>();
    }

    void Run(ref Job job, delegate*<void*, int, void> body, int granules, long work)
    {
        job.Parts = (int)Math.Clamp(Math.Min(granules, work / 8192), 1, context.Threads.Count * 4);
        fixed (Job* pointer = &job) context.Threads.Run(job.Parts, body, pointer);
    }

    static void CheckTokens(Tensor tokens, int vocabulary)
    {
        Span<int> ids = tokens.AsSpan<int>();
        for (int t = 0; t < ids.Length; t++) RoutingChecks.Token(ids[t], t, vocabulary);
    }

    public void Embed(Tensor tokens, Tensor table, Tensor y)
    {
        RoutingChecks.Embed(tokens, table, y);
        CheckTokens(tokens, table.Rows);
        var job = new Job { A = F32(table), StrideA = table.RowStride, B = F32(y), StrideB = y.RowStride, Tokens = tokens.Pointer<int>(), Rows = y.Rows, Columns = y.Columns };
        Run(ref job, &EmbedBody, job.Rows, y.Length);
    }

    static void EmbedBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int t = first; t < end; t++)
            new ReadOnlySpan<float>(job->A + (job->Tokens[t] * job->StrideA), job->Columns).CopyTo(new Span<float>(job->B + (t * job->StrideB), job->Columns));
    }

    public void EmbedBackward(Tensor tokens, Tensor dy, Tensor dTable, bool accumulate)
    {
        RoutingChecks.Embed(tokens, dTable, dy);
        CheckTokens(tokens, dTable.Rows);
        if (!accumulate)
            for (int row = 0; row < dTable.Rows; row++) dTable.Row<float>(row).Clear();
        var job = new Job { A = F32(dTable), StrideA = dTable.RowStride, B = F32(dy), StrideB = dy.RowStride, Tokens = tokens.Pointer<int>(), Rows = dy.Rows, Columns = dy.Columns };
        Run(ref job, &EmbedBackwardBody, (job.Columns + Width - 1) / Width, dy.Length);
    }

    /// <summary>A thread owns a strip of columns and walks all tokens: their order is the order of the sums.</summary>
    static void EmbedBackwardBody(void* context, int part)
    {
        var job = (Job*)context;
        (int first, int end) = CpuThreads.Part(job->Columns, part, job->Parts, Width);
        for (int t = 0; t < job->Rows; t++)
        {
            float* table = job->A + (job->Tokens[t] * job->StrideA), dy = job->B + (t * job->StrideB);
            for (int c = first; c < end; c += Width)
            {
                int count = Math.Min(Width, end - c);
                (TLanes.LoadFirst(table + c, count) + TLanes.LoadFirst(dy + c, count)).StoreFirst(table + c, count);
            }
        }
    }

    public void CrossEntropy(Tensor logits, Tensor targets, double weight, Tensor losses, Tensor dLogits)
    {
        RoutingChecks.CrossEntropy(logits, targets, losses, dLogits);
        Span<int> ids = targets.AsSpan<int>();
        for (int t = 0; t < ids.Length; t++)
            if (ids[t] != -1) RoutingChecks.Token(ids[t], t, logits.Columns);
        var job = new Job
        {
            A = F32(logits), StrideA = logits.RowStride, B = dLogits.IsEmpty ? null : F32(dLogits), StrideB = dLogits.RowStride, C = F32(losses), Tokens = targets.Pointer<int>(),
            Rows = logits.Rows, Columns = logits.Columns, Weight = (float)weight,
        };
        Run(ref job, &CrossEntropyBody, job.Rows, logits.Length * 4);
    }

    static void CrossEntropyBody(void* context, int part)
    {
        var job = (Job*)context;
        int columns = job->Columns, whole = columns / Width * Width;
        (int first, int end) = CpuThreads.Part(job->Rows, part, job->Parts);
        for (int t = first; t < end; t++)
        {
            float* x = job->A + (t * job->StrideA), gradient = job->B == null ? null : job->B + (t * job->StrideB);
            int target = job->Tokens[t];
            if (target < 0)
            {
                job->C[t] = 0;
                if (gradient != null) new Span<float>(gradient, columns).Clear();
                continue;
            }

            float maximum = x[0];
            if (whole > 0)
            {
                TLanes largest = TLanes.Load(x);
                for (int c = Width; c < whole; c += Width) largest = TLanes.Max(largest, TLanes.Load(x + c));
                maximum = TLanes.Largest(largest);
            }

            for (int c = whole; c < columns; c++) maximum = MathF.Max(maximum, x[c]);
            float targetLogit = x[target], sum = Exponentials(x, columns, maximum, gradient);
            job->C[t] = (float)(maximum + Math.Log(sum) - targetLogit);
            if (gradient == null) continue;
            TLanes factor = TLanes.Broadcast(job->Weight / sum);
            for (int c = 0; c < whole; c += Width) (TLanes.Load(gradient + c) * factor).Store(gradient + c);
            if (whole < columns) (TLanes.LoadFirst(gradient + whole, columns - whole) * factor).StoreFirst(gradient + whole, columns - whole);
            gradient[target] -= job->Weight;
        }
    }

    /// <summary>Σ e^(x − maximum) over 16 lanes and their tree; the terms are kept when there is a place for them.</summary>
    static float Exponentials(float* x, int columns, float maximum, float* terms)
    {
        TLanes shift = TLanes.Broadcast(maximum), total = TLanes.Zero;
        int c = 0;
        if (terms == null)
        {
            for (; c + Width <= columns; c += Width) total += LaneMath<TLanes>.Exp(TLanes.Load(x + c) - shift);
        }
        else
        {
            for (; c + Width <= columns; c += Width)
            {
                TLanes e = LaneMath<TLanes>.Exp(TLanes.Load(x + c) - shift);
                total += e;
                e.Store(terms + c);
            }
        }

        if (c < columns)
        {
            TLanes e = First(LaneMath<TLanes>.Exp(TLanes.LoadFirst(x + c, columns - c) - shift), columns - c);
            total += e;
            if (terms != null) e.StoreFirst(terms + c, columns - c);
        }

        return TLanes.Sum(total);
    }

    /// <summary>The first lanes, the others 0.</summary>
    static TLanes First(TLanes lanes, int count)
    {
        float* kept = stackalloc float[Width];
        lanes.StoreFirst(kept, count);
        return TLanes.LoadFirst(kept, count);
    }

    public void Sum(Tensor x, double factor, Tensor total, bool accumulate)
    {
        Require.Vector(total, 1);
        double sum = 0;
        for (int row = 0; row < x.Rows; row++) sum += FixedSum.Of(context.Threads, F32(x) + (row * x.RowStride), x.Columns, squares: false);
        FixedSum.Store(total, factor * sum, accumulate);
    }
}
