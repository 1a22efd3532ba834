namespace Hadal.Tensors.Operations;

/// <summary>
/// Matrix products. <b>Same bits</b> (docs/architecture.md §8): each output element is one chain of fused multiply-adds over the contraction
/// index in ascending order, starting from zero (or, with <c>accumulate</c>, from the value already in the output), so its bits do not depend
/// on the number of rows, on threads, or on vector width. Group offsets and row counts are read on the device.
/// </summary>
public interface IMatrixOperations
{
    /// <summary>Prepares one weight [outputs, inputs] or a group of them. Allocates; called at set-up.</summary>
    PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses);

    /// <summary>Brings the prepared form up to date after the values changed (after an optimizer step). Allocates nothing.</summary>
    void Refresh(PreparedWeight weight);

    /// <summary>y[m, n] = Σ_k x[m, k]·W[n, k], k ascending. x [M, K], y [M, N]; one group.</summary>
    void Forward(Tensor x, PreparedWeight weight, Tensor y, bool accumulate = false);

    /// <summary>dx[m, k] = Σ_n dy[m, n]·W[n, k], n ascending. dy [M, N], dx [M, K]; one group.</summary>
    void BackwardInput(Tensor dy, PreparedWeight weight, Tensor dx, bool accumulate = false);

    /// <summary>dW[n, k] = Σ_m dy[m, n]·x[m, k], m ascending (rows of the micro-batch). FP32 output.</summary>
    void BackwardWeight(Tensor dy, Tensor x, Tensor dWeight, bool accumulate);

    /// <summary>
    /// Rows [offsets[g], offsets[g+1]) of x are multiplied with group g. Rows outside every group are left as they are.
    /// </summary>
    /// <param name="x">[capacity, K], rows sorted by group.</param>
    /// <param name="offsets">I32 [groups + 1], ascending.</param>
    /// <param name="y">[capacity, N].</param>
    void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, Tensor y);

    /// <summary>As <see cref="GroupedForward"/>, dx = dy·W.</summary>
    void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, Tensor dx);

    /// <summary>dWeight[g] = Σ over the rows of group g, ascending; zero for an empty group unless <paramref name="accumulate"/>.</summary>
    /// <param name="dWeight">FP32 [groups, N, K].</param>
    void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, Tensor dWeight, bool accumulate);

    /// <summary>y[t, g, n] = Σ_k x[t, g, k]·W_g[n, k]: one product per head (absorbed values). x [tokens, groups, K], y [tokens, groups, N]; row strides allowed.</summary>
    void BatchedForward(Tensor x, PreparedWeight weight, Tensor y);

    /// <summary>dx[t, g, k] = Σ_n dy[t, g, n]·W_g[n, k]: one product per head (absorbed queries). dy [tokens, groups, N], dx [tokens, groups, K].</summary>
    void BatchedBackwardInput(Tensor dy, PreparedWeight weight, Tensor dx);
}
