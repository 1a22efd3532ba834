using Hadal.Tensors.Operations;
using Hadal.Tensors.Operations.Checks;

namespace Hadal.Tensors.Reference;

/// <summary>The gate of DeepSeekMoE and the movement of rows, as plain loops.</summary>
sealed class ReferenceRouting : IRoutingOperations
{
    public void Gate(Tensor logits, Tensor bias, GateParameters parameters, Tensor scores, Tensor experts, Tensor weights)
    {
        RoutingChecks.Gate(logits, bias, parameters, scores, experts, weights);
        Values score = Values.Read(logits);
        for (int t = 0; t < score.Rows; t++)
        {
            if (parameters.Scoring == GateScoring.Softmax) ReferenceAttention.Softmax(score.Row(t));
            else foreach (ref double s in score.Row(t)) s = ReferenceElementwise.Sigmoid(s);
        }

        score.Store(scores);
        score = Values.Read(scores); // Selection and weights see the scores as they are kept for the backward.
        Values? offset = bias.IsEmpty ? null : Values.Read(bias);
        Span<int> chosen = experts.AsSpan<int>();
        var weight = new Values(1, chosen.Length);
        for (int t = 0; t < score.Rows; t++)
        {
            double[] biased = score.Row(t).ToArray();
            for (int e = 0; e < biased.Length; e++) biased[e] += offset is null ? 0 : offset[e];
            MaskGroups(biased, parameters);
            Span<int> places = chosen.Slice(t * parameters.TopK, parameters.TopK);
            SelectLargest(biased, places);
            double sum = 0;
            foreach (int e in places) sum += score[t, e];
            for (int k = 0; k < places.Length; k++)
                weight[(t * parameters.TopK) + k] = parameters.RoutedScale * score[t, places[k]] / (parameters.Normalize ? sum + 1e-20 : 1);
        }

        weight.Store(weights.Reshape(chosen.Length));
    }

    public void GateBackward(Tensor dWeights, Tensor dScores, Tensor scores, Tensor experts, GateParameters parameters, Tensor dLogits)
    {
        RoutingChecks.GateBackward(dWeights, dScores, scores, experts, parameters, dLogits);
        Values dWeight = Values.Read(dWeights.Reshape(scores.Rows, parameters.TopK)), score = Values.Read(scores);
        Values gradient = dScores.IsEmpty ? new Values(scores.Rows, scores.Columns) : Values.Read(dScores);
        Span<int> chosen = experts.AsSpan<int>();
        for (int t = 0; t < score.Rows; t++)
        {
            Span<int> places = chosen.Slice(t * parameters.TopK, parameters.TopK);
            double sum = 1e-20, weighted = 0;
            for (int k = 0; k < places.Length; k++)
            {
                sum += score[t, places[k]];
                weighted += dWeight[t, k] * score[t, places[k]];
            }

            for (int k = 0; k < places.Length; k++)
                gradient[t, places[k]] += parameters.RoutedScale * (parameters.Normalize ? (dWeight[t, k] - (weighted / sum)) / sum : dWeight[t, k]);

            double mean = 0;
            for (int e = 0; e < score.Columns; e++) mean += gradient[t, e] * score[t, e];
            for (int e = 0; e < score.Columns; e++)
                gradient[t, e] = score[t, e] * (parameters.Scoring == GateScoring.Softmax ? gradient[t, e] - mean : gradient[t, e] * (1 - score[t, e]));
        }

        gradient.Store(dLogits);
    }

