using System.Buffers;
using System.Text.Json;

namespace Hadal.Formats;

/// <summary>Writes <c>config.json</c> in the hub's form; other libraries read it as one of the published models.</summary>
static class ModelConfigurationWriter
{
    internal static byte[] Write(ModelConfiguration c)
    {
        c.Validate();
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true, NewLine = "\n" }))
        {
            bool isV3 = string.Equals(c.ModelType, "deepseek_v3", StringComparison.Ordinal);
            json.WriteStartObject();
            json.WriteStartArray("architectures");
            json.WriteStringValue(isV3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM");
            json.WriteEndArray();
            json.WriteBoolean("attention_bias", false);
            json.WriteNumber("attention_dropout", 0.0);
            json.WriteNumber("aux_loss_alpha", c.AuxiliaryLossFactor);
            WriteOrNull(json, "bos_token_id", c.BosTokenId);
            if (c.EosTokenIds.Count > 1)
            {
                json.WriteStartArray("eos_token_id");
                foreach (int id in c.EosTokenIds) json.WriteNumberValue(id);
                json.WriteEndArray();
            }
            else
            {
                WriteOrNull(json, "eos_token_id", c.EosTokenIds.Count == 1 ? c.EosTokenIds[0] : null);
            }
            json.WriteNumber("ep_size", 1);
            json.WriteNumber("first_k_dense_replace", c.FirstDenseLayers);
            json.WriteString("hidden_act", "silu");
            json.WriteNumber("hidden_size", c.HiddenSize);
            json.WriteNumber("initializer_range", c.InitializerRange);
            json.WriteNumber("intermediate_size", c.IntermediateSize);
            json.WriteNumber("kv_lora_rank", c.KeyValueLoraRank);
            json.WriteNumber("max_position_embeddings", c.MaxPositionEmbeddings);
            json.WriteString("model_type", c.ModelType);
            json.WriteNumber("moe_intermediate_size", c.MoeIntermediateSize);
            json.WriteNumber("moe_layer_freq", c.MoeLayerFrequency);
            json.WriteNumber("n_group", c.ExpertGroups);
            WriteOrNull(json, "n_routed_experts", c.RoutedExperts == 0 ? null : c.RoutedExperts);
            WriteOrNull(json, "n_shared_experts", c.SharedExperts == 0 ? null : c.SharedExperts);
            json.WriteBoolean("norm_topk_prob", c.NormalizeTopK);
            json.WriteNumber("num_attention_heads", c.Heads);
            json.WriteNumber("num_experts_per_tok", c.ExpertsPerToken);
            json.WriteNumber("num_hidden_layers", c.Layers);
            json.WriteNumber("num_key_value_heads", c.Heads);
            json.WriteNumber("num_nextn_predict_layers", c.MtpLayers);
            json.WriteNumber("pretraining_tp", 1);
            WriteOrNull(json, "q_lora_rank", c.QueryLoraRank == 0 ? null : c.QueryLoraRank);
            json.WriteNumber("qk_nope_head_dim", c.NopeHeadDim);
            json.WriteNumber("qk_rope_head_dim", c.RopeHeadDim);
            if (c.Quantization is { } quantization) WriteQuantization(json, quantization);
            json.WriteNumber("rms_norm_eps", c.RmsNormEpsilon);
            if (c.RopeScaling is { } scaling) WriteScaling(json, scaling);
            else json.WriteNull("rope_scaling");
            json.WriteNumber("rope_theta", c.RopeTheta);
            json.WriteNumber("routed_scaling_factor", c.RoutedScalingFactor);
            json.WriteString("scoring_func", c.Scoring == ScoringFunction.Sigmoid ? "sigmoid" : "softmax");
            json.WriteBoolean("seq_aux", true);
            json.WriteBoolean("tie_word_embeddings", c.TieWordEmbeddings);
            json.WriteNumber("topk_group", c.TopGroups);
            json.WriteString("topk_method", c.TopKMethod switch { TopKMethod.NoAuxTc => "noaux_tc", TopKMethod.GroupLimitedGreedy => "group_limited_greedy", _ => "greedy" });
            json.WriteString("torch_dtype", c.TorchType);
            json.WriteBoolean("use_cache", true);
            json.WriteNumber("v_head_dim", c.ValueHeadDim);
            json.WriteNumber("vocab_size", c.VocabularySize);
            json.WriteEndObject();
        }
        return [.. buffer.WrittenSpan, (byte)'\n'];
    }

    static void WriteQuantization(Utf8JsonWriter json, QuantizationConfiguration quantization)
    {
        json.WriteStartObject("quantization_config");
        json.WriteString("activation_scheme", "dynamic");
        json.WriteString("fmt", "e4m3");
        json.WriteString("quant_method", "fp8");
        if (quantization.PowerOfTwoScales) json.WriteString("scale_fmt", "ue8m0");
        json.WriteStartArray("weight_block_size");
        json.WriteNumberValue(quantization.BlockRows);
        json.WriteNumberValue(quantization.BlockColumns);
        json.WriteEndArray();
        json.WriteEndObject();
    }

    static void WriteScaling(Utf8JsonWriter json, YarnScaling scaling)
    {
        json.WriteStartObject("rope_scaling");
        json.WriteNumber("beta_fast", scaling.BetaFast);
        json.WriteNumber("beta_slow", scaling.BetaSlow);
        json.WriteNumber("factor", scaling.Factor);
        json.WriteNumber("mscale", scaling.MScale);
        json.WriteNumber("mscale_all_dim", scaling.MScaleAllDim);
        json.WriteNumber("original_max_position_embeddings", scaling.OriginalMaxPositionEmbeddings);
        json.WriteString("type", "yarn");
        json.WriteEndObject();
    }

    static void WriteOrNull(Utf8JsonWriter json, string key, int? value)
    {
        if (value is { } number) json.WriteNumber(key, number);
        else json.WriteNull(key);
    }
}
