using System.Runtime.CompilerServices;
using Hadal.Tensors.Cpu.Lanes;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>
/// Attention in blocks of 64 keys from position 0, with an online softmax. Everything but the softmax is one small product, <see cref="Product"/>,
/// whose outputs are chains over the contraction index; a query's bits depend on nothing but its own row, the keys it sees and the block borders.
/// </summary>
/// <typeparam name="TLanes">The instruction set.</typeparam>
sealed unsafe partial class CpuAttention<TLanes>(CpuContext context) : IAttentionOperations
    where TLanes : struct, ILanes<TLanes>
{
    const int Width = 16, Block = 64, QueryRows = 32;

    struct Job
    {
        public float* Q, K, V, O, LogSumExp, DO, DQ, DK, DV;
        public long StrideQ, StrideK, StrideV, StrideO, StrideDO, StrideDQ, StrideDK, StrideDV;
        public int* Sequences, PageTable, Lengths;
        public int SequenceCount, Heads, KeyDim, ValueDim, PagesPerRequest;
        public float Scale;
    }

    public void Causal(Tensor q, Tensor k, Tensor v, Tensor sequences, double scale, Tensor o, Tensor logSumExp)
    {
        AttentionChecks.Causal(q, k, v, sequences, o, logSumExp);
        AttentionChecks.SequenceOffsets(sequences.AsSpan<int>(), q[0]);
        Job job = Describe(q, k, v, sequences, scale);
        job.O = F32(o);
        job.StrideO = o.RowStride;
        job.LogSumExp = logSumExp.IsEmpty ? null : F32(logSumExp);
        context.Threads.Run(QueryBlocks(sequences) * job.Heads, &CausalBody, &job);
    }

    public void CausalBackward(
        Tensor dOutput, Tensor q, Tensor k, Tensor v, Tensor o, Tensor logSumExp, Tensor sequences, double scale, Tensor dq, Tensor dk, Tensor dv)
    {
        AttentionChecks.CausalBackward(dOutput, q, k, v, o, logSumExp, sequences, dq, dk, dv);
        AttentionChecks.SequenceOffsets(sequences.AsSpan<int>(), q[0]);
        Job job = Describe(q, k, v, sequences, scale);
        job.O = F32(o);
        job.StrideO = o.RowStride;
        job.LogSumExp = F32(logSumExp);
        job.DO = F32(dOutput);
        job.StrideDO = dOutput.RowStride;
        job.DQ = F32(dq);
        job.StrideDQ = dq.RowStride;
        job.DK = F32(dk);
        job.StrideDK = dk.RowStride;
        job.DV = F32(dv);
        job.StrideDV = dv.RowStride;
        context.Threads.Run(job.SequenceCount * job.Heads, &BackwardBody, &job);
    }

    static Job Describe(Tensor q, Tensor k, Tensor v, Tensor sequences, double scale) => new()
    {
        Q = F32(q), StrideQ = q.RowStride, K = F32(k), StrideK = k.RowStride, V = F32(v), StrideV = v.RowStride, Sequences = sequences.Pointer<int>(),
        SequenceCount = sequences.Columns - 1, Heads = q[1], KeyDim = q[2], ValueDim = v[2], Scale = (float)scale,
    };

    static float* F32(Tensor x)
    {
        Require.That(x.DType == DType.F32, $"The cpu backend computes attention on F32; {x} was given.");
        return x.Pointer<float>();
    }

    static int QueryBlocks(Tensor sequences)
    {
        ReadOnlySpan<int> offsets = sequences.AsSpan<int>();
        int blocks = 0;
        for (int s = 0; s + 1 < offsets.Length; s++) blocks += (offsets[s + 1] - offsets[s] + QueryRows - 1) / QueryRows;
        return blocks;
    }

    static void CausalBody(void* context, int item)
    {
        var job = (Job*)context;
        int head = item % job->Heads, block = item / job->Heads, sequence = 0;
        while (true)
        {
            int blocks = (job->Sequences[sequence + 1] - job->Sequences[sequence] + QueryRows - 1) / QueryRows;
            if (block < blocks) break;
            block -= blocks;
            sequence++;
        }

        int start = job->Sequences[sequence], length = job->Sequences[sequence + 1] - start, first = block * QueryRows;
        int rows = Math.Min(QueryRows, length - first), keyDim = job->KeyDim, valueDim = job->ValueDim;
        float* scratch = CpuScratch.Floats(((long)keyDim * Block) + (QueryRows * Block) + (2 * QueryRows) + ((long)QueryRows * valueDim));
        float* keys = scratch, scores = keys + ((long)keyDim * Block), maxima = scores + (QueryRows * Block), sums = maxima + QueryRows, output = sums + QueryRows;
        long queryStride = job->StrideQ * job->Heads, keyStride = job->StrideK * job->Heads, valueStride = job->StrideV * job->Heads;
        float* q = job->Q + ((((long)start + first) * job->Heads) + head) * job->StrideQ;
        Begin(maxima, sums, output, rows, valueDim);
        int* visible = stackalloc int[QueryRows];
        for (int b = 0; b * Block < first + rows; b++)
        {
            int count = Math.Min(Block, first + rows - (b * Block));
            long key = (((long)start + (b * Block)) * job->Heads) + head;
            for (int r = 0; r < rows; r++) visible[r] = Math.Clamp(first + r + 1 - (b * Block), 0, count);
            Transpose(job->K + (key * job->StrideK), keyStride, count, keyDim, keys);
            KeyBlock(q, queryStride, rows, keys, count, keyDim, job->V + (key * job->StrideV), valueStride, valueDim, job->Scale, visible, scores, maxima, sums, output);
        }

        for (int r = 0; r < rows; r++)
        {
            long row = (((long)start + first + r) * job->Heads) + head;
            Finish(output + (r * valueDim), sums[r], valueDim, job->O + (row * job->StrideO));
            if (job->LogSumExp != null) job->LogSumExp[row] = (float)(maxima[r] + Math.Log(sums[r]));
        }
    }

    static void Begin(float* maxima, float* sums, float* output, int rows, int valueDim)
    {
        new Span<float>(maxima, rows).Fill(float.NegativeInfinity);
        new Span<float>(sums, rows).Clear();
        new Span<float>(output, rows * valueDim).Clear();
    }

    static void Finish(float* output, float sum, int valueDim, float* destination)
    {
        TLanes divisor = TLanes.Broadcast(sum);
        for (int c = 0; c < valueDim; c += Width)
        {
            int count = Math.Min(Width, valueDim - c);
            (TLanes.LoadFirst(output + c, count) / divisor).StoreFirst(destination + c, count);
        }
    }

    /// <summary>One block of keys for some queries: scores, running maximum, probabilities, weighted values.</summary>
    static void KeyBlock(float* q, long queryStride, int rows, float* keys, int count, int keyDim, float* v, long valueStride, int valueDim, float scale,
        int* visible, float* scores, float* maxima, float* sums, float* output)
    {
        new Span<float>(scores, rows * Block).Clear();
        Product(scores, Block, rows, count, q, queryStride, 1, keys, Block, keyDim);
        TLanes factor = TLanes.Broadcast(scale);
        for (int r = 0; r < rows; r++)
        {
            float* row = scores + (r * Block);
            if (visible[r] == 0)
            {
                new Span<float>(row, Block).Clear();
                continue;
            }

            for (int c = 0; c < Block; c += Width) (TLanes.Load(row + c) * factor).Store(row + c);
            new Span<float>(row + visible[r], Block - visible[r]).Fill(float.NegativeInfinity);
            TLanes largest = TLanes.Load(row);
            for (int c = Width; c < Block; c += Width) largest = TLanes.Max(largest, TLanes.Load(row + c));
            float before = maxima[r], maximum = MathF.Max(before, TLanes.Largest(largest));
            TLanes shift = TLanes.Broadcast(maximum), total = TLanes.Zero;
            for (int c = 0; c < Block; c += Width)
            {
                TLanes p = LaneMath<TLanes>.Exp(TLanes.Load(row + c) - shift);
                p.Store(row + c);
                total += p;
            }

            float fade = before == maximum ? 1 : Single(before - maximum);
            sums[r] = MathF.FusedMultiplyAdd(sums[r], fade, TLanes.Sum(total));
            maxima[r] = maximum;
            if (fade != 1)
            {
                TLanes f = TLanes.Broadcast(fade);
                float* o = output + (r * valueDim);
                for (int c = 0; c < valueDim; c += Width)
                {
                    int n = Math.Min(Width, valueDim - c);
                    (TLanes.LoadFirst(o + c, n) * f).StoreFirst(o + c, n);
                }
            }
        }

        Product(output, valueDim, rows, valueDim, scores, Block, 1, v, valueStride, count);
    }

    /// <summary>The lanes' e^x for one value.</summary>
    static float Single(float x)
    {
        float* one = stackalloc float[Width];
        LaneMath<TLanes>.Exp(TLanes.Broadcast(x)).Store(one);
        return one[0];
    }

    /// <summary>keys[d, j] = rows[j, d] for j &lt; count, 0 beyond: so that scores are vectorised over keys.</summary>
    static void Transpose(float* rows, long stride, int count, int dim, float* transposed)
    {
        for (int d = 0; d < dim; d++)
        {
            float* line = transposed + ((long)d * Block);
            for (int j = 0; j < count; j++) line[j] = rows[(j * stride) + d];
            for (int j = count; j < Block; j++) line[j] = 0;
        }
    }

    /// <summary>c[m, n] continues its chain with Σ_k a[m·rowStep + k·stepStep]·b[k, n], k ascending.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Product(float* c, long strideC, int rows, int columns, float* a, long rowStep, long stepStep, float* b, long strideB, int steps)
    {
        int m = 0;
        for (; m + 4 <= rows; m += 4)
        {
            int n = 0;
            for (; n + (2 * Width) <= columns; n += 2 * Width)
            {
                float* c0 = c + (m * strideC) + n, c1 = c0 + strideC, c2 = c1 + strideC, c3 = c2 + strideC;
                TLanes s00 = TLanes.Load(c0), s01 = TLanes.Load(c0 + Width), s10 = TLanes.Load(c1), s11 = TLanes.Load(c1 + Width);
                TLanes s20 = TLanes.Load(c2), s21 = TLanes.Load(c2 + Width), s30 = TLanes.Load(c3), s31 = TLanes.Load(c3 + Width);
                float* x = a + (m * rowStep), y = b + n;
                for (int k = 0; k < steps; k++, x += stepStep, y += strideB)
                {
                    TLanes b0 = TLanes.Load(y), b1 = TLanes.Load(y + Width);
                    TLanes x0 = TLanes.Broadcast(x[0]), x1 = TLanes.Broadcast(x[rowStep]), x2 = TLanes.Broadcast(x[2 * rowStep]), x3 = TLanes.Broadcast(x[3 * rowStep]);
                    s00 = TLanes.Fma(x0, b0, s00);
                    s01 = TLanes.Fma(x0, b1, s01);
                    s10 = TLanes.Fma(x1, b0, s10);
                    s11 = TLanes.Fma(x1, b1, s11);
                    s20 = TLanes.Fma(x2, b0, s20);
                    s21 = TLanes.Fma(x2, b1, s21);
                    s30 = TLanes.Fma(x3, b0, s30);
                    s31 = TLanes.Fma(x3, b1, s31);
                }

                s00.Store(c0);
                s01.Store(c0 + Width);
                s10.Store(c1);
                s11.Store(c1 + Width);
                s20.Store(c2);
                s21.Store(c2 + Width);
                s30.Store(c3);
                s31.Store(c3 + Width);
            }

            for (; n < columns; n += Width)
            {
                int count = Math.Min(Width, columns - n);
                float* c0 = c + (m * strideC) + n, c1 = c0 + strideC, c2 = c1 + strideC, c3 = c2 + strideC;
                TLanes s0 = TLanes.LoadFirst(c0, count), s1 = TLanes.LoadFirst(c1, count), s2 = TLanes.LoadFirst(c2, count), s3 = TLanes.LoadFirst(c3, count);
                float* x = a + (m * rowStep), y = b + n;
                for (int k = 0; k < steps; k++, x += stepStep, y += strideB)
                {
                    TLanes b0 = TLanes.LoadFirst(y, count);
                    s0 = TLanes.Fma(TLanes.Broadcast(x[0]), b0, s0);
                    s1 = TLanes.Fma(TLanes.Broadcast(x[rowStep]), b0, s1);
                    s2 = TLanes.Fma(TLanes.Broadcast(x[2 * rowStep]), b0, s2);
                    s3 = TLanes.Fma(TLanes.Broadcast(x[3 * rowStep]), b0, s3);
                }

                s0.StoreFirst(c0, count);
                s1.StoreFirst(c1, count);
                s2.StoreFirst(c2, count);
                s3.StoreFirst(c3, count);
            }
        }

        for (; m < rows; m++)
        {
            for (int n = 0; n < columns; n += Width)
            {
                int count = Math.Min(Width, columns - n);
                float* c0 = c + (m * strideC) + n, x = a + (m * rowStep), y = b + n;
                TLanes s0 = TLanes.LoadFirst(c0, count);
                for (int k = 0; k < steps; k++, x += stepStep, y += strideB) s0 = TLanes.Fma(TLanes.Broadcast(x[0]), TLanes.LoadFirst(y, count), s0);
                s0.StoreFirst(c0, count);
            }
        }
    }
}
