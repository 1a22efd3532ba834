using Hadal.Model;
using Hadal.Numerics;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Parallel.Schedules;
using Hadal.Tensors;
using Hadal.Tensors.Cpu;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Virtual;

/// <summary>
/// The gate and the exchange of one rank in a step on a virtual cluster, on random logits. A forward dispatches and combines, the backward of its micro-batch sends gradients out and back over the
/// same handle; in a pair the two take turns [V3 §3.2.1].
/// </summary>
sealed class VirtualRouter : IDisposable
{
    readonly VirtualStep _step;
    readonly CpuBackend _backend;
    readonly TensorArena _arena, _scratch;
    readonly RankExpertExchange _exchange;
    readonly ChunkContext _chunk;
    readonly Tensor _logits, _scores, _weights, _x, _rows, _rowWeights, _y, _dWeights;
    readonly CounterRandom _random;
    readonly Dictionary<(int Phase, int MicroBatch), ExpertRows> _open = [];
    readonly Stack<ExpertRows> _free = new();
    ulong _drawn;
    int _forwards;

    /// <summary>For one rank.</summary>
    /// <param name="step">What is run.</param>
    /// <param name="group">The ranks that share experts.</param>
    /// <param name="rank">Index in the cluster, for what is drawn.</param>
    public VirtualRouter(VirtualStep step, ProcessGroup group, int rank)
    {
        _step = step;
        _backend = new CpuBackend(new CpuOptions(1, InstructionSets.Best));
        (_arena, _scratch) = (new TensorArena(_backend, 1 << 12), new TensorArena(_backend, 1 << 12));
        GateParameters gate = step.Gate!.Value;
        _exchange = new RankExpertExchange(group, new ExpertLayout(gate.Experts, step.Layout.Nodes, step.Layout.Expert / step.Layout.Nodes));
        _chunk = new ChunkContext { Operations = _backend.Operations, Scratch = _scratch, DType = DType.F32, Recipe = Recipe.Fp8, Exchange = _exchange };
        ExpertRows first = Movement();
        _free.Push(first);
        _logits = _arena.Allocate(DType.F32, step.Tokens, gate.Experts);
        _scores = _arena.Allocate(DType.F32, step.Tokens, gate.Experts);
        _weights = _arena.Allocate(DType.F32, step.Tokens, gate.TopK);
        _dWeights = _arena.Allocate(DType.F32, step.Tokens, gate.TopK);
        _x = _arena.Allocate(DType.F32, step.Tokens, step.Hidden);
        _rows = _arena.Allocate(DType.F32, first.Capacity, step.Hidden);
        _rowWeights = _arena.Allocate(DType.F32, first.Capacity);
        _y = _arena.Allocate(DType.F32, step.Tokens, step.Hidden);
        _random = new CounterRandom(0, RandomPurpose.Simulation, (uint)rank);
    }

    /// <summary>Rows and bytes sent.</summary>
    public ExchangeTraffic Traffic => _exchange.Traffic;

    /// <summary>Nodes that one token went to, at most.</summary>
    public int MostNodes { get; private set; }

    /// <summary>Backwards that sent gradients.</summary>
    public int Backwards { get; private set; }

    /// <summary>What a step of the list sends.</summary>
    public void Run(in ScheduleStep step)
    {
        ExpertRows? back = null, forth = null;
        if (step.HasBackward && _open.Remove(step.BackwardPart, out back)) _exchange.CombineBackward(_chunk, back, _y, _rows);
        if (step.HasForward && _forwards++ < _step.Dispatches)
        {
            forth = _free.TryPop(out ExpertRows? there) ? there : Movement();
            Route(forth);
            _open[(step.Phase, step.MicroBatch)] = forth;
            _exchange.Dispatch(_chunk, forth, _x, _weights, _rows, _rowWeights);
        }

        if (back is not null)
        {
            _exchange.DispatchBackward(_chunk, back, _rows, _rowWeights, _x, _dWeights);
            _free.Push(back);
            Backwards++;
        }

        if (forth is not null) _exchange.Combine(_chunk, forth, _rows, _y);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _exchange.Dispose();
        _arena.Dispose();
        _scratch.Dispose();
        _backend.Dispose();
    }

    ExpertRows Movement()
    {
        var movement = new ExpertRows();
        GateParameters gate = _step.Gate!.Value;
        movement.Allocate(_arena, gate, _step.Tokens, _exchange.PlacementOf(gate.Experts));
        return movement;
    }

    void Route(ExpertRows movement)
    {
        _random.FillUniform(_logits.AsSpan<float>(), -4, 4, _drawn);
        _drawn += (ulong)_logits.Length;
        _backend.Operations.Routing.Gate(_logits, default, _step.Gate!.Value, _scores, movement.Experts, _weights);
        int perNode = _step.Gate.Value.Experts / _step.Layout.Nodes;
        for (int t = 0; t < _step.Tokens; t++)
        {
            int nodes = 0, before = -1;
            foreach (int expert in movement.Experts.Row<int>(t))
            {
                if (expert / perNode != before) nodes++;
                before = expert / perNode;
            }

            MostNodes = Math.Max(MostNodes, nodes);
        }
    }
}
