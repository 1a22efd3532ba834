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

    /// <summary>
    /// Flat buffers for the experts' gradients of the micro-batches that the ranks of the expert exchange run at the same time, in order of rank, this rank's own
    /// (<see cref="OpenGradients"/>) in its place. Asked for after that; not asked for where all experts are local.
    /// </summary>
    IReadOnlyList<Tensor> SourceGradients(int microBatch) => [];

    /// <summary>Everything that this rank has to add to the micro-batch's gradients is there.</summary>
    void CloseGradients(int microBatch);

    /// <summary>[tokens] losses of a micro-batch, on the rank that holds its last stage; read them now.</summary>
    /// <param name="microBatch">Index in the step.</param>
    /// <param name="depth">0 for the main model, k for the MTP module of depth k.</param>
    /// <param name="losses">Their values.</param>
    void Losses(int microBatch, int depth, Tensor losses);

    /// <summary>[experts] tokens of a micro-batch that chose each expert, in a layer of this rank.</summary>
    /// <param name="microBatch">Index in the step.</param>
    /// <param name="layer">Index of the block, as in checkpoints; MTP blocks follow the main ones.</param>
    /// <param name="counts">Tokens of this rank per expert.</param>
    void Load(int microBatch, int layer, ReadOnlySpan<int> counts)
    {
    }
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
