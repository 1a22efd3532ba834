using System.Text;
using System.Text.Json.Nodes;

namespace Hadal.Formats.Tests;

public sealed class ModelConfigurationTests
{
    internal const string V3 = """
        {
          "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "aux_loss_alpha": 0.001, "bos_token_id": 0, "eos_token_id": 1,
          "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 7168, "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512,
          "max_position_embeddings": 163840, "model_type": "deepseek_v3", "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256,
          "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128,
          "num_nextn_predict_layers": 1, "pretraining_tp": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
          "quantization_config": { "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128] },
          "rms_norm_eps": 1e-06,
          "rope_scaling": { "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn" },
          "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "seq_aux": true, "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc",
          "torch_dtype": "bfloat16", "transformers_version": "4.33.1", "use_cache": true, "v_head_dim": 128, "vocab_size": 129280
        }
        """;

    static ModelConfiguration Parse(string json, List<string>? warnings = null) => ModelConfigurationReader.Parse(Encoding.UTF8.GetBytes(json), "config.json", warnings);

    static string With(string key, string value)
    {
        JsonObject root = JsonNode.Parse(V3)!.AsObject();
        root[key] = JsonNode.Parse(value);
        return root.ToJsonString();
    }

    static string Without(params ReadOnlySpan<string> keys)
    {
        JsonObject root = JsonNode.Parse(V3)!.AsObject();
        foreach (string key in keys) root.Remove(key);
        return root.ToJsonString();
    }

    [Fact]
    [Implements("V3 §4.2", "The published 671B configuration is read: 61 layers, hidden 7168, 256 routed experts of which 8 work, one shared, one MTP module")]
    public void The_published_shape_is_read_without_warnings()
    {
        List<string> warnings = [];
        ModelConfiguration c = Parse(V3, warnings);
        Assert.Empty(warnings);
        Assert.Equal((129280, 7168, 61, 1, 18432, 128), (c.VocabularySize, c.HiddenSize, c.Layers, c.MtpLayers, c.IntermediateSize, c.Heads));
        Assert.Equal((1536, 512, 128, 64, 128, 192), (c.QueryLoraRank, c.KeyValueLoraRank, c.NopeHeadDim, c.RopeHeadDim, c.ValueHeadDim, c.QueryKeyHeadDim));
        Assert.Equal((3, 256, 1, 8, 8, 4, 2048), (c.FirstDenseLayers, c.RoutedExperts, c.SharedExperts, c.ExpertsPerToken, c.ExpertGroups, c.TopGroups, c.MoeIntermediateSize));
        Assert.Equal((ScoringFunction.Sigmoid, TopKMethod.NoAuxTc, true, 2.5), (c.Scoring, c.TopKMethod, c.NormalizeTopK, c.RoutedScalingFactor));
        Assert.Equal(new YarnScaling(40, 4096, 32, 1, 1, 1), c.RopeScaling);
        Assert.Equal((10000, 163840, 1e-6, "bfloat16"), (c.RopeTheta, c.MaxPositionEmbeddings, c.RmsNormEpsilon, c.TorchType));
        Assert.Equal(new QuantizationConfiguration(), c.Quantization);
        Assert.Equal((0, 1), (c.BosTokenId, Assert.Single(c.EosTokenIds)));
        Assert.False(c.IsMoeLayer(2));
        Assert.True(c.IsMoeLayer(3) && c.IsMoeLayer(61) && c.HasSelectionBias && c.HasExperts);
    }

    [Fact]
    [Implements("V3 §1", "Parameters count as published: 671B in all, 37B at work for a token")]
    public void Parameters_are_counted_as_published()
    {
        ParameterCounts counts = Parse(V3).CountParameters();
        Assert.Equal(671_026_419_200, counts.Main);
        Assert.InRange(counts.Activated, 37_500_000_000, 37_600_000_000);
        Assert.InRange(counts.ActivatedWithoutEmbedding, 36_600_000_000, 36_660_000_000);
        Assert.InRange(counts.Mtp, 11_500_000_000, 11_700_000_000);
    }

    [Theory]
    [InlineData("base", 40, 4, 4)]
    [InlineData("yarn", 40, 4, 4)]
    [InlineData("noqlora", 0, 1, 6)]
    public void The_newer_spelling_is_read_without_warnings(string fixture, int queryRank, int groups, int topK)
    {
        List<string> warnings = [];
        ModelConfiguration c = ModelConfiguration.Load(Path.Combine(TestFiles.Fixtures, fixture), warnings);
        Assert.Empty(warnings);
        Assert.Equal((queryRank, groups, topK, 3, 16, 10000.0), (c.QueryLoraRank, c.ExpertGroups, c.ExpertsPerToken, c.Layers, c.RoutedExperts, c.RopeTheta));
        Assert.Equal((ScoringFunction.Sigmoid, TopKMethod.NoAuxTc), (c.Scoring, c.TopKMethod));
        Assert.Equal(string.Equals(fixture, "yarn", StringComparison.Ordinal) ? new YarnScaling(4, 64, 32, 1, 1, 1) : null, c.RopeScaling);
    }

