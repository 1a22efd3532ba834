using Hadal.Formats;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>A model read from the public layout.</summary>
/// <param name="Model">The weights, ready to run.</param>
/// <param name="Configuration">Its config.json.</param>
/// <param name="Warnings">Unknown keys, ignored tensors.</param>
public sealed record LoadedModel(Transformer Model, ModelConfiguration Configuration, IReadOnlyList<string> Warnings) : IDisposable
{
    /// <inheritdoc/>
    public void Dispose() => Model.Dispose();
}

/// <summary>Builds models from public directories: config.json beside safetensors.</summary>
public static class ModelLoader
{
    /// <summary>Loads <paramref name="directory"/>.</summary>
    /// <param name="backend">Where the model lives.</param>
    /// <param name="withMtp">Whether MTP modules are wanted; those whose weights the checkpoint lacks are left out either way.</param>
    /// <param name="type">F32, or F64 on Reference.</param>
    /// <param name="positions">Positions the caller needs; more than max_position_embeddings are given with a warning, for a model says little beyond what it was trained on.</param>
    /// <exception cref="ConfigurationException">config.json says something impossible.</exception>
    /// <exception cref="CheckpointFormatException">The weights do not fit; found before memory is taken.</exception>
    public static LoadedModel Load(string directory, IBackend backend, Recipe recipe, bool withMtp = true, DType type = DType.F32, int positions = 0)
    {
        var warnings = new List<string>();
        ModelConfiguration configuration = ModelConfiguration.Load(directory, warnings);
        if (configuration.Quantization is { } quantization && (quantization.BlockRows != 128 || quantization.BlockColumns != 128))
            throw new ConfigurationException(directory, "quantization_config.weight_block_size", $"[{quantization.BlockRows}, {quantization.BlockColumns}]", "[128, 128]");
        using Checkpoint checkpoint = Checkpoint.Open(directory);
        TransformerShape shape = Shape(configuration);
        shape = shape with { MtpDepth = withMtp ? CheckpointWeights.MtpDepth(checkpoint, shape) : 0 };
        if (positions > shape.MaxPositions)
        {
            warnings.Add($"{positions} positions are more than the {shape.MaxPositions} that config.json names (max_position_embeddings): what comes after those may be poor.");
            shape = shape with { MaxPositions = positions };
        }

        CheckpointWeights.RequireEnough(checkpoint, shape);
        checkpoint.Verify();
        var model = new Transformer(backend, shape, recipe, type);
        try
        {
            LoadReport report = CheckpointWeights.Load(model, checkpoint);
            return new LoadedModel(model, configuration, [.. warnings, .. report.Warnings]);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>The architecture that a configuration describes.</summary>
    public static TransformerShape Shape(ModelConfiguration configuration) => new()
    {
        Vocabulary = configuration.VocabularySize,
        Hidden = configuration.HiddenSize,
        Layers = configuration.Layers,
        DenseLayers = configuration.RoutedExperts == 0 ? configuration.Layers : configuration.FirstDenseLayers,
        SparseFrequency = configuration.MoeLayerFrequency,
        DenseIntermediate = configuration.IntermediateSize,
        ExpertIntermediate = configuration.MoeIntermediateSize,
        Heads = configuration.Heads,
        QueryLoraRank = configuration.QueryLoraRank,
        KeyValueLoraRank = configuration.KeyValueLoraRank,
        QkNopeHeadDim = configuration.NopeHeadDim,
        QkRopeHeadDim = configuration.RopeHeadDim,
        ValueHeadDim = configuration.ValueHeadDim,
        SharedExperts = configuration.SharedExperts,
        Gate = new GateParameters(
            configuration.RoutedExperts, configuration.ExpertsPerToken,
            configuration.TopKMethod == TopKMethod.Greedy ? 1 : configuration.ExpertGroups,
            configuration.TopKMethod == TopKMethod.Greedy ? 1 : configuration.TopGroups,
            configuration.Scoring == ScoringFunction.Sigmoid ? GateScoring.Sigmoid : GateScoring.Softmax,
            configuration.TopKMethod == TopKMethod.NoAuxTc ? GroupScoring.TopTwoSum : GroupScoring.Maximum,
            configuration.NormalizeTopK, configuration.RoutedScalingFactor),
        GateBias = configuration.HasSelectionBias,
        MtpDepth = configuration.MtpLayers,
        NormEpsilon = configuration.RmsNormEpsilon,
        RotaryTheta = configuration.RopeTheta,
        Yarn = configuration.RopeScaling is { } yarn
            ? new YarnShape(yarn.Factor, yarn.OriginalMaxPositionEmbeddings, yarn.BetaFast, yarn.BetaSlow, yarn.MScale, yarn.MScaleAllDim)
            : null,
        MaxPositions = configuration.MaxPositionEmbeddings,
        TiedEmbeddings = configuration.TieWordEmbeddings,
    };
}
