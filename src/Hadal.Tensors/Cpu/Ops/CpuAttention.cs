using Hadal.Tensors.Cpu.Lanes;
using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>
/// Attention in blocks of 64 keys from position 0, with an online softmax. Up to 64 queries are computed together and lie in the lanes: scores are kept
/// [key, query], so keys and values are read where they lie, only the queries are transposed, and nothing is ever summed across lanes. Everything but
/// the softmax is a <see cref="SmallProduct"/>. A query's bits depend on nothing but its own row, the keys it sees and the block borders.
/// </summary>
/// <typeparam name="TLanes">The instruction set.</typeparam>
sealed unsafe partial class CpuAttention<TLanes>(CpuContext context) : IAttentionOperations
    where TLanes : struct, ILanes<TLanes>
{
    const int Width = 16, Block = 64;

    readonly MatrixKernels* _kernels = MatrixKernels.For(context.InstructionSet, bfloat16: false);

    struct Job
    {
        public MatrixKernels* Kernels;
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

    Job Describe(Tensor q, Tensor k, Tensor v, Tensor sequences, double scale) => new()
    {
        Kernels = _kernels, Q = F32(q), StrideQ = q.RowStride, K = F32(k), StrideK = k.RowStride, V = F32(v), StrideV = v.RowStride,
        Sequences = sequences.Pointer<int>(), SequenceCount = sequences.Columns - 1, Heads = q[1], KeyDim = q[2], ValueDim = v[2], Scale = (float)scale,
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
        for (int s = 0; s + 1 < offsets.Length; s++) blocks += (offsets[s + 1] - offsets[s] + Block - 1) / Block;
        return blocks;
    }

    static void CausalBody(void* context, int item)
    {
        var job = (Job*)context;
        int head = item % job->Heads, block = item / job->Heads, sequence = 0;
        while (true)
        {
            int blocks = (job->Sequences[sequence + 1] - job->Sequences[sequence] + Block - 1) / Block;
            if (block < blocks) break;
            block -= blocks;
            sequence++;
        }

        int start = job->Sequences[sequence], length = job->Sequences[sequence + 1] - start, first = block * Block;
        int rows = Math.Min(Block, length - first), lanes = (rows + Width - 1) / Width * Width;
        QueryGroup group = QueryGroup.Begin(job, rows, lanes);
        long queryRow = (((long)start + first) * job->Heads) + head;
        MatrixPacking.Transpose(job->Q + (queryRow * job->StrideQ), (nint)(job->StrideQ * job->Heads), rows, job->KeyDim, group.Queries, lanes);
        int* hidden = stackalloc int[Block];
        for (int j = 0; j < Block; j++) hidden[j] = j; // on the diagonal query i sees keys 0 to i
        for (int b = 0; b <= block; b++)
        {
            long key = (((long)start + (b * Block)) * job->Heads) + head;
            int count = b == block ? rows : Block;
            KeyBlock(ref group, b == 0, job->K + (key * job->StrideK), (nint)(job->StrideK * job->Heads), job->V + (key * job->StrideV), (nint)(job->StrideV * job->Heads),
                count, b == block ? hidden : null, 0);
        }

        for (int r = 0; r < rows; r++)
        {
            long row = queryRow + ((long)r * job->Heads);
            group.Finish(r, job->O + (row * job->StrideO));
            if (job->LogSumExp != null) job->LogSumExp[row] = (float)(group.Maxima[r] + Math.Log(group.Sums[r]));
        }
    }

    /// <summary>Queries computed together and what the softmax knows of each; memory of the thread's scratch.</summary>
    struct QueryGroup
    {
        public MatrixKernels* Kernels;

        /// <summary>[key dims, lanes]; lanes beyond the rows are 0.</summary>
        public float* Queries;

        /// <summary>[64 keys, lanes].</summary>
        public float* Scores;

        /// <summary>[lanes]: largest score so far, Σ e^(score − largest), and what the last block multiplied the sums before it by.</summary>
        public float* Maxima, Sums, Fades;

        /// <summary>[rows, value dims]: Σ e^(score − largest)·value.</summary>
        public float* Output;

        public int Rows, Lanes, KeyDim, ValueDim;
        public float Scale;

        public static QueryGroup Begin(Job* job, int rows, int lanes)
        {
            float* scratch = CpuScratch.Floats(((long)job->KeyDim * lanes) + (Block * lanes) + (3 * lanes) + ((long)rows * job->ValueDim));
            var group = new QueryGroup { Kernels = job->Kernels, Queries = scratch, Rows = rows, Lanes = lanes, KeyDim = job->KeyDim, ValueDim = job->ValueDim, Scale = job->Scale };
            group.Scores = group.Queries + ((long)job->KeyDim * lanes);
            group.Maxima = group.Scores + (Block * lanes);
            group.Sums = group.Maxima + lanes;
            group.Fades = group.Sums + lanes;
            group.Output = group.Fades + lanes;
            new Span<float>(group.Maxima, lanes).Fill(float.NegativeInfinity);
            new Span<float>(group.Sums, lanes).Clear();
            return group;
        }

        public readonly void Finish(int row, float* destination)
        {
            float* output = Output + ((long)row * ValueDim);
            TLanes divisor = TLanes.Broadcast(Sums[row]);
            for (int c = 0; c < ValueDim; c += Width)
            {
                int count = Math.Min(Width, ValueDim - c);
                (TLanes.LoadFirst(output + c, count) / divisor).StoreFirst(destination + c, count);
            }
        }
    }

    /// <summary>One block of keys: scores, running maximum, probabilities, weighted values.</summary>
    /// <param name="group">The queries.</param>
    /// <param name="isFirst">The outputs hold nothing yet.</param>
    /// <param name="k">Keys, <paramref name="keyStride"/> floats apart.</param>
    /// <param name="v">Values, <paramref name="valueStride"/> floats apart.</param>
    /// <param name="count">Keys of the block, 1 to 64.</param>
    /// <param name="hidden">How many of the first lanes do not see each key; null when all see all.</param>
    /// <param name="firstRow">Rows before it see no key of the block.</param>
    static void KeyBlock(ref QueryGroup group, bool isFirst, float* k, nint keyStride, float* v, nint valueStride, int count, int* hidden, int firstRow)
    {
        int lanes = group.Lanes, valueDim = group.ValueDim;
        float* scores = group.Scores;
        SmallProduct.Multiply(group.Kernels, scores, lanes, count, lanes, group.KeyDim, k, keyStride, 1, group.Queries, lanes, continues: false);
        for (int j = 0; hidden != null && j < count; j++) new Span<float>(scores + (j * lanes), Math.Min(hidden[j], lanes)).Fill(float.NegativeInfinity);
        TLanes factor = TLanes.Broadcast(group.Scale), lowest = TLanes.Broadcast(float.MinValue);
        for (int lane = 0; lane < lanes; lane += Width)
        {
            float* column = scores + lane;
            TLanes before = TLanes.Load(group.Maxima + lane), largest = before, total = TLanes.Zero;
            for (int j = 0; j < count; j++)
            {
                TLanes score = TLanes.Load(column + (j * lanes)) * factor;
                score.Store(column + (j * lanes));
                largest = TLanes.Max(score, largest);
            }

            TLanes shift = TLanes.Max(largest, lowest); // a lane that has seen no key stays at −∞ and gets zeros
            for (int j = 0; j < count; j++)
            {
                TLanes p = LaneMath<TLanes>.Exp(TLanes.Load(column + (j * lanes)) - shift);
                p.Store(column + (j * lanes));
                total += p;
            }

            TLanes fade = LaneMath<TLanes>.Exp(before - shift);
            fade.Store(group.Fades + lane);
            largest.Store(group.Maxima + lane);
            TLanes.Fma(TLanes.Load(group.Sums + lane), fade, total).Store(group.Sums + lane);
        }

        for (int r = firstRow; !isFirst && r < group.Rows; r++)
        {
            if (group.Fades[r] == 1) continue;
            TLanes fade = TLanes.Broadcast(group.Fades[r]);
            float* o = group.Output + ((long)r * valueDim);
            for (int c = 0; c < valueDim; c += Width)
            {
                int n = Math.Min(Width, valueDim - c);
                (TLanes.LoadFirst(o + c, n) * fade).StoreFirst(o + c, n);
            }
        }

        SmallProduct.Multiply(group.Kernels, group.Output + ((long)firstRow * valueDim), valueDim, group.Rows - firstRow, valueDim, count, scores + firstRow, 1, lanes, v,
            valueStride, !isFirst);
    }
}