    public void BalanceLoss(Tensor scores, Tensor sequences, GateParameters parameters, double alpha, double weight, Tensor loss, Tensor dScores)
    {
        RoutingChecks.BalanceLoss(scores, sequences, parameters, loss, dScores);
        Values score = Values.Read(scores), gradient = new(scores.Rows, scores.Columns), total = new(1, 1);
        int[] offsets = Values.ReadIntegers(sequences);
        AttentionChecks.SequenceOffsets(offsets, scores.Rows);
        for (int s = 0; s + 1 < offsets.Length; s++)
        {
            int tokens = offsets[s + 1] - offsets[s];
            double[] frequency = new double[parameters.Experts];
            int[] top = new int[parameters.TopK];
            for (int t = offsets[s]; t < offsets[s + 1]; t++)
            {
                SelectLargest(score.Row(t), top);
                foreach (int e in top) frequency[e] += (double)parameters.Experts / parameters.TopK / tokens;
            }

            for (int t = offsets[s]; t < offsets[s + 1]; t++)
            {
                double sum = 0, weighted = 0;
                for (int e = 0; e < parameters.Experts; e++)
                {
                    sum += score[t, e];
                    weighted += frequency[e] * score[t, e];
                }

                total[0] += weight * alpha * weighted / sum / tokens;
                for (int e = 0; e < parameters.Experts; e++) gradient[t, e] = weight * alpha / tokens * (frequency[e] - (weighted / sum)) / sum;
            }
        }

        total.Store(loss);
        if (!dScores.IsEmpty) gradient.Store(dScores);
    }

    public void Plan(Tensor experts, int expertCount, int alignment, Tensor counts, Tensor offsets, Tensor rowToken, Tensor tokenRow)
    {
        RoutingChecks.Plan(experts, expertCount, alignment, counts, offsets, rowToken, tokenRow);
        Span<int> chosen = experts.AsSpan<int>(), count = counts.AsSpan<int>(), offset = offsets.AsSpan<int>();
        count.Clear();
        foreach (int e in chosen)
        {
            Require.That((uint)e < (uint)expertCount, $"Expert {e} was chosen; there are {expertCount}.");
            count[e]++;
        }

        offset[0] = 0;
        for (int e = 0; e < expertCount; e++) offset[e + 1] = checked(offset[e] + ((count[e] + alignment - 1) / alignment * alignment));
        Require.That(offset[expertCount] <= rowToken.Length, $"{offset[expertCount]} rows are needed; rowToken holds {rowToken.Length}.");

        Span<int> token = rowToken.AsSpan<int>(), row = tokenRow.AsSpan<int>();
        token.Fill(-1);
        int[] next = offset.ToArray();
        for (int pair = 0; pair < chosen.Length; pair++)
        {
            row[pair] = next[chosen[pair]]++;
            token[row[pair]] = pair / experts[1];
        }
    }

    public void GatherRows(Tensor x, Tensor rowToken, Tensor rowCount, Tensor rows)
    {
        RoutingChecks.GatherRows(x, rowToken, rowCount, rows);
        Values source = Values.Read(x), result = Values.Read(rows);
        Span<int> token = rowToken.AsSpan<int>();
        for (int r = 0; r < ReferenceElementwise.RowsInUse(rowCount, rows.Rows); r++)
        {
            if (token[r] < 0) result.Row(r).Clear();
            else source.Row(token[r]).CopyTo(result.Row(r));
        }

        result.Store(rows);
    }

    public void GatherWeights(Tensor weights, Tensor tokenRow, Tensor rowToken, Tensor rowCount, Tensor rowWeights)
    {
        RoutingChecks.GatherWeights(weights, tokenRow, rowToken, rowCount, rowWeights);
        Values weight = Values.Read(weights), result = Values.Read(rowWeights);
        Span<int> token = rowToken.AsSpan<int>(), row = tokenRow.AsSpan<int>();
        for (int r = 0; r < ReferenceElementwise.RowsInUse(rowCount, result.Length); r++)
            if (token[r] < 0) result[r] = 0;
        for (int pair = 0; pair < row.Length; pair++) result[row[pair]] = weight[pair];
        result.Store(rowWeights);
    }

