namespace Hadal.Tensors.Operations.Checks;

/// <summary>Shapes that <see cref="IRoutingOperations"/>, <see cref="IEmbeddingOperations"/> and <see cref="IOptimizerOperations"/> ask for.</summary>
static class RoutingChecks
{
    public static void Parameters(GateParameters p)
    {
        Require.That(p.Experts > 0 && p.TopK > 0 && p.TopK <= p.Experts, $"{p.TopK} of {p.Experts} experts cannot be chosen.");
        Require.That(p.Groups > 0 && p.Experts % p.Groups == 0, $"{p.Experts} experts cannot be split into {p.Groups} equal groups.");
        Require.That(p.TopGroups > 0 && p.TopGroups <= p.Groups, $"{p.TopGroups} of {p.Groups} groups cannot be kept.");
        Require.That(p.TopGroups * (p.Experts / p.Groups) >= p.TopK, $"{p.TopGroups} groups of {p.Experts / p.Groups} experts hold fewer than the {p.TopK} to choose.");
    }

    public static void Gate(Tensor logits, Tensor bias, GateParameters parameters, Tensor scores, Tensor experts, Tensor weights)
    {
        Parameters(parameters);
        Require.Shape(logits, logits.Rows, parameters.Experts);
        Require.VectorOrAbsent(bias, parameters.Experts);
        Require.Shape(scores, logits.Rows, parameters.Experts);
        Require.Integers(experts, (long)logits.Rows * parameters.TopK);
        Require.Vector(weights, (long)logits.Rows * parameters.TopK);
    }

    public static void GateBackward(Tensor dWeights, Tensor dScores, Tensor scores, Tensor experts, GateParameters parameters, Tensor dLogits)
    {
        Parameters(parameters);
        Require.Shape(scores, scores.Rows, parameters.Experts);
        Require.Shape(dLogits, scores.Rows, parameters.Experts);
        Require.ShapeOrAbsent(dScores, scores.Rows, parameters.Experts);
        Require.Integers(experts, (long)scores.Rows * parameters.TopK);
        Require.Vector(dWeights, (long)scores.Rows * parameters.TopK);
    }

    public static void BalanceLoss(Tensor scores, Tensor sequences, GateParameters parameters, Tensor loss, Tensor dScores)
    {
        Parameters(parameters);
        Require.Shape(scores, scores.Rows, parameters.Experts);
        Require.ShapeOrAbsent(dScores, scores.Rows, parameters.Experts);
        Require.Vector(loss, 1);
        Require.Integers(sequences, sequences.Length);
    }

    public static void Plan(Tensor experts, int expertCount, int alignment, Tensor counts, Tensor offsets, Tensor rowToken, Tensor tokenRow)
    {
        Require.Rank(experts, 2);
        Require.Integers(experts, experts.Length);
        Require.That(alignment > 0, $"alignment is {alignment}; expected at least 1.");
        Require.Integers(counts, expertCount);
        Require.Integers(offsets, expertCount + 1);
        Require.Integers(rowToken, rowToken.Length);
        Require.Integers(tokenRow, experts.Length);
    }

    public static void GatherRows(Tensor x, Tensor rowToken, Tensor rowCount, Tensor rows)
    {
        Require.Integers(rowToken, rows.Rows);
        Require.Integers(rowCount, 1);
        Require.Shape(rows, rows.Rows, x.Columns);
    }

    public static void GatherWeights(Tensor weights, Tensor tokenRow, Tensor rowToken, Tensor rowCount, Tensor rowWeights)
    {
        Require.Integers(tokenRow, weights.Length);
        Require.Vector(weights, weights.Length);
        Require.Integers(rowToken, rowWeights.Length);
        Require.Integers(rowCount, 1);
        Require.Vector(rowWeights, rowWeights.Length);
    }

    public static void CombineRows(Tensor rows, Tensor experts, Tensor tokenRow, int expertCount, Tensor y)
    {
        Require.Rank(experts, 2);
        Require.Integers(experts, experts.Length);
        Require.Integers(tokenRow, experts.Length);
        Require.Shape(y, experts[0], rows.Columns);
        Require.That(expertCount > 0, $"expertCount is {expertCount}; expected at least 1.");
    }

    public static void ScatterWeights(Tensor rowWeights, Tensor tokenRow, Tensor weights)
    {
        Require.Vector(rowWeights, rowWeights.Length);
        Require.Integers(tokenRow, weights.Length);
        Require.Vector(weights, weights.Length);
    }

    public static void UpdateBias(Tensor counts, Tensor bias)
    {
        Require.Vector(bias, bias.Length);
        if (counts.DType == DType.I32) Require.Integers(counts, bias.Length);
        else Require.Vector(counts, bias.Length);
    }

    public static void Embed(Tensor tokens, Tensor table, Tensor y)
    {
        Require.Integers(tokens, tokens.Length);
        Require.Shape(y, checked((int)tokens.Length), table.Columns);
    }

    public static void CrossEntropy(Tensor logits, Tensor targets, Tensor losses, Tensor dLogits)
    {
        Require.Integers(targets, logits.Rows);
        Require.Vector(losses, logits.Rows);
        Require.ShapeOrAbsent(dLogits, logits.Rows, logits.Columns);
    }

    public static void Token(int token, int place, int vocabulary)
    {
        Require.That((uint)token < (uint)vocabulary, $"Token {token} at place {place} is outside the vocabulary of {vocabulary}.");
    }

    public static void AdamW(Tensor master, Tensor firstMoment, Tensor secondMoment, Tensor gradient, Tensor state)
    {
        Require.Vector(master, master.Length);
        Require.Vector(firstMoment, master.Length);
        Require.Vector(secondMoment, master.Length);
        Require.Vector(gradient, master.Length);
        Require.Vector(state, 4);
        Require.Type(state, DType.F64);
    }

    public static void MovingAverage(Tensor x, Tensor average)
    {
        Require.Vector(x, average.Length);
        Require.Vector(average, x.Length);
    }
}
