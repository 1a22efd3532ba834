using Hadal.Formats;

namespace Hadal.Training;

/// <summary>Shapes to begin with, by name; sizes and purposes: docs/architecture.md, Sizes.</summary>
public static class ModelPresets
{
    /// <summary>Names <see cref="Find"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["tiny", "nano"];

    /// <summary>The shape of a preset for a vocabulary.</summary>
    /// <exception cref="RunConfigurationException">There is no such preset.</exception>
    public static ModelConfiguration Find(string name, int vocabulary)
    {
        switch (name)
        {
            case "tiny": return Tiny(vocabulary);
            case "nano": return Nano(vocabulary);
            case "wide": return Wide(vocabulary);
            default:
                Throw.Configuration("model.preset", $"'{name}'", $"one of {string.Join(", ", Names)}");
                return null!;
        }
    }

    /// <summary>For tests: every part of the architecture, learned in seconds.</summary>
    static ModelConfiguration Tiny(int vocabulary) => Common(vocabulary) with
    {
        HiddenSize = 48, Layers = 2, FirstDenseLayers = 1, IntermediateSize = 96, Heads = 2, QueryLoraRank = 24, KeyValueLoraRank = 16,
        NopeHeadDim = 16, RopeHeadDim = 8, ValueHeadDim = 16, RoutedExperts = 4, ExpertsPerToken = 2, ExpertGroups = 2, TopGroups = 1, SharedExperts = 1,
        MoeIntermediateSize = 32, MaxPositionEmbeddings = 256,
    };

    /// <summary>For the quickstart: every part of V3's architecture in a shape that learns most in four minutes on two cores (docs/log.md, <i>nano</i>).</summary>
    static ModelConfiguration Nano(int vocabulary) => Common(vocabulary) with
    {
        HiddenSize = 128, Layers = 4, FirstDenseLayers = 1, IntermediateSize = 352, Heads = 4, QueryLoraRank = 64, KeyValueLoraRank = 48,
        NopeHeadDim = 32, RopeHeadDim = 16, ValueHeadDim = 32, RoutedExperts = 8, ExpertsPerToken = 2, ExpertGroups = 4, TopGroups = 2, SharedExperts = 1,
        MoeIntermediateSize = 96, MaxPositionEmbeddings = 1024,
    };

    /// <summary>For experiments on scales, not listed: rows of four tiles of 128 where <c>nano</c> has one.</summary>
    static ModelConfiguration Wide(int vocabulary) => Common(vocabulary) with
    {
        HiddenSize = 512, Layers = 2, FirstDenseLayers = 1, IntermediateSize = 640, Heads = 4, QueryLoraRank = 128, KeyValueLoraRank = 96,
        NopeHeadDim = 32, RopeHeadDim = 16, ValueHeadDim = 32, RoutedExperts = 4, ExpertsPerToken = 2, ExpertGroups = 2, TopGroups = 1, SharedExperts = 1,
        MoeIntermediateSize = 256, MaxPositionEmbeddings = 256,
    };

    static ModelConfiguration Common(int vocabulary) => new()
    {
        VocabularySize = vocabulary, HiddenSize = 0, Layers = 0, IntermediateSize = 0, Heads = 0, KeyValueLoraRank = 0, NopeHeadDim = 0, RopeHeadDim = 0, ValueHeadDim = 0,
        MtpLayers = 1, Scoring = ScoringFunction.Sigmoid, TopKMethod = TopKMethod.NoAuxTc, NormalizeTopK = true, RoutedScalingFactor = 2.5, AuxiliaryLossFactor = 1e-4,
        RmsNormEpsilon = 1e-6, RopeTheta = 10000, BosTokenId = 0, EosTokenIds = [1], TorchType = "float32", InitializerRange = 0.02,
    };
}
