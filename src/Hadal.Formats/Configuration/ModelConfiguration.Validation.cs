namespace Hadal.Formats;

public sealed partial record ModelConfiguration
{
    /// <summary>Most layers, main and prediction together, that are believed.</summary>
    public const int MaximumLayers = 1024;

    /// <summary>Largest count or width that is believed for a single key.</summary>
    public const int MaximumWidth = 1 << 24;

    /// <summary>Refuses values that no model can have.</summary>
    /// <param name="file">Named in the message.</param>
    /// <exception cref="ConfigurationException">A value is impossible; the message has key, value and expectation.</exception>
    public void Validate(string file = "configuration")
    {
        var check = new Checker(file);
        if (ModelType is not ("deepseek_v3" or "deepseek_v2")) throw new ConfigurationException(file, "model_type", $"'{ModelType}'", "deepseek_v3 or deepseek_v2");
        check.Width("vocab_size", VocabularySize);
        check.Width("hidden_size", HiddenSize);
        check.Range("num_hidden_layers", Layers, 1, MaximumLayers);
        check.Range("num_nextn_predict_layers", MtpLayers, 0, MaximumLayers - Layers);
        check.Width("intermediate_size", IntermediateSize);
        check.Width("num_attention_heads", Heads);
        check.Range("q_lora_rank", QueryLoraRank, 0, MaximumWidth);
        check.Width("kv_lora_rank", KeyValueLoraRank);
        check.Width("qk_nope_head_dim", NopeHeadDim);
        check.Width("qk_rope_head_dim", RopeHeadDim);
        if (RopeHeadDim % 2 != 0) throw new ConfigurationException(file, "qk_rope_head_dim", $"{RopeHeadDim}", "an even number: channels are rotated in pairs");
        check.Width("v_head_dim", ValueHeadDim);
        check.Range("first_k_dense_replace", FirstDenseLayers, 0, int.MaxValue);
        check.Range("moe_layer_freq", MoeLayerFrequency, 1, int.MaxValue);
        check.Range("max_position_embeddings", MaxPositionEmbeddings, 1, int.MaxValue);
        check.Positive("rms_norm_eps", RmsNormEpsilon, 1);
        check.Above("rope_theta", RopeTheta, 1);
        check.Range("initializer_range", InitializerRange, 0, 1e6);
        check.Range("aux_loss_alpha", AuxiliaryLossFactor, 0, 1e6);
        ValidateExperts(check, file);
        ValidateScaling(check);
        ValidateTokens(file);
        ValidateMatrixSizes(file);
    }

    void ValidateExperts(Checker check, string file)
    {
        check.Range("n_routed_experts", RoutedExperts, 0, 1 << 20);
        check.Range("n_shared_experts", SharedExperts, 0, 1 << 20);
        if (RoutedExperts == 0) return;
        check.Width("moe_intermediate_size", MoeIntermediateSize);
        check.Range("num_experts_per_tok", ExpertsPerToken, 1, RoutedExperts);
        check.Positive("routed_scaling_factor", RoutedScalingFactor, 1e6);
        check.Range("n_group", ExpertGroups, 1, RoutedExperts);
        if (TopKMethod == TopKMethod.Greedy) return; // groups play no part
        if (RoutedExperts % ExpertGroups != 0) throw new ConfigurationException(file, "n_group", $"{ExpertGroups}", $"a divisor of 'n_routed_experts' = {RoutedExperts}");
        check.Range("topk_group", TopGroups, 1, ExpertGroups);
        int groupSize = RoutedExperts / ExpertGroups;
        if (ExpertsPerToken > (long)TopGroups * groupSize)
            throw new ConfigurationException(file, "num_experts_per_tok", $"{ExpertsPerToken}", $"at most {TopGroups * groupSize}: 'topk_group' = {TopGroups} groups of {groupSize} experts are kept");
        if (TopKMethod == TopKMethod.NoAuxTc && ExpertGroups > 1 && groupSize < 2)
            throw new ConfigurationException(file, "n_group", $"{ExpertGroups}", $"at most {RoutedExperts / 2}: 'noaux_tc' adds the two best scores of each group");
    }

