using Hadal.Parallel.Schedules;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Ranks;

/// <summary>docs/architecture.md §8: the same bits for any layout of ranks with the same micro-batches.</summary>
public sealed class SameBitsTests
{
    const int Steps = 20;

    /// <summary>Data × pipeline × expert: with and without experts across ranks, every schedule, streams with more and fewer micro-batches and some with none.</summary>
    static IEnumerable<ParallelConfiguration> Layouts() =>
    [
        RankRuns.Layout(2, 1, 1),
        RankRuns.Layout(3, 1, 1),
        RankRuns.Layout(5, 1, 1),
        RankRuns.Layout(1, 2, 1),
        RankRuns.Layout(1, 4, 1, schedule: ScheduleKind.ZeroBubble),
        RankRuns.Layout(1, 2, 1, schedule: ScheduleKind.DualPipe),
        RankRuns.Layout(1, 4, 1, schedule: ScheduleKind.DualPipe),
        RankRuns.Layout(1, 2, 1, schedule: ScheduleKind.DualPipeV),
        RankRuns.Layout(1, 1, 2),
        RankRuns.Layout(1, 1, 4, nodes: 2),
        RankRuns.Layout(2, 1, 2),
        RankRuns.Layout(1, 1, 8, nodes: 4),
        RankRuns.Layout(1, 2, 4, schedule: ScheduleKind.ZeroBubble),
        RankRuns.Layout(2, 2, 2, schedule: ScheduleKind.DualPipe),
        RankRuns.Layout(2, 2, 1, schedule: ScheduleKind.DualPipeV),
        RankRuns.Layout(1, 2, 4, nodes: 2, schedule: ScheduleKind.DualPipeV),
    ];

    static void Compare(string recipe, bool tied, long steps, IEnumerable<ParallelConfiguration> layouts)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, steps, recipe, tied);
        PreparedRun data = TinyRuns.Prepare(run);
        string[] expected = RankRuns.Facts(run, RankRuns.Train(run, data, TestContext.Current.CancellationToken), steps);
        Assert.True(expected.Length > steps, string.Join('\n', expected));
        foreach (ParallelConfiguration layout in layouts)
        {
            RunConfiguration split = run with { Parallel = layout, Output = folder.File(Guid.NewGuid().ToString("N")) };
            string[] actual = RankRuns.Facts(split, RankRuns.Train(split, data, TestContext.Current.CancellationToken), steps);
            Assert.True(expected.AsSpan().SequenceEqual(actual), RankRuns.Difference($"{layout.Layout}, {recipe}", expected, actual));
        }
    }

    [Theory]
    [Trait("tier", "full")]
    [InlineData("fp32")]
    [InlineData("fp8")]
    [Implements("V3 §3.2", "Loss and weights after 20 steps are the same bits for any split into data, pipeline and expert ranks, with ZeRO-1")]
    public void Twenty_steps_have_the_bits_of_one_rank_for_every_layout(string recipe) => Compare(recipe, tied: false, Steps, Layouts());

    [Fact]
    public void A_few_steps_have_the_bits_of_one_rank() =>
        Compare("fp8", tied: false, 4, [RankRuns.Layout(3, 1, 1), RankRuns.Layout(1, 2, 2, schedule: ScheduleKind.DualPipe)]);

    [Fact]
    public void A_head_tied_to_the_embedding_has_the_bits_of_one_rank() =>
        Compare("fp32", tied: true, 3, [RankRuns.Layout(2, 1, 1), RankRuns.Layout(1, 3, 1), RankRuns.Layout(1, 2, 2, schedule: ScheduleKind.DualPipe)]);

    /// <summary>Under DualPipe the ranks that train the embedding are those that run head and MTP; under the other schedules the last stage needs a copy.</summary>
    [Fact]
    [Implements("V3 §3.2.1", "The first and the last layers share a pipeline rank, so that MTP shares embedding and head")]
    public void Under_DualPipe_embedding_head_and_MTP_are_on_the_same_ranks()
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, 1);
        PreparedRun data = TinyRuns.Prepare(run);
        using Hadal.Tensors.IBackend backend = RankRuns.Backend(1);
        using Hadal.Model.Transformer model = ModelFiles.Create(run, data.Tokenizer, backend);
        Assert.NotEmpty(model.Mtp);
        Assert.Equal("0 3, 0 3, 0 3", Ranks(ScheduleKind.DualPipe));
        Assert.Equal("0, 0 3, 3", Ranks(ScheduleKind.OneForwardOneBackward));

        string Ranks(ScheduleKind kind)
        {
            var shards = new Hadal.Training.Ranks.ParameterShards(model, new Hadal.Parallel.Ranks.RankLayout(1, 4, 1, 1, kind));
            Hadal.Training.Ranks.ShardGroup Of(string name) => shards.Groups.Single(group => group.Pieces.SelectMany(pieces => pieces).Any(piece => shards.Segments[piece.Segment].Parameter.Name.Equals(name, StringComparison.Ordinal)));
            Hadal.Training.Ranks.ShardGroup embedding = Of("model.embed_tokens.weight"), head = Of("lm_head.weight");
            Assert.Same(head, Of("model.layers.5.eh_proj.weight"));
            return string.Join(", ", new[] { embedding.Holders, embedding.Readers, head.Holders }.Select(ranks => string.Join(' ', ranks)));
        }
    }
}
