using Hadal.Numerics;
using Hadal.Parallel.Experts;
using Hadal.Tensors;
using Hadal.Tensors.Operations;
using Hadal.Tensors.Reference;

namespace Hadal.Planning.Layouts;

/// <summary>
/// What one token of one rank puts on the links in one layer, on average: the gate itself chooses experts from random scores, and the placement of the expert exchange counts
/// the rows.
/// </summary>
/// <param name="Layout">Where experts lie.</param>
/// <param name="RowsBetweenNodes">Rows that cross to other nodes: one for each token and node.</param>
/// <param name="RowsInsideNodes">Rows handed on inside nodes, to other ranks.</param>
/// <param name="NaiveRowsBetweenNodes">Rows that would cross if each went straight to the rank of its expert.</param>
/// <param name="NodesPerToken">Nodes, its own among them, that a token's experts lie on.</param>
/// <param name="ExpertsPerNode">Chosen experts of a token on each of those nodes.</param>
/// <param name="MostNodes">Most nodes of one token.</param>
/// <param name="OutBytes">Bytes of a row on its way out: FP8 with scales under the recipe <c>fp8</c>, places and gate weights among them.</param>
/// <param name="BackBytes">Bytes of a row on its way back: BF16 under that recipe.</param>
public sealed record RoutingTraffic(
    ExpertLayout Layout, double RowsBetweenNodes, double RowsInsideNodes, double NaiveRowsBetweenNodes, double NodesPerToken, double ExpertsPerNode, int MostNodes, double OutBytes, double BackBytes)
{
    const int SampledTokens = 2048;

    /// <summary>Seconds in which a rank's rows of one movement are on the links: both links at the same time, the slower one counts.</summary>
    /// <param name="tokens">Tokens of a micro-batch.</param>
    /// <param name="bytes">Of a row.</param>
    /// <param name="cluster">The links.</param>
    public double Seconds(int tokens, double bytes, ClusterDescription cluster)
    {
        ArgumentNullException.ThrowIfNull(cluster);
        double between = RowsBetweenNodes * tokens * bytes / cluster.NetworkBandwidth, inside = RowsInsideNodes * tokens * bytes / cluster.NodeBandwidth;
        double latency = (RowsBetweenNodes > 0 ? cluster.NetworkLatency : 0) + (RowsInsideNodes > 0 ? cluster.NodeLatency : 0);
        return Math.Max(between, inside) + latency;
    }

    /// <summary>Seconds of dispatch and combine of one forward in one layer; those of a backward are the same movements in the other order.</summary>
    public double LayerSeconds(int tokens, ClusterDescription cluster) => Layout.Ranks == 1 ? 0 : Seconds(tokens, OutBytes, cluster) + Seconds(tokens, BackBytes, cluster);

    /// <summary>Bytes that a rank sends to other nodes in one forward, or one backward, of one layer.</summary>
    public double BytesBetweenNodes(int tokens) => RowsBetweenNodes * tokens * (OutBytes + BackBytes);

    /// <summary>Bytes that it sends inside its node.</summary>
    public double BytesInsideNodes(int tokens) => RowsInsideNodes * tokens * (OutBytes + BackBytes);

    /// <summary>Bytes between nodes if each row went straight to the rank of its expert.</summary>
    public double NaiveBytesBetweenNodes(int tokens) => NaiveRowsBetweenNodes * tokens * (OutBytes + BackBytes);

    /// <summary>Routes random tokens.</summary>
    /// <param name="work">Model, recipe.</param>
    /// <param name="layout">Placement of ranks.</param>
    /// <param name="gpusPerNode">GPUs of a node.</param>
    /// <param name="tokens">Tokens that are tried.</param>
    public static RoutingTraffic Of(TrainingWork work, TrainingLayout layout, int gpusPerNode, int tokens = SampledTokens)
    {
        ArgumentNullException.ThrowIfNull(work);
        GateParameters gate = work.Shape.Gate;
        ExpertLayout experts = layout.Experts(Math.Max(gate.Experts, layout.ExpertParallel), gpusPerNode);
        if (gate.Experts == 0 || layout.ExpertParallel == 1) return new(experts, 0, 0, 0, 1, gate.TopK, 1, 0, 0);
        experts.Validate();
        using var backend = new ReferenceBackend();
        using var arena = new TensorArena(backend);
        Tensor logits = arena.Allocate(DType.F32, tokens, gate.Experts), scores = arena.Allocate(DType.F32, tokens, gate.Experts);
        Tensor choice = arena.Allocate(DType.I32, tokens, gate.TopK), weights = arena.Allocate(DType.F32, tokens, gate.TopK);
        new CounterRandom(seed: 1, RandomPurpose.Simulation).FillUniform(logits.AsSpan<float>(), -2, 2);
        backend.Operations.Routing.Gate(logits, default, gate, scores, choice, weights);
        var load = new DispatchLoad(experts, source: 0);
        for (int token = 0; token < tokens; token++) load.Add(choice.Row<int>(token));
        double nodes = load.TokensPerNode.Sum() / (double)tokens;

        // Beside its payload a row carries its place, its experts and their gate weights.
        double places = 4 + (8.0 * gate.TopK);
        return new(experts, load.RowsBetweenNodes / (double)tokens, load.RowsInsideNodes / (double)tokens, load.NaiveRowsBetweenNodes / (double)tokens, nodes, gate.TopK / nodes, load.MostNodes,
            RowBytes(work.Recipe.ExpertInput, work.Shape.Hidden) + places, work.ActivationBytes * work.Shape.Hidden);
    }

    static double RowBytes(QuantizationFormat format, int columns) =>
        ((double)format.StorageColumns(columns) * format.StorageType.Size()) + (4.0 * format.StorageScales(1, columns).Columns);
}
