namespace Hadal.Tensors.Operations;

/// <summary>Embedding rows and the loss on the vocabulary.</summary>
public interface IEmbeddingOperations
{
    /// <summary>y[t] = table[tokens[t]]. A token outside the table is an error on the CPU.</summary>
    /// <param name="tokens">I32 [tokens].</param>
    /// <param name="table">[vocabulary, hidden].</param>
    void Embed(Tensor tokens, Tensor table, Tensor y);

    /// <summary>dTable[v] (+)= Σ_{t: tokens[t] = v} dy[t], t ascending. Without <paramref name="accumulate"/> all other rows become zero.</summary>
    void EmbedBackward(Tensor tokens, Tensor dy, Tensor dTable, bool accumulate);

    /// <summary>
    /// losses[t] = −log softmax(logits[t])[targets[t]], 0 where the target is −1; dLogits = weight·(softmax − one-hot), 0 where the target is −1.
    /// </summary>
    /// <param name="logits">[tokens, vocabulary] FP32.</param>
    /// <param name="targets">I32 [tokens].</param>
    /// <param name="weight">Factor on the gradient, e.g. 1/number of targets.</param>
    /// <param name="losses">[tokens].</param>
    /// <param name="dLogits">[tokens, vocabulary], may be <paramref name="logits"/> itself; absent when only the loss is wanted.</param>
    void CrossEntropy(Tensor logits, Tensor targets, double weight, Tensor losses, Tensor dLogits);

    /// <summary>total[0] (+)= factor·Σ x over all elements: double accumulation, pairwise over blocks in a fixed tree.</summary>
    void Sum(Tensor x, double factor, Tensor total, bool accumulate);
}
