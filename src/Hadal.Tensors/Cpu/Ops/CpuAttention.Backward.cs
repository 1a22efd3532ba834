using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>
/// Backward of causal attention: one item is one head of one sequence, query blocks outside, key blocks ascending inside. dK and dV grow in the outputs,
/// queries ascending; probabilities and their gradients lie [key, query] as in the forward.
/// </summary>
sealed unsafe partial class CpuAttention<TLanes>
{
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

    static void BackwardBody(void* context, int item)
    {
        var job = (Job*)context;
        int sequence = item / job->Heads, head = item % job->Heads, keyDim = job->KeyDim, valueDim = job->ValueDim;
        int start = job->Sequences[sequence], length = job->Sequences[sequence + 1] - start;
        nint hq = (nint)(job->StrideQ * job->Heads), hk = (nint)(job->StrideK * job->Heads), hv = (nint)(job->StrideV * job->Heads), hdo = (nint)(job->StrideDO * job->Heads);
        nint hdq = (nint)(job->StrideDQ * job->Heads), hdk = (nint)(job->StrideDK * job->Heads), hdv = (nint)(job->StrideDV * job->Heads);
        float* scratch = CpuScratch.Floats(((long)(keyDim + valueDim) * Block) + (2 * Block * Block) + (2 * Block));
        float* queries = scratch, gradients = queries + ((long)keyDim * Block), probabilities = gradients + ((long)valueDim * Block);
        float* dScores = probabilities + (Block * Block), normalizers = dScores + (Block * Block), means = normalizers + Block;
        long Row(int position) => (((long)start + position) * job->Heads) + head;
        for (int first = 0; first < length; first += Block)
        {
            int rows = Math.Min(Block, length - first);
            float* q = job->Q + (Row(first) * job->StrideQ), dO = job->DO + (Row(first) * job->StrideDO), dQ = job->DQ + (Row(first) * job->StrideDQ);
            MatrixPacking.Transpose(q, hq, rows, keyDim, queries, Block);
            MatrixPacking.Transpose(dO, hdo, rows, valueDim, gradients, Block);
            for (int r = 0; r < Block; r++)
            {
                // Lanes without a query get probability e^(0 − ∞) = 0.
                normalizers[r] = r < rows ? job->LogSumExp[Row(first + r)] : float.PositiveInfinity;
                means[r] = r < rows ? Dot(job->O + (Row(first + r) * job->StrideO), dO + (r * hdo), valueDim) : 0;
            }

            for (int firstKey = 0; firstKey <= first; firstKey += Block)
            {
                bool diagonal = firstKey == first;
                int count = diagonal ? rows : Block;
                float* k = job->K + (Row(firstKey) * job->StrideK), v = job->V + (Row(firstKey) * job->StrideV);
                SmallProduct.Multiply(job->Kernels, probabilities, Block, count, Block, keyDim, k, hk, 1, queries, Block, continues: false);
                SmallProduct.Multiply(job->Kernels, dScores, Block, count, Block, valueDim, v, hv, 1, gradients, Block, continues: false);
                ScoreGradients(probabilities, dScores, normalizers, means, count, job->Scale);
                for (int j = 0; diagonal && j < count; j++)
                {
                    new Span<float>(probabilities + (j * Block), j).Clear();
                    new Span<float>(dScores + (j * Block), j).Clear();
                }

                SmallProduct.Multiply(job->Kernels, job->DV + (Row(firstKey) * job->StrideDV), hdv, count, valueDim, rows, probabilities, Block, 1, dO, hdo, !diagonal);
                SmallProduct.Multiply(job->Kernels, job->DK + (Row(firstKey) * job->StrideDK), hdk, count, keyDim, rows, dScores, Block, 1, q, hq, !diagonal);
                SmallProduct.Multiply(job->Kernels, dQ, hdq, rows, keyDim, count, dScores, 1, Block, k, hk, firstKey > 0);
            }
        }
    }

    /// <summary>[count, 64] scores become probabilities; [count, 64] dO·v become gradients of the scores.</summary>
    static void ScoreGradients(float* probabilities, float* dScores, float* normalizers, float* means, int count, float scale)
    {
        TLanes factor = TLanes.Broadcast(scale);
        for (int lane = 0; lane < Block; lane += Width)
        {
            TLanes normalizer = TLanes.Load(normalizers + lane), mean = TLanes.Load(means + lane);
            float* p = probabilities + lane, ds = dScores + lane;
            for (int j = 0; j < count; j++, p += Block, ds += Block)
            {
                TLanes probability = LaneMath<TLanes>.Exp((TLanes.Load(p) * factor) - normalizer);
                probability.Store(p);
                (probability * (TLanes.Load(ds) - mean) * factor).Store(ds);
            }
        }
    }

    static float Dot(float* a, float* b, int count)
    {
        TLanes dot = TLanes.Zero;
        for (int c = 0; c < count; c += Width)
        {
            int n = Math.Min(Width, count - c);
            dot = TLanes.Fma(TLanes.LoadFirst(a + c, n), TLanes.LoadFirst(b + c, n), dot);
        }

        return TLanes.Sum(dot);
    }
}
