namespace Hadal.Tensors.Operations;

/// <summary>
/// Quantisation, and products of quantised operands. Definitions: <see cref="Hadal.Numerics.TileQuantizer"/> says how elements become codes and back, in binary32.
/// </summary>
/// <remarks>
/// <b>Products</b>, for an output at (r, c) over the contraction i cut into chunks of 128 (the last may be shorter) that begin at 0, or in weight gradients at the first
/// row of the group: with codes a, b and scales s_a(r, chunk), s_b(c, chunk), both 1 where a format has none,
/// <c>sum = 0, or the output with accumulate; for each chunk ascending: sum = fma(Σ_chunk a·b, s_a·s_b rounded, sum)</c>, where Σ is a chain of fused multiply-adds
/// from zero in ascending order; the sum is then rounded to <see cref="ProductFormat.Output"/>. With <see cref="Accumulation.Chain"/> the whole contraction is one chunk.
/// Zeros of either sign that meet a zero become +0. Same bits for any number of rows, threads and vector width (docs/architecture.md §8).
/// A non-finite element makes its tile's, block's or tensor's scale NaN and so every output it takes part in.
/// <para><b>Joined weights.</b> A weight may hold several public matrices, one below the other (gate over up). Blocks of 128×128 then begin anew at each, and so do the chunks of a contraction
/// that runs over its rows: <c>matrixRows</c> says how many rows a matrix has.</para>
/// <para><b>Maxima</b> of an operand whose scale is <see cref="ScaleOrigin.Delayed"/>: F32 [2], or [1] where nothing is to be recorded. The first is the largest magnitude of
/// earlier steps, from which the scale is taken; 0 when there are none, and then the current one serves. The second is raised to the current largest magnitude. Absent means current.</para>
/// </remarks>
public interface IQuantizationOperations
{
    /// <summary>codes, scales = x in the format. Rows beyond <paramref name="rowCount"/> are left as they are.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="codes"><see cref="QuantizationFormat.StorageType"/> [rows, <see cref="QuantizationFormat.StorageColumns"/>].</param>
    /// <param name="scales">F32, <see cref="QuantizationFormat.StorageScales"/>; absent without scales.</param>
    /// <param name="rowCount">I32 [1]: rows in use; absent means all.</param>
    void Encode(Tensor x, QuantizationFormat format, Tensor codes, Tensor scales, Tensor rowCount);

    /// <summary>y = codes and scales as numbers. Operands as in <see cref="Encode"/>.</summary>
    void Decode(Tensor codes, Tensor scales, QuantizationFormat format, Tensor y, Tensor rowCount);

    /// <summary>y = x rounded to the format's nearest values, still in y's own element type. F32 or BF16.</summary>
    void Round(Tensor x, NumberFormat format, Tensor y);

    /// <summary>Prepares one weight [outputs, inputs] or a group of them, quantised. Allocates; called at set-up.</summary>
    /// <param name="matrixRows">Rows of each public matrix a group is joined of, a divisor of the outputs; 0 when a group is one matrix.</param>
    /// <param name="maxima">F32 [groups, 2], kept and updated by <see cref="Refresh"/>; absent without delayed scales.</param>
    PreparedWeight Prepare(ReadOnlySpan<Tensor> groups, ProductUses uses, QuantizationFormat format, int matrixRows = 0, Tensor maxima = default);

    /// <summary>Quantises again after the values changed. Allocates nothing.</summary>
    void Refresh(PreparedWeight weight);

    /// <summary>y = x·Wᵀ. x [M, K], y [M, N]; one group.</summary>
    void Forward(Tensor x, PreparedWeight weight, ProductFormat format, Tensor y, bool accumulate = false, Tensor maxima = default);

    /// <summary>dx = dy·W. dy [M, N], dx [M, K]; one group.</summary>
    void BackwardInput(Tensor dy, PreparedWeight weight, ProductFormat format, Tensor dx, bool accumulate = false, Tensor maxima = default);

    /// <summary>dW = dyᵀ·x, both quantised along the rows (tokens). dy [M, N], x [M, K], dW [N, K].</summary>
    void BackwardWeight(Tensor dy, Tensor x, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default);

    /// <summary>Rows [offsets[g], offsets[g+1]) of x times group g; other rows are left as they are.</summary>
    void GroupedForward(Tensor x, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor y, Tensor maxima = default);

    /// <summary>As <see cref="GroupedForward"/>, dx = dy·W.</summary>
    void GroupedBackwardInput(Tensor dy, Tensor offsets, PreparedWeight weight, ProductFormat format, Tensor dx, Tensor maxima = default);

    /// <summary>dWeight[g] over the rows of group g, whose tiles begin at its first row. dWeight [groups, N, K].</summary>
    void GroupedBackwardWeight(Tensor dy, Tensor x, Tensor offsets, ProductFormat format, Tensor dWeight, bool accumulate, Tensor dyMaxima = default, Tensor xMaxima = default);
}
