using System.Globalization;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Pipeline;
using Hadal.Parallel.Schedules;

namespace Hadal.Planning.Layouts;

/// <summary>
/// How GPUs share the work: the layers are cut over the ranks of a pipeline, the experts of a layer over an expert group, and the whole is repeated. Attention and dense
/// feed-forwards are the same on every GPU of a stage; an expert is there <see cref="DataParallel"/> times. GPUs of an expert group are neighbours, stages lie furthest apart.
/// </summary>
/// <param name="Pipeline">Ranks of a pipeline, PP.</param>
/// <param name="ExpertParallel">Ranks that share the experts of a layer, EP.</param>
/// <param name="DataParallel">Copies of every expert, DP.</param>
public readonly record struct TrainingLayout(int Pipeline, int ExpertParallel, int DataParallel)
{
    /// <summary>The report's: PP16, EP64, every expert twice [V3 §3.2].</summary>
    public static TrainingLayout Published => new(16, 64, 2);

    /// <summary>GPUs it takes.</summary>
    public int Gpus => checked(Pipeline * ExpertParallel * DataParallel);

    /// <summary>GPUs of a stage, each with micro-batches of its own: the pipelines there are.</summary>
    public int Pipelines => ExpertParallel * DataParallel;

    /// <summary>Reads <c>16x64x2</c>: PP, EP, DP.</summary>
    /// <exception cref="PlanException">It is no layout.</exception>
    public static TrainingLayout Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] parts = text.Split('x', 'X', '×');
        var numbers = new int[3];
        bool good = parts.Length == 3;
        for (int i = 0; good && i < 3; i++) good = int.TryParse(parts[i], NumberStyles.None, CultureInfo.InvariantCulture, out numbers[i]) && numbers[i] is >= 1 and <= 1 << 14;
        if (!good || (long)numbers[0] * numbers[1] * numbers[2] > 1 << 22)
            throw new PlanException($"The layout \"{(text.Length > 60 ? text[..60] + "…" : text)}\" was given; expected PPxEPxDP, such as 16x64x2: ranks of a pipeline, ranks that share the experts, copies of every expert.");
        return new(numbers[0], numbers[1], numbers[2]);
    }

    /// <summary>For messages and tables: <c>16x64x2</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Pipeline}x{ExpertParallel}x{DataParallel}");

    /// <summary>Where the experts of a layer lie; one rank when there is nothing to share.</summary>
    public ExpertLayout Experts(int experts, int gpusPerNode)
    {
        int nodes = Math.Max(1, ExpertParallel / gpusPerNode);
        return new(experts, nodes, ExpertParallel / nodes);
    }

    /// <summary>True when neighbours of a pipeline are on different nodes.</summary>
    public bool PipelineCrossesNodes(ClusterDescription cluster) => Pipeline > 1 && Gpus > cluster.GpusPerNode;

    /// <summary>Why a model cannot be trained so; null when it can.</summary>
    /// <param name="work">The work.</param>
    /// <param name="cluster">The machines.</param>
    /// <param name="kind">The schedule.</param>
    public string? Refusal(TrainingWork work, ClusterDescription cluster, ScheduleKind kind)
    {
        int experts = work.Shape.Gate.Experts;
        if (Gpus != cluster.Gpus) return $"The layout {this} takes {Gpus} GPUs and the cluster has {cluster.Gpus}; expected the same.";
        if (ExpertParallel > 1 && (experts == 0 || experts % ExpertParallel != 0)) return $"{experts} experts cannot be shared by {ExpertParallel} ranks; expected a divisor.";
        if (ExpertParallel > cluster.GpusPerNode ? ExpertParallel % cluster.GpusPerNode != 0 : cluster.GpusPerNode % ExpertParallel != 0)
            return $"{ExpertParallel} ranks that share experts do not fill nodes of {cluster.GpusPerNode} evenly; expected a divisor or a multiple.";
        if (work.MicroBatches % Pipelines != 0) return $"{work.MicroBatches} micro-batches cannot be dealt to {Pipelines} pipelines evenly; expected a multiple.";
        int microBatches = work.MicroBatches / Pipelines;
        if (PipelineSchedule.Refusal(kind, Pipeline, microBatches) is { } reason) return reason;
        int stages = new PipelinePlacement(kind, Pipeline, microBatches).Stages;
        if (stages > work.Shape.Layers) return $"{work.Shape.Layers} layers cannot be cut into {stages} stages; expected at most as many stages as layers.";
        return kind == ScheduleKind.OneForwardOneBackward || Pipeline > 1 ? null : "A pipeline of one rank has nothing to fill; 1f1b is the plain loop.";
    }
}

/// <summary>What a stage holds.</summary>
/// <param name="Stage">Its index.</param>
/// <param name="Dense">Blocks without experts.</param>
/// <param name="Sparse">Blocks with experts.</param>
/// <param name="IsFirst">The embedding belongs to it.</param>
/// <param name="IsLast">Final norm, head, MTP modules and losses belong to it.</param>
/// <param name="Layers">The sizes of its blocks, MTP modules among them.</param>
public sealed record StageContents(int Stage, int Dense, int Sparse, bool IsFirst, bool IsLast, IReadOnlyList<LayerSize> Layers)
{
    /// <summary>Main blocks.</summary>
    public int Blocks => Dense + Sparse;

    /// <summary>Cuts a model as the executor does (<see cref="StageLayers"/>).</summary>
    public static StageContents[] Cut(ModelSize size, int stages)
    {
        ArgumentNullException.ThrowIfNull(size);
        var cut = new StageLayers(size.Layers.Count, stages);
        return [.. Enumerable.Range(0, stages).Select(stage =>
        {
            LayerSize[] blocks = [.. size.Layers.Skip(cut.First(stage)).Take(cut.Count(stage))];
            bool last = stage == stages - 1;
            return new StageContents(stage, blocks.Count(block => !block.IsSparse), blocks.Count(block => block.IsSparse), stage == 0, last, last ? [.. blocks, .. size.Mtp] : blocks);
        })];
    }
}
