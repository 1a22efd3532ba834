using Hadal.Model;
using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Serving;

/// <summary>
/// Dispatch and combine of a server with redundant experts [V3 §3.4]: a token goes to the ranks that hold the chosen replicas of its experts, once to each, straight (decoding) or through the
/// rank of the sender's place on each of their nodes, to which it crosses once (prefilling). Every expert's row comes back the same way by itself and the sender adds them along the fixed tree
/// over expert index. So a text has the same bits wherever experts lie, whichever replica answers and whichever way rows take. Tokens travel as <see cref="Recipe.ExpertInput"/>, rows in the
/// element type that the recipe rounds them to.
/// </summary>
/// <remarks>
/// All ranks run the same steps together, each with any number of tokens up to the most. Placements are changed between two steps, on all ranks before the same step: each message carries
/// the epoch of its layer, and one of another epoch is refused. For serving alone: there is no backward. After the first steps nothing is allocated.
/// </remarks>
public sealed unsafe partial class ReplicaExchange : IExpertExchange, IDisposable
{
    readonly ProcessGroup _group, _far;
    readonly ExpertUnit _unit;
    readonly UnitPath _path;
    readonly int _tokens, _goalSlots, _ownGoal;
    readonly ReplicaPlan?[] _plans;
    readonly int[] _epochs;
    readonly int[][] _counts;
    readonly MessageBuffer[] _out, _in;
    readonly Transfer[] _batch;
    readonly int[] _places, _next;
    RowSums? _sums;

    /// <summary>An exchange over a group; all of its ranks make one at the same time.</summary>
    /// <param name="group">One rank for each GPU, node by node.</param>
    /// <param name="unit">Nodes, GPUs, slots.</param>
    /// <param name="plans">[layer in the checkpoint]: where its experts lie; null for dense layers.</param>
    /// <param name="tokens">Most tokens of a rank in a step.</param>
    /// <param name="path">How rows reach the GPUs of other nodes; the same on all ranks.</param>
    /// <exception cref="ArgumentException">The unit has another number of GPUs than the group has ranks, or a plan is not one of it.</exception>
    public ReplicaExchange(ProcessGroup group, ExpertUnit unit, IReadOnlyList<ReplicaPlan?> plans, int tokens, UnitPath path = UnitPath.Straight)
    {
        unit.Validate();
        ArgumentOutOfRangeException.ThrowIfLessThan(tokens, 1);
        if (group.Size != unit.Gpus) throw new ArgumentException($"The unit has {unit.Gpus} GPUs and the group {group.Size} ranks; expected the same.", nameof(group));
        if (unit.GpusPerNode > 256) throw new ArgumentException($"A node of {unit.GpusPerNode} GPUs was given; expected at most 256.", nameof(unit));
        (_group, _unit, _tokens, _path) = (group, unit, tokens, path);
        (_far, _node) = Groups(group, unit, path);
        bool through = path == UnitPath.ThroughNodes;
        (_goalSlots, _ownGoal) = through ? (unit.SlotsPerGpu * unit.GpusPerNode, unit.NodeOf(group.Rank * unit.SlotsPerGpu)) : (unit.SlotsPerGpu, group.Rank);
        _plans = new ReplicaPlan?[plans.Count];
        _epochs = new int[plans.Count];
        _counts = [.. plans.Select(p => p is null ? [] : new int[unit.Experts])];
        for (int layer = 0; layer < _plans.Length; layer++)
            if (plans[layer] is { } plan) _plans[layer] = Checked(plan);
        int goals = ReplicaRoute.Goals(unit, path), places = through ? unit.GpusPerNode : 0;
        (_out, _in, _nodeOut, _nodeIn) = (MessageBuffer.Several(goals), MessageBuffer.Several(goals), MessageBuffer.Several(places), MessageBuffer.Several(places));
        _told = GC.AllocateArray<int>(places * unit.Nodes, pinned: true);
        _batch = new Transfer[2 * group.Size];
        _places = new int[unit.SlotsPerGpu];
        _next = new int[unit.SlotsPerGpu];
    }

    /// <summary>Nodes, GPUs, slots.</summary>
    public ExpertUnit Unit => _unit;

    /// <summary>How rows reach the GPUs of other nodes.</summary>
    public UnitPath Path => _path;

    /// <summary>Bytes of a token's row on its way out, in the last dispatch: its number, the layer's epoch, slots, gate weights, codes and scales.</summary>
    public int RowBytes { get; private set; }

