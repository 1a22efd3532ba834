using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Serving;

/// <summary>
/// What the ranks of a unit do between two steps to keep their experts where the load is: rank 0 looks at its clock; when it is time, all hand their counts to it, it decides, and all carry the
/// change out, a few rounds after each step. Requests go on meanwhile.
/// </summary>
public sealed class PlacementLoop : IDisposable
{
    const int Nothing = 0, Look = 1, Change = 2, Unchanged = -1;

    readonly ProcessGroup _group;
    readonly ReplicaExchange _exchange;
    readonly PlacementMover _mover;
    readonly PlacementKeeper? _keeper;
    readonly int[] _layers;
    readonly int _rounds;
    readonly long _expertBytes;
    readonly TensorArena _memory;
    readonly Tensor _signal, _counts, _all, _plans;
    readonly int[] _rows;
    readonly Action<LayerChange> _adopt;

    /// <summary>One for each rank; all make it at the same time.</summary>
    /// <param name="group">The ranks of the unit.</param>
    /// <param name="backend">Whose memory messages lie in.</param>
    /// <param name="exchange">This rank's exchange.</param>
    /// <param name="slots">This rank's weights.</param>
    /// <param name="keeper">On rank 0 what decides, with the present placements; null on the others.</param>
    /// <param name="layers">Layer in the checkpoint of each layer of the keeper.</param>
    /// <param name="rounds">Rounds of moves after a step: how much of the links a change may take.</param>
    /// <exception cref="ArgumentException">Rank 0 has no keeper, or another rank has one.</exception>
    public PlacementLoop(ProcessGroup group, IBackend backend, ReplicaExchange exchange, ExpertSlots slots, PlacementKeeper? keeper, IReadOnlyList<int> layers, int rounds = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rounds, 1);
        if (keeper is null == (group.Rank == 0)) throw new ArgumentException($"Rank {group.Rank} was given {(keeper is null ? "no keeper" : "a keeper")}; expected one on rank 0 alone.", nameof(keeper));
        (_group, _exchange, _keeper, _rounds, _expertBytes) = (group, exchange, keeper, rounds, slots.ExpertBytes);
        _layers = [.. layers];
        _mover = new PlacementMover(group, slots, exchange, layer => _layers[layer]);
        _memory = new TensorArena(backend);
        ExpertUnit unit = exchange.Unit;
        _signal = _memory.Allocate(DType.I32, 1);
        _counts = _memory.Allocate(DType.I32, 1, _layers.Length * unit.Experts);
        _all = _memory.Allocate(DType.I32, group.Rank == 0 ? unit.Gpus : 1, _layers.Length * unit.Experts);
        _plans = _memory.Allocate(DType.I32, _layers.Length, unit.Slots);
        _rows = [.. Enumerable.Repeat(1, unit.Gpus)];
        _adopt = change =>
        {
            SwitchedLayers++;
            _keeper?.Adopt(change);
        };
    }

    /// <summary>Whether experts are being moved.</summary>
    public bool IsMoving => _mover.IsMoving;

    /// <summary>Bytes of weights that this rank sent.</summary>
    public long SentBytes => _mover.SentBytes;

    /// <summary>Layers that took a new placement, every time counted.</summary>
    public int SwitchedLayers { get; private set; }

    /// <summary>What was decided last; on rank 0.</summary>
    public PlacementDecision? Decision { get; private set; }

    /// <summary>All ranks call it between the same two steps.</summary>
    /// <param name="prices">What a step costs; rank 0's count.</param>
    public void BetweenSteps(WaitingPrices prices)
    {
        if (_mover.IsMoving)
        {
            _mover.Advance(_rounds, _adopt);
            return;
        }

        if (Tell(_keeper is { IsDue: true } ? Look : Nothing) == Nothing) return;
        Gather();
        if (_keeper is not null) Decision = _keeper.Consider(prices);
        if (Tell(Decision?.Pays == true ? Change : Nothing) == Change) Begin();
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    int Tell(int what)
    {
        _signal.AsSpan<int>()[0] = what;
        _group.Broadcast(0, _signal);
        return _signal.AsSpan<int>()[0];
    }

    void Gather()
    {
        int experts = _exchange.Unit.Experts;
        Span<int> mine = _counts.AsSpan<int>();
        for (int layer = 0; layer < _layers.Length; layer++) _exchange.Counts(_layers[layer]).CopyTo(mine.Slice(layer * experts, experts));
        _exchange.ClearCounts();
        _group.Gather(0, _counts, _all, _rows);
        if (_keeper is null) return;
        for (int layer = 0; layer < _layers.Length; layer++)
            for (int rank = 0; rank < _group.Size; rank++) _keeper.Statistics.Add(layer, _all.Row<int>(rank).Slice(layer * experts, experts));
    }

    // The plans travel; from them every rank derives the same moves.
    void Begin()
    {
        if (_keeper is not null)
        {
            _plans.AsSpan<int>().Fill(Unchanged);
            foreach (LayerChange change in Decision!.Change!.Layers) change.Next.SlotExpert.CopyTo(_plans.Row<int>(change.Layer));
        }

        _group.Broadcast(0, _plans);
        var changes = new List<LayerChange>();
        for (int layer = 0; layer < _layers.Length; layer++)
        {
            if (_plans.Row<int>(layer)[0] == Unchanged) continue;
            ReplicaPlan next = PlacementMatching.FromSlots(_plans.Row<int>(layer).ToArray(), _exchange.Unit.Experts);
            changes.Add(LayerChange.Plan(_exchange.Unit, layer, _exchange.Plan(_layers[layer]), next));
        }

        _mover.Begin(new PlacementChange(_exchange.Unit, changes, _expertBytes));
    }
}
