namespace Hadal.Parallel.Schedules;

/// <summary>
/// DualPipe and DualPipeV: one program of eight steps [V3 §3.2.1, Figure 5]. Both are the same program on a half pipeline: DualPipe runs it from both
/// ends towards the middle, DualPipeV from rank 0 to the fold at the last rank.
/// </summary>
static class EightSteps
{
    /// <summary>The program of a rank of DualPipe: its distance from the nearer end decides.</summary>
    public static void DualPipe(PipelinePlacement placement, int rank, StepList steps) =>
        Program(steps, placement.Ranks / 2, Math.Min(rank, placement.Ranks - 1 - rank), placement.MicroBatchesPerPhase);

    /// <summary>The program of a rank of DualPipeV.</summary>
    public static void DualPipeV(PipelinePlacement placement, int rank, StepList steps) =>
        Program(steps, placement.Ranks, rank, placement.MicroBatchesPerPhase);

    /// <param name="steps">Where the steps go.</param>
    /// <param name="half">Ranks of the half pipeline.</param>
    /// <param name="rank">Place in it, from the end where micro-batches enter.</param>
    /// <param name="microBatches">Micro-batches of each phase.</param>
    static void Program(StepList steps, int half, int rank, int microBatches)
    {
        bool innermost = rank == half - 1;
        int behind = half - rank - 1;

        // 1: forwards of phase 0 until the first micro-batch of the other direction arrives.
        for (int i = 0; i < 2 * behind; i++) steps.Forward(0);

        // 2: forwards of both phases in turns. The next input of phase 0 is asked for before F1, so that it travels meanwhile; the output of F0 leaves
        // after F1, but at once on the innermost rank, which keeps the output of its last F1 back instead until step 4.
        steps.ReceiveForward(0);
        for (int i = 0; i <= rank; i++)
        {
            steps.Forward(0, receive: false, send: innermost);
            steps.ReceiveForward(0);
            steps.Forward(1, send: !innermost || i < rank);
            if (!innermost) steps.SendForward(0);
        }

        // 3: backwards of phase 1 begin; weight gradients run at once, while the input of the next F1 travels.
        for (int i = 0; i < behind; i++)
        {
            steps.Backward(1, split: true);
            steps.ReceiveForward(1);
            steps.Weights();
            steps.Forward(1, receive: false);
        }

        // 4: the main part, overlapped pairs. The innermost rank runs the first pair apart, which makes the bubble smaller.
        for (int i = 0; i < microBatches - 2 * half + rank + 1; i++)
        {
            if (i > 0)
            {
                steps.Pair(0, 1);
            }
            else if (!innermost)
            {
                steps.Pair(0, 1, receiveForward: false);
            }
            else
            {
                steps.Forward(0, receive: false, send: false);
                steps.SendForward(1);
                steps.Backward(1, send: false);
                steps.SendForward(0);
                steps.SendBackward(1);
            }

            steps.Pair(1, 0);
        }

        // 5: no forwards of phase 0 are left.
        for (int i = 0; i < behind; i++)
        {
            steps.Backward(1);
            steps.Pair(1, 0);
        }

        // 6: only backwards; from half way on they are split, so that the next rank gets its gradient sooner.
        bool split = false;
        for (int i = 0; i <= rank; i++)
        {
            bool halfWay = i == (rank + 1) / 2;
            split |= halfWay && rank % 2 == 1;
            steps.Backward(1, split);
            split |= halfWay;
            steps.Backward(0, split);
        }

        // 7: the last backwards of phase 0, weight gradients between them.
        for (int i = 0; i < behind; i++)
        {
            steps.Weights();
            steps.Backward(0, split: true);
        }

        // 8: the remaining weight gradients.
        for (int i = 0; i <= rank; i++) steps.Weights();
    }
}
