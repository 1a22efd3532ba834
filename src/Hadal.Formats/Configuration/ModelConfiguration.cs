namespace Hadal.Formats;

/// <summary>How router logits become scores.</summary>
public enum ScoringFunction
{
    /// <summary>Each expert's score on its own: s = sigmoid(logit) (V3).</summary>
    Sigmoid,
    /// <summary>Scores over all experts sum to one (V2).</summary>
    Softmax,
}

/// <summary>How experts are chosen from scores; the names of <c>topk_method</c>.</summary>
public enum TopKMethod
{
    /// <summary><c>noaux_tc</c>: scores plus selection bias, group score = sum of the two best of a group (V3).</summary>
    NoAuxTc,
    /// <summary><c>group_limited_greedy</c>: group score = best of a group, no bias (V2).</summary>
    GroupLimitedGreedy,
    /// <summary><c>greedy</c>: the best experts of all, groups play no part (V2-Lite).</summary>
    Greedy,
}

/// <summary>YaRN: rotary frequencies stretched for contexts longer than those trained on.</summary>
/// <param name="Factor">By how much the context was stretched, at least 1.</param>
/// <param name="OriginalMaxPositionEmbeddings">Context before stretching.</param>
/// <param name="BetaFast">Rotations within the original context above which a frequency stays untouched.</param>
/// <param name="BetaSlow">Rotations below which a frequency is fully interpolated.</param>
/// <param name="MScale">Numerator of the factor on cosine and sine.</param>
/// <param name="MScaleAllDim">Denominator of it, and the coefficient in the softmax scale: m = 0.1·MScaleAllDim·ln(Factor) + 1, squared.</param>
public sealed record YarnScaling(double Factor, int OriginalMaxPositionEmbeddings, double BetaFast, double BetaSlow, double MScale, double MScaleAllDim);

/// <summary>Published FP8 weights: E4M3 with one scale for each block.</summary>
/// <param name="BlockRows">Rows (outputs) of a block: 128.</param>
/// <param name="BlockColumns">Columns (inputs) of a block: 128.</param>
/// <param name="PowerOfTwoScales"><c>scale_fmt</c> = <c>ue8m0</c>: scales are powers of two, and activations use such too.</param>
public sealed record QuantizationConfiguration(int BlockRows = 128, int BlockColumns = 128, bool PowerOfTwoScales = false);

/// <summary>
/// The public <c>config.json</c> of the DeepSeek-V2/V3 architecture. Instances are made by <see cref="ModelConfigurationReader"/> from a file, or with an initializer in code
/// (then call <see cref="Validate"/>).
/// </summary>
public sealed partial record ModelConfiguration
{
    /// <summary><c>model_type</c>: <c>deepseek_v3</c> or <c>deepseek_v2</c>.</summary>
    public string ModelType { get; init; } = "deepseek_v3";

    /// <summary><c>vocab_size</c>: rows of the embedding and of the output head.</summary>
    public required int VocabularySize { get; init; }

    /// <summary><c>hidden_size</c>.</summary>
    public required int HiddenSize { get; init; }

    /// <summary><c>num_hidden_layers</c>: blocks of the main model, without multi-token-prediction modules.</summary>
    public required int Layers { get; init; }

    /// <summary><c>num_nextn_predict_layers</c>: multi-token-prediction modules that follow the main layers. A file may say 1 and hold no such weights.</summary>
    public int MtpLayers { get; init; }

    /// <summary><c>intermediate_size</c>: width of dense feed-forward networks.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary><c>num_attention_heads</c>.</summary>
    public required int Heads { get; init; }

    /// <summary><c>q_lora_rank</c>; 0 when queries are one projection (null in the file).</summary>
    public int QueryLoraRank { get; init; }

    /// <summary><c>kv_lora_rank</c>: width of the cached latent.</summary>
    public required int KeyValueLoraRank { get; init; }

    /// <summary><c>qk_nope_head_dim</c>: query/key channels of a head without rotation.</summary>
    public required int NopeHeadDim { get; init; }

    /// <summary><c>qk_rope_head_dim</c>: query/key channels with rotation, even; interleaved pairs.</summary>
    public required int RopeHeadDim { get; init; }

    /// <summary><c>v_head_dim</c>.</summary>
    public required int ValueHeadDim { get; init; }

    /// <summary><c>first_k_dense_replace</c>: leading layers with a dense feed-forward network.</summary>
    public int FirstDenseLayers { get; init; }

    /// <summary><c>moe_layer_freq</c>: of the later layers those whose index is a multiple of it have experts.</summary>
    public int MoeLayerFrequency { get; init; } = 1;

