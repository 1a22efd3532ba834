using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>Architectures of published sizes, for layer benchmarks, memory tables and plans; too large to train on a CPU.</summary>
public static class KnownShapes
{
    /// <summary>Hidden 1024, 12 layers, 64 experts of which 6 work: 1.24 billion parameters.</summary>
    public static TransformerShape Medium { get; } = V3671B with
    {
        Vocabulary = 32768, Hidden = 1024, Layers = 12, DenseLayers = 1, DenseIntermediate = 2816, ExpertIntermediate = 512, Heads = 16, QueryLoraRank = 384, KeyValueLoraRank = 256,
        QkNopeHeadDim = 64, QkRopeHeadDim = 32, ValueHeadDim = 64, MaxPositions = 4096, MtpDepth = 1,
        Gate = new GateParameters(64, 6, 8, 4, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5),
    };

    /// <summary>DeepSeek-V2-Lite, 16 billion parameters.</summary>
    public static TransformerShape V2Lite16B { get; } = V3671B with
    {
        Vocabulary = 102400, Hidden = 2048, Layers = 27, DenseLayers = 1, DenseIntermediate = 10944, ExpertIntermediate = 1408, Heads = 16, QueryLoraRank = 0, SharedExperts = 2,
        MtpDepth = 0, GateBias = false, Gate = new GateParameters(64, 6, 1, 1, GateScoring.Softmax, GroupScoring.Maximum, Normalize: false, RoutedScale: 1),
    };

    /// <summary>DeepSeek-V3 [V3 §4.2].</summary>
    public static TransformerShape V3671B => new()
    {
        Vocabulary = 129280, Hidden = 7168, Layers = 61, DenseLayers = 3, DenseIntermediate = 18432, ExpertIntermediate = 2048, Heads = 128, QueryLoraRank = 1536, KeyValueLoraRank = 512,
        QkNopeHeadDim = 128, QkRopeHeadDim = 64, ValueHeadDim = 128, SharedExperts = 1,
        Gate = new GateParameters(256, 8, 8, 4, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5), GateBias = true,
        MtpDepth = 1, NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = 4096,
    };

    /// <summary>By name.</summary>
    public static IReadOnlyList<(string Name, TransformerShape Shape)> All { get; } = [("medium", Medium), ("v2-lite-16b", V2Lite16B), ("v3-671b", V3671B)];
}
