namespace Hadal.Parallel.Schedules;

/// <summary>The schedules of one direction, where each rank holds one stage and forwards and backwards take turns.</summary>
static class InTurns
{
    /// <summary>
    /// 1F1B: a rank runs ahead by as many forwards as there are ranks behind it, then takes turns, then drains. Rank r holds at most ranks−r activations.
    /// </summary>
    public static void OneForwardOneBackward(PipelinePlacement placement, int rank, StepList steps)
    {
        int ahead = Math.Min(placement.Ranks - 1 - rank, placement.MicroBatches);
        for (int i = 0; i < ahead; i++) steps.Forward(0);
        for (int i = ahead; i < placement.MicroBatches; i++)
        {
            steps.Forward(0);
            steps.Backward(0);
        }

        for (int i = 0; i < ahead; i++) steps.Backward(0);
    }

    /// <summary>
    /// ZB1P: the order of 1F1B with the backward split. Rank r lets r weight gradients wait, which fill its end; it holds at most as many activations as
    /// there are ranks: ranks−r between forward and backward, r that wait for their weight gradients.
    /// </summary>
    public static void ZeroBubble(PipelinePlacement placement, int rank, StepList steps)
    {
        int ahead = Math.Min(placement.Ranks - 1 - rank, placement.MicroBatches);
        for (int i = 0; i < ahead; i++) steps.Forward(0);
        for (int i = 0; i < placement.MicroBatches; i++)
        {
            if (ahead + i < placement.MicroBatches) steps.Forward(0);
            steps.Backward(0, split: true);
            if (steps.Waiting > rank) steps.Weights();
        }

        while (steps.Waiting > 0) steps.Weights();
    }
}
