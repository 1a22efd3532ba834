namespace Hadal.Tensors.Cpu.Ops;

/// <summary>Backward of causal attention: one item is one head of one sequence, key blocks outside, queries ascending inside.</summary>
sealed unsafe partial class CpuAttention<TLanes>
{
    static void BackwardBody(void* context, int item)
    {
        var job = (Job*)context;
        int sequence = item / job->Heads, head = item % job->Heads, keyDim = job->KeyDim, valueDim = job->ValueDim;
        int start = job->Sequences[sequence], length = job->Sequences[sequence + 1] - start;
        if (length == 0) return;
        float* scratch = CpuScratch.Floats(((long)(keyDim + valueDim) * Block * 2) + (2L * QueryRows * Block) + length);
        float* keys = scratch, values = keys + ((long)keyDim * Block), dKeys = values + ((long)valueDim * Block), dValues = dKeys + ((long)keyDim * Block);
        float* probabilities = dValues + ((long)valueDim * Block), dScores = probabilities + (QueryRows * Block), outputDot = dScores + (QueryRows * Block);
        long Row(int position) => (((long)start + position) * job->Heads) + head;

        // Σ O·dO of each query, and dQ = 0.
        for (int t = 0; t < length; t++)
        {
            float* o = job->O + (Row(t) * job->StrideO), dO = job->DO + (Row(t) * job->StrideDO);
            TLanes dot = TLanes.Zero;
            for (int c = 0; c < valueDim; c += Width)
            {
                int n = Math.Min(Width, valueDim - c);
                dot = TLanes.Fma(TLanes.LoadFirst(o + c, n), TLanes.LoadFirst(dO + c, n), dot);
            }

            outputDot[t] = TLanes.Sum(dot);
            new Span<float>(job->DQ + (Row(t) * job->StrideDQ), keyDim).Clear();
        }

        long hq = job->StrideQ * job->Heads, hk = job->StrideK * job->Heads, hdo = job->StrideDO * job->Heads, hdq = job->StrideDQ * job->Heads;
        for (int firstKey = 0; firstKey < length; firstKey += Block)
        {
            int count = Math.Min(Block, length - firstKey);
            float* k = job->K + (Row(firstKey) * job->StrideK);
            Transpose(k, hk, count, keyDim, keys);
            Transpose(job->V + (Row(firstKey) * job->StrideV), job->StrideV * job->Heads, count, valueDim, values);
            new Span<float>(dKeys, count * keyDim).Clear();
            new Span<float>(dValues, count * valueDim).Clear();
            for (int first = firstKey; first < length; first += QueryRows)
            {
                int rows = Math.Min(QueryRows, length - first);
                float* q = job->Q + (Row(first) * job->StrideQ), dO = job->DO + (Row(first) * job->StrideDO);
                new Span<float>(probabilities, 2 * QueryRows * Block).Clear();
                Product(probabilities, Block, rows, count, q, hq, 1, keys, Block, keyDim);
                Product(dScores, Block, rows, count, dO, hdo, 1, values, Block, valueDim);
                for (int r = 0; r < rows; r++)
                {
                    float* p = probabilities + (r * Block), ds = dScores + (r * Block);
                    int visible = Math.Clamp(first + r + 1 - firstKey, 0, count);
                    TLanes factor = TLanes.Broadcast(job->Scale), normalizer = TLanes.Broadcast(job->LogSumExp[Row(first + r)]), mean = TLanes.Broadcast(outputDot[first + r]);
                    for (int c = 0; c < Block; c += Width)
                    {
                        TLanes probability = LaneMath<TLanes>.Exp((TLanes.Load(p + c) * factor) - normalizer);
                        probability.Store(p + c);
                        (probability * (TLanes.Load(ds + c) - mean) * factor).Store(ds + c);
                    }

                    new Span<float>(p + visible, Block - visible).Clear();
                    new Span<float>(ds + visible, Block - visible).Clear();
                }

                Product(dValues, valueDim, count, valueDim, probabilities, 1, Block, dO, hdo, rows);
                Product(dKeys, keyDim, count, keyDim, dScores, 1, Block, q, hq, rows);
                Product(job->DQ + (Row(first) * job->StrideDQ), hdq, rows, keyDim, dScores, Block, 1, k, hk, count);
            }

            for (int j = 0; j < count; j++)
            {
                new ReadOnlySpan<float>(dKeys + (j * keyDim), keyDim).CopyTo(new Span<float>(job->DK + (Row(firstKey + j) * job->StrideDK), keyDim));
                new ReadOnlySpan<float>(dValues + (j * valueDim), valueDim).CopyTo(new Span<float>(job->DV + (Row(firstKey + j) * job->StrideDV), valueDim));
            }
        }
    }
}
