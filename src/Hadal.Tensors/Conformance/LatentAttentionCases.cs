using Hadal.Numerics;

namespace Hadal.Tensors.Conformance;

/// <summary>Absorbed attention over pages of the latent cache.</summary>
static class LatentAttentionCases
{
    const int PageSize = 64;

    public static IEnumerable<ConformanceCase> All { get; } =
    [
        Latent("decode, one request", 4, 32, 8, 0, (1, 1)),
        Latent("decode, contexts around a page", 4, 32, 8, 0, (1, 1), (1, 63), (1, 64), (1, 65), (1, 130)),
        Latent("prefill in chunks", 2, 48, 16, 0, (5, 5), (70, 70), (33, 150)),
        Latent("no new tokens in one request", 3, 24, 8, 0, (2, 9), (0, 40), (1, 66)),
        Latent("odd widths, rows apart", 3, 37, 6, 7, (1, 100), (3, 20)),
        new("Attention.AppendLatent", "pages out of order", c =>
        {
            (int, int)[] requests = [(3, 3), (70, 100), (1, 65), (0, 10)];
            Operand[] tables = Tables(c, requests, out int pages);
            Operand rows = c.Normal("rows", [74, 40], apart: 3), cache = c.NormalAccumulator("cache", [pages, PageSize, 40]);
            c.Run((operations, of) => operations.Attention.AppendLatent(of(rows), of(cache), of(tables[0]), of(tables[1]), of(tables[2])));
            c.Exact(cache);
        }),
    ];

    static ConformanceCase Latent(string variant, int heads, int latent, int rope, int apart, params (int News, int Length)[] requests) =>
        new("Attention.Latent", variant, c =>
        {
            Operand[] tables = Tables(c, requests, out int pages);
            int tokens = requests.Sum(r => r.News);
            Operand cache = c.Normal("cache", [pages, PageSize, latent + rope]), q = c.Normal("q", [tokens, heads, latent + rope], apart: apart);
            Operand o = c.Output("o", [tokens, heads, latent], apart);
            c.Run((operations, of) => operations.Attention.Latent(of(q), of(cache), of(tables[0]), of(tables[1]), of(tables[2]), 0.15, of(o)));
            c.Compare(o);
        });

    /// <summary>Page table, query offsets and context lengths; pages are given out in random order, unused entries are −1.</summary>
    static Operand[] Tables(ConformanceContext c, (int News, int Length)[] requests, out int pages)
    {
        int perRequest = requests.Max(r => (r.Length + PageSize - 1) / PageSize) + 1;
        pages = requests.Sum(r => (r.Length + PageSize - 1) / PageSize) + 2;
        int[] order = [.. Enumerable.Range(0, pages)], table = new int[requests.Length * perRequest], offsets = new int[requests.Length + 1];
        CounterRandom random = c.Random();
        for (int i = pages - 1; i > 0; i--)
        {
            int other = random.Below((ulong)i, i + 1);
            (order[i], order[other]) = (order[other], order[i]);
        }

        Array.Fill(table, -1);
        int next = 0;
        for (int r = 0; r < requests.Length; r++)
        {
            offsets[r + 1] = offsets[r] + requests[r].News;
            for (int p = 0; p * PageSize < requests[r].Length; p++) table[(r * perRequest) + p] = order[next++];
        }

        return
        [
            c.Integers("pageTable", [requests.Length, perRequest], table),
            c.Integers("queryOffsets", [offsets.Length], offsets),
            c.Integers("contextLengths", [requests.Length], [.. requests.Select(r => r.Length)]),
        ];
    }
}