    /// <summary>Bytes of a result on its way back, in the last combine.</summary>
    public int ResultBytes { get; private set; }

    /// <summary>Pairs of token and expert that this rank computed.</summary>
    public long ComputedPairs { get; private set; }

    /// <summary>Token rows that this rank sent to others, those that it handed on included.</summary>
    public long SentRows { get; private set; }

    /// <summary>Bytes that this rank sent to others, results included.</summary>
    public long SentBytes { get; private set; }

    /// <summary>The present placement of a layer.</summary>
    public ReplicaPlan Plan(int layer) => _plans[layer] ?? throw new ArgumentException($"Layer {layer} has no routed experts.", nameof(layer));

    /// <summary>Choices of this rank's tokens since <see cref="ClearCounts"/>. [experts] of a layer in the checkpoint.</summary>
    public ReadOnlySpan<int> Counts(int layer) => _counts[layer];

    /// <summary>Begins counting choices anew.</summary>
    public void ClearCounts()
    {
        foreach (int[] counts in _counts) Array.Clear(counts);
    }

    /// <summary>Puts a layer's new placement in force. All ranks call it between the same two steps, after the weights are in their slots.</summary>
    public void Switch(int layer, ReplicaPlan plan)
    {
        _ = Plan(layer);
        _plans[layer] = Checked(plan);
        _epochs[layer]++;
    }

    /// <inheritdoc/>
    public ExpertPlacement PlacementOf(int experts) => experts == _unit.Experts
        ? new(_unit.Gpus, 0, _unit.SlotsPerGpu, _tokens)
        : throw new ArgumentException($"A layer with {experts} experts was given; the exchange was made for {_unit.Experts}.", nameof(experts));

    /// <inheritdoc/>
    public void Dispatch(ChunkContext chunk, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights)
    {
        ReplicaPlan plan = Plan(chunk.Layer);
        int count = movement.Experts[0], topK = movement.Experts[1];
        if (count > _tokens) throw new ArgumentException($"A step of {count} tokens was given; the exchange was made for at most {_tokens}.", nameof(tokens));
        ArenaMark mark = chunk.Scratch.Mark();
        var payload = new RowPayload(chunk, chunk.Recipe.ExpertInput, tokens.Columns);
        ReplicaRoute route = movement.Handle is ReplicaRoute there && there.Tokens == _tokens && there.TopK == topK ? there : new ReplicaRoute(_unit, _path, _tokens, topK);
        movement.Handle = route;
        int head = (2 * sizeof(int)) + (topK * (sizeof(int) + sizeof(float))), record = head + payload.Bytes;
        RowBytes = record;
        Reserve(record, topK: 1);
        payload.Encode(tokens);
        Send(route, plan, movement, weights, payload, count, head, record, _epochs[chunk.Layer]);
        CountChoices(movement, _counts[chunk.Layer]);
        _far.ExchangeCounts(route.SendTokens, route.CameTokens);
        for (int goal = 0; goal < _out.Length; goal++)
        {
            if ((uint)route.CameTokens[goal] > (uint)_tokens) throw new InvalidOperationException($"Rank {_far.WorldRank(goal)} announces {route.CameTokens[goal]} tokens; expected 0 to {_tokens}: the ranks do not run the same unit.");
            _out[goal].Length = (long)route.SendTokens[goal] * record;
            _in[goal].Length = (long)route.CameTokens[goal] * record;
            if (goal != _ownGoal) SentRows += route.SendTokens[goal];
        }

        Move(_far, _ownGoal, _out, _in);
        if (_path == UnitPath.ThroughNodes) HandOn(route, topK, record);
        else route.CameTokens.CopyTo(route.OwnTokens, 0);
        for (int source = 0; source < _unit.Gpus; source++)
        {
            byte* records = Records(route, source, record);
            Place(route, movement, source, records, record, _epochs[chunk.Layer], movement.Part(rowWeights, source));
            payload.Begin(movement.SourceCapacity);
            ReadOnlySpan<int> places = route.Rows(source);
            int pair = 0;
            for (int i = 0; i < route.OwnTokens[source]; i++)
            {
                byte* from = records + ((long)i * record);
                for (int k = 0; k < topK && Slots(from, topK)[k] >= 0; k++) payload.Read(from + head, places[pair++], movement.Part(rows, source));
            }

            payload.Decode(movement.Part(rows, source), movement.RowCountOf(source));
        }

        chunk.Scratch.Release(mark);
    }