    /// <summary><c>n_routed_experts</c>; 0 for a dense model.</summary>
    public int RoutedExperts { get; init; }

    /// <summary><c>n_shared_experts</c>; they are stored as one network of that many times <see cref="MoeIntermediateSize"/>.</summary>
    public int SharedExperts { get; init; }

    /// <summary><c>moe_intermediate_size</c>: width of one expert.</summary>
    public int MoeIntermediateSize { get; init; }

    /// <summary><c>num_experts_per_tok</c>.</summary>
    public int ExpertsPerToken { get; init; }

    /// <summary><c>n_group</c>: groups of consecutive experts.</summary>
    public int ExpertGroups { get; init; } = 1;

    /// <summary><c>topk_group</c>: groups a token may use.</summary>
    public int TopGroups { get; init; } = 1;

    /// <summary><c>scoring_func</c>.</summary>
    public ScoringFunction Scoring { get; init; } = ScoringFunction.Sigmoid;

    /// <summary><c>topk_method</c>.</summary>
    public TopKMethod TopKMethod { get; init; } = TopKMethod.NoAuxTc;

    /// <summary><c>norm_topk_prob</c>: chosen scores are divided by their sum.</summary>
    public bool NormalizeTopK { get; init; } = true;

    /// <summary><c>routed_scaling_factor</c>: factor on the weights of routed experts.</summary>
    public double RoutedScalingFactor { get; init; } = 1;

    /// <summary><c>aux_loss_alpha</c>: published with the weights, unused at inference.</summary>
    public double AuxiliaryLossFactor { get; init; } = 0.001;

    /// <summary><c>rms_norm_eps</c>.</summary>
    public double RmsNormEpsilon { get; init; } = 1e-6;

    /// <summary><c>rope_theta</c>: base of the rotary frequencies.</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary><c>rope_scaling</c>; null for plain rotary embeddings.</summary>
    public YarnScaling? RopeScaling { get; init; }

    /// <summary><c>max_position_embeddings</c>: longest context.</summary>
    public int MaxPositionEmbeddings { get; init; } = 4096;

    /// <summary><c>tie_word_embeddings</c>: the output head is the embedding matrix.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary><c>bos_token_id</c>.</summary>
    public int? BosTokenId { get; init; }

    /// <summary><c>eos_token_id</c>: one id or a list in the file.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary><c>initializer_range</c>: a library default in public files; V3 itself was initialised with 0.006.</summary>
    public double InitializerRange { get; init; } = 0.006;

    /// <summary><c>torch_dtype</c> or <c>dtype</c>: type of the unquantised weights.</summary>
    public string TorchType { get; init; } = "bfloat16";

    /// <summary><c>quantization_config</c>; null for unquantised weights.</summary>
    public QuantizationConfiguration? Quantization { get; init; }

    /// <summary>Query/key channels of a head, with and without rotation.</summary>
    public int QueryKeyHeadDim => NopeHeadDim + RopeHeadDim;

    /// <summary>True if a layer (of the main model, or a prediction module numbered after them) has experts.</summary>
    public bool IsMoeLayer(int layer) => RoutedExperts > 0 && layer >= FirstDenseLayers && layer % MoeLayerFrequency == 0;

    /// <summary>True if some layer of the main model has experts.</summary>
    public bool HasExperts
    {
        get
        {
            for (int layer = 0; layer < Layers; layer++)
                if (IsMoeLayer(layer)) return true;
            return false;
        }
    }

    /// <summary>True if the gate has a selection bias (<c>e_score_correction_bias</c>).</summary>
    public bool HasSelectionBias => TopKMethod == TopKMethod.NoAuxTc;

    /// <summary>Reads a <c>config.json</c>. <paramref name="warnings"/> receives a line for each key that is not understood.</summary>
    /// <param name="path">The file, or a directory that holds a <c>config.json</c>.</param>
    /// <param name="warnings">Where warnings go, or null.</param>
    /// <exception cref="ConfigurationException">The file says something impossible or unsupported.</exception>
    /// <exception cref="IOException">The file is absent or cannot be read.</exception>
    public static ModelConfiguration Load(string path, ICollection<string>? warnings = null) => ModelConfigurationReader.Load(path, warnings);

    /// <summary>Writes <c>config.json</c> in the form of the public hub (<c>rope_theta</c> and <c>rope_scaling</c> at top level), atomically.</summary>
    /// <param name="path">The file, or an existing directory that gets a <c>config.json</c>.</param>
    public void Save(string path) =>
        AtomicFile.WriteAllBytes(Directory.Exists(path) ? Path.Combine(path, "config.json") : path, ModelConfigurationWriter.Write(this));
}
