using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Model;

/// <summary>What the routed experts keep.</summary>
public sealed class RoutedSaved
{
    /// <summary>The movement of rows: choice, offsets, places.</summary>
    public ExpertRows Movement { get; } = new();

    /// <summary>[tokens, experts]: scores of the gate.</summary>
    public Tensor Scores { get; private set; }

    /// <summary>[tokens, topK]: gate weights.</summary>
    public Tensor Weights { get; private set; }

    /// <summary>[tokens, experts]: gradient of the balance loss with respect to the scores; absent without that loss.</summary>
    public Tensor BalanceGradient { get; private set; }

    /// <summary>[1]: the balance loss of the chunk, weighted.</summary>
    public Tensor BalanceLoss { get; private set; }

    /// <summary>[capacity, hidden]: dispatched rows.</summary>
    public CachedTensor Rows { get; } = new();

    /// <summary>[capacity]: gate weight of each row.</summary>
    public Tensor RowWeights { get; private set; }

    /// <summary>[capacity, 2·intermediate]: gate, then up, of each row.</summary>
    public CachedTensor GateUp { get; } = new();

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, TransformerShape shape, Recipe recipe, DType type, int tokens, IExpertExchange? exchange = null)
    {
        Movement.Allocate(arena, shape.Gate, tokens, exchange?.PlacementOf(shape.Gate.Experts) ?? new(1, 0, shape.Gate.Experts));
        Scores = arena.Allocate(type, tokens, shape.Gate.Experts);
        Weights = arena.Allocate(type, tokens, shape.Gate.TopK);
        BalanceGradient = arena.Allocate(type, tokens, shape.Gate.Experts);
        BalanceLoss = arena.Allocate(type, 1);
        Rows.Allocate(arena, recipe.ExpertInput, type, Movement.Capacity, shape.Hidden);
        RowWeights = arena.Allocate(type, Movement.Capacity);
        GateUp.Allocate(arena, recipe.SwiGluInput, type, Movement.Capacity, 2 * shape.ExpertIntermediate);
    }

    /// <summary>The record's tensors by name.</summary>
    public IEnumerable<RecordEntry> Entries() =>
    [
        new(nameof(Movement.Experts), Movement.Experts), new(nameof(Movement.Counts), Movement.Counts), new(nameof(Movement.Offsets), Movement.AllOffsets),
        new(nameof(Movement.RowToken), Movement.RowToken), new(nameof(Movement.TokenRow), Movement.TokenRow), new(nameof(Scores), Scores),
        new(nameof(Weights), Weights), new(nameof(BalanceGradient), BalanceGradient), new(nameof(BalanceLoss), BalanceLoss), .. Rows.Entries(nameof(Rows)),
        new(nameof(RowWeights), RowWeights), .. GateUp.Entries(nameof(GateUp)),
    ];
}

/// <summary>What the routed experts leave for their weight gradients.</summary>
public sealed class RoutedDeferred
{
    /// <summary>[capacity, hidden]: gradient of each expert row's output.</summary>
    public Tensor RowsGradient { get; private set; }

    /// <summary>[capacity, intermediate]: recomputed SwiGLU output times gate weight.</summary>
    public Tensor Activated { get; private set; }

    /// <summary>[capacity, 2·intermediate]: gradient of both projections' outputs.</summary>
    public Tensor GateUpGradient { get; private set; }

    /// <summary>[capacity]: gradient of each row's gate weight.</summary>
    public Tensor RowWeightsGradient { get; private set; }

    /// <summary>[tokens, experts]: gradient of the gate's logits.</summary>
    public Tensor LogitsGradient { get; private set; }

    /// <summary>Takes memory for <paramref name="tokens"/> tokens.</summary>
    public void Allocate(TensorArena arena, TransformerShape shape, DType type, int tokens, IExpertExchange? exchange = null)
    {
        ExpertPlacement placement = exchange?.PlacementOf(shape.Gate.Experts) ?? new(1, 0, shape.Gate.Experts);
        int capacity = checked(placement.Sources * ExpertRows.CapacityOf(shape.Gate, tokens, placement));
        RowsGradient = arena.Allocate(type, capacity, shape.Hidden);
        Activated = arena.Allocate(type, capacity, shape.ExpertIntermediate);
        GateUpGradient = arena.Allocate(type, capacity, 2 * shape.ExpertIntermediate);
        RowWeightsGradient = arena.Allocate(type, capacity);
        LogitsGradient = arena.Allocate(type, tokens, shape.Gate.Experts);
    }
}

/// <summary>
/// Gate and routed experts [V3 §2.1.2; model spec §4]. The gate weight multiplies the SwiGLU output, before the down projection, so that combine
/// is an unweighted sum. Phases: <see cref="Route"/>, <see cref="Dispatch"/>, <see cref="Experts"/>, <see cref="Combine"/>; no token is dropped.
/// </summary>
public sealed class RoutedExperts
{
    readonly TransformerShape _shape;
    readonly Parameter _gate, _gateUp, _down;
    readonly Parameter? _bias;

