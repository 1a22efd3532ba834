using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>Absorbed attention over the paged latent cache: rows of work are (query, head) pairs, a page is a block of keys and of values at once.</summary>
sealed unsafe partial class CpuAttention<TLanes>
{
    const int PairsPerItem = 8;

    public void Latent(Tensor q, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths, double scale, Tensor o)
    {
        AttentionChecks.Latent(q, cache, pageTable, queryOffsets, contextLengths, o);
        CheckContexts(q[0], cache, pageTable, queryOffsets, contextLengths);
        var job = new Job
        {
            Q = F32(q), StrideQ = q.RowStride, K = F32(cache), StrideK = cache.RowStride, O = F32(o), StrideO = o.RowStride, Sequences = queryOffsets.Pointer<int>(),
            SequenceCount = contextLengths.Columns, Lengths = contextLengths.Pointer<int>(), PageTable = pageTable.Pointer<int>(), PagesPerRequest = pageTable[1],
            Heads = q[1], KeyDim = q[2], ValueDim = o[2], Scale = (float)scale,
        };
        int items = q[0] * ((q[1] + PairsPerItem - 1) / PairsPerItem);
        context.Threads.Run(items, &LatentBody, &job);
    }

    static void LatentBody(void* context, int item)
    {
        var job = (Job*)context;
        int itemsPerToken = (job->Heads + PairsPerItem - 1) / PairsPerItem, token = item / itemsPerToken, head = item % itemsPerToken * PairsPerItem;
        int rows = Math.Min(PairsPerItem, job->Heads - head), request = 0, keyDim = job->KeyDim, valueDim = job->ValueDim;
        while (job->Sequences[request + 1] <= token) request++;
        int seen = job->Lengths[request] - (job->Sequences[request + 1] - token) + 1;
        float* scratch = CpuScratch.Floats(((long)keyDim * Block) + (PairsPerItem * Block) + (2 * PairsPerItem) + ((long)PairsPerItem * valueDim));
        float* keys = scratch, scores = keys + ((long)keyDim * Block), maxima = scores + (PairsPerItem * Block), sums = maxima + PairsPerItem, output = sums + PairsPerItem;
        Begin(maxima, sums, output, rows, valueDim);
        int* visible = stackalloc int[PairsPerItem];
        long row = ((long)token * job->Heads) + head;
        for (int b = 0; b * Block < seen; b++)
        {
            int count = Math.Min(Block, seen - (b * Block));
            float* page = job->K + ((long)job->PageTable[(request * job->PagesPerRequest) + b] * Block * job->StrideK);
            for (int r = 0; r < rows; r++) visible[r] = count;
            Transpose(page, job->StrideK, count, keyDim, keys);
            KeyBlock(job->Q + (row * job->StrideQ), job->StrideQ, rows, keys, count, keyDim, page, job->StrideK, valueDim, job->Scale, visible, scores, maxima, sums, output);
        }

        for (int r = 0; r < rows; r++) Finish(output + (r * valueDim), sums[r], valueDim, job->O + ((row + r) * job->StrideO));
    }

    public void AppendLatent(Tensor rows, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths)
    {
        AttentionChecks.AppendLatent(rows, cache, pageTable, queryOffsets, contextLengths);
        CheckContexts(rows[0], cache, pageTable, queryOffsets, contextLengths);
        float* source = F32(rows), destination = F32(cache);
        ReadOnlySpan<int> offsets = queryOffsets.AsSpan<int>(), lengths = contextLengths.AsSpan<int>();
        for (int r = 0; r < lengths.Length; r++)
        {
            int count = offsets[r + 1] - offsets[r];
            for (int i = 0; i < count; i++)
            {
                int position = lengths[r] - count + i;
                long row = ((long)pageTable.Row<int>(r)[position / Block] * Block) + (position % Block);
                new ReadOnlySpan<float>(source + ((offsets[r] + i) * rows.RowStride), rows[1]).CopyTo(new Span<float>(destination + (row * cache.RowStride), rows[1]));
            }
        }
    }

    static void CheckContexts(int tokens, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths)
    {
        ReadOnlySpan<int> offsets = queryOffsets.AsSpan<int>(), lengths = contextLengths.AsSpan<int>();
        AttentionChecks.SequenceOffsets(offsets, tokens);
        for (int r = 0; r < lengths.Length; r++)
        {
            int count = offsets[r + 1] - offsets[r];
            if (lengths[r] < count || lengths[r] > pageTable[1] * Block)
                Require.That(condition: false, $"Request {r} has a context of {lengths[r]} with {count} new tokens; expected at least the new ones and at most {pageTable[1]} pages of {Block}.");
            ReadOnlySpan<int> pages = pageTable.Row<int>(r);
            for (int p = 0; p * Block < lengths[r]; p++)
                if ((uint)pages[p] >= (uint)cache[0]) Require.That(condition: false, $"Request {r} has page {pages[p]}; the cache has {cache[0]} pages.");
        }
    }
}
