using Hadal.Tensors;

namespace Hadal.Parallel.Pipeline;

/// <summary>What a pipeline asks of the step around it: tokens, gradient buffers, a place for losses. Each rank has its own.</summary>
public interface IPipelineStep
{
    /// <summary>Tokens of each row of a micro-batch: those of the sequence, then targets only.</summary>
    int Width { get; }

    /// <summary>[sequences · Width] tokens of a micro-batch, by its index in the step.</summary>
    ReadOnlySpan<int> Rows(int microBatch);

    /// <summary>A flat buffer, all zero, for this rank's gradients of a micro-batch; asked for once.</summary>
    Tensor OpenGradients(int microBatch);

    /// <summary>Everything that this rank has to add to the micro-batch's gradients is there.</summary>
    void CloseGradients(int microBatch);

    /// <summary>[tokens] losses of a micro-batch, on the rank that holds its last stage; read them now.</summary>
    void Losses(int microBatch, Tensor losses);
}

/// <summary>The layers of the stages: as even as can be, earlier stages take the rest.</summary>
/// <param name="layers">Blocks of the model.</param>
/// <param name="stages">Stages of the pipeline.</param>
public readonly struct StageLayers(int layers, int stages)
{
    /// <summary>First block of a stage.</summary>
    public int First(int stage) => stage * (layers / stages) + Math.Min(stage, layers % stages);

    /// <summary>Blocks of a stage; may be zero.</summary>
    public int Count(int stage) => layers / stages + (stage < layers % stages ? 1 : 0);
}
