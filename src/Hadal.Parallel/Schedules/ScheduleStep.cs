namespace Hadal.Parallel.Schedules;

/// <summary>What a rank does in one step.</summary>
public enum StepKind
{
    /// <summary>F: forward of one micro-batch through the stage of a phase.</summary>
    Forward,

    /// <summary>B: backward for the input and for the weights, together.</summary>
    Backward,

    /// <summary>b: backward for the input only; the gradients of the weights wait for a <see cref="BackwardWeights"/>.</summary>
    BackwardInput,

    /// <summary>W: the weight gradients of the oldest waiting <see cref="BackwardInput"/>.</summary>
    BackwardWeights,

    /// <summary>F&amp;B: forward of one micro-batch and backward of another, their phases interleaved.</summary>
    ForwardBackward,

    /// <summary>Hands a tensor to a peer; it leaves when everything before it on this rank is done.</summary>
    Send,

    /// <summary>Takes a tensor from a peer, waiting for it when it is not there yet.</summary>
    Receive,
}

/// <summary>What a send or a receive carries.</summary>
public enum Cargo
{
    /// <summary>Nothing: the step computes.</summary>
    None,

    /// <summary>The output of a stage, input of the next.</summary>
    Activation,

    /// <summary>The gradient of a stage's input, the output gradient of the stage before.</summary>
    Gradient,
}

/// <summary>
/// One step of a rank. A schedule is a list of these for each rank and nothing else: the same list is drawn, checked, priced and executed.
/// Sends and receives that stand side by side are one batch: they are started together, and the step after them waits for all.
/// </summary>
/// <param name="Kind">What is done.</param>
/// <param name="Phase">Which of the rank's stages: 0 or 1; always 0 where a rank has one stage. See <see cref="PipelinePlacement.Stage"/>.</param>
/// <param name="MicroBatch">Index among the micro-batches of the phase, from 0.</param>
/// <param name="BackwardPhase">Of <see cref="StepKind.ForwardBackward"/>: the phase that runs backwards; −1 otherwise.</param>
/// <param name="BackwardMicroBatch">Of <see cref="StepKind.ForwardBackward"/>: the micro-batch that runs backwards; −1 otherwise.</param>
/// <param name="Cargo">Of a send or a receive: what is carried.</param>
/// <param name="Peer">Of a send or a receive: the other rank; −1 otherwise.</param>
public readonly record struct ScheduleStep(
    StepKind Kind, int Phase, int MicroBatch, int BackwardPhase = -1, int BackwardMicroBatch = -1, Cargo Cargo = Cargo.None, int Peer = -1)
{
    /// <summary>True for a send or a receive.</summary>
    public bool IsCommunication => Cargo != Cargo.None;

    /// <summary>True when a forward is part of the step.</summary>
    public bool HasForward => Kind is StepKind.Forward or StepKind.ForwardBackward;

    /// <summary>True when gradients of an input come out of the step.</summary>
    public bool HasBackward => Kind is StepKind.Backward or StepKind.BackwardInput or StepKind.ForwardBackward;

    /// <summary>The phase and micro-batch that run backwards, in a step that <see cref="HasBackward"/>.</summary>
    public (int Phase, int MicroBatch) BackwardPart => Kind == StepKind.ForwardBackward ? (BackwardPhase, BackwardMicroBatch) : (Phase, MicroBatch);

    /// <summary>The kind as the field writes it: F, B, b, W, F&amp;B, send, recv.</summary>
    public string Symbol => Kind switch
    {
        StepKind.Forward => "F",
        StepKind.Backward => "B",
        StepKind.BackwardInput => "b",
        StepKind.BackwardWeights => "W",
        StepKind.ForwardBackward => "F&B",
        StepKind.Send => "send",
        _ => "recv",
    };

    /// <summary>For messages: <c>F0 of micro-batch 3</c>, <c>send of activation 3 (phase 0) to rank 1</c>.</summary>
    public override string ToString() => Kind switch
    {
        StepKind.ForwardBackward => $"F{Phase}&B{BackwardPhase} of micro-batches {MicroBatch} and {BackwardMicroBatch}",
        StepKind.Send => $"send of {CargoName} {MicroBatch} (phase {Phase}) to rank {Peer}",
        StepKind.Receive => $"receive of {CargoName} {MicroBatch} (phase {Phase}) from rank {Peer}",
        _ => $"{Symbol}{Phase} of micro-batch {MicroBatch}",
    };

    string CargoName => Cargo == Cargo.Gradient ? "gradient" : "activation";
}
