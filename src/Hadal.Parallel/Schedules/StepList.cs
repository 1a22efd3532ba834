using System.Collections.Immutable;

namespace Hadal.Parallel.Schedules;

/// <summary>
/// Writes the list of one rank. It counts micro-batches per phase, so that a schedule only says what comes next; a tensor that does not cross ranks
/// (before the first stage, after the last, at the fold of DualPipeV) makes no send and no receive.
/// </summary>
sealed class StepList(PipelinePlacement placement, int rank)
{
    readonly ImmutableArray<ScheduleStep>.Builder _steps = ImmutableArray.CreateBuilder<ScheduleStep>();
    readonly Queue<(int Phase, int MicroBatch)> _waiting = new();
    readonly int[] _forward = new int[2], _backward = new int[2];
    readonly int[] _forwardSent = new int[2], _forwardReceived = new int[2], _backwardSent = new int[2], _backwardReceived = new int[2];

    /// <summary>Backwards whose weight gradients are still to be computed.</summary>
    public int Waiting => _waiting.Count;

    /// <summary>F of the next micro-batch.</summary>
    public void Forward(int phase, bool receive = true, bool send = true)
    {
        if (receive) ReceiveForward(phase);
        _steps.Add(new(StepKind.Forward, phase, _forward[phase]++));
        if (send) SendForward(phase);
    }

    /// <summary>B of the next micro-batch, or b when <paramref name="split"/>.</summary>
    public void Backward(int phase, bool split = false, bool send = true)
    {
        ReceiveBackward(phase);
        int microBatch = _backward[phase]++;
        _steps.Add(new(split ? StepKind.BackwardInput : StepKind.Backward, phase, microBatch));
        if (split) _waiting.Enqueue((phase, microBatch));
        if (send) SendBackward(phase);
    }

    /// <summary>W of the oldest b.</summary>
    public void Weights()
    {
        (int phase, int microBatch) = _waiting.Dequeue();
        _steps.Add(new(StepKind.BackwardWeights, phase, microBatch));
    }

    /// <summary>F and B of the next micro-batches of two phases, interleaved.</summary>
    public void Pair(int forward, int backward, bool receiveForward = true)
    {
        if (receiveForward) ReceiveForward(forward);
        ReceiveBackward(backward);
        _steps.Add(new(StepKind.ForwardBackward, forward, _forward[forward]++, backward, _backward[backward]++));
        SendForward(forward);
        SendBackward(backward);
    }

    /// <summary>Receive of the next input of a phase; nothing when all have been received.</summary>
    public void ReceiveForward(int phase) =>
        Communicate(StepKind.Receive, Cargo.Activation, phase, placement.Previous(rank, phase), _forwardReceived);

    /// <summary>Send of the oldest output that has not been sent.</summary>
    public void SendForward(int phase) => Communicate(StepKind.Send, Cargo.Activation, phase, placement.Next(rank, phase), _forwardSent);

    /// <summary>Send of the oldest input gradient that has not been sent.</summary>
    public void SendBackward(int phase) => Communicate(StepKind.Send, Cargo.Gradient, phase, placement.Previous(rank, phase), _backwardSent);

    /// <summary>The finished list.</summary>
    public ImmutableArray<ScheduleStep> ToSteps() => _steps.DrainToImmutable();

    void ReceiveBackward(int phase) => Communicate(StepKind.Receive, Cargo.Gradient, phase, placement.Next(rank, phase), _backwardReceived);

    void Communicate(StepKind kind, Cargo cargo, int phase, StagePlace? other, int[] counter)
    {
        int microBatch = counter[phase];
        if (other is not { } place || place.Rank == rank || microBatch >= placement.MicroBatchesPerPhase) return;
        counter[phase]++;
        _steps.Add(new(kind, phase, microBatch, Cargo: cargo, Peer: place.Rank));
    }
}
