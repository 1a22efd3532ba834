using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Serving;

/// <summary>
/// Carries a change of placement out between steps, a few rounds at a time, while requests go on: weights travel into spare slots, and a layer switches when all of its are there. All
/// ranks begin the same change and advance it between the same steps, so they switch before the same step.
/// </summary>
public sealed class PlacementMover
{
    readonly ProcessGroup _group;
    readonly ExpertSlots _slots;
    readonly ReplicaExchange _exchange;
    readonly Func<int, int> _modelLayer;
    readonly Transfer[] _batch = new Transfer[4];
    PlacementChange? _change;
    int _layer, _round;

    /// <summary>For one rank.</summary>
    /// <param name="group">The ranks of the unit.</param>
    /// <param name="slots">This rank's weights.</param>
    /// <param name="exchange">Its exchange.</param>
    /// <param name="modelLayer">The layer in the checkpoint of a layer of the change.</param>
    public PlacementMover(ProcessGroup group, ExpertSlots slots, ReplicaExchange exchange, Func<int, int> modelLayer) => (_group, _slots, _exchange, _modelLayer) = (group, slots, exchange, modelLayer);

    /// <summary>Whether a change is under way.</summary>
    public bool IsMoving => _change is not null;

    /// <summary>Layers that have switched since the change began.</summary>
    public int SwitchedLayers => _layer;

    /// <summary>Bytes of weights that this rank sent.</summary>
    public long SentBytes { get; private set; }

    /// <summary>Begins a change.</summary>
    /// <exception cref="InvalidOperationException">Another one is under way.</exception>
    public void Begin(PlacementChange change)
    {
        if (_change is not null) throw new InvalidOperationException("A change of placement is under way: the next can begin when it has ended.");
        (_change, _layer, _round) = (change.Layers.Count == 0 ? null : change, 0, 0);
    }

    /// <summary>Goes on with the change between two steps.</summary>
    /// <param name="rounds">Rounds to make at most: in each a GPU sends one expert and gets one.</param>
    /// <param name="adopt">Told each layer that switched.</param>
    /// <returns>Rounds made.</returns>
    public int Advance(int rounds, Action<LayerChange>? adopt = null)
    {
        int made = 0;
        while (_change is { } change)
        {
            LayerChange layer = change.Layers[_layer];
            for (; _round < layer.Rounds.Count && made < rounds; _round++, made++) Move(layer, layer.Rounds[_round]);
            if (_round < layer.Rounds.Count) break;
            int perGpu = _slots.Unit.SlotsPerGpu, model = _modelLayer(layer.Layer);
            foreach (ExpertMove move in layer.Local)
                if (_slots.Unit.GpuOf(move.ToSlot) == _slots.Gpu) _slots.Keep(model, move.FromSlot % perGpu, move.ToSlot % perGpu);
            _slots.Switch(model);
            _exchange.Switch(model, layer.Next);
            adopt?.Invoke(layer);
            _round = 0;
            if (++_layer == change.Layers.Count) _change = null;
            if (made >= rounds) break;
        }

        return made;
    }

    void Move(LayerChange layer, IReadOnlyList<ExpertMove> round)
    {
        int count = 0, perGpu = _slots.Unit.SlotsPerGpu, model = _modelLayer(layer.Layer);
        foreach (ExpertMove move in round)
        {
            int from = _slots.Unit.GpuOf(move.FromSlot), to = _slots.Unit.GpuOf(move.ToSlot);
            for (int part = 0; part < 2; part++)
            {
                if (from == _slots.Gpu) _batch[count++] = Transfer.Send(to, _slots.Present(model, move.FromSlot % perGpu, part));
                if (to == _slots.Gpu) _batch[count++] = Transfer.Receive(from, _slots.Coming(move.ToSlot % perGpu, part));
            }

            if (from == _slots.Gpu) SentBytes += _slots.ExpertBytes;
        }

        _group.Exchange(_batch.AsSpan(0, count));
    }
}
