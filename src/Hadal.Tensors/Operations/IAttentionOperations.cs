namespace Hadal.Tensors.Operations;

/// <summary>
/// Causal attention. Keys are walked in blocks of 64 from position 0 of the sequence with an online softmax; inside a block scores are chains over
/// the head dimension, sums over keys are chains over ascending keys, and so is the block's softmax denominator.
/// Bits therefore depend neither on how many queries are computed together nor on threads or vector width.
/// </summary>
public interface IAttentionOperations
{
    /// <summary>
    /// o[t, h] = Σ_{j ≤ t in the same sequence} softmax_j(scale·q[t, h]·k[j, h])·v[j, h]; logSumExp[t, h] = ln Σ_j e^{scale·q·k}.
    /// </summary>
    /// <param name="q">[tokens, heads, queryKeyDim].</param>
    /// <param name="k">[tokens, heads, queryKeyDim].</param>
    /// <param name="v">[tokens, heads, valueDim].</param>
    /// <param name="sequences">I32 [sequences + 1]: token offsets of the sequences, ascending from 0; attention never crosses them.</param>
    /// <param name="o">[tokens, heads, valueDim].</param>
    /// <param name="logSumExp">[tokens, heads]; may be absent.</param>
    void Causal(Tensor q, Tensor k, Tensor v, Tensor sequences, double scale, Tensor o, Tensor logSumExp);

    /// <summary>Gradients of <see cref="Causal"/>; recomputes probabilities from <paramref name="logSumExp"/>. dq, dk, dv are overwritten.</summary>
    void CausalBackward(Tensor dOutput, Tensor q, Tensor k, Tensor v, Tensor o, Tensor logSumExp, Tensor sequences, double scale, Tensor dq, Tensor dk, Tensor dv);

    /// <summary>
    /// Absorbed attention over the paged latent cache (decode and chunked prefill): every head reads the same keys.
    /// For request r with n new queries, query i stands at position contextLengths[r] − n + i and sees cache positions up to its own;
    /// score = scale·(q·row), o = Σ softmax·row[0..latent).
    /// </summary>
    /// <param name="q">[tokens, heads, latent + rope]: absorbed query, then rotated query.</param>
    /// <param name="cache">[pages, 64, latent + rope]: normalised latent, then rotated key.</param>
    /// <param name="pageTable">I32 [requests, pages per request]: position p lies in page pageTable[r, p / 64], row p mod 64.</param>
    /// <param name="queryOffsets">I32 [requests + 1].</param>
    /// <param name="contextLengths">I32 [requests], the new tokens included.</param>
    /// <param name="o">[tokens, heads, latent].</param>
    void Latent(Tensor q, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths, double scale, Tensor o);

    /// <summary>Writes rows [tokens, latent + rope] into the cache at positions contextLengths[r] − n + i.</summary>
    void AppendLatent(Tensor rows, Tensor cache, Tensor pageTable, Tensor queryOffsets, Tensor contextLengths);
}
