using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>Which experts' rows a rank computes, and from how many ranks they come.</summary>
/// <param name="Sources">Ranks whose tokens arrive; 1 when all experts are local.</param>
/// <param name="FirstExpert">First expert of this rank.</param>
/// <param name="Experts">Experts of this rank.</param>
/// <param name="Tokens">Tokens of any source at most, where that may be more than this rank's own; 0: as many as its own.</param>
public readonly record struct ExpertPlacement(int Sources, int FirstExpert, int Experts, int Tokens = 0);

/// <summary>
/// Experts' weights that a rank holds in slots of its own, in the place of those of the model: redundant and moving experts of a server. The exchange that goes with them gives the offsets of
/// its rows by slot.
/// </summary>
public interface IResidentExperts
{
    /// <summary>The slots of a weight, one group each.</summary>
    /// <param name="weight">One of <see cref="RoutedExperts.ExpertParameters"/>.</param>
    PreparedWeight Of(Parameter weight);
}

/// <summary>
/// The rows of one dispatch: which token each expert row came from and where each chosen pair went. Filled by
/// <see cref="IExpertExchange.Dispatch"/>, reused by combine and by both backward movements. Rows of each source rank lie in a part of their own, of
/// <see cref="SourceCapacity"/> rows: weight gradients of micro-batches of different ranks never mix.
/// </summary>
public sealed class ExpertRows
{
    Tensor _offsets;

    /// <summary>I32 [tokens, topK], ascending per token: the choice this movement serves.</summary>
    public Tensor Experts { get; private set; }

    /// <summary>I32 [experts]: tokens of this chunk per expert, wherever the expert is.</summary>
    public Tensor Counts { get; private set; }

    /// <summary>I32 [experts + 1]: first row of each expert, in the part of the first source.</summary>
    public Tensor Offsets => OffsetsOf(0);

    /// <summary>I32 [capacity]: token of each row, counted on the rank it came from.</summary>
    public Tensor RowToken { get; private set; }

    /// <summary>I32 [tokens, topK]: row of each chosen pair; local exchange only.</summary>
    public Tensor TokenRow { get; private set; }

    /// <summary>What an exchange keeps of its own from dispatch to combine and to both backward movements; reused by the next dispatch.</summary>
    public object? Handle { get; set; }

    /// <summary>What this rank computes.</summary>
    public ExpertPlacement Placement { get; private set; }

    /// <summary>Ranks whose tokens arrive.</summary>
    public int Sources => Placement.Sources;

    /// <summary>Rows of one source at worst: every token chooses as many of this rank's experts as it can.</summary>
    public int SourceCapacity { get; private set; }

    /// <summary>Rows the buffers hold at worst.</summary>
    public int Capacity => Sources * SourceCapacity;

    /// <summary>I32 [1]: rows used, in the part of the first source.</summary>
    public Tensor RowCount => RowCountOf(0);

    /// <summary>I32 [experts + 1]: first row of each expert inside the part of a source; experts of other ranks have none.</summary>
    public Tensor OffsetsOf(int source) => _offsets.Slice(source * (Counts.Columns + 1), Counts.Columns + 1);

    /// <summary>I32 [1]: rows used in the part of a source.</summary>
    public Tensor RowCountOf(int source) => OffsetsOf(source).Slice(Counts.Columns, 1);

    /// <summary>A source's part of [capacity, …] or [capacity].</summary>
    public Tensor Part(Tensor rows, int source) => Sources == 1 ? rows : rows.Slice(source * SourceCapacity, SourceCapacity);

    /// <summary>Rows of a source's part.</summary>
    public RowRange PartOf(int source) => new(source * SourceCapacity, SourceCapacity);

    /// <summary>Takes memory for <paramref name="tokens"/> tokens of this rank, and as many of every other.</summary>
    public void Allocate(TensorArena arena, GateParameters gate, int tokens, ExpertPlacement placement)
    {
        Placement = placement;
        SourceCapacity = CapacityOf(gate, tokens, placement);
        Experts = arena.Allocate(DType.I32, tokens, gate.TopK);
        Counts = arena.Allocate(DType.I32, gate.Experts);
        _offsets = arena.Allocate(DType.I32, placement.Sources * (gate.Experts + 1));
        RowToken = arena.Allocate(DType.I32, Capacity);
        TokenRow = arena.Allocate(DType.I32, tokens, gate.TopK);
    }

