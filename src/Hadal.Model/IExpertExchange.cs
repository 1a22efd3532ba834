using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>
/// The rows of one dispatch: which token each expert row came from and where each chosen pair went. Filled by
/// <see cref="IExpertExchange.Dispatch"/>, reused by combine and by both backward movements.
/// </summary>
public sealed class ExpertRows
{
    /// <summary>I32 [tokens, topK], ascending per token: the choice this movement serves.</summary>
    public Tensor Experts { get; private set; }

    /// <summary>I32 [experts]: tokens per expert in this chunk.</summary>
    public Tensor Counts { get; private set; }

    /// <summary>I32 [experts + 1]: first row of each expert.</summary>
    public Tensor Offsets { get; private set; }

    /// <summary>I32 [capacity]: token of each row.</summary>
    public Tensor RowToken { get; private set; }

    /// <summary>I32 [tokens, topK]: row of each chosen pair.</summary>
    public Tensor TokenRow { get; private set; }

    /// <summary>Rows the buffers hold at worst.</summary>
    public int Capacity { get; private set; }

    /// <summary>I32 [1]: rows used.</summary>
    public Tensor RowCount => Offsets.Slice(Counts.Columns, 1);

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, GateParameters gate, int tokens)
    {
        Capacity = checked(tokens * gate.TopK);
        Experts = arena.Allocate(DType.I32, tokens, gate.TopK);
        Counts = arena.Allocate(DType.I32, gate.Experts);
        Offsets = arena.Allocate(DType.I32, gate.Experts + 1);
        RowToken = arena.Allocate(DType.I32, Capacity);
        TokenRow = arena.Allocate(DType.I32, tokens, gate.TopK);
    }
}

/// <summary>
/// Dispatch and combine [V3 §3.2.2]: moving token rows to the experts' owners and bringing results back. The local exchange lives here,
/// those that cross ranks in Hadal.Parallel. Sums follow the fixed tree over expert index.
/// </summary>
public interface IExpertExchange
{
    /// <summary>rows = tokens in expert order; rowWeights = the gate weight of each row.</summary>
    /// <param name="movement">Its <see cref="ExpertRows.Experts"/> are set; the rest is filled here.</param>
    /// <param name="tokens">[tokens, hidden].</param>
    /// <param name="weights">[tokens, topK].</param>
    /// <param name="rows">[capacity, hidden].</param>
    /// <param name="rowWeights">[capacity].</param>
    void Dispatch(IOperations operations, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights);

    /// <summary>y[t] = sum of the token's expert rows.</summary>
    void Combine(IOperations operations, ExpertRows movement, Tensor rows, Tensor y);

    /// <summary>Gradient of <see cref="Combine"/>: dRows = dy of each row's token.</summary>
    void CombineBackward(IOperations operations, ExpertRows movement, Tensor dy, Tensor dRows);

    /// <summary>Gradient of <see cref="Dispatch"/>: dTokens[t] = sum of the token's rows, dWeights = each pair's weight gradient.</summary>
    void DispatchBackward(IOperations operations, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights);
}

/// <summary>All experts in this process.</summary>
public sealed class LocalExpertExchange : IExpertExchange
{
    /// <inheritdoc/>
    public void Dispatch(IOperations operations, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights)
    {
        IRoutingOperations routing = operations.Routing;
        routing.Plan(movement.Experts, movement.Counts.Columns, 1, movement.Counts, movement.Offsets, movement.RowToken, movement.TokenRow);
        routing.GatherRows(tokens, movement.RowToken, movement.RowCount, rows);
        routing.GatherWeights(weights, movement.TokenRow, movement.RowToken, movement.RowCount, rowWeights);
    }

    /// <inheritdoc/>
    public void Combine(IOperations operations, ExpertRows movement, Tensor rows, Tensor y) =>
        operations.Routing.CombineRows(rows, movement.Experts, movement.TokenRow, movement.Counts.Columns, y, accumulate: false);

    /// <inheritdoc/>
    public void CombineBackward(IOperations operations, ExpertRows movement, Tensor dy, Tensor dRows) =>
        operations.Routing.GatherRows(dy, movement.RowToken, movement.RowCount, dRows);

    /// <inheritdoc/>
    public void DispatchBackward(IOperations operations, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights)
    {
        operations.Routing.CombineRows(dRows, movement.Experts, movement.TokenRow, movement.Counts.Columns, dTokens, accumulate: false);
        operations.Routing.ScatterWeights(dRowWeights, movement.TokenRow, dWeights);
    }
}
