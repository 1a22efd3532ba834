namespace Hadal.Formats;

/// <summary>Numbers of parameters.</summary>
/// <param name="Main">The main model: embedding, layers, final norm, head; gate biases included.</param>
/// <param name="Activated">Of those, what one token uses: all but the routed experts it is not sent to. The input embedding counts in full.</param>
/// <param name="ActivatedWithoutEmbedding">The same without the input embedding matrix.</param>
/// <param name="Mtp">Multi-token-prediction modules; embedding and head, which they share, not counted.</param>
public sealed record ParameterCounts(long Main, long Activated, long ActivatedWithoutEmbedding, long Mtp);

public sealed partial record ModelConfiguration
{
    /// <summary>Counts the parameters (selection biases included, scales of quantised weights not).</summary>
    public ParameterCounts CountParameters()
    {
        long embedding = (long)VocabularySize * HiddenSize;
        long head = TieWordEmbeddings ? 0 : embedding;
        long main = embedding + head + HiddenSize, activated = main;
        for (int layer = 0; layer < Layers; layer++)
        {
            (long all, long used) = CountBlock(layer);
            main += all;
            activated += used;
        }
        long mtp = 0;
        // A module has two input norms, the joining projection, a block and a final norm.
        for (int module = 0; module < MtpLayers; module++) mtp += 3L * HiddenSize + 2L * HiddenSize * HiddenSize + CountBlock(Layers + module).All;
        return new ParameterCounts(main, activated, activated - embedding, mtp);
    }

    (long All, long Used) CountBlock(int layer)
    {
        long d = HiddenSize;
        long queries = (long)Heads * QueryKeyHeadDim;
        long query = QueryLoraRank > 0 ? QueryLoraRank * (d + 1 + queries) : d * queries;
        long keyValue = d * (KeyValueLoraRank + RopeHeadDim) + KeyValueLoraRank + (long)KeyValueLoraRank * Heads * (NopeHeadDim + ValueHeadDim);
        long attention = query + keyValue + (long)Heads * ValueHeadDim * d;
        long norms = 2 * d;
        if (!IsMoeLayer(layer))
        {
            long dense = attention + norms + 3 * d * IntermediateSize;
            return (dense, dense);
        }
        long expert = 3 * d * MoeIntermediateSize;
        long gate = RoutedExperts * d + (HasSelectionBias ? RoutedExperts : 0);
        long common = attention + norms + gate + SharedExperts * expert;
        return (common + RoutedExperts * expert, common + ExpertsPerToken * expert);
    }
}
