using System.Collections.Immutable;
using Hadal.Model;
using Hadal.Parallel.Schedules;
using Hadal.Planning.Layouts;

namespace Hadal.Planning.Tests;

public sealed class RankMemoryTests
{
    static (ImmutableArray<RankMemory> Memory, StageContents[] Stages) Of(TrainingWork work, TrainingLayout layout, ScheduleKind kind)
    {
        PipelineSchedule schedule = PipelineSchedule.Create(kind, layout.Pipeline, work.MicroBatches / layout.Pipelines);
        StageContents[] stages = StageContents.Cut(work.Size, schedule.Placement.Stages);
        return (RankMemory.Of(work, layout, schedule, stages, RecordMemory.Of(work.Shape, work.Recipe, work.Tokens)), stages);
    }

    [Fact]
    public void Layers_are_cut_as_the_executor_cuts_them()
    {
        StageContents[] stages = StageContents.Cut(ModelSize.Of(KnownShapes.V3671B), 16);
        Assert.Equal([4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3], stages.Select(stage => stage.Blocks));
        Assert.Equal((3, 1, true), (stages[0].Dense, stages[0].Sparse, stages[0].IsFirst));
        Assert.Equal(4, stages[15].Layers.Count);
    }

    /// <summary>One rank holds all: FP32 weights and gradients, eight bytes of optimizer state a parameter.</summary>
    [Fact]
    public void One_rank_holds_everything_once()
    {
        TrainingWork work = Shapes.Work();
        RankMemory memory = Of(work, new(1, 1, 1), ScheduleKind.OneForwardOneBackward).Memory.Single();
        Assert.Equal(work.Size.Total, memory.Parameters);
        Assert.Equal((4.0 * work.Size.Total, 4.0 * work.Size.Total, 8.0 * work.Size.Total), (memory.Weights, memory.Gradients, memory.Optimizer));
        Assert.Equal(1, memory.ActivationPeak);
        RecordMemory records = RecordMemory.Of(work.Shape, work.Recipe, work.Tokens);
        double ends = work.Tokens * ((3 * 64) + records.SparseBytesPerToken + (5 * 64));
        Assert.Equal((work.Tokens * records.BytesPerToken(work.Shape)) + ends, memory.Activations, 6);
    }

    /// <summary>Whatever the layout: all ranks together own every parameter's state once, and hold each expert DP times, twice that under DualPipe.</summary>
    [Theory]
    [InlineData(2, 1, 1, ScheduleKind.OneForwardOneBackward)]
    [InlineData(4, 2, 1, ScheduleKind.ZeroBubble)]
    [InlineData(2, 4, 2, ScheduleKind.DualPipe)]
    [InlineData(4, 2, 1, ScheduleKind.DualPipe)]
    [InlineData(2, 2, 1, ScheduleKind.DualPipeV)]
    public void All_ranks_together_own_every_parameter_once(int pipeline, int experts, int copies, ScheduleKind kind)
    {
        TrainingWork work = Shapes.Work(64);
        var layout = new TrainingLayout(pipeline, experts, copies);
        ImmutableArray<RankMemory> memory = Of(work, layout, kind).Memory;
        double owned = layout.Pipelines * memory.Sum(rank => rank.Owned), embedding = work.Size.Embedding;

        // Where first and last stage are apart, the MTP module has the embedding once more.
        bool apart = kind is ScheduleKind.OneForwardOneBackward or ScheduleKind.ZeroBubble;
        Assert.Equal(work.Size.Total + (apart ? embedding : 0), owned, 6);
        double all = work.Size.Layers.Concat(work.Size.Mtp).Sum(layer => layer.Experts);
        Assert.Equal(all * copies * ScheduleFormulas.ParameterCopies(kind), layout.Pipelines * memory.Sum(rank => rank.ExpertParameters), 6);
    }

    /// <summary>The walk over a rank's list finds the published peaks.</summary>
    [Theory]
    [InlineData(ScheduleKind.OneForwardOneBackward, 4)]
    [InlineData(ScheduleKind.ZeroBubble, 4)]
    [InlineData(ScheduleKind.DualPipe, 5)]
    public void Activations_are_held_as_published(ScheduleKind kind, int peak)
    {
        (ImmutableArray<RankMemory> memory, _) = Of(Shapes.Work(16), new(4, 1, 1), kind);
        Assert.Equal(peak, memory.Max(rank => rank.ActivationPeak));
    }

    /// <summary>While weight gradients wait, what they need is held beside the record.</summary>
    [Fact]
    public void A_split_backward_holds_more()
    {
        double whole = Of(Shapes.Work(16), new(4, 1, 1), ScheduleKind.OneForwardOneBackward).Memory[3].Activations, split = Of(Shapes.Work(16), new(4, 1, 1), ScheduleKind.ZeroBubble).Memory[3].Activations;
        Assert.True(split > 2 * whole, $"{split} bytes against {whole}");
    }

    [Theory]
    [InlineData("fp32", 4, 4)]
    [InlineData("bf16", 2, 2)]
    [InlineData("fp8", 1 + (4.0 / 16384), 2)]
    public void Weights_take_what_the_recipe_says(string recipe, double projection, double other) => Assert.Equal((projection, other), RankMemory.WeightBytes(Recipe.Find(recipe)));
}
