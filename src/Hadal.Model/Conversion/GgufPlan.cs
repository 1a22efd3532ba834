using Hadal.Formats;
using Hadal.Formats.Gguf;
using Hadal.Text;

namespace Hadal.Model.Conversion;

/// <summary>How a GGUF tensor is made from public ones.</summary>
enum GgufPart
{
    /// <summary>As it is; several sources are stacked in order (experts).</summary>
    Whole,
    /// <summary>Of <c>kv_b_proj</c> [heads·(nope + value), latent] the key rows of each head, transposed: [heads, latent, nope].</summary>
    Keys,
    /// <summary>Of <c>kv_b_proj</c> the value rows of each head: [heads, value, latent].</summary>
    Values,
}

/// <summary>One GGUF tensor.</summary>
sealed record GgufItem(GgufTensor Tensor, GgufPart Part, IReadOnlyList<string> Sources);

/// <summary>llama.cpp's names, shapes and keys for a model of this architecture (<c>deepseek2</c>, with absorbed attention), and what that program cannot run.</summary>
static class GgufPlan
{
    const string Architecture = "deepseek2";

    // Token types of the format.
    const int Normal = 1, Control = 3, UserDefined = 4, Unused = 5;

    /// <exception cref="ConfigurationException">llama.cpp has no such model.</exception>
    internal static void RequireRunnable(ModelConfiguration c, string path)
    {
        if (c.MoeLayerFrequency != 1) throw new ConfigurationException(path, "moe_layer_freq", c.MoeLayerFrequency.ToString(), "1: llama.cpp's deepseek2 has experts in every layer after the dense ones");
        if (c.HasExperts && c.SharedExperts == 0) throw new ConfigurationException(path, "n_shared_experts", "0", "at least 1: llama.cpp's deepseek2 always has a shared expert beside routed ones");
        if (c.HasExperts && c.TopKMethod == TopKMethod.GroupLimitedGreedy && c.ExpertGroups > 1 && c.TopGroups < c.ExpertGroups)
            throw new ConfigurationException(path, "topk_method", "group_limited_greedy", "noaux_tc: llama.cpp scores a group by its two best experts, not by its best one");
        if (c.QueryLoraRank > 0 && (c.Layers is 26 or 27 || (c.Layers == 48 && c.VocabularySize == 128256)))
            throw new ConfigurationException(path, "num_hidden_layers", c.Layers.ToString(), "another number: llama.cpp takes models of 26 or 27 layers for lite ones without q_lora_rank");
        if (c.RopeScaling is { MScaleAllDim: not 0 } yarn && yarn.MScale != yarn.MScaleAllDim)
            throw new ConfigurationException(path, "rope_scaling.mscale", $"{yarn.MScale}", $"{yarn.MScaleAllDim}, the same as mscale_all_dim: llama.cpp's deepseek2 knows one of them");
    }

    internal static GgufMetadata Metadata(ModelConfiguration c, TokenizerVocabulary vocabulary, Tokenizer tokenizer, string name, GgufElementType type)
    {
        var data = new GgufMetadata();
        data.Add("general.architecture", Architecture);
        data.Add("general.type", "model");
        data.Add("general.name", name);
        data.Add("general.file_type", type switch { GgufElementType.F32 => 0, GgufElementType.F16 => 1, _ => 32 });
        data.Add(Architecture + ".block_count", c.Layers);
        data.Add(Architecture + ".context_length", c.MaxPositionEmbeddings);
        data.Add(Architecture + ".embedding_length", c.HiddenSize);
        data.Add(Architecture + ".feed_forward_length", c.IntermediateSize);
        data.Add(Architecture + ".vocab_size", c.VocabularySize);
        data.Add(Architecture + ".attention.head_count", c.Heads);
        data.Add(Architecture + ".attention.head_count_kv", 1); // absorbed: all heads read one latent
        data.Add(Architecture + ".attention.layer_norm_rms_epsilon", c.RmsNormEpsilon);
        data.Add(Architecture + ".attention.q_lora_rank", c.QueryLoraRank);
        data.Add(Architecture + ".attention.kv_lora_rank", c.KeyValueLoraRank);
        data.Add(Architecture + ".attention.key_length", c.KeyValueLoraRank + c.RopeHeadDim);
        data.Add(Architecture + ".attention.value_length", c.KeyValueLoraRank);
        data.Add(Architecture + ".attention.key_length_mla", c.QueryKeyHeadDim);
        data.Add(Architecture + ".attention.value_length_mla", c.ValueHeadDim);
        Rotary(data, c);
        Experts(data, c);
        Vocabulary(data, c, vocabulary, tokenizer);
        return data;
    }

