namespace Hadal.Model.Tests;

/// <summary>
/// Multi-token prediction as V3 §2.2 writes it (eq. 21 to 25), in plain loops over arrays: nothing of the product but the main model, whose final
/// representation is h⁰, and one ordinary block, which stands for TRM. With the released order: [embedding; representation], h after the final norm.
/// </summary>
/// <param name="model">A float64 model.</param>
/// <param name="sequences">Sequences.</param>
/// <param name="length">Positions of each.</param>
sealed class PlainMtp(Transformer model, int sequences, int length)
{
    readonly int _hidden = model.Shape.Hidden, _vocabulary = model.Shape.Vocabulary;

    /// <summary>−log P of every position, by depth (0: the main model); null where the text has no token so far ahead.</summary>
    /// <param name="tokens">[sequences][width]: t₀, t₁ and so on.</param>
    public double?[][] Losses(int[][] tokens)
    {
        double[][] representation = MainModel(tokens);
        var losses = new List<double?[]> { Predict(representation, tokens, ahead: 1) };
        for (int k = 1; k <= model.Shape.MtpDepth; k++)
        {
            string prefix = $"model.layers.{model.Shape.Layers + k - 1}.";
            double[] embedding = Values("model.embed_tokens.weight"), join = Values(prefix + "eh_proj.weight");
            var joined = new double[sequences * length][];
            for (int s = 0; s < sequences; s++)
            {
                for (int i = 0; i < length; i++)
                {
                    joined[(s * length) + i] = new double[_hidden];
                    if (i + k >= tokens[s].Length) continue; // h'_i exists for i ≤ T − k only; causal attention hides the zeros from the others
                    double[] next = embedding[(tokens[s][i + k] * _hidden)..((tokens[s][i + k] + 1) * _hidden)];
                    double[] pair = [.. Norm(next, Values(prefix + "enorm.weight")), .. Norm(representation[(s * length) + i], Values(prefix + "hnorm.weight"))];
                    for (int row = 0; row < _hidden; row++)
                        for (int column = 0; column < 2 * _hidden; column++) joined[(s * length) + i][row] += join[(row * 2 * _hidden) + column] * pair[column];
                }
            }

            // The block model norms with ones; the head's norm multiplies by its weight here.
            double[] weight = Values(prefix + "shared_head.norm.weight");
            representation = [.. Block(joined, prefix).Select(x => x.Zip(weight, (a, b) => a * b).ToArray())];
            losses.Add(Predict(representation, tokens, ahead: k + 1));
        }

        return [.. losses];
    }

    double?[] Predict(double[][] representation, int[][] tokens, int ahead)
    {
        double[] head = Values("lm_head.weight");
        var losses = new double?[sequences * length];
        for (int s = 0; s < sequences; s++)
        {
            for (int i = 0; i < length && i + ahead < tokens[s].Length; i++)
            {
                var logits = new double[_vocabulary];
                for (int v = 0; v < _vocabulary; v++)
                    for (int d = 0; d < _hidden; d++) logits[v] += head[(v * _hidden) + d] * representation[(s * length) + i][d];
                double sum = logits.Sum(Math.Exp);
                losses[(s * length) + i] = -Math.Log(Math.Exp(logits[tokens[s][i + ahead]]) / sum);
            }
        }

        return losses;
    }

    double[] Norm(double[] x, double[] weight)
    {
        double squares = 0;
        foreach (double value in x) squares += value * value;
        double rms = Math.Sqrt((squares / x.Length) + model.Shape.NormEpsilon);
        var y = new double[x.Length];
        for (int i = 0; i < x.Length; i++) y[i] = x[i] / rms * weight[i];
        return y;
    }

    double[][] MainModel(int[][] tokens)
    {
        using var chunk = new SequenceChunk(model, sequences, length, training: false);
        chunk.SetTokens([.. tokens.SelectMany(row => row)], tokens[0].Length);
        chunk.ForwardHidden();
        return Rows(chunk.Normed.AsSpan<double>());
    }

    /// <summary>The block of <paramref name="prefix"/> as the only one of an ordinary model, whose "vocabulary" are the inputs.</summary>
    double[][] Block(double[][] inputs, string prefix)
    {
        bool dense = model.Shape.DenseLayers >= model.Shape.Layers;
        TransformerShape shape = model.Shape with { Vocabulary = inputs.Length, Layers = 1, DenseLayers = dense ? 1 : 0, MtpDepth = 0 };
        using var single = new Transformer(model.Backend, shape, Recipe.Fp32, model.DType);
        foreach (Parameter parameter in single.Parameters.All)
        {
            Span<double> values = parameter.Value.AsSpan<double>();
            if (parameter.Name.StartsWith("model.layers.0.", StringComparison.Ordinal)) Values(prefix + parameter.Name["model.layers.0.".Length..]).CopyTo(values);
            else if (string.Equals(parameter.Name, "model.embed_tokens.weight", StringComparison.Ordinal)) inputs.SelectMany(row => row).ToArray().CopyTo(values);
            else values.Fill(1);
        }

        single.Refresh();
        using var chunk = new SequenceChunk(single, sequences, length, training: false);
        chunk.SetTokens([.. Enumerable.Range(0, inputs.Length)], length);
        chunk.ForwardHidden();
        return Rows(chunk.Normed.AsSpan<double>());
    }

    double[] Values(string name) => model.Parameters.All.Single(p => string.Equals(p.Name, name, StringComparison.Ordinal)).Value.AsSpan<double>().ToArray();

    double[][] Rows(ReadOnlySpan<double> matrix)
    {
        var rows = new double[sequences * length][];
        for (int i = 0; i < rows.Length; i++) rows[i] = matrix.Slice(i * _hidden, _hidden).ToArray();
        return rows;
    }
}