    internal RoutedExperts(ParameterSet set, TransformerShape shape, string prefix)
    {
        _shape = shape;
        int experts = shape.Gate.Experts, width = shape.ExpertIntermediate;
        _gate = set.Add(prefix + "gate.weight", ParameterKind.Gate, [experts, shape.Hidden], ProductUses.Training);
        if (shape.GateBias) _bias = set.Add(prefix + "gate.e_score_correction_bias", ParameterKind.SelectionBias, [experts], null);
        var gateUp = new PublicRegion[2 * experts];
        var down = new PublicRegion[experts];
        for (int e = 0; e < experts; e++)
        {
            gateUp[2 * e] = new PublicRegion($"{prefix}experts.{e}.gate_proj.weight", e, 0, width);
            gateUp[(2 * e) + 1] = new PublicRegion($"{prefix}experts.{e}.up_proj.weight", e, width, width);
            down[e] = new PublicRegion($"{prefix}experts.{e}.down_proj.weight", e, 0, shape.Hidden);
        }

        _gateUp = set.Add(prefix + "experts.gate_up_proj.weight", ParameterKind.Projection, [experts, 2 * width, shape.Hidden], ProductUses.Training, gateUp);
        _down = set.Add(prefix + "experts.down_proj.weight", ParameterKind.Projection, [experts, shape.Hidden, width], ProductUses.Training, down);
    }

    /// <summary>The selection bias; null when the model has none.</summary>
    public Parameter? SelectionBias => _bias;