    static void Rotary(GgufMetadata data, ModelConfiguration c)
    {
        data.Add(Architecture + ".rope.dimension_count", c.RopeHeadDim);
        data.Add(Architecture + ".rope.freq_base", c.RopeTheta);
        if (c.RopeScaling is not { } yarn) return;
        data.Add(Architecture + ".rope.scaling.type", "yarn");
        data.Add(Architecture + ".rope.scaling.factor", yarn.Factor);
        data.Add(Architecture + ".rope.scaling.original_context_length", yarn.OriginalMaxPositionEmbeddings);
        data.Add(Architecture + ".rope.scaling.yarn_beta_fast", yarn.BetaFast);
        data.Add(Architecture + ".rope.scaling.yarn_beta_slow", yarn.BetaSlow);
        if (yarn.MScaleAllDim != 0) data.Add(Architecture + ".rope.scaling.yarn_log_multiplier", 0.1 * yarn.MScaleAllDim);
    }

    static void Experts(GgufMetadata data, ModelConfiguration c)
    {
        bool experts = c.HasExperts;
        data.Add(Architecture + ".leading_dense_block_count", experts ? c.FirstDenseLayers : c.Layers);
        data.Add(Architecture + ".expert_feed_forward_length", experts ? c.MoeIntermediateSize : c.IntermediateSize);
        data.Add(Architecture + ".expert_shared_count", experts ? c.SharedExperts : 0);
        if (!experts) return;
        data.Add(Architecture + ".expert_count", c.RoutedExperts);
        data.Add(Architecture + ".expert_used_count", c.ExpertsPerToken);
        data.Add(Architecture + ".expert_gating_func", c.Scoring == ScoringFunction.Sigmoid ? 2 : 1);
        data.Add(Architecture + ".expert_weights_scale", c.RoutedScalingFactor);
        data.Add(Architecture + ".expert_weights_norm", c.NormalizeTopK);
        if (c.TopKMethod == TopKMethod.Greedy || c.ExpertGroups <= 1) return;
        data.Add(Architecture + ".expert_group_count", c.ExpertGroups);
        data.Add(Architecture + ".expert_group_used_count", c.TopGroups);
    }

    static void Vocabulary(GgufMetadata data, ModelConfiguration c, TokenizerVocabulary vocabulary, Tokenizer tokenizer)
    {
        var tokens = new string[c.VocabularySize];
        var types = new int[c.VocabularySize];
        Dictionary<int, AddedToken> added = tokenizer.AddedTokens.ToDictionary(token => token.Id);
        for (int id = 0; id < tokens.Length; id++)
        {
            string? token = id < vocabulary.Tokens.Count ? vocabulary.Tokens[id] : null;
            tokens[id] = token ?? $"[PAD{id}]"; // rows of the embedding that no token uses
            types[id] = token is null ? Unused : added.TryGetValue(id, out AddedToken? mark) ? (mark.Special ? Control : UserDefined) : Normal;
        }

        data.Add("tokenizer.ggml.model", "gpt2");
        data.Add("tokenizer.ggml.pre", "deepseek-v3");
        data.Add("tokenizer.ggml.tokens", tokens);
        data.Add("tokenizer.ggml.token_type", types);
        data.Add("tokenizer.ggml.merges", vocabulary.Merges);
        if (c.BosTokenId is int begin) data.Add("tokenizer.ggml.bos_token_id", begin);
        if (c.EosTokenIds.Count > 0) data.Add("tokenizer.ggml.eos_token_id", c.EosTokenIds[0]);
        if (tokenizer.TryGetId(SpecialTokens.Padding, out int padding)) data.Add("tokenizer.ggml.padding_token_id", padding);
        data.Add("tokenizer.ggml.add_bos_token", c.BosTokenId is not null);
        data.Add("tokenizer.ggml.add_eos_token", false);
    }

