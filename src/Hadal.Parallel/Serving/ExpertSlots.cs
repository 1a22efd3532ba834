using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Serving;

/// <summary>
/// The weights of the experts that one rank holds: in every layer as many slots as the unit gives a GPU, and one more set of slots that all layers share. A coming placement of a layer is
/// gathered in the spare set while the present one serves; a switch exchanges the two.
/// </summary>
public sealed class ExpertSlots : IResidentExperts, IDisposable
{
    readonly TensorArena _memory;
    readonly IOperations _operations;
    readonly Dictionary<Parameter, (int Layer, bool IsDown)> _places = [];
    readonly Set?[] _layers;
    readonly List<Set> _sets = [];
    Set _spare;

    /// <summary>Copies this rank's experts out of a model.</summary>
    /// <param name="model">The weights.</param>
    /// <param name="unit">Nodes, GPUs, slots.</param>
    /// <param name="plans">[layer in the checkpoint]: where its experts lie; null for dense layers.</param>
    /// <param name="gpu">Which GPU of the unit this is.</param>
    /// <param name="backend">Holds the slots and prepares their products; null for the model's. Ranks that are threads have one each and may share the model.</param>
    /// <exception cref="NotSupportedException">The recipe takes scales from earlier steps, which moving experts would leave behind.</exception>
    public ExpertSlots(Transformer model, ExpertUnit unit, IReadOnlyList<ReplicaPlan?> plans, int gpu, IBackend? backend = null)
    {
        unit.Validate();
        if (model.Recipe.HasDelayedScales) throw new NotSupportedException($"The recipe {model.Recipe.Name} takes scales from earlier steps; experts that move need one with current scales.");
        backend ??= model.Backend;
        (Unit, Gpu, _operations) = (unit, gpu, backend.Operations);
        _memory = new TensorArena(backend);
        _layers = new Set?[model.Blocks.Count];
        Set? any = null;
        foreach (Block block in model.Blocks)
        {
            if (block.Routed is not { } routed) continue;
            ReplicaPlan plan = plans[block.Layer] ?? throw new ArgumentException($"Layer {block.Layer} has routed experts and no placement.", nameof(plans));
            var set = new Set(_memory, _operations, model, routed.ExpertParameters, unit.SlotsPerGpu);
            for (int slot = 0; slot < unit.SlotsPerGpu; slot++)
            {
                int expert = plan.SlotExpert[(gpu * unit.SlotsPerGpu) + slot];
                for (int part = 0; part < 2; part++) Copy(routed.ExpertParameters[part].Value.Select(expert), set.Values[part].Select(slot));
            }

            set.Refresh(_operations);
            _layers[block.Layer] = any = set;
            _sets.Add(set);
            for (int part = 0; part < 2; part++) _places[routed.ExpertParameters[part]] = (block.Layer, part == 1);
            _spare ??= new Set(_memory, _operations, model, routed.ExpertParameters, unit.SlotsPerGpu);
        }

        if (any is null) throw new ArgumentException("The model has no routed experts.", nameof(model));
        _sets.Add(_spare!);
        _spare = _sets[^1];
        ExpertBytes = any.Values.Sum(v => v.Length * v.DType.Size() / unit.SlotsPerGpu);
    }

    /// <summary>Nodes, GPUs, slots.</summary>
    public ExpertUnit Unit { get; }

    /// <summary>Which GPU of the unit this is.</summary>
    public int Gpu { get; }

    /// <summary>Weights of one expert of one layer.</summary>
    public long ExpertBytes { get; }

    /// <summary>Bytes of all slots and of the spare set.</summary>
    public long Bytes => _sets.Sum(s => s.Values.Sum(v => v.Length * v.DType.Size()));

    /// <inheritdoc/>
    public PreparedWeight Of(Parameter weight)
    {
        (int layer, bool isDown) = _places[weight];
        return _layers[layer]!.Prepared[isDown ? 1 : 0];
    }

    /// <summary>Slots whose weights are not, bit for bit, those of the expert that a placement puts there.</summary>
    /// <param name="model">Has all experts.</param>
    /// <param name="plans">[layer in the checkpoint]: where experts lie; null for dense layers.</param>
    public int Wrong(Transformer model, IReadOnlyList<ReplicaPlan?> plans)
    {
        int wrong = 0;
        foreach (Block block in model.Blocks)
        {
            if (block.Routed is not { } routed) continue;
            for (int slot = 0; slot < Unit.SlotsPerGpu; slot++)
            {
                int expert = plans[block.Layer]!.SlotExpert[(Gpu * Unit.SlotsPerGpu) + slot];
                bool same = true;
                for (int part = 0; part < 2; part++) same &= Raw(routed.ExpertParameters[part].Value.Select(expert)).SequenceEqual(Raw(Present(block.Layer, slot, part)));
                if (!same) wrong++;
            }
        }

        return wrong;

        static unsafe ReadOnlySpan<byte> Raw(Tensor tensor) => new((void*)tensor.Address, checked((int)(tensor.Length * tensor.DType.Size())));
    }

    /// <summary>A slot's weights that serve now: both projections, [outputs, inputs] each.</summary>
    internal Tensor Present(int layer, int slot, int part) => _layers[layer]!.Values[part].Select(slot);

    /// <summary>A slot of the spare set.</summary>
    internal Tensor Coming(int slot, int part) => _spare.Values[part].Select(slot);

    /// <summary>The spare set, which holds all of the layer's coming experts, serves from now on; what served becomes the spare set.</summary>
    internal void Switch(int layer)
    {
        _spare.Refresh(_operations);
        (_layers[layer], _spare) = (_spare, _layers[layer]!);
    }

    /// <summary>Copies one expert of the layer that lies here already into the spare set.</summary>
    internal void Keep(int layer, int fromSlot, int toSlot)
    {
        for (int part = 0; part < 2; part++) Copy(Present(layer, fromSlot, part), Coming(toSlot, part));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Set set in _sets) set.Dispose();
        _memory.Dispose();
    }

    static unsafe void Copy(Tensor from, Tensor to)
    {
        long bytes = from.Length * from.DType.Size();
        Buffer.MemoryCopy((void*)from.Address, (void*)to.Address, bytes, bytes);
    }

    /// <summary>Slots of one layer: gate and up together, then down.</summary>
    sealed class Set : IDisposable
    {
        readonly bool _quantized;

        public Set(TensorArena memory, IOperations operations, Transformer model, IReadOnlyList<Parameter> experts, int slots)
        {
            _quantized = experts[0].IsQuantized;
            foreach ((int part, Parameter parameter) in experts.Index())
            {
                Values[part] = memory.Allocate(parameter.Value.DType, slots, parameter.Shape[1], parameter.Shape[2]);
                var groups = new Tensor[slots];
                for (int slot = 0; slot < slots; slot++) groups[slot] = Values[part].Select(slot);
                Prepared[part] = _quantized
                    ? operations.Quantization.Prepare(groups, ProductUses.Forward, model.Recipe.Forward.Right, parameter.MatrixRows)
                    : operations.Matrix.Prepare(groups, ProductUses.Forward);
            }
        }

        public Tensor[] Values { get; } = new Tensor[2];

        public PreparedWeight[] Prepared { get; } = new PreparedWeight[2];

        public void Refresh(IOperations operations)
        {
            foreach (PreparedWeight prepared in Prepared)
            {
                if (_quantized) operations.Quantization.Refresh(prepared);
                else operations.Matrix.Refresh(prepared);
            }
        }

        public void Dispose()
        {
            foreach (PreparedWeight prepared in Prepared) prepared.Dispose();
        }
    }
}
