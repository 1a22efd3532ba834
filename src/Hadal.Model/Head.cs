using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// Output head: logits over the vocabulary and the cross-entropy on them. Logits of a whole chunk never exist at once: rows are taken in slices of
/// a size fixed by the vocabulary, and the weight gradient's chain over rows continues from slice to slice.
/// Main model and MTP modules share it, values and gradients [V3 §2.2].
/// </summary>
public sealed class Head
{
    const int SliceElements = 1 << 21;
    readonly Parameter _projection;
    readonly int _vocabulary, _hidden;

    internal Head(Parameter projection, TransformerShape shape)
    {
        _projection = projection;
        _vocabulary = shape.Vocabulary;
        _hidden = shape.Hidden;
    }

    /// <summary>
    /// [count, vocabulary]; rows lie a cache line further apart than they are long, because vocabularies like powers of two and caches put rows 4 KiB apart
    /// into the same few places.
    /// </summary>
    Tensor Slice(ChunkContext chunk, int count) => chunk.Temporary(count, _vocabulary + 16).SliceColumns(0, _vocabulary);

    int SliceRows => Math.Max(1, SliceElements / _vocabulary);

    /// <summary>logits = normed·Wᵀ. normed [tokens, hidden], logits [tokens, vocabulary].</summary>
    public void Logits(ChunkContext chunk, Tensor normed, Tensor logits) => chunk.Operations.Matrix.Forward(normed, _projection.Prepared, logits);

    /// <summary>losses[t] = cross-entropy of each row against its target (−1: none, loss 0).</summary>
    public void Loss(ChunkContext chunk, Tensor normed, Tensor targets, Tensor losses)
    {
        for (int start = 0; start < normed.Rows; start += SliceRows)
        {
            int count = Math.Min(SliceRows, normed.Rows - start);
            ArenaMark mark = chunk.Scratch.Mark();
            Tensor logits = Slice(chunk, count);
            Logits(chunk, normed.Slice(start, count), logits);
            chunk.Operations.Embedding.CrossEntropy(logits, targets.Slice(start, count), 1, losses.Slice(start, count), default);
            chunk.Scratch.Release(mark);
        }
    }

    /// <summary>
    /// Losses and, at once, the gradient of weight·Σ losses: dNormed is overwritten, the weight gradient is added to <paramref name="gradients"/>.
    /// </summary>
    public void LossAndGradient(ChunkContext chunk, Tensor normed, Tensor targets, double weight, Tensor losses, Tensor dNormed, Tensor gradients)
    {
        IOperations ops = chunk.Operations;
        Tensor dWeight = _projection.View(gradients);
        chunk.Observer?.Operand(_projection, OperandRole.Input, normed, QuantizationFormat.F32, default);
        for (int start = 0; start < normed.Rows; start += SliceRows)
        {
            int count = Math.Min(SliceRows, normed.Rows - start);
            ArenaMark mark = chunk.Scratch.Mark();
            Tensor logits = Slice(chunk, count);
            Tensor rows = normed.Slice(start, count);
            Logits(chunk, rows, logits);
            ops.Embedding.CrossEntropy(logits, targets.Slice(start, count), weight, losses.Slice(start, count), logits);
            ops.Matrix.BackwardInput(logits, _projection.Prepared, dNormed.Slice(start, count));
            ops.Matrix.BackwardWeight(logits, rows, dWeight, accumulate: true);
            chunk.Scratch.Release(mark);
        }

        chunk.Observer?.Operand(_projection, OperandRole.InputGradient, dNormed, QuantizationFormat.F32, default);
    }

    /// <summary>Width of the rows it reads.</summary>
    public int Hidden => _hidden;
}
