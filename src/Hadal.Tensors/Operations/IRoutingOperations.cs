namespace Hadal.Tensors.Operations;

/// <summary>How gate logits become scores.</summary>
public enum GateScoring
{
    /// <summary>DeepSeek-V3: sigmoid of each logit.</summary>
    Sigmoid,
    /// <summary>DeepSeek-V2: softmax over experts.</summary>
    Softmax,
}

/// <summary>How a group of experts is scored when only some groups may be used.</summary>
public enum GroupScoring
{
    /// <summary>V3: sum of the two largest biased scores of the group.</summary>
    TopTwoSum,
    /// <summary>V2: the largest score of the group.</summary>
    Maximum,
}

/// <summary>The gate [V3 §2.1.2; V2 §2.2]. Ties go to the lower index; groups not kept count as −∞.</summary>
/// <param name="Experts">Routed experts.</param>
/// <param name="TopK">Experts per token.</param>
/// <param name="Groups">Groups of consecutive experts; 1 means no limit.</param>
/// <param name="TopGroups">Groups kept per token.</param>
/// <param name="Normalize">Divide the chosen scores by their sum + 1e-20.</param>
/// <param name="RoutedScale">Factor on the weights.</param>
public readonly record struct GateParameters(
    int Experts, int TopK, int Groups, int TopGroups, GateScoring Scoring, GroupScoring GroupScoring, bool Normalize, double RoutedScale);

/// <summary>
/// Gate and the movement of rows. <b>Fixed tree over experts:</b> where a token's expert rows are summed, leaf i of one binary tree is expert i
/// (tree over the next power of two ≥ experts); a subtree without chosen experts contributes nothing, one with exactly one passes its row through;
/// so the order of additions depends only on which experts were chosen, and a rank that owns an aligned subtree can add its part alone.
/// </summary>
public interface IRoutingOperations
{
    /// <summary>Scores, selection and weights.</summary>
    /// <param name="logits">[tokens, experts] FP32.</param>
    /// <param name="bias">[experts], added for selection only; absent means 0.</param>
    /// <param name="scores">[tokens, experts]: sigmoid or softmax of the logits, kept for the backward.</param>
    /// <param name="experts">I32 [tokens, topK]: chosen experts in ascending order of index.</param>
    /// <param name="weights">[tokens, topK]: weight of the expert in the same place.</param>
    void Gate(Tensor logits, Tensor bias, GateParameters parameters, Tensor scores, Tensor experts, Tensor weights);

    /// <summary>dLogits from dWeights through normalisation, scale and scoring (selection has no gradient), plus <paramref name="dScores"/> (of the balance loss) when present.</summary>
    void GateBackward(Tensor dWeights, Tensor dScores, Tensor scores, Tensor experts, GateParameters parameters, Tensor dLogits);

    /// <summary>
    /// Sequence-wise balance loss [V3 §2.1.2 eq. 17–20]: per sequence of T tokens f_i = E/(K·T)·#{t: i in the top K of the unbiased scores, no group limit},
    /// P_i = mean_t s_i/Σ_j s_j, loss = alpha·Σ_i f_i·P_i. Writes the sum over sequences times <paramref name="weight"/> and its gradient with respect to the scores.
    /// </summary>
    /// <param name="sequences">I32 [sequences + 1] token offsets.</param>
    /// <param name="weight">Factor on loss and gradient, e.g. 1/sequences in the global batch.</param>
    /// <param name="loss">[1], overwritten.</param>
    /// <param name="dScores">[tokens, experts], overwritten; may be absent.</param>
    void BalanceLoss(Tensor scores, Tensor sequences, GateParameters parameters, double alpha, double weight, Tensor loss, Tensor dScores);

    /// <summary>
    /// Plans the movement of rows: counts, offsets and places, tokens ascending inside each expert.
    /// </summary>
    /// <param name="experts">I32 [tokens, topK], ascending per token.</param>
    /// <param name="counts">I32 [experts]: tokens per expert.</param>
    /// <param name="offsets">I32 [experts + 1]: first row of each expert, each start rounded up to <paramref name="alignment"/>; offsets[experts] is the number of rows used, padding included.</param>
    /// <param name="rowToken">I32 [capacity]: the token of each row, −1 for padding.</param>
    /// <param name="tokenRow">I32 [tokens, topK]: the row of each chosen pair.</param>
    /// <param name="alignment">1 on the CPU in FP32; 128 where tiles must not straddle experts.</param>
    void Plan(Tensor experts, int expertCount, int alignment, Tensor counts, Tensor offsets, Tensor rowToken, Tensor tokenRow);

    /// <summary>rows[r] = x[rowToken[r]] (zero for padding), r &lt; offsets[experts].</summary>
    /// <param name="rowCount">I32 [1]: rows used.</param>
    void GatherRows(Tensor x, Tensor rowToken, Tensor rowCount, Tensor rows);

    /// <summary>rowWeights[tokenRow[t, k]] = weights[t, k]; padding rows get 0.</summary>
    void GatherWeights(Tensor weights, Tensor tokenRow, Tensor rowToken, Tensor rowCount, Tensor rowWeights);

    /// <summary>y[t] (+)= Σ_k rows[tokenRow[t, k]] along the fixed tree over <paramref name="experts"/>. Forward: combine. Backward: the gradient of <see cref="GatherRows"/>.</summary>
    void CombineRows(Tensor rows, Tensor experts, Tensor tokenRow, int expertCount, Tensor y, bool accumulate);

    /// <summary>weights[t, k] = rowWeights[tokenRow[t, k]]: the gradient of <see cref="GatherWeights"/>.</summary>
    void ScatterWeights(Tensor rowWeights, Tensor tokenRow, Tensor weights);

    /// <summary>bias[i] += speed·sign(mean − counts[i]); sign(0) = 0 [LFB Alg. 1]. counts over the whole global batch, I32 or F32 [experts].</summary>
    void UpdateBias(Tensor counts, double speed, Tensor bias);
}
