using Hadal.Parallel.Schedules;
using Hadal.Planning.Costs;
using Hadal.Planning.Layouts;

namespace Hadal.Planning;

/// <summary>A published figure beside the planner's.</summary>
/// <param name="What">What it is.</param>
/// <param name="Unit">Its unit.</param>
/// <param name="Published">As published; null where nothing was.</param>
/// <param name="Planned">As planned.</param>
/// <param name="Note">What a reader must know.</param>
public sealed record CheckLine(string What, string Unit, double? Published, double Planned, string Note = "");

/// <summary>
/// The planner against the published training of V3: PP16, EP64, 120 micro-batches a pipeline on 2,048 H800 [V3 §3.2, §4.2; arXiv 2505.09343, Table 4]. What goes in are the chunk
/// times of that table, the cluster and the model; no constant is fitted.
/// </summary>
public sealed record PublishedCheck
{
    PublishedCheck(TrainingPlan plan, TimedSchedule alone)
    {
        (Plan, Alone) = (plan, alone);
    }

    /// <summary>The plan, messages between stages taking their time on the network.</summary>
    public TrainingPlan Plan { get; }

    /// <summary>The same schedule with messages that take no time, as the formulas have it.</summary>
    public TimedSchedule Alone { get; }

    /// <summary>Seconds that rank 0 waits by the schedule alone.</summary>
    public double ScheduleIdle => Alone.Idle(0);

    /// <summary>Seconds that rank 0 waits when messages take their time.</summary>
    public double IdleWithMessages => Plan.Timed.Idle(0);

    /// <summary>The published bubble, less what schedule and messages explain.</summary>
    public double Unexplained => StepTotals.Published.Bubble - IdleWithMessages;

    /// <summary>Part of the peak that the measured step reaches.</summary>
    public static double MeasuredUtilisation(bool causal)
    {
        TrainingWork work = TrainingWork.PublishedV3;
        ClusterDescription cluster = ClusterDescription.Published;
        return work.StepTokens / StepTotals.Published.Step * work.Size.FlopsPerToken(work.SequenceLength, causal) / cluster.Gpus / cluster.PeakFlops;
    }

    /// <summary>Runs it.</summary>
    public static PublishedCheck Run()
    {
        TrainingPlan plan = TrainingPlanner.Plan(TrainingWork.PublishedV3, ClusterDescription.Published, StepTotals.Published, TrainingLayout.Published, ScheduleKind.DualPipe);
        return new(plan, ScheduleClock.Run(plan.Timed.Schedule, plan.Timed.Costs with { Communication = 0 }));
    }

    /// <summary>The figures as lines.</summary>
    public IReadOnlyList<CheckLine> Lines()
    {
        StepTotals published = StepTotals.Published;
        ModelSize size = Plan.Work.Size;
        RankMemory fullest = Plan.Memory.MaxBy(rank => rank.Total)!;
        return
        [
            new("parameters, main model", "billion", 671, size.Main / 1e9),
            new("weights that multiply a token", "billion", 37, size.Multiplied / 1e9, "V3 says 37 activated, embedding included"),
            new("operations a token, causal", "GFLOP", 250, size.FlopsPerToken(4096, causal: true) / 1e9),
            new("utilisation of the measured step, not causal", "%", 43.73, 100 * MeasuredUtilisation(causal: false)),
            new("utilisation of the measured step, causal", "%", 38.94, 100 * MeasuredUtilisation(causal: true)),
            new("step", "s", published.Step, Plan.StepSeconds, "the rest is the bubble that is not explained"),
            new("bubble: waiting by the schedule alone, rank 0", "s", published.Bubble, ScheduleIdle, "times of chunks are input, waiting is not"),
            new("bubble: with messages between stages", "s", published.Bubble, IdleWithMessages, "58.7 MB over 50 GB/s each"),
            new("bubble: formula (PP/2−1)(F&B+B−3W)", "s", published.Bubble, ScheduleFormulas.Bubble(Plan.Timed.Schedule.Placement, Alone.Costs)),
            new("bubble: not explained", "s", null, Unexplained, "uneven experts, stages and ranks, reductions that nothing hides"),
            new("reducing gradients and gathering weights, unhidden", "s", null, Plan.ReductionSeconds, "not part of the step above"),
            new("micro-batches held at most (PP+1)", "", 17, fullest.ActivationPeak),
            new("parameters on the rank with fewest", "billion", null, Plan.Memory.Min(rank => rank.Parameters) / 1e9),
            new("parameters on the rank with most", "billion", null, Plan.Memory.Max(rank => rank.Parameters) / 1e9),
            new("parameters on the fullest rank", "billion", null, fullest.Parameters / 1e9, "of all its bytes, most are activations"),
            new("activations on the fullest rank", "GB", null, fullest.Activations / 1e9),
            new("memory of the fullest rank", "GB", 80, Plan.MemoryBytes / 1e9, "published: what an H800 has"),
            new("nodes of a token at most", "", 4, Plan.Traffic.MostNodes),
            new("experts of a token on each of its nodes", "", null, Plan.Traffic.ExpertsPerNode, "up to 3.2 cost nothing, says V3 §3.2.2"),
        ];
    }
}
