using Hadal.Model;
using Hadal.Parallel.Pipeline;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Training.Optimization;

namespace Hadal.Training.Ranks;

/// <summary>A stretch of flat buffers.</summary>
/// <param name="Start">First element.</param>
/// <param name="Length">Elements.</param>
readonly record struct FlatRange(int Start, int Length)
{
    internal int End => Start + Length;

    /// <summary>Ascending ranges with those that touch, but for the padding between parameters, made one.</summary>
    internal static FlatRange[] Merge(IEnumerable<FlatRange> ranges)
    {
        const int Padding = 16;
        var merged = new List<FlatRange>();
        foreach (FlatRange range in ranges)
        {
            if (merged.Count > 0 && range.Start - merged[^1].End is >= 0 and < Padding) merged[^1] = merged[^1] with { Length = range.End - merged[^1].Start };
            else merged.Add(range);
        }

        return [.. merged];
    }
}

/// <summary>A part of a segment that one rank updates.</summary>
/// <param name="Segment">Index of the segment.</param>
/// <param name="Start">First element in flat buffers; a block of the segment begins there.</param>
/// <param name="Length">Elements.</param>
readonly record struct ShardPiece(int Segment, int Start, int Length);

/// <summary>
/// Segments that the same ranks hold: those of one stage that are replicated on every stream, or the experts of one rank. Their gradients are summed, their optimizer
/// state is cut and their weights are exchanged among these ranks (ZeRO-1 [V3 §3.2]).
/// </summary>
sealed class ShardGroup
{
    internal required int Stage { get; init; }

    /// <summary>The rank among those that share experts that owns them; −1 for parameters that every stream has.</summary>
    internal required int Expert { get; init; }

    /// <summary>Ranks of the world that compute gradients, ascending; each updates its shard.</summary>
    internal required int[] Holders { get; init; }

    /// <summary>Ranks of the world that need the values: the holders, and for the embedding those of the last stage too.</summary>
    internal required int[] Readers { get; init; }

    /// <summary>All elements, merged.</summary>
    internal required FlatRange[] Ranges { get; init; }

    /// <summary>[holders]: pieces of each.</summary>
    internal required ShardPiece[][] Pieces { get; init; }

    /// <summary>[holders]: pieces of each, merged; gaps hold padding.</summary>
    internal required FlatRange[][] Shards { get; init; }

    /// <summary>Elements of a holder's shard.</summary>
    internal int ShardLength(int holder)
    {
        int length = 0;
        foreach (FlatRange range in Shards[holder]) length += range.Length;
        return length;
    }
}

/// <summary>Which rank computes, sums, updates and reads which part of the parameters. A pure function of model and layout, the same on all ranks.</summary>
sealed class ParameterShards
{
    internal ParameterShards(Transformer model, RankLayout layout)
    {
        Layout = layout;
        Segments = GradientSegment.Of(model.Parameters);
        PipelinePlacement placement = layout.Placement(2 * layout.Pipeline);
        var layers = new StageLayers(model.Blocks.Count, placement.Stages);
        int last = placement.Stages - 1, experts = model.Shape.Gate.Experts;
        FirstBlock = new int[Segments.Length];
        for (int i = 0; i < Segments.Length; i++)
        {
            FirstBlock[i] = Blocks;
            Blocks += Segments[i].Blocks;
        }

        var groups = new SortedDictionary<(int Stage, int Expert, bool Embedding), List<int>>();
        for (int i = 0; i < Segments.Length; i++)
        {
            GradientSegment segment = Segments[i];
            bool embedding = segment.Parameter == model.Embedding;
            int layer = ModelFiles.LayerOf(segment.Parameter.Name);
            int stage = embedding ? 0 : layer < 0 || layer >= model.Blocks.Count ? last : StageOf(layers, placement.Stages, layer);
            int owner = segment.Expert < 0 || layout.Expert == 1 ? -1 : segment.Expert / (experts / layout.Expert);
            if (!groups.TryGetValue((stage, owner, embedding), out List<int>? list)) groups.Add((stage, owner, embedding), list = []);
            list.Add(i);
        }

        Groups = [.. groups.Select(entry =>
        {
            (int stage, int owner, bool embedding) = entry.Key;
            int[] holders = HoldersOf(placement, stage, owner);
            ShardPiece[][] pieces = Cut(entry.Value, holders.Length);
            return new ShardGroup
            {
                Stage = stage, Expert = owner, Holders = holders,
                Readers = embedding && (model.Shape.TiedEmbeddings || model.Mtp.Count > 0) ? [.. holders.Union(HoldersOf(placement, last, owner: -1)).Order()] : holders,
                Ranges = FlatRange.Merge(entry.Value.Select(i => new FlatRange(Segments[i].Start, Segments[i].Length))),
                Pieces = pieces,
                Shards = [.. pieces.Select(one => FlatRange.Merge(one.Select(piece => new FlatRange(piece.Start, piece.Length))))],
            };
        })];
    }

    internal RankLayout Layout { get; }

    /// <summary>In flat order.</summary>
    internal GradientSegment[] Segments { get; }

    /// <summary>[segments]: index of its first block among all blocks.</summary>
    internal int[] FirstBlock { get; }

    /// <summary>Blocks of all segments.</summary>
    internal int Blocks { get; }

    /// <summary>In the same order on all ranks.</summary>
    internal ShardGroup[] Groups { get; }

    /// <summary>Parameters whose values a rank needs, by index.</summary>
    internal int[] ParametersOf(int rank)
    {
        var ranges = Groups.Where(group => group.Readers.Contains(rank)).SelectMany(group => group.Ranges).OrderBy(range => range.Start).ToArray();
        return [.. Segments.Where(segment => Array.Exists(ranges, range => segment.Start >= range.Start && segment.Start < range.End)).Select(segment => segment.Parameter.Index).Distinct()];
    }

    static int StageOf(StageLayers layers, int stages, int layer)
    {
        for (int stage = 0; stage < stages; stage++)
            if (layer < layers.First(stage) + layers.Count(stage)) return stage;
        return stages - 1;
    }

    int[] HoldersOf(PipelinePlacement placement, int stage, int owner)
    {
        var holders = new List<int>();
        for (int pipeline = 0; pipeline < Layout.Pipeline; pipeline++)
        {
            bool has = false;
            for (int phase = 0; phase < placement.Phases; phase++) has |= placement.Stage(pipeline, phase) == stage;
            for (int stream = 0; has && stream < Layout.Streams; stream++)
                if (owner < 0 || stream % Layout.Expert == owner) holders.Add(Layout.Rank(pipeline, stream));
        }

        return [.. holders];
    }

    // Blocks as evenly as can be, in order.
    ShardPiece[][] Cut(List<int> segments, int holders)
    {
        long blocks = segments.Sum(i => (long)Segments[i].Blocks), before = 0;
        var pieces = new List<ShardPiece>[holders];
        for (int h = 0; h < holders; h++) pieces[h] = [];
        foreach (int i in segments)
        {
            GradientSegment segment = Segments[i];
            for (int h = 0; h < holders; h++)
            {
                int first = (int)Math.Clamp((blocks * h / holders) - before, 0, segment.Blocks), end = (int)Math.Clamp((blocks * (h + 1) / holders) - before, 0, segment.Blocks);
                if (first == end) continue;
                int start = first * GradientSegment.Block, length = Math.Min(end * GradientSegment.Block, segment.Length) - start;
                pieces[h].Add(new(i, segment.Start + start, length));
            }

            before += segment.Blocks;
        }

        return [.. pieces.Select(list => list.ToArray())];
    }
}
