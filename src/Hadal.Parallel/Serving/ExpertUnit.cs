using Hadal.Parallel.Experts;

namespace Hadal.Parallel.Serving;

/// <summary>The GPUs that serve the experts of a model together [V3 §3.4]: every GPU has as many slots for experts in each layer, and there are at least as many slots as experts.</summary>
/// <param name="Experts">Routed experts of a layer.</param>
/// <param name="Groups">Groups of the gate; experts of a group follow each other.</param>
/// <param name="Nodes">Nodes.</param>
/// <param name="GpusPerNode">GPUs of a node.</param>
/// <param name="SlotsPerGpu">Experts that a GPU holds in each layer, redundant ones included.</param>
public sealed record ExpertUnit(int Experts, int Groups, int Nodes, int GpusPerNode, int SlotsPerGpu)
{
    /// <summary>The prefilling unit of the report: 4 nodes of 8 GPUs, each with 8 experts and a redundant one.</summary>
    public static ExpertUnit Prefill { get; } = new(256, 8, 4, 8, 9);

    /// <summary>The decoding unit as it ran in production: 18 nodes of 8 GPUs, each with 2 routed experts.</summary>
    public static ExpertUnit Decode { get; } = new(256, 8, 18, 8, 2);

    /// <summary>The decoding unit of the report: 40 nodes of 8 GPUs with one expert each; 64 of them are redundant or shared ones.</summary>
    public static ExpertUnit DecodeOfTheReport { get; } = new(256, 8, 40, 8, 1);

    /// <summary>GPUs of all nodes.</summary>
    public int Gpus => Nodes * GpusPerNode;

    /// <summary>Slots of a layer.</summary>
    public int Slots => Gpus * SlotsPerGpu;

    /// <summary>Slots beyond one for each expert.</summary>
    public int RedundantSlots => Slots - Experts;

    /// <summary>True where whole groups stay on a node, so that node-limited routing keeps its promise.</summary>
    public bool IsHierarchical => Groups % Nodes == 0;

    /// <summary>The GPU of a slot.</summary>
    public int GpuOf(int slot) => slot / SlotsPerGpu;

    /// <summary>The node of a slot.</summary>
    public int NodeOf(int slot) => slot / (SlotsPerGpu * GpusPerNode);

    /// <summary>Refuses a unit that cannot be.</summary>
    /// <exception cref="ArgumentException">A number is below 1, groups are of different sizes, or there are fewer slots than experts.</exception>
    public void Validate()
    {
        if (Experts < 1 || Groups < 1 || Nodes < 1 || GpusPerNode < 1 || SlotsPerGpu < 1 || Experts % Groups != 0 || (long)Nodes * GpusPerNode * SlotsPerGpu < Experts)
            throw new ArgumentException($"{Experts} experts in {Groups} groups on {Nodes} nodes of {GpusPerNode} GPUs with {SlotsPerGpu} slots were given; expected groups of one size and at least as many slots as experts.");
    }

    /// <summary>Where experts lie before anything is known: as the balancer lays them out for even load.</summary>
    public ReplicaPlan FirstPlan()
    {
        Span<double> even = new double[Experts];
        even.Fill(1);
        return ExpertBalancer.Plan(even, Slots, Groups, Nodes, Gpus);
    }
}

/// <summary>What the links of a unit carry, usable bytes a second of one GPU in one direction.</summary>
/// <param name="InsideNode">Between GPUs of a node.</param>
/// <param name="BetweenNodes">Between nodes.</param>
public readonly record struct LinkSpeeds(double InsideNode, double BetweenNodes)
{
    /// <summary>H800 with one 400 Gb/s card for each GPU [V3 §3.2.2].</summary>
    public static LinkSpeeds H800 { get; } = new(160e9, 50e9);
}
