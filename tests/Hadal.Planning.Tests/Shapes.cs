using Hadal.Model;
using Hadal.Planning.Layouts;
using Hadal.Tensors.Operations;

namespace Hadal.Planning.Tests;

/// <summary>A model small enough for sums on paper.</summary>
static class Shapes
{
    public static TransformerShape Small { get; } = new()
    {
        Vocabulary = 32, Hidden = 16, Layers = 4, DenseLayers = 1, DenseIntermediate = 24, ExpertIntermediate = 8, Heads = 2, QueryLoraRank = 6,
        KeyValueLoraRank = 5, QkNopeHeadDim = 4, QkRopeHeadDim = 2, ValueHeadDim = 3, SharedExperts = 1,
        Gate = new GateParameters(8, 2, 4, 2, GateScoring.Sigmoid, GroupScoring.TopTwoSum, Normalize: true, RoutedScale: 2.5), GateBias = true,
        MtpDepth = 1, NormEpsilon = 1e-6, RotaryTheta = 10000, MaxPositions = 64,
    };

    public static TrainingWork Work(int microBatches = 16, Recipe? recipe = null) => new("small", ModelSize.Of(Small), recipe ?? Recipe.Fp32, SequenceLength: 8, Rows: 2, microBatches);

    public static ClusterDescription Cluster(int nodes, int gpus) => new()
    {
        Name = "test", Nodes = nodes, GpusPerNode = gpus, MemoryBytes = 1e9, ReservedBytes = 0, PeakFlops = 1e12, MemoryBandwidth = 1e11, NodeBandwidth = 8e9, NetworkBandwidth = 1e9, NodeLatency = 0, NetworkLatency = 0,
    };
}