    [Fact]
    public void The_hub_form_is_written_and_says_the_same()
    {
        using var directory = new TemporaryDirectory();
        foreach (string json in (string[])[V3, File.ReadAllText(Path.Combine(TestFiles.Fixtures, "yarn", "config.json")), With("eos_token_id", "[1, 2]"), With("q_lora_rank", "0"), With("n_routed_experts", "null")])
        {
            ModelConfiguration first = Parse(json);
            first.Save(directory.Path);
            List<string> warnings = [];
            ModelConfiguration second = ModelConfiguration.Load(directory.Path, warnings);
            Assert.Empty(warnings);
            Assert.Equal(first.EosTokenIds, second.EosTokenIds);
            Assert.Equal(first, second with { EosTokenIds = first.EosTokenIds });
            string text = File.ReadAllText(directory.File("config.json"));
            Assert.Contains("\"rope_theta\": 10000", text, StringComparison.Ordinal);
            Assert.DoesNotContain("rope_parameters", text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Absent_keys_take_the_defaults_of_their_model_type()
    {
        string json = Without("scoring_func", "topk_method", "norm_topk_prob", "routed_scaling_factor", "n_group", "topk_group", "quantization_config", "rope_scaling", "aux_loss_alpha");
        ModelConfiguration v3 = Parse(json), v2 = Parse(json.Replace("deepseek_v3", "deepseek_v2", StringComparison.Ordinal));
        Assert.Equal((ScoringFunction.Sigmoid, TopKMethod.NoAuxTc, true, 2.5), (v3.Scoring, v3.TopKMethod, v3.NormalizeTopK, v3.RoutedScalingFactor));
        Assert.Equal((ScoringFunction.Softmax, TopKMethod.Greedy, false, 1.0), (v2.Scoring, v2.TopKMethod, v2.NormalizeTopK, v2.RoutedScalingFactor));
        Assert.Equal((1, 1), (v3.ExpertGroups, v3.TopGroups));
        Assert.Null(v3.RopeScaling);
        Assert.Null(v3.Quantization);
        Assert.Equal("deepseek_v3", Parse(Without("model_type")).ModelType);
    }

    [Fact]
    public void Dense_models_are_allowed()
    {
        Assert.False(Parse(With("n_routed_experts", "null")).HasExperts);
        Assert.False(Parse(With("n_routed_experts", "0")).HasExperts);
        Assert.False(Parse(With("first_k_dense_replace", "61")).HasExperts);
        Assert.False(Parse(Without("n_routed_experts", "moe_intermediate_size", "num_experts_per_tok", "first_k_dense_replace")).HasExperts);
    }

    [Fact]
    public void Unknown_keys_are_warnings_wherever_they_are()
    {
        List<string> warnings = [];
        JsonObject root = JsonNode.Parse(V3)!.AsObject();
        root["new_attention"] = true;
        root["rope_scaling"]!["wobble"] = 3;
        root["quantization_config"]!["extra"] = 3;
        Parse(root.ToJsonString(), warnings);
        Assert.Equal(3, warnings.Count);
        Assert.Contains(warnings, w => w.Contains("'new_attention'", StringComparison.Ordinal));
        Assert.Contains(warnings, w => w.Contains("'rope_scaling.wobble'", StringComparison.Ordinal));
        Assert.Contains(warnings, w => w.Contains("'quantization_config.extra'", StringComparison.Ordinal));
    }

    [Fact]
    public void Powers_of_two_and_both_spellings_at_once_are_understood()
    {
        Assert.True(Parse(V3.Replace("\"fmt\"", "\"scale_fmt\": \"ue8m0\", \"fmt\"", StringComparison.Ordinal)).Quantization!.PowerOfTwoScales);
        string both = """{"rope_theta": 10000, "type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1}""";
        Assert.Equal(Parse(V3), Parse(With("rope_parameters", both)) with { EosTokenIds = Parse(V3).EosTokenIds }, new SameExceptTokens());
        Assert.Equal("rope_scaling", Refused(With("rope_parameters", """{"rope_type": "default"}""")).Key);
        Assert.Equal("rope_theta", Refused(With("rope_parameters", """{"rope_theta": 5}""")).Key);
    }

    sealed class SameExceptTokens : IEqualityComparer<ModelConfiguration>
    {
        public bool Equals(ModelConfiguration? x, ModelConfiguration? y) => x! with { EosTokenIds = [] } == y! with { EosTokenIds = [] };

        public int GetHashCode(ModelConfiguration obj) => 0;
    }

    static ConfigurationException Refused(string json) => Assert.Throws<ConfigurationException>(() => Parse(json));

    [Theory]
    [InlineData("hidden_size", "0")]
    [InlineData("hidden_size", "-7168")]
    [InlineData("hidden_size", "7168.5")]
    [InlineData("hidden_size", "\"7168\"")]
    [InlineData("hidden_size", "null")]
    [InlineData("hidden_size", "1e300")]
    [InlineData("vocab_size", "2147483647")]
    [InlineData("num_hidden_layers", "0")]
    [InlineData("num_hidden_layers", "1000000000")]
    [InlineData("num_nextn_predict_layers", "-1")]
    [InlineData("kv_lora_rank", "null")]
    [InlineData("kv_lora_rank", "0")]
    [InlineData("q_lora_rank", "-1")]
    [InlineData("qk_rope_head_dim", "63")]
    [InlineData("qk_head_dim", "100")]
    [InlineData("num_key_value_heads", "8")]
    [InlineData("n_group", "7")]
    [InlineData("n_group", "0")]
    [InlineData("topk_group", "9")]
    [InlineData("topk_group", "0")]
    [InlineData("num_experts_per_tok", "129")]
    [InlineData("num_experts_per_tok", "0")]
    [InlineData("moe_intermediate_size", "0")]
    [InlineData("moe_layer_freq", "0")]
    [InlineData("first_k_dense_replace", "-1")]
    [InlineData("routed_scaling_factor", "0")]
    [InlineData("scoring_func", "\"tanh\"")]
    [InlineData("topk_method", "\"random\"")]
    [InlineData("norm_topk_prob", "1")]
    [InlineData("rms_norm_eps", "-1e-6")]
    [InlineData("rms_norm_eps", "1e999")]
    [InlineData("rope_theta", "0")]
    [InlineData("rope_interleave", "false")]
    [InlineData("attention_bias", "true")]
    [InlineData("hidden_act", "\"gelu\"")]
    [InlineData("model_type", "\"kimi_k2\"")]
    [InlineData("eos_token_id", "[1, 129280]")]
    [InlineData("bos_token_id", "-1")]
    [InlineData("torch_dtype", "\"int4\"")]
    [InlineData("max_position_embeddings", "0")]
    public void An_impossible_value_is_refused_with_key_and_value(string key, string value)
    {
        ConfigurationException error = Refused(With(key, value));
        Assert.Contains(key, error.Key, StringComparison.Ordinal);
        Assert.StartsWith("config.json: ", error.Message, StringComparison.Ordinal);
        Assert.Contains("expected", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("rope_scaling", """{"type":"linear","factor":2}""", "rope_scaling.type")]
    [InlineData("rope_scaling", """{"factor":2}""", "rope_scaling.type")]
    [InlineData("rope_scaling", """{"type":"yarn"}""", "rope_scaling.factor")]
    [InlineData("rope_scaling", """{"type":"yarn","factor":0.5}""", "rope_scaling.factor")]
    [InlineData("rope_scaling", """{"type":"yarn","factor":2,"beta_fast":0.5}""", "rope_scaling.beta_fast")]
    [InlineData("rope_scaling", """{"type":"yarn","factor":2,"attention_factor":1.1}""", "rope_scaling.attention_factor")]
    [InlineData("rope_scaling", "[]", "rope_scaling")]
    [InlineData("quantization_config", """{"quant_method":"gptq"}""", "quantization_config.quant_method")]
    [InlineData("quantization_config", """{"quant_method":"fp8"}""", "quantization_config.weight_block_size")]
    [InlineData("quantization_config", """{"quant_method":"fp8","weight_block_size":[1,128]}""", "quantization_config.weight_block_size")]
    [InlineData("quantization_config", """{"quant_method":"fp8","weight_block_size":[128,128],"fmt":"e5m2"}""", "quantization_config.fmt")]
    [InlineData("quantization_config", """{"quant_method":"fp8","weight_block_size":[128,128],"activation_scheme":"static"}""", "quantization_config.activation_scheme")]
    public void What_is_not_supported_is_refused_by_name(string key, string value, string named) => Assert.Equal(named, Refused(With(key, value)).Key);

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("{")]
    [InlineData("{} {}")]
    [InlineData("{\"model_type\":\"deepseek_v3\",\"model_type\":\"deepseek_v3\"}")]
    [InlineData("{\"model_type\":\"\\ud800\"}")]
    [InlineData("{\"model_type\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}")]
    public void What_is_not_a_configuration_is_refused(string json) => Refused(json);

    [Theory]
    [InlineData("vocab_size")]
    [InlineData("kv_lora_rank")]
    [InlineData("n_routed_experts")]
    [InlineData("num_experts_per_tok")]
    [InlineData("first_k_dense_replace")]
    [InlineData("v_head_dim")]
    public void A_missing_key_is_named(string key)
    {
        ConfigurationException error = Refused(Without(key));
        Assert.Equal(key, error.Key);
        Assert.Contains("missing", error.Message, StringComparison.Ordinal);
    }
}
