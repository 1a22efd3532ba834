namespace Hadal.Tensors.Operations;

/// <summary>
/// Element by element and row by row. Shapes are [rows, columns] of the flattened view unless said otherwise; every output is given by the
/// caller and may be the same tensor as an input of the same shape. <c>accumulate</c> adds the finished result to the output.
/// </summary>
public interface IElementwiseOperations
{
    /// <summary>y = x, converting the element type (round to nearest even, saturating for FP8). Same rows and columns; strides may differ.</summary>
    void Copy(Tensor x, Tensor y);

    /// <summary>Every element of <paramref name="y"/> becomes <paramref name="value"/>.</summary>
    void Fill(Tensor y, double value);

    /// <summary>y = a + b.</summary>
    void Add(Tensor a, Tensor b, Tensor y);

    /// <summary>y = factor·x.</summary>
    void Scale(Tensor x, double factor, Tensor y);

    /// <summary>y[r, c] = x[r mod x.Rows, c] for r over y's rows, or with <paramref name="repeatEach"/> &gt; 0: y[r, c] = x[r / repeatEach, c]
    /// (the shared rotated key copied to every head).</summary>
    void RepeatRows(Tensor x, int repeatEach, Tensor y);

    /// <summary>y[r, c] = Σ over the <paramref name="groupSize"/> rows of group r of x, ascending, in one chain: the backward of <see cref="RepeatRows"/>.</summary>
    void SumRowGroups(Tensor x, int groupSize, Tensor y, bool accumulate);

    /// <summary>
    /// RMSNorm: inverseRms[r] = 1/√(mean_c x² + epsilon), y = x·inverseRms·weight, in FP32 [V3 §4.2].
    /// The sum of squares runs over 16 lanes (column mod 16) and then one fixed tree, the same on every instruction set.
    /// </summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="weight">[columns].</param>
    /// <param name="inverseRms">[rows], kept for the backward; may be absent.</param>
    void RmsNorm(Tensor x, Tensor weight, double epsilon, Tensor y, Tensor inverseRms);

    /// <summary>dx of <see cref="RmsNorm"/>: inverseRms·(dy·w − x·inverseRms²·mean_c(dy·w·x)).</summary>
    void RmsNormBackwardInput(Tensor dy, Tensor x, Tensor weight, Tensor inverseRms, Tensor dx, bool accumulate);

    /// <summary>dWeight[c] = Σ_r dy·x·inverseRms, rows ascending in one chain per column.</summary>
    void RmsNormBackwardWeight(Tensor dy, Tensor x, Tensor inverseRms, Tensor dWeight, bool accumulate);

    /// <summary>
    /// Rotary embedding on interleaved pairs (2j, 2j+1) of the last dimension [model spec §3]: (a, b) → (a·cos − b·sin, a·sin + b·cos).
    /// </summary>
    /// <param name="x">[tokens, heads, dim] or [tokens, dim].</param>
    /// <param name="positions">I32 [tokens].</param>
    /// <param name="table">[positions, dim] holding cos at 2j and sin at 2j+1.</param>
    /// <param name="inverse">Rotate backwards: the gradient of the rotation.</param>
    /// <param name="y">As <paramref name="x"/>.</param>
    void Rope(Tensor x, Tensor positions, Tensor table, bool inverse, Tensor y);

    /// <summary>
    /// y[r, i] = silu(g)·u·rowWeight[r] with g = gateUp[r, i], u = gateUp[r, intermediate + i]; silu(g) = g/(1+e^−g).
    /// </summary>
    /// <param name="gateUp">[rows, 2·intermediate]: gate columns, then up columns.</param>
    /// <param name="rowWeight">[rows], the gate weight of the routed row; absent means 1.</param>
    /// <param name="rowCount">I32 [1]: only the first rowCount rows exist; absent means all (worst-case buffers of routed rows).</param>
    /// <param name="y">[rows, intermediate].</param>
    void SwiGlu(Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor y);

    /// <summary>Backward of <see cref="SwiGlu"/>, recomputing its output: dGateUp and, when present, dRowWeight[r] = Σ_i dy·silu(g)·u (16 lanes, fixed tree).</summary>
    void SwiGluBackward(Tensor dy, Tensor gateUp, Tensor rowWeight, Tensor rowCount, Tensor dGateUp, Tensor dRowWeight);
}
