namespace Hadal.Parallel.Schedules;

/// <summary>What is published about each schedule: its bubble and its memory [V3 Table 2; the DualPipe repository's table].</summary>
public static class ScheduleFormulas
{
    /// <summary>Idle time of a rank in one step, in the unit of the costs.</summary>
    public static double Bubble(PipelinePlacement placement, StepCosts costs)
    {
        double b = costs.Backward, w = costs.BackwardWeights;
        return placement.Kind switch
        {
            ScheduleKind.OneForwardOneBackward => (placement.Ranks - 1) * (costs.Forward + b),
            ScheduleKind.ZeroBubble => (placement.Ranks - 1) * (costs.Forward + b - 2 * w),
            _ => (placement.Stages / 2 - 1) * (costs.ForwardBackward + b - 3 * w),
        };
    }

    /// <summary>The formula in words.</summary>
    public static string BubbleText(ScheduleKind kind) => kind switch
    {
        ScheduleKind.OneForwardOneBackward => "(stages−1)(F+B)",
        ScheduleKind.ZeroBubble => "(stages−1)(F+B−2W)",
        _ => "(stages/2−1)(F&B+B−3W)",
    };

    /// <summary>
    /// Most activations that a rank may hold, each of one micro-batch in one stage: as many as there are stages, one more under DualPipe and DualPipeV.
    /// An activation is held from its forward until its weight gradients are done. A step with fewer micro-batches than ranks holds those it has.
    /// </summary>
    public static int ActivationPeak(PipelinePlacement placement) =>
        placement.Phases == 2 ? placement.Stages + 1 : Math.Min(placement.Stages, placement.MicroBatches);

    /// <summary>How often the parameters of the model are held, all ranks together: twice under DualPipe.</summary>
    public static int ParameterCopies(ScheduleKind kind) => kind == ScheduleKind.DualPipe ? 2 : 1;
}
