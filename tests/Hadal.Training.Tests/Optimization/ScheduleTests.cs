using Hadal.Training.Optimization;

namespace Hadal.Training.Tests.Optimization;

public sealed class ScheduleTests
{
    // The report's run has 14.8T tokens; taken as 1,480,000 steps each stretch begins at a round step.
    const long Steps = 1_480_000;

    [Theory]
    [InlineData(1, 2.2e-4 / 2000)]
    [InlineData(1000, 1.1e-4)]
    [InlineData(2000, 2.2e-4)]
    [InlineData(999_999, 2.2e-4)]
    [InlineData(1_215_001, 1.21e-4)] // half way down the cosine
    [InlineData(1_430_001, 2.2e-5)]
    [InlineData(1_463_000, 2.2e-5)]
    [InlineData(1_463_302, 7.3e-6)]
    [InlineData(Steps, 7.3e-6)]
    [Implements("V3 §4.2", "Learning rate: linear warm-up, constant, cosine, constant, and the last smaller constant")]
    public void The_learning_rate_is_the_reports(long step, double expected) => Assert.Equal(expected, new LearningRateSchedule().At(step, Steps), expected * 1e-4);

    [Fact]
    public void A_short_run_warms_up_for_at_most_half_of_it()
    {
        var schedule = new LearningRateSchedule { Peak = 1, WarmupSteps = 100 };
        Assert.Equal(0.2, schedule.At(1, 10), 12);
        Assert.Equal(1, schedule.At(5, 10), 12);
    }

    [Fact]
    [Implements("V3 §4.2", "The batch grows during the first part of the run")]
    public void The_batch_ramps_up_and_its_sum_is_exact()
    {
        var schedule = new BatchSchedule(2, 6, 0.5);
        int[] sizes = [.. Enumerable.Range(1, 100).Select(s => schedule.At(s, 100))];
        Assert.Equal(2, sizes[0]);
        Assert.Equal(6, sizes[49]);
        Assert.All(sizes[50..], s => Assert.Equal(6, s));
        Assert.Equal(sizes.Order(), sizes);
        Assert.Equal([2, 3, 4, 5, 6], sizes.Distinct());
        for (int step = 0; step <= 100; step++) Assert.Equal(sizes[..step].Sum(), schedule.Through(step, 100));
    }

    [Fact]
    [Implements("V3 §4.2", "The weights of the MTP loss (0.3, then 0.1) and of the bias updates (0.001, then 0) change once, as published")]
    public void Values_change_once()
    {
        var schedule = new StepSchedule(0.3, 0.1, 0.5);
        Assert.Equal([0.3, 0.3, 0.1, 0.1], Enumerable.Range(1, 4).Select(s => schedule.At(s, 4)));
    }
}