    /// <summary>Phase route: scores, choice, weights, and the balance loss of the chunk. <paramref name="x"/> [tokens, hidden], normed.</summary>
    public void Route(ChunkContext chunk, Tensor x, RoutedSaved saved)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        Tensor logits = chunk.Temporary(x.Rows, _shape.Gate.Experts);
        chunk.Forward(x, _gate, logits);
        ops.Routing.Gate(logits, _bias?.Value ?? default, _shape.Gate, saved.Scores, saved.Movement.Experts, saved.Weights);
        if (chunk.BalanceAlpha > 0)
            ops.Routing.BalanceLoss(saved.Scores, chunk.Sequences, _shape.Gate, chunk.BalanceAlpha, chunk.BalanceWeight, saved.BalanceLoss, saved.BalanceGradient);
        chunk.Scratch.Release(mark);
    }

    /// <summary>
    /// Phase dispatch: token rows to their experts, as <see cref="Recipe.ExpertInput"/>; where expert parallelism cuts, that is what travels. Returns the rows
    /// [capacity, hidden] for <see cref="Experts"/>: a temporary, or the record's own.
    /// </summary>
    public Tensor Dispatch(ChunkContext chunk, Tensor x, RoutedSaved saved)
    {
        Tensor rows = saved.Rows.Begin(chunk);
        ExpertRows movement = saved.Movement;
        chunk.Exchange.Dispatch(chunk, movement, x, saved.Weights, rows, saved.RowWeights);
        for (int s = 0; s < movement.Sources; s++) saved.Rows.Keep(chunk, movement.Part(rows, s), movement.RowCountOf(s), rounded: true, movement.PartOf(s));
        return rows;
    }

    /// <summary>Phase experts: each row through its expert.</summary>
    /// <param name="chunk">The chunk.</param>
    /// <param name="saved">The record.</param>
    /// <param name="rows">[capacity, hidden], from <see cref="Dispatch"/>.</param>
    /// <param name="y">[capacity, hidden].</param>
    public void Experts(ChunkContext chunk, RoutedSaved saved, Tensor rows, Tensor y)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        ExpertRows movement = saved.Movement;
        Tensor gateUp = saved.GateUp.Begin(chunk), activated = chunk.Temporary(movement.Capacity, _shape.ExpertIntermediate);
        for (int s = 0; s < movement.Sources; s++)
        {
            Tensor offsets = movement.OffsetsOf(s), count = movement.RowCountOf(s), own = movement.Part(gateUp, s), product = movement.Part(activated, s);
            chunk.GroupedForward(movement.Part(rows, s), offsets, _gateUp, own, ScaleOf(chunk.Recipe.ExpertInput));
            saved.GateUp.Keep(chunk, own, count, rounded: false, movement.PartOf(s));
            ops.Elementwise.SwiGlu(own, movement.Part(saved.RowWeights, s), count, product);
            chunk.GroupedForward(product, offsets, _down, movement.Part(y, s));
        }

        chunk.Scratch.Release(mark);
    }

    static Hadal.Numerics.ScaleKind? ScaleOf(QuantizationFormat format) => format.Number == NumberFormat.E4M3 ? format.Scale : null;

    /// <summary>Phase combine: sums each token's expert rows, which travel as <see cref="Recipe.Activations"/>. <paramref name="y"/> [tokens, hidden].</summary>
    public void Combine(ChunkContext chunk, RoutedSaved saved, Tensor rows, Tensor y)
    {
        chunk.Exchange.Combine(chunk, saved.Movement, rows, y);
        chunk.Round(y);
    }

    /// <summary>Backward of combine: dy of each row's token, which travels as <see cref="Recipe.ExpertGradient"/>. It is dispatch's mirror and uses the same movement.</summary>
    public void CombineBackward(ChunkContext chunk, Tensor dy, RoutedSaved saved, RoutedDeferred deferred)
    {
        ExpertRows movement = saved.Movement;
        chunk.Exchange.CombineBackward(chunk, movement, dy, deferred.RowsGradient);
        for (int s = 0; s < movement.Sources; s++)
        {
            Tensor rows = movement.Part(deferred.RowsGradient, s);
            chunk.Observer?.Operand(_down, OperandRole.CarriedGradient, rows, chunk.Recipe.ExpertGradient, movement.OffsetsOf(s));
            chunk.Carry(rows, chunk.Recipe.ExpertGradient, movement.RowCountOf(s));
        }
    }

    /// <summary>Backward of experts: gradient of the dispatched rows and of their gate weights. <paramref name="dRows"/> [capacity, hidden].</summary>
    public void ExpertsBackwardInput(ChunkContext chunk, RoutedSaved saved, RoutedDeferred deferred, Tensor dRows)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        ExpertRows movement = saved.Movement;
        Tensor dActivated = chunk.Temporary(movement.SourceCapacity, _shape.ExpertIntermediate);
        for (int s = 0; s < movement.Sources; s++)
        {
            ArenaMark part = chunk.Scratch.Mark();
            Tensor offsets = movement.OffsetsOf(s), count = movement.RowCountOf(s), weights = movement.Part(saved.RowWeights, s);
            chunk.GroupedBackwardInput(movement.Part(deferred.RowsGradient, s), offsets, _down, dActivated, ScaleOf(chunk.Recipe.ExpertGradient));
            Tensor gateUp = saved.GateUp.Restore(chunk, count, movement.PartOf(s)), dGateUp = movement.Part(deferred.GateUpGradient, s);
            ops.Elementwise.SwiGlu(gateUp, weights, count, movement.Part(deferred.Activated, s));
            ops.Elementwise.SwiGluBackward(dActivated, gateUp, weights, count, dGateUp, movement.Part(deferred.RowWeightsGradient, s));
            chunk.GroupedBackwardInput(dGateUp, offsets, _gateUp, movement.Part(dRows, s));
            chunk.Scratch.Release(part);
        }

        chunk.Scratch.Release(mark);
    }

    /// <summary>Backward of dispatch and route: dx = gradient through the rows, the gate weights and the balance loss.</summary>
    public void DispatchRouteBackward(ChunkContext chunk, RoutedSaved saved, RoutedDeferred deferred, Tensor dRows, Tensor dx)
    {
        IOperations ops = chunk.Operations;
        ArenaMark mark = chunk.Scratch.Mark();
        Tensor dWeights = chunk.Temporary(dx.Rows, _shape.Gate.TopK);
        chunk.Exchange.DispatchBackward(chunk, saved.Movement, dRows, deferred.RowWeightsGradient, dx, dWeights);
        ops.Routing.GateBackward(dWeights, chunk.BalanceAlpha > 0 ? saved.BalanceGradient : default, saved.Scores, saved.Movement.Experts, _shape.Gate,
            deferred.LogitsGradient);
        chunk.BackwardInput(deferred.LogitsGradient, _gate, dx, accumulate: true);
        chunk.Scratch.Release(mark);
    }

    /// <summary>Weight gradients of the experts; those of rows that came from another rank go to <see cref="ChunkContext.SourceGradients"/>.</summary>
    public void BackwardExpertWeights(ChunkContext chunk, RoutedSaved saved, RoutedDeferred deferred, Tensor gradients, bool accumulate)
    {
        ExpertRows movement = saved.Movement;
        for (int s = 0; s < movement.Sources; s++)
        {
            ArenaMark mark = chunk.Scratch.Mark();
            Tensor offsets = movement.OffsetsOf(s), target = movement.Sources == 1 ? gradients : chunk.SourceGradients[s];
            chunk.GroupedBackwardWeight(movement.Part(deferred.RowsGradient, s), movement.Part(deferred.Activated, s), offsets, _down, target, accumulate, movement.Placement);
            chunk.GroupedBackwardWeight(movement.Part(deferred.GateUpGradient, s), saved.Rows.Restore(chunk, movement.RowCountOf(s), movement.PartOf(s)), offsets, _gateUp, target, accumulate, movement.Placement);
            chunk.Scratch.Release(mark);
        }
    }

    /// <summary>Weight gradient of the gate. <paramref name="x"/> is the normed input of route.</summary>
    public void BackwardGateWeights(ChunkContext chunk, Tensor x, RoutedDeferred deferred, Tensor gradients, bool accumulate) =>
        chunk.BackwardWeight(deferred.LogitsGradient, x, _gate, gradients, accumulate);

    /// <summary>The experts' projections: gate and up together, then down. Their first dimension is the expert.</summary>
    public IReadOnlyList<Parameter> ExpertParameters => [_gateUp, _down];
}