    /// <inheritdoc/>
    public void Combine(ChunkContext chunk, ExpertRows movement, Tensor rows, Tensor y)
    {
        ReplicaRoute route = movement.Handle as ReplicaRoute ?? throw new InvalidOperationException("The movement was not dispatched by an exchange of replicas: Dispatch comes first.");
        int topK = route.TopK, columns = rows.Columns;
        bool narrow = chunk.Recipe.Forward.Output == Hadal.Tensors.Operations.NumberFormat.BF16;
        RowSums sums = _sums is { } there && there.Columns == columns && there.Most >= topK ? there : _sums = new RowSums(columns, topK);
        int bytes = ResultBytes = (int)RowSums.BytesOf(1, columns, narrow);
        Reserve(bytes, topK);
        Span<nint> addresses = stackalloc nint[topK];
        bool through = _path == UnitPath.ThroughNodes;
        MessageBuffer[] back = through ? _nodeOut : _out;
        foreach (MessageBuffer message in back) message.Length = 0;
        for (int source = 0; source < _unit.Gpus; source++)
        {
            Tensor part = movement.Part(rows, source);
            MessageBuffer message = back[through ? source % _unit.GpusPerNode : source];
            foreach (int place in route.Rows(source)[..route.OwnPairs[source]])
            {
                addresses[0] = (nint)(part.Pointer<float>() + (place * part.RowStride));
                sums.Clear();
                sums.Announce(0, 0, 1);
                sums.Plan(0, long.MaxValue);
                sums.Add(addresses, narrow: false);
                sums.Write(0, narrow, message.Take(bytes));
            }
        }

        if (through) HandBack(route, bytes);
        for (int goal = 0; goal < _in.Length; goal++) _in[goal].Length = (long)route.SendPairs[goal] * bytes;
        Move(_far, _ownGoal, _out, _in);
        foreach (MessageBuffer message in _in) message.Length = 0;
        ReadOnlySpan<int> chosen = movement.Experts.AsSpan<int>();
        for (int t = 0; t < movement.Experts[0]; t++)
        {
            ReadOnlySpan<int> experts = ExchangeRoute.Used(chosen.Slice(t * topK, topK));
            sums.Clear();
            for (int k = 0; k < experts.Length; k++)
            {
                sums.Announce(experts[k], experts[k], 1);
                addresses[k] = (nint)_in[route.Goal[(t * topK) + k]].Take(bytes);
            }

            Span<float> result = y.Row<float>(t);
            if (experts.IsEmpty)
            {
                result.Clear();
                continue;
            }

            sums.Plan(0, long.MaxValue);
            sums.Add(addresses, narrow);
            sums.Sum(0).CopyTo(result);
        }
    }

    /// <summary>There is none.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public void CombineBackward(ChunkContext chunk, ExpertRows movement, Tensor dy, Tensor dRows) => throw NoBackward();

