using System.Text.Json;

namespace Hadal.Formats;

/// <summary>Reads the public <c>config.json</c> in both spellings: that of the hub (<c>rope_theta</c>, <c>rope_scaling</c>) and that of newer libraries (<c>rope_parameters</c>).</summary>
static class ModelConfigurationReader
{
    const long MaximumLength = 4_000_000;

    /// <summary>Keys that libraries write and that change nothing here.</summary>
    static readonly string[] WithoutMeaning =
    [
        "architectures", "auto_map", "transformers_version", "_name_or_path", "_attn_implementation", "use_cache", "pad_token_id", "pretraining_tp", "ep_size", "seq_aux",
        "head_dim", "attention_dropout", "output_attentions", "output_hidden_states", "output_router_logits", "router_aux_loss_coef", "return_dict", "is_decoder",
        "is_encoder_decoder", "chunk_size_feed_forward", "problem_type", "id2label", "label2id", "unsloth_fixed", "use_bidirectional_attention",
    ];

    internal static ModelConfiguration Load(string path, ICollection<string>? warnings)
    {
        string file = Directory.Exists(path) ? Path.Combine(path, "config.json") : path;
        var info = new FileInfo(file);
        if (!info.Exists) throw new FileNotFoundException($"{file}: there is no such file. A model directory holds a config.json beside its weights.", file);
        if (info.Length > MaximumLength) throw new ConfigurationException(file, "", $"the file has {info.Length} bytes", $"A config.json has at most {MaximumLength}; this is another file.");
        return Parse(File.ReadAllBytes(file), file, warnings);
    }