    /// <summary>The record's offsets of all sources.</summary>
    internal Tensor AllOffsets => _offsets;

    /// <summary>Rows one source can send at worst.</summary>
    internal static int CapacityOf(GateParameters gate, int tokens, ExpertPlacement placement) => checked(Math.Max(tokens, placement.Tokens) * Math.Min(gate.TopK, placement.Experts));
}

/// <summary>
/// Dispatch and combine [V3 §3.2.2]: moving token rows to the experts' owners and bringing results back. The local exchange lives here,
/// those that cross ranks in Hadal.Parallel. Sums follow the fixed tree over expert index.
/// </summary>
public interface IExpertExchange
{
    /// <summary>What this rank computes of a layer with so many experts.</summary>
    ExpertPlacement PlacementOf(int experts);

    /// <summary>rows = tokens in expert order; rowWeights = the gate weight of each row. Across ranks tokens travel as <see cref="Recipe.ExpertInput"/>.</summary>
    /// <param name="chunk">Operations, temporaries, recipe.</param>
    /// <param name="movement">Its <see cref="ExpertRows.Experts"/> are set; the rest is filled here.</param>
    /// <param name="tokens">[tokens, hidden].</param>
    /// <param name="weights">[tokens, topK].</param>
    /// <param name="rows">[capacity, hidden].</param>
    /// <param name="rowWeights">[capacity].</param>
    void Dispatch(ChunkContext chunk, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights);

    /// <summary>y[t] = sum of the token's expert rows.</summary>
    void Combine(ChunkContext chunk, ExpertRows movement, Tensor rows, Tensor y);

    /// <summary>Gradient of <see cref="Combine"/>: dRows = dy of each row's token. Across ranks it travels as <see cref="Recipe.ExpertGradient"/>.</summary>
    void CombineBackward(ChunkContext chunk, ExpertRows movement, Tensor dy, Tensor dRows);

    /// <summary>Gradient of <see cref="Dispatch"/>: dTokens[t] = sum of the token's rows, dWeights = each pair's weight gradient.</summary>
    void DispatchBackward(ChunkContext chunk, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights);
}

/// <summary>All experts in this process.</summary>
public sealed class LocalExpertExchange : IExpertExchange
{
    /// <inheritdoc/>
    public ExpertPlacement PlacementOf(int experts) => new(1, 0, experts);

    /// <inheritdoc/>
    public void Dispatch(ChunkContext chunk, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights)
    {
        IRoutingOperations routing = chunk.Operations.Routing;
        routing.Plan(movement.Experts, movement.Counts.Columns, 1, movement.Counts, movement.Offsets, movement.RowToken, movement.TokenRow);
        routing.GatherRows(tokens, movement.RowToken, movement.RowCount, rows);
        routing.GatherWeights(weights, movement.TokenRow, movement.RowToken, movement.RowCount, rowWeights);
    }

    /// <inheritdoc/>
    public void Combine(ChunkContext chunk, ExpertRows movement, Tensor rows, Tensor y) =>
        chunk.Operations.Routing.CombineRows(rows, movement.Experts, movement.TokenRow, movement.Counts.Columns, y, accumulate: false);

    /// <inheritdoc/>
    public void CombineBackward(ChunkContext chunk, ExpertRows movement, Tensor dy, Tensor dRows) =>
        chunk.Operations.Routing.GatherRows(dy, movement.RowToken, movement.RowCount, dRows);

    /// <inheritdoc/>
    public void DispatchBackward(ChunkContext chunk, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights)
    {
        chunk.Operations.Routing.CombineRows(dRows, movement.Experts, movement.TokenRow, movement.Counts.Columns, dTokens, accumulate: false);
        chunk.Operations.Routing.ScatterWeights(dRowWeights, movement.TokenRow, dWeights);
    }
}
