using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Reference;

/// <summary>Embedding rows and the loss on the vocabulary, in double.</summary>
sealed class ReferenceEmbedding : IEmbeddingOperations
{
    public void Embed(Tensor tokens, Tensor table, Tensor y)
    {
        RoutingChecks.Embed(tokens, table, y);
        Span<int> token = tokens.AsSpan<int>();
        double[] row = new double[table.Columns];
        for (int t = 0; t < token.Length; t++)
        {
            RoutingChecks.Token(token[t], t, table.Rows);
            ElementConversion.Load(table, token[t], row);
            ElementConversion.Store(row, y, t);
        }
    }

    public void EmbedBackward(Tensor tokens, Tensor dy, Tensor dTable, bool accumulate)
    {
        RoutingChecks.Embed(tokens, dTable, dy);
        Span<int> token = tokens.AsSpan<int>();
        Values gradient = Values.Read(dy), result = Values.For(dTable, accumulate);
        for (int t = 0; t < token.Length; t++)
        {
            RoutingChecks.Token(token[t], t, dTable.Rows);
            for (int c = 0; c < dTable.Columns; c++) result[token[t], c] += gradient[t, c];
        }

        result.Store(dTable);
    }

    public void CrossEntropy(Tensor logits, Tensor targets, double weight, Tensor losses, Tensor dLogits)
    {
        RoutingChecks.CrossEntropy(logits, targets, losses, dLogits);
        Values probability = Values.Read(logits), loss = new(1, logits.Rows);
        Span<int> target = targets.AsSpan<int>();
        for (int t = 0; t < logits.Rows; t++)
        {
            if (target[t] == -1)
            {
                probability.Row(t).Clear();
                continue;
            }

            RoutingChecks.Token(target[t], t, logits.Columns);
            double targetLogit = probability[t, target[t]];
            loss[t] = ReferenceAttention.Softmax(probability.Row(t)) - targetLogit;
            probability[t, target[t]] -= 1;
            foreach (ref double p in probability.Row(t)) p *= weight;
        }

        loss.Store(losses.Reshape(logits.Rows));
        if (!dLogits.IsEmpty) probability.Store(dLogits);
    }

    public void Sum(Tensor x, double factor, Tensor total, bool accumulate)
    {
        Require.Vector(total, 1);
        Values values = Values.Read(x), result = Values.For(total, accumulate);
        double sum = 0;
        for (int i = 0; i < values.Length; i++) sum += values[i];
        result[0] += factor * sum;
        result.Store(total);
    }
}