    internal static ModelConfiguration Parse(ReadOnlyMemory<byte> json, string file, ICollection<string>? warnings)
    {
        if (json.Span.StartsWith("\uFEFF"u8)) json = json[3..];
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 32, AllowDuplicateProperties = false });
            if (document.RootElement.ValueKind != JsonValueKind.Object) throw new ConfigurationException(file, "", "the file is not a JSON object", "A config.json is one object; check the path.");
            ModelConfiguration configuration = Read(new JsonSection(document.RootElement, file, ""), warnings);
            configuration.Validate(file);
            return configuration;
        }
        catch (JsonException error)
        {
            throw new ConfigurationException(file, "", $"the file is not valid JSON: {JsonFault.Describe(error)}", "Correct it or fetch it again.", error);
        }
        catch (InvalidOperationException error) // text that is not valid Unicode
        {
            throw new ConfigurationException(file, "", "the file contains text that is not valid Unicode", "Correct it or fetch it again.", error);
        }
    }

    static ModelConfiguration Read(JsonSection root, ICollection<string>? warnings)
    {
        string modelType = ReadModelType(root);
        bool isV3 = string.Equals(modelType, "deepseek_v3", StringComparison.Ordinal);
        RefuseWhatIsNotThisArchitecture(root);
        root.Ignore(WithoutMeaning);
        if (warnings is not null && root.Number("attention_dropout", 0) != 0) warnings.Add($"{root.File}: 'attention_dropout' is not 0; Hadal has no dropout and ignores it.");

        int layers = root.Required("num_hidden_layers", "blocks of the main model");
        int heads = root.Required("num_attention_heads", "attention heads");
        int nope = root.Required("qk_nope_head_dim", "query/key channels without rotation");
        int rope = root.Required("qk_rope_head_dim", "query/key channels with rotation");
        if (heads > 0) CheckAgreement(root, "num_key_value_heads", heads, "num_attention_heads"); // else Validate names the key that is wrong
        CheckAgreement(root, "qk_head_dim", (long)nope + rope, "qk_nope_head_dim + qk_rope_head_dim");

        int? experts = root.Integer("n_routed_experts");
        if (experts is null && !root.Has("n_routed_experts") && root.Integer("moe_intermediate_size") is not null)
            throw root.Wrong("n_routed_experts", "missing", "the number of routed experts, since 'moe_intermediate_size' is given (null or 0 for a dense model)");
        bool dense = experts is null or 0;
        int firstDense = dense ? root.Integer("first_k_dense_replace", 0) : root.Required("first_k_dense_replace", "leading layers without experts");
        int groups = root.Integer("n_group", 1);
        (double theta, YarnScaling? scaling, int maximum) = ReadRotary(root, isV3 ? 4096 : 2048, warnings);

        var configuration = new ModelConfiguration
        {
            ModelType = modelType,
            VocabularySize = root.Required("vocab_size", "rows of the embedding"),
            HiddenSize = root.Required("hidden_size", "width of the residual stream"),
            Layers = layers,
            MtpLayers = root.Integer("num_nextn_predict_layers", 0),
            IntermediateSize = root.Required("intermediate_size", "width of dense feed-forward networks"),
            Heads = heads,
            QueryLoraRank = root.Integer("q_lora_rank", 0),
            KeyValueLoraRank = root.Required("kv_lora_rank", "width of the cached latent"),
            NopeHeadDim = nope,
            RopeHeadDim = rope,
            ValueHeadDim = root.Required("v_head_dim", "value channels of a head"),
            FirstDenseLayers = firstDense,
            MoeLayerFrequency = root.Integer("moe_layer_freq", 1),
            RoutedExperts = experts ?? 0,
            SharedExperts = root.Integer("n_shared_experts", 0),
            MoeIntermediateSize = dense ? root.Integer("moe_intermediate_size", 0) : root.Required("moe_intermediate_size", "width of one expert"),
            ExpertsPerToken = dense ? root.Integer("num_experts_per_tok", 0) : root.Required("num_experts_per_tok", "routed experts a token uses"),
            ExpertGroups = groups,
            TopGroups = root.Integer("topk_group", groups),
            Scoring = ReadChoice(root, "scoring_func", isV3 ? ScoringFunction.Sigmoid : ScoringFunction.Softmax, ("sigmoid", ScoringFunction.Sigmoid), ("softmax", ScoringFunction.Softmax)),
            TopKMethod = ReadChoice(root, "topk_method", isV3 ? TopKMethod.NoAuxTc : TopKMethod.Greedy,
                ("noaux_tc", TopKMethod.NoAuxTc), ("group_limited_greedy", TopKMethod.GroupLimitedGreedy), ("greedy", TopKMethod.Greedy)),
            NormalizeTopK = root.Flag("norm_topk_prob", isV3),
            RoutedScalingFactor = root.Number("routed_scaling_factor", isV3 ? 2.5 : 1.0),
            AuxiliaryLossFactor = root.Number("aux_loss_alpha", 0.001),
            RmsNormEpsilon = root.Number("rms_norm_eps", 1e-6),
            RopeTheta = theta,
            RopeScaling = scaling,
            MaxPositionEmbeddings = maximum,
            TieWordEmbeddings = root.Flag("tie_word_embeddings", false),
            BosTokenId = root.Integer("bos_token_id"),
            EosTokenIds = root.Integers("eos_token_id"),
            InitializerRange = root.Number("initializer_range", 0.02),
            TorchType = root.String("torch_dtype") ?? root.String("dtype") ?? "bfloat16",
            Quantization = ReadQuantization(root, warnings),
        };
        root.Ignore("dtype");
        root.WarnAboutRest(warnings);
        return configuration;
    }

    static string ReadModelType(JsonSection root)
    {
        const string supported = "deepseek_v3 or deepseek_v2, the architectures Hadal has";
        string? type = root.String("model_type");
        if (type is "deepseek_v3" or "deepseek_v2") return type;
        if (type is not null) throw root.Wrong("model_type", $"'{type}'", supported);
        if (root.Value("architectures") is { ValueKind: JsonValueKind.Array } architectures)
            foreach (JsonElement architecture in architectures.EnumerateArray())
            {
                if (architecture.ValueKind != JsonValueKind.String) continue;
                string name = architecture.GetString()!;
                if (name is "DeepseekV3ForCausalLM" or "DeepseekV2ForCausalLM") return name.StartsWith("DeepseekV3", StringComparison.Ordinal) ? "deepseek_v3" : "deepseek_v2";
            }
        throw root.Wrong("model_type", "missing", supported);
    }

    static void RefuseWhatIsNotThisArchitecture(JsonSection root)
    {
        if (root.Flag("attention_bias", false)) throw root.Wrong("attention_bias", "true", "false: projections of this architecture have no bias");
        if (root.Flag("mlp_bias", false)) throw root.Wrong("mlp_bias", "true", "false: projections of this architecture have no bias");
        if (root.String("hidden_act") is { } activation && activation is not ("silu" or "swish")) throw root.Wrong("hidden_act", $"'{activation}'", "'silu', the activation of this architecture");
        if (!root.Flag("rope_interleave", true))
            throw root.Wrong("rope_interleave", "false", "true: the public weights pair neighbouring channels; reorder the rotary rows of the query and key projections and set it to true");
    }

    static void CheckAgreement(JsonSection root, string key, long value, string meaning)
    {
        if (root.Integer(key) is { } given && given != value) throw root.Wrong(key, given.ToString(), $"{value}, equal to {meaning}");
    }

    static T ReadChoice<T>(JsonSection section, string key, T otherwise, params ReadOnlySpan<(string Name, T Value)> choices)
    {
        if (section.String(key) is not { } given) return otherwise;
        foreach ((string name, T value) in choices)
            if (string.Equals(given, name, StringComparison.Ordinal)) return value;
        var names = new List<string>();
        foreach ((string name, _) in choices) names.Add($"'{name}'");
        throw section.Wrong(key, $"'{given}'", $"one of {string.Join(", ", names)}");
    }

    static (double Theta, YarnScaling? Scaling, int Maximum) ReadRotary(JsonSection root, int defaultMaximum, ICollection<string>? warnings)
    {
        int maximum = root.Integer("max_position_embeddings", defaultMaximum);
        JsonSection? parameters = root.Section("rope_parameters"), scaling = root.Section("rope_scaling");
        double? topTheta = root.Number("rope_theta");
        if (parameters is null) return (topTheta ?? 10000, ReadScaling(scaling, maximum, warnings), maximum);
        double theta = parameters.Number("rope_theta") ?? topTheta ?? 10000;
        if (topTheta is { } other && other != theta) throw root.Wrong("rope_theta", other.ToString("R"), $"{theta:R}, as in 'rope_parameters', or no such key");
        YarnScaling? fromParameters = ReadScaling(parameters, maximum, warnings);
        if (scaling is not null && ReadScaling(scaling, maximum, warnings) != fromParameters) throw root.Wrong("rope_scaling", "different from 'rope_parameters'", "one of the two, or both saying the same");
        return (theta, fromParameters, maximum);
    }

    static YarnScaling? ReadScaling(JsonSection? section, int maximum, ICollection<string>? warnings)
    {
        if (section is null) return null;
        string key = section.Has("rope_type") ? "rope_type" : "type";
        string? type = section.String("rope_type") ?? section.String("type");
        section.Ignore("rope_theta", "type", "rope_type");
        if (section.Number("partial_rotary_factor", 1) != 1) throw section.Wrong("partial_rotary_factor", JsonSection.Show(section.Value("partial_rotary_factor")!.Value), "1: the rotary channels have a width of their own, 'qk_rope_head_dim'");
        switch (type)
        {
            case null or "default":
                if (type is null && section.Has("factor")) throw section.Wrong(key, "missing", "'yarn' or 'default'");
                section.WarnAboutRest(warnings);
                return null;
            case "yarn":
                break;
            default:
                throw section.Wrong(key, $"'{type}'", "'yarn' or 'default'");
        }
        if (section.Value("attention_factor") is { } attention) throw section.Wrong("attention_factor", JsonSection.Show(attention), "null: the factor follows from 'mscale' and 'mscale_all_dim'");
        if (!section.Flag("truncate", true)) throw section.Wrong("truncate", "false", "true: the ends of the ramp are rounded to whole channels");
        double factor = section.Number("factor") ?? throw section.Wrong("factor", "missing", "by how much the context was stretched");
        var yarn = new YarnScaling(factor, section.Integer("original_max_position_embeddings", maximum),
            section.Number("beta_fast", 32), section.Number("beta_slow", 1), section.Number("mscale", 1), section.Number("mscale_all_dim", 0));
        section.WarnAboutRest(warnings);
        return yarn;
    }

    static QuantizationConfiguration? ReadQuantization(JsonSection root, ICollection<string>? warnings)
    {
        if (root.Section("quantization_config") is not { } section) return null;
        string? method = section.String("quant_method");
        if (method is not "fp8") throw section.Wrong("quant_method", method is null ? "missing" : $"'{method}'", "'fp8' (E4M3 weights with 128×128 scales), or no 'quantization_config'");
        if (section.String("fmt") is { } format and not "e4m3") throw section.Wrong("fmt", $"'{format}'", "'e4m3'");
        if (section.String("activation_scheme") is { } scheme and not "dynamic") throw section.Wrong("activation_scheme", $"'{scheme}'", "'dynamic': scales follow the current activations");
        int[] block = section.Integers("weight_block_size");
        if (block is not [128, 128]) throw section.Wrong("weight_block_size", block.Length == 0 ? "missing" : $"[{string.Join(", ", block)}]", "[128, 128]");
        string? scaleFormat = section.String("scale_fmt");
        if (scaleFormat is not (null or "ue8m0" or "float")) throw section.Wrong("scale_fmt", $"'{scaleFormat}'", "'ue8m0' (powers of two), 'float', or no such key");
        section.Ignore("modules_to_not_convert", "ignored_layers", "kv_cache_scheme", "dequantize");
        section.WarnAboutRest(warnings);
        return new QuantizationConfiguration(128, 128, string.Equals(scaleFormat, "ue8m0", StringComparison.Ordinal));
    }
}
