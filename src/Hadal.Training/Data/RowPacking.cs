using System.Text;
using Hadal.Numerics;
using Hadal.Text;

namespace Hadal.Training.Data;

/// <summary>Documents to rows: tokens between BOS and EOS, fill-in-the-middle per document, some joined punctuation taken apart, best-fit packing [V3 §4.1].</summary>
static class RowPacking
{
    /// <summary>Packs documents. The result depends on the documents, their order, the tokenizer, the rates and the seed.</summary>
    /// <param name="documents">Training documents.</param>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="data">Rates.</param>
    /// <param name="seed">The run's.</param>
    /// <param name="rowTokens">Tokens of a row.</param>
    /// <param name="cancel">Ends with an <see cref="OperationCanceledException"/>.</param>
    internal static TokenRows Pack(IReadOnlyList<Document> documents, Tokenizer tokenizer, DataConfiguration data, ulong seed, int rowTokens, CancellationToken cancel)
    {
        var cuts = new CounterRandom(seed, RandomPurpose.FillInMiddle);
        var fillInMiddle = new FillInTheMiddle(tokenizer, data.FillInMiddleRate, cuts.UInt64);
        var parts = new CounterRandom(seed, RandomPurpose.TokenSplit);
        var splitter = new PunctuationSplitter(tokenizer, data.PunctuationSplitRate, parts.UInt64);
        int[][] tokens = new int[documents.Count][];
        System.Threading.Tasks.Parallel.For(0, documents.Count, new ParallelOptions { CancellationToken = cancel }, i =>
        {
            var ids = new List<int>();
            fillInMiddle.Encode(Encoding.UTF8.GetBytes(documents[i].Text), (ulong)i, ids);
            if (data.PunctuationSplitRate > 0)
            {
                var split = new List<int>(ids.Count + 16);
                splitter.Apply([.. ids], (ulong)i << 32, split);
                ids = split;
            }

            tokens[i] = [.. ids];
        });
        int[] lengths = [.. tokens.Select(t => t.Length)];
        PackedRows packed = BestFitPacker.Pack(lengths, rowTokens);
        int[] rows = new int[checked(packed.Count * rowTokens)];
        rows.AsSpan().Fill(-1);
        for (int r = 0; r < packed.Count; r++)
        {
            int at = r * rowTokens;
            foreach (PackedPiece piece in packed[r])
            {
                tokens[piece.Document].AsSpan(piece.Offset, piece.Length).CopyTo(rows.AsSpan(at));
                at += piece.Length;
            }
        }

        return new TokenRows(rows, rowTokens);
    }
}
