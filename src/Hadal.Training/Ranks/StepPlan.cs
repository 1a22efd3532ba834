using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;

namespace Hadal.Training.Ranks;

/// <summary>What a step of so many micro-batches means for the ranks: their schedule, and who has which sums of gradients. A pure function, the same on all ranks.</summary>
sealed class StepPlan
{
    readonly Dictionary<(int Rank, int Stage, bool Routed), IReadOnlyList<SumNode>> _nodes = [];

    internal StepPlan(ParameterShards shards, int microBatches)
    {
        (Layout, MicroBatches) = (shards.Layout, microBatches);
        Schedule = Layout.Create(microBatches);
        Nodes = new IReadOnlyList<SumNode>[shards.Groups.Length][];
        Joins = new (int First, int Second)[shards.Groups.Length][];
        Result = new int[shards.Groups.Length];
        for (int g = 0; g < Nodes.Length; g++)
        {
            ShardGroup group = shards.Groups[g];
            Nodes[g] = [.. group.Holders.Select(holder => NodesOf(holder, group.Stage, group.Expert >= 0))];
            var joins = new List<(int, int)>();
            Result[g] = SumNode.Join(microBatches, [.. Nodes[g].SelectMany(nodes => nodes)], (first, second) => joins.Add((first, second)));
            Joins[g] = [.. joins];
        }
    }

    internal RankLayout Layout { get; }

    internal int MicroBatches { get; }

    internal PipelineSchedule Schedule { get; }

    /// <summary>[groups][holders]: the subtrees whose sums a holder can finish.</summary>
    internal IReadOnlyList<SumNode>[][] Nodes { get; }

    /// <summary>[groups]: additions that make the sum of everything of all holders' subtrees, taken in order.</summary>
    internal (int First, int Second)[][] Joins { get; }

    /// <summary>[groups]: the subtree whose place holds the sum then.</summary>
    internal int[] Result { get; }

    /// <summary>Subtrees that a rank can finish for a stage it holds; with experts, the micro-batches of all ranks that share them run through.</summary>
    internal IReadOnlyList<SumNode> NodesOf(int rank, int stage, bool routed)
    {
        if (_nodes.TryGetValue((rank, stage, routed), out IReadOnlyList<SumNode>? there)) return there;
        int pipeline = Layout.PipelineRank(rank), stream = Layout.Stream(rank), group = Layout.Group(rank);
        PipelinePlacement placement = Schedule.Placement;
        int phase = placement.Phases > 1 && placement.Stage(pipeline, 0) != stage ? 1 : 0, half = placement.MicroBatches / 2;
        int low = 0, high = placement.MicroBatches;
        if (placement.Kind == ScheduleKind.DualPipe)
        {
            if (placement.Direction(pipeline, phase) == 0) high = half;
            else low = half;
        }

        var mine = new HashSet<int>();
        for (int s = routed ? group * Layout.Expert : stream; s <= (routed ? (group * Layout.Expert) + Layout.Expert - 1 : stream); s++)
            for (int i = low; i < Math.Min(high, Layout.MicroBatches(s, MicroBatches)); i++) mine.Add(Layout.FirstMicroBatch(s, MicroBatches) + i);
        return _nodes[(rank, stage, routed)] = SumNode.Finished(MicroBatches, mine.Contains);
    }
}
