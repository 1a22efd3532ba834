using Hadal.Tensors.Cpu.Matrix;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Cpu.Ops;

/// <summary>
/// Absorbed attention over the paged latent cache: the lanes are (query, head) pairs, up to 64 of one request, a page is a block of keys and of values at once.
/// </summary>
sealed unsafe partial class CpuAttention<TLanes>
{
    const int MostPairs = 64;

    public void Latent(Tensor q, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths, double scale, Tensor o)
    {
        AttentionChecks.Latent(q, cache, pageTable, queryOffsets, contextLengths, o);
        CheckContexts(q[0], cache, pageTable, queryOffsets, contextLengths);
        var job = new Job
        {
            Kernels = _kernels, Q = F32(q), StrideQ = q.RowStride, K = F32(cache), StrideK = cache.RowStride, O = F32(o), StrideO = o.RowStride,
            Sequences = queryOffsets.Pointer<int>(), SequenceCount = contextLengths.Columns, Lengths = contextLengths.Pointer<int>(), PageTable = pageTable.Pointer<int>(),
            PagesPerRequest = pageTable[1], Heads = q[1], KeyDim = q[2], ValueDim = o[2], Scale = (float)scale,
        };
        int items = 0;
        for (int request = 0; request < job.SequenceCount; request++) items += Items(&job, request);
        context.Threads.Run(items, &LatentBody, &job);
    }

    /// <summary>Few heads: an item is all heads of several queries. Many: a part of the heads of one query.</summary>
    static int QueriesPerItem(Job* job) => Math.Max(1, MostPairs / job->Heads);

    static int HeadParts(Job* job) => (job->Heads + MostPairs - 1) / MostPairs;

    static int Items(Job* job, int request)
    {
        int queries = job->Sequences[request + 1] - job->Sequences[request], together = QueriesPerItem(job);
        return (queries + together - 1) / together * HeadParts(job);
    }

    static void LatentBody(void* context, int item)
    {
        var job = (Job*)context;
        int request = 0, parts = HeadParts(job), together = QueriesPerItem(job);
        while (item >= Items(job, request)) item -= Items(job, request++);
        int first = item / parts * together, total = job->Sequences[request + 1] - job->Sequences[request], queries = Math.Min(together, total - first);
        int head = item % parts * MostPairs, heads = Math.Min(MostPairs, job->Heads - head), rows = queries * heads, lanes = (rows + Width - 1) / Width * Width;
        int seen = job->Lengths[request] - total + first + 1; // positions the first of the queries sees; each next one sees one more
        QueryGroup group = QueryGroup.Begin(job, rows, lanes);
        long row = (((long)job->Sequences[request] + first) * job->Heads) + head;
        MatrixPacking.Transpose(job->Q + (row * job->StrideQ), (nint)job->StrideQ, rows, job->KeyDim, group.Queries, lanes);
        int* hidden = stackalloc int[Block];
        for (int position = 0; position < seen + queries - 1; position += Block)
        {
            int count = Math.Min(Block, seen + queries - 1 - position);
            float* page = job->K + ((long)job->PageTable[(request * job->PagesPerRequest) + (position / Block)] * Block * job->StrideK);
            for (int j = 0; j < count; j++) hidden[j] = Math.Clamp(position + j + 1 - seen, 0, queries) * heads;
            KeyBlock(ref group, position == 0, page, (nint)job->StrideK, page, (nint)job->StrideK, count, hidden[count - 1] > 0 ? hidden : null, hidden[0]);
        }

        for (int r = 0; r < rows; r++) group.Finish(r, job->O + ((row + r) * job->StrideO));
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