    /// <summary>All tensors. Norms, gates and selection biases are F32 in every file, as llama.cpp expects them.</summary>
    internal static List<GgufItem> Items(ModelConfiguration c, GgufElementType type)
    {
        var items = new List<GgufItem>();
        void Add(string name, string source, GgufElementType element, params long[] shape) => items.Add(new GgufItem(new GgufTensor(name, element, shape), GgufPart.Whole, [source]));
        const GgufElementType F32 = GgufElementType.F32;
        Add("token_embd.weight", "model.embed_tokens.weight", type, c.VocabularySize, c.HiddenSize);
        Add("output_norm.weight", "model.norm.weight", F32, c.HiddenSize);
        if (!c.TieWordEmbeddings) Add("output.weight", "lm_head.weight", type, c.VocabularySize, c.HiddenSize);
        for (int layer = 0; layer < c.Layers; layer++)
        {
            string to = $"blk.{layer}.", from = $"model.layers.{layer}.", attention = from + "self_attn.";
            Add(to + "attn_norm.weight", from + "input_layernorm.weight", F32, c.HiddenSize);
            long queries = (long)c.Heads * c.QueryKeyHeadDim;
            if (c.QueryLoraRank > 0)
            {
                Add(to + "attn_q_a.weight", attention + "q_a_proj.weight", type, c.QueryLoraRank, c.HiddenSize);
                Add(to + "attn_q_a_norm.weight", attention + "q_a_layernorm.weight", F32, c.QueryLoraRank);
                Add(to + "attn_q_b.weight", attention + "q_b_proj.weight", type, queries, c.QueryLoraRank);
            }
            else
            {
                Add(to + "attn_q.weight", attention + "q_proj.weight", type, queries, c.HiddenSize);
            }

            Add(to + "attn_kv_a_mqa.weight", attention + "kv_a_proj_with_mqa.weight", type, c.KeyValueLoraRank + c.RopeHeadDim, c.HiddenSize);
            Add(to + "attn_kv_a_norm.weight", attention + "kv_a_layernorm.weight", F32, c.KeyValueLoraRank);
            string[] joined = [attention + "kv_b_proj.weight"];
            items.Add(new GgufItem(new GgufTensor(to + "attn_k_b.weight", type, [c.Heads, c.KeyValueLoraRank, c.NopeHeadDim]), GgufPart.Keys, joined));
            items.Add(new GgufItem(new GgufTensor(to + "attn_v_b.weight", type, [c.Heads, c.ValueHeadDim, c.KeyValueLoraRank]), GgufPart.Values, joined));
            Add(to + "attn_output.weight", attention + "o_proj.weight", type, c.HiddenSize, (long)c.Heads * c.ValueHeadDim);
            Add(to + "ffn_norm.weight", from + "post_attention_layernorm.weight", F32, c.HiddenSize);
            if (c.IsMoeLayer(layer)) Sparse(items, c, layer, type);
            else Network(Add, to + "ffn_{0}.weight", from + "mlp.", type, c.IntermediateSize, c.HiddenSize);
        }

        return items;
    }

    static void Sparse(List<GgufItem> items, ModelConfiguration c, int layer, GgufElementType type)
    {
        string to = $"blk.{layer}.", from = $"model.layers.{layer}.mlp.";
        void Add(string name, string source, GgufElementType element, params long[] shape) => items.Add(new GgufItem(new GgufTensor(name, element, shape), GgufPart.Whole, [source]));
        Add(to + "ffn_gate_inp.weight", from + "gate.weight", GgufElementType.F32, c.RoutedExperts, c.HiddenSize);
        if (c.HasSelectionBias) Add(to + "exp_probs_b.bias", from + "gate.e_score_correction_bias", GgufElementType.F32, c.RoutedExperts);
        foreach (string part in (ReadOnlySpan<string>)["gate", "up", "down"])
        {
            long[] shape = string.Equals(part, "down", StringComparison.Ordinal) ? [c.RoutedExperts, c.HiddenSize, c.MoeIntermediateSize] : [c.RoutedExperts, c.MoeIntermediateSize, c.HiddenSize];
            string[] experts = [.. Enumerable.Range(0, c.RoutedExperts).Select(e => $"{from}experts.{e}.{part}_proj.weight")];
            items.Add(new GgufItem(new GgufTensor($"{to}ffn_{part}_exps.weight", type, shape), GgufPart.Whole, experts));
        }

        Network(Add, to + "ffn_{0}_shexp.weight", from + "shared_experts.", type, (long)c.SharedExperts * c.MoeIntermediateSize, c.HiddenSize);
    }

    delegate void Adds(string name, string source, GgufElementType element, params long[] shape);

    static void Network(Adds add, string name, string from, GgufElementType type, long width, long hidden)
    {
        add(name.Replace("{0}", "gate", StringComparison.Ordinal), from + "gate_proj.weight", type, width, hidden);
        add(name.Replace("{0}", "up", StringComparison.Ordinal), from + "up_proj.weight", type, width, hidden);
        add(name.Replace("{0}", "down", StringComparison.Ordinal), from + "down_proj.weight", type, hidden, width);
    }
}