    public void CombineRows(Tensor rows, Tensor experts, Tensor tokenRow, int expertCount, Tensor y, bool accumulate)
    {
        RoutingChecks.CombineRows(rows, experts, tokenRow, expertCount, y);
        Values source = Values.Read(rows), result = Values.For(y, accumulate);
        int topK = experts[1], leaves = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)expertCount);
        for (int t = 0; t < y.Rows; t++)
        {
            ReadOnlySpan<int> chosen = experts.AsSpan<int>().Slice(t * topK, topK), row = tokenRow.AsSpan<int>().Slice(t * topK, topK);
            for (int c = 0; c < y.Columns; c++) result[t, c] += SumSubtree(source, c, chosen, row, 0, leaves) ?? 0;
        }

        result.Store(y);
    }

    public void ScatterWeights(Tensor rowWeights, Tensor tokenRow, Tensor weights)
    {
        RoutingChecks.ScatterWeights(rowWeights, tokenRow, weights);
        Values source = Values.Read(rowWeights), result = new(weights.Rows, weights.Columns);
        Span<int> row = tokenRow.AsSpan<int>();
        for (int pair = 0; pair < row.Length; pair++) result[pair] = source[row[pair]];
        result.Store(weights);
    }

    public void UpdateBias(Tensor counts, double speed, Tensor bias)
    {
        RoutingChecks.UpdateBias(counts, bias);
        Values offset = Values.Read(bias);
        double[] load = new double[offset.Length];
        double total = 0;
        for (int e = 0; e < load.Length; e++)
        {
            load[e] = counts.DType == DType.I32 ? counts.AsSpan<int>()[e] : Values.Read(counts)[e];
            total += load[e];
        }

        for (int e = 0; e < load.Length; e++) offset[e] += speed * Math.Sign(total - (load[e] * load.Length));
        offset.Store(bias);
    }

    /// <summary>The sum over the chosen experts in [first, first + leaves): left half plus right half; absent when none of them was chosen.</summary>
    static double? SumSubtree(Values rows, int column, ReadOnlySpan<int> experts, ReadOnlySpan<int> row, int first, int leaves)
    {
        if (leaves == 1)
        {
            int place = experts.IndexOf(first);
            return place < 0 ? null : rows[row[place], column];
        }

        double? left = SumSubtree(rows, column, experts, row, first, leaves / 2);
        double? right = SumSubtree(rows, column, experts, row, first + (leaves / 2), leaves / 2);
        return left is null ? right : right is null ? left : left + right;
    }

    /// <summary>Experts of groups that are not kept become −∞.</summary>
    static void MaskGroups(double[] biased, GateParameters parameters)
    {
        int groupSize = parameters.Experts / parameters.Groups;
        if (parameters.TopGroups == parameters.Groups) return;
        double[] groupScore = new double[parameters.Groups];
        for (int g = 0; g < parameters.Groups; g++)
        {
            double[] sorted = biased[(g * groupSize)..((g + 1) * groupSize)];
            Array.Sort(sorted);
            groupScore[g] = parameters.GroupScoring == GroupScoring.TopTwoSum && groupSize > 1 ? sorted[^1] + sorted[^2] : sorted[^1];
        }

        int[] kept = new int[parameters.TopGroups];
        SelectLargest(groupScore, kept);
        for (int g = 0; g < parameters.Groups; g++)
            if (!kept.Contains(g)) Array.Fill(biased, double.NegativeInfinity, g * groupSize, groupSize);
    }

    /// <summary>Places of the largest values, ties to the lower place, in ascending order of place.</summary>
    static void SelectLargest(ReadOnlySpan<double> values, Span<int> places)
    {
        bool[] taken = new bool[values.Length];
        for (int k = 0; k < places.Length; k++)
        {
            int best = -1;
            for (int i = 0; i < values.Length; i++)
                if (!taken[i] && (best < 0 || values[i] > values[best])) best = i;
            taken[best] = true;
            places[k] = best;
        }

        places.Sort();
    }
}