    void ValidateScaling(Checker check)
    {
        if (RopeScaling is not { } yarn) return;
        check.Range("rope_scaling.factor", yarn.Factor, 1, 1e9);
        check.Range("rope_scaling.original_max_position_embeddings", yarn.OriginalMaxPositionEmbeddings, 1, int.MaxValue);
        check.Positive("rope_scaling.beta_slow", yarn.BetaSlow, 1e9);
        check.Range("rope_scaling.beta_fast", yarn.BetaFast, yarn.BetaSlow, 1e9);
        check.Range("rope_scaling.mscale", yarn.MScale, 0, 1e6);
        check.Range("rope_scaling.mscale_all_dim", yarn.MScaleAllDim, 0, 1e6);
    }

    void ValidateTokens(string file)
    {
        if (BosTokenId is { } bos && (bos < 0 || bos >= VocabularySize)) throw new ConfigurationException(file, "bos_token_id", $"{bos}", $"an id from 0 to {VocabularySize - 1}");
        foreach (int eos in EosTokenIds)
            if (eos < 0 || eos >= VocabularySize) throw new ConfigurationException(file, "eos_token_id", $"{eos}", $"an id from 0 to {VocabularySize - 1}");
        if (TorchType is not ("bfloat16" or "float32" or "float16" or "float64")) throw new ConfigurationException(file, "torch_dtype", $"'{TorchType}'", "'bfloat16', 'float32', 'float16' or 'float64'");
    }

    /// <summary>A matrix has at most 2^31 − 1 elements here; each product below is one matrix of the model.</summary>
    void ValidateMatrixSizes(string file)
    {
        Matrix("vocab_size", VocabularySize, "hidden_size", HiddenSize);
        Matrix("intermediate_size", IntermediateSize, "hidden_size", HiddenSize);
        Matrix("num_attention_heads · (qk_nope_head_dim + qk_rope_head_dim)", (long)Heads * (NopeHeadDim + RopeHeadDim), QueryLoraRank > 0 ? "q_lora_rank" : "hidden_size", QueryLoraRank > 0 ? QueryLoraRank : HiddenSize);
        Matrix("num_attention_heads · (qk_nope_head_dim + v_head_dim)", (long)Heads * (NopeHeadDim + ValueHeadDim), "kv_lora_rank", KeyValueLoraRank);
        Matrix("num_attention_heads · v_head_dim", (long)Heads * ValueHeadDim, "hidden_size", HiddenSize);
        Matrix("q_lora_rank", QueryLoraRank, "hidden_size", HiddenSize);
        Matrix("kv_lora_rank + qk_rope_head_dim", (long)KeyValueLoraRank + RopeHeadDim, "hidden_size", HiddenSize);
        if (MtpLayers > 0) Matrix("hidden_size", HiddenSize, "2 · hidden_size", 2L * HiddenSize);
        if (RoutedExperts == 0) return;
        Matrix("n_routed_experts", RoutedExperts, "hidden_size", HiddenSize);
        Matrix("moe_intermediate_size", MoeIntermediateSize, "hidden_size", HiddenSize);
        Matrix("n_shared_experts · moe_intermediate_size", (long)SharedExperts * MoeIntermediateSize, "hidden_size", HiddenSize);

        void Matrix(string rowsKey, long rows, string columnsKey, long columns)
        {
            // Both factors are below 2^50 and 2^26, so compare by division.
            if (rows > 0 && columns > int.MaxValue / rows)
                throw new ConfigurationException(file, rowsKey, $"{rows}", $"at most {int.MaxValue / columns} with '{columnsKey}' = {columns}: a matrix has at most 2^31−1 elements");
        }
    }

    sealed class Checker(string file)
    {
        internal void Width(string key, int value) => Range(key, value, 1, MaximumWidth);

        internal void Range(string key, int value, int low, int high)
        {
            if (value < low || value > high) throw new ConfigurationException(file, key, $"{value}", high == int.MaxValue ? $"at least {low}" : $"a number from {low} to {high}");
        }

        internal void Range(string key, double value, double low, double high)
        {
            if (!(value >= low && value <= high)) throw new ConfigurationException(file, key, $"{value:R}", $"a number from {low:R} to {high:R}");
        }

        internal void Positive(string key, double value, double high)
        {
            if (!(value > 0 && value <= high)) throw new ConfigurationException(file, key, $"{value:R}", $"a number above 0 and at most {high:R}");
        }

        internal void Above(string key, double value, double low)
        {
            if (!(value > low && double.IsFinite(value))) throw new ConfigurationException(file, key, $"{value:R}", $"a number above {low:R}");
        }
    }
}
