using Hadal.Parallel.Schedules;
using Hadal.Training.Data;

namespace Hadal.Training.Tests.Ranks;

/// <summary>A checkpoint of one layout goes on in any other.</summary>
public sealed class RankCheckpointTests
{
    static void RunTo(RunConfiguration run, PreparedRun data, long step)
    {
        using var source = new CancellationTokenSource();
        var recorder = new Recorder
        {
            OnStep = progress =>
            {
                if (progress.Step == step) source.Cancel();
            },
        };
        if (run.Parallel.Layout.Ranks > 1)
        {
            Assert.Equal(TrainingStatus.Interrupted, TrainingRun.OnRanks(run, data, RankRuns.Backend, recorder, source.Token)!.Status);
            return;
        }

        using Hadal.Tensors.IBackend backend = RankRuns.Backend(1);
        using var trainer = new Trainer(run, data, backend, recorder);
        Assert.Equal(TrainingStatus.Interrupted, trainer.Run(source.Token).Status);
    }

    [Theory]
    [InlineData("fp32")]
    [InlineData("fp8")]
    [Implements("V3 §3.2", "A checkpoint of one layout of ranks goes on in any other with the same bits")]
    public void A_checkpoint_goes_on_in_any_layout(string recipe)
    {
        using var folder = new TemporaryFolder();
        RunConfiguration run = RankRuns.Configuration(folder, 9, recipe);
        PreparedRun data = TinyRuns.Prepare(run);
        RankRuns.Train(run, data, TestContext.Current.CancellationToken);
        string[] expected = [.. RankRuns.State(run, 9)];

        // One run that changes its layout after every two steps, one rank between them.
        RunConfiguration other = run with { Output = folder.File("other") };
        ParallelConfiguration[] layouts =
        [
            RankRuns.Layout(1, 2, 2, schedule: ScheduleKind.DualPipe), RankRuns.Layout(1, 1, 1), RankRuns.Layout(3, 1, 1), RankRuns.Layout(1, 3, 1, schedule: ScheduleKind.DualPipeV),
        ];
        for (int i = 0; i < layouts.Length; i++) RunTo(other with { Parallel = layouts[i] }, data, 2 * (i + 1));
        RunConfiguration last = other with { Parallel = RankRuns.Layout(1, 1, 4, nodes: 2) };
        RankRuns.Train(last, data, TestContext.Current.CancellationToken);
        Assert.True(expected.AsSpan().SequenceEqual([.. RankRuns.State(last, 9)]));
    }
}
