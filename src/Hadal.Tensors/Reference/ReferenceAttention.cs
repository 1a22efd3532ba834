using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Reference;

/// <summary>Causal attention as it is written in the paper: all scores of a query, their softmax, the weighted sum of values.</summary>
sealed class ReferenceAttention : IAttentionOperations
{
    const int PageSize = AttentionChecks.PageSize;

    public void Causal(Tensor q, Tensor k, Tensor v, Tensor sequences, double scale, Tensor o, Tensor logSumExp)
    {
        AttentionChecks.Causal(q, k, v, sequences, o, logSumExp);
        Values query = Values.Read(q), key = Values.Read(k), value = Values.Read(v);
        int heads = q[1];
        int[] offsets = ReadOffsets(sequences, q[0]);
        Values result = new(o.Rows, o.Columns), normalizers = new(1, q.Rows);
        for (int s = 0; s + 1 < offsets.Length; s++)
        {
            for (int t = offsets[s]; t < offsets[s + 1]; t++)
            {
                for (int h = 0; h < heads; h++)
                {
                    int visible = t - offsets[s] + 1;
                    double[] probability = new double[visible];
                    for (int j = 0; j < visible; j++)
                        probability[j] = scale * Dot(query.Row((t * heads) + h), key.Row(((offsets[s] + j) * heads) + h));
                    normalizers[(t * heads) + h] = Softmax(probability);
                    for (int j = 0; j < visible; j++)
                        AddScaled(probability[j], value.Row(((offsets[s] + j) * heads) + h), result.Row((t * heads) + h));
                }
            }
        }

        result.Store(o);
        if (!logSumExp.IsEmpty) normalizers.Store(logSumExp.Reshape(q.Rows));
    }

    public void CausalBackward(
        Tensor dOutput, Tensor q, Tensor k, Tensor v, Tensor o, Tensor logSumExp, Tensor sequences, double scale, Tensor dq, Tensor dk, Tensor dv)
    {
        AttentionChecks.CausalBackward(dOutput, q, k, v, o, logSumExp, sequences, dq, dk, dv);
        Values query = Values.Read(q), key = Values.Read(k), value = Values.Read(v);
        Values output = Values.Read(o), gradient = Values.Read(dOutput), normalizers = Values.Read(logSumExp.Reshape(q.Rows));
        Values dQuery = new(dq.Rows, dq.Columns), dKey = new(dk.Rows, dk.Columns), dValue = new(dv.Rows, dv.Columns);
        int heads = q[1];
        int[] offsets = ReadOffsets(sequences, q[0]);
        for (int s = 0; s + 1 < offsets.Length; s++)
        {
            for (int t = offsets[s]; t < offsets[s + 1]; t++)
            {
                for (int h = 0; h < heads; h++)
                {
                    int row = (t * heads) + h;
                    double outputDotGradient = Dot(gradient.Row(row), output.Row(row));
                    for (int j = offsets[s]; j <= t; j++)
                    {
                        int other = (j * heads) + h;
                        double probability = Math.Exp((scale * Dot(query.Row(row), key.Row(other))) - normalizers[row]);
                        AddScaled(probability, gradient.Row(row), dValue.Row(other));
                        double dScore = scale * probability * (Dot(gradient.Row(row), value.Row(other)) - outputDotGradient);
                        AddScaled(dScore, key.Row(other), dQuery.Row(row));
                        AddScaled(dScore, query.Row(row), dKey.Row(other));
                    }
                }
            }
        }

        dQuery.Store(dq);
        dKey.Store(dk);
        dValue.Store(dv);
    }

    public void Latent(Tensor q, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths, double scale, Tensor o)
    {
        AttentionChecks.Latent(q, cache, pageTable, queryOffsets, contextLengths, o);
        Values query = Values.Read(q), rows = Values.Read(cache);
        int[] offsets = ReadOffsets(queryOffsets, q[0]), lengths = Values.ReadIntegers(contextLengths);
        int heads = q[1], latent = o[2];
        var result = new Values(o.Rows, o.Columns);
        for (int r = 0; r < lengths.Length; r++)
        {
            int news = offsets[r + 1] - offsets[r];
            CheckContext(r, news, lengths[r], pageTable);
            for (int i = 0; i < news; i++)
            {
                for (int h = 0; h < heads; h++)
                {
                    int row = ((offsets[r] + i) * heads) + h, visible = lengths[r] - news + i + 1;
                    double[] probability = new double[visible];
                    for (int p = 0; p < visible; p++) probability[p] = scale * Dot(query.Row(row), rows.Row(CacheRow(pageTable, cache, r, p)));
                    Softmax(probability);
                    for (int p = 0; p < visible; p++)
                        AddScaled(probability[p], rows.Row(CacheRow(pageTable, cache, r, p))[..latent], result.Row(row));
                }
            }
        }

        result.Store(o);
    }

    public void AppendLatent(Tensor rows, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths)
    {
        AttentionChecks.AppendLatent(rows, cache, pageTable, queryOffsets, contextLengths);
        Values news = Values.Read(rows);
        int[] offsets = ReadOffsets(queryOffsets, rows[0]), lengths = Values.ReadIntegers(contextLengths);
        for (int r = 0; r < lengths.Length; r++)
        {
            int count = offsets[r + 1] - offsets[r];
            CheckContext(r, count, lengths[r], pageTable);
            for (int i = 0; i < count; i++)
                ElementConversion.Store(news.Row(offsets[r] + i), cache, CacheRow(pageTable, cache, r, lengths[r] - count + i));
        }
    }

    /// <summary>Where position <paramref name="position"/> of a request lies among all rows of all pages.</summary>
    static int CacheRow(Tensor pageTable, Tensor cache, int request, int position)
    {
        int page = pageTable.Row<int>(request)[position / PageSize];
        Require.That((uint)page < (uint)cache[0], $"Request {request} has page {page} at position {position}; the cache has {cache[0]} pages.");
        return (page * PageSize) + (position % PageSize);
    }

    static void CheckContext(int request, int news, int length, Tensor pageTable) =>
        Require.That(length >= news && length <= pageTable[1] * PageSize,
            $"Request {request} has a context of {length} with {news} new tokens; expected at least the new ones and at most {pageTable[1]} pages of {PageSize}.");

    static int[] ReadOffsets(Tensor sequences, int tokens)
    {
        int[] offsets = Values.ReadIntegers(sequences);
        AttentionChecks.SequenceOffsets(offsets, tokens);
        return offsets;
    }

    /// <summary>Turns scores into probabilities and returns ln Σ e^score.</summary>
    internal static double Softmax(Span<double> scores)
    {
        double maximum = double.NegativeInfinity, sum = 0;
        foreach (double score in scores) maximum = Math.Max(maximum, score);
        foreach (double score in scores) sum += Math.Exp(score - maximum);
        for (int i = 0; i < scores.Length; i++) scores[i] = Math.Exp(scores[i] - maximum) / sum;
        return maximum + Math.Log(sum);
    }

    static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++) sum += a[i] * b[i];
        return sum;
    }

    static void AddScaled(double factor, ReadOnlySpan<double> x, Span<double> y)
    {
        for (int i = 0; i < y.Length; i++) y[i] += factor * x[i];
    }
}