    /// <summary>There is none.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public void DispatchBackward(ChunkContext chunk, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights) => throw NoBackward();

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (MessageBuffer buffer in (MessageBuffer[])[.. _out, .. _in, .. _nodeOut, .. _nodeIn]) buffer.Dispose();
        if (_far != _group) _far.Dispose();
        if (_node is not null && _node != _group) _node.Dispose();
    }

    // Each token once to every goal that holds one of its replicas, a rank or a node: its number, the layer's epoch, slots counted inside the goal, gate weights, the row.
    void Send(ReplicaRoute route, ReplicaPlan plan, ExpertRows movement, Tensor weights, RowPayload payload, int count, int head, int record, int epoch)
    {
        int topK = route.TopK;
        ReadOnlySpan<int> chosen = movement.Experts.AsSpan<int>();
        ReadOnlySpan<float> gates = weights.AsSpan<float>();
        Array.Clear(route.SendTokens);
        Array.Clear(route.SendPairs);
        Span<int> slots = stackalloc int[topK];
        for (int t = 0; t < count; t++)
        {
            ReadOnlySpan<int> experts = ExchangeRoute.Used(chosen.Slice(t * topK, topK));
            Span<int> goals = route.Goal.AsSpan(t * topK, topK);
            goals.Fill(-1);
            for (int k = 0; k < experts.Length; k++)
            {
                if ((uint)experts[k] >= (uint)_unit.Experts) throw new ArgumentException($"Expert {experts[k]} was chosen; there are {_unit.Experts}.", nameof(movement));
                slots[k] = ReplicaChoice.Slot(plan, experts[k], _group.Rank, t);
                goals[k] = slots[k] / _goalSlots;
            }

            for (int k = 0; k < experts.Length; k++)
            {
                int goal = goals[k];
                route.SendPairs[goal]++;
                if (goals[..k].Contains(goal)) continue;
                byte* to = _out[goal].Address + ((long)route.SendTokens[goal]++ * record);
                *(int*)to = t;
                *(int*)(to + sizeof(int)) = epoch;
                Span<int> sent = Slots(to, topK);
                Span<float> sentGates = Gates(to, topK);
                sent.Fill(-1);
                sentGates.Clear();
                int at = 0;
                for (int j = k; j < experts.Length; j++)
                {
                    if (goals[j] != goal) continue;
                    sent[at] = slots[j] % _goalSlots;
                    sentGates[at++] = gates[(t * topK) + j];
                }

                payload.Write(t, to + head);
            }
        }
    }

    // Offsets by slot, and the row of each pair: ascending tokens inside each slot.
    void Place(ReplicaRoute route, ExpertRows movement, int source, byte* records, int record, int epoch, Tensor rowWeights)
    {
        int topK = route.TopK, perGpu = _unit.SlotsPerGpu, pairs = 0;
        Span<int> offsets = movement.OffsetsOf(source).AsSpan<int>(), next = _next;
        next.Clear();
        for (int i = 0; i < route.OwnTokens[source]; i++)
        {
            byte* from = records + ((long)i * record);
            int theirs = *(int*)(from + sizeof(int));
            if (theirs != epoch) throw new InvalidOperationException($"Rank {source} sends by placement {theirs} and rank {_group.Rank} computes by placement {epoch} of the layer: they did not switch before the same step.");
            foreach (int slot in Slots(from, topK))
            {
                if (slot < 0) break;
                if (slot >= perGpu) throw new InvalidOperationException($"Rank {source} names slot {slot}; rank {_group.Rank} has {perGpu}: the ranks do not run the same unit.");
                next[slot]++;
                pairs++;
            }
        }

        route.OwnPairs[source] = pairs;
        ComputedPairs += pairs;
        offsets[0] = 0;
        for (int slot = 0; slot < perGpu; slot++)
        {
            offsets[slot + 1] = offsets[slot] + next[slot];
            _places[slot] = offsets[slot];
        }

        offsets[(perGpu + 1)..].Fill(pairs);
        Span<int> rowToken = movement.Part(movement.RowToken, source).AsSpan<int>(), rows = route.Rows(source);
        Span<float> gates = rowWeights.AsSpan<float>();
        int pair = 0;
        for (int i = 0; i < route.OwnTokens[source]; i++)
        {
            byte* from = records + ((long)i * record);
            Span<int> slots = Slots(from, topK);
            for (int k = 0; k < topK && slots[k] >= 0; k++)
            {
                int row = _places[slots[k]]++;
                rows[pair++] = row;
                rowToken[row] = *(int*)from;
                gates[row] = Gates(from, topK)[k];
            }
        }
    }

    static void CountChoices(ExpertRows movement, int[] total)
    {
        Span<int> counts = movement.Counts.AsSpan<int>();
        counts.Clear();
        foreach (int expert in movement.Experts.AsSpan<int>())
        {
            if (expert < 0) continue;
            counts[expert]++;
            total[expert]++;
        }
    }

    static Span<int> Slots(byte* record, int topK) => new(record + (2 * sizeof(int)), topK);

    static Span<float> Gates(byte* record, int topK) => new(record + ((2 + topK) * sizeof(int)), topK);

    ReplicaPlan Checked(ReplicaPlan plan) => plan.SlotExpert.Length == _unit.Slots && plan.ExpertSlots.Length == _unit.Experts && plan.ExpertSlots.All(s => s.Length > 0)
        ? plan
        : throw new ArgumentException($"A placement of {plan.ExpertSlots.Length} experts in {plan.SlotExpert.Length} slots was given; the unit has {_unit.Experts} in {_unit.Slots}, and each needs one.", nameof(plan));

    static NotSupportedException NoBackward() => new("An exchange of replicas serves: it has no backward. Train with RankExpertExchange.");
}
