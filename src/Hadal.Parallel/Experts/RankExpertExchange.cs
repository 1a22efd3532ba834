using Hadal.Model;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;
using Hadal.Tensors.Operations;

namespace Hadal.Parallel.Experts;

/// <summary>
/// Dispatch and combine across ranks [V3 §3.2.2]. A token goes once to each node that has one of its experts, to the rank with the sender's place in that
/// node, which hands it on inside the node. Results come back the same way and are added on it: on the expert's rank, on the rank that handed on, at the
/// sender, along the fixed tree over expert index, so the bits are those of one rank with all experts. Tokens travel as <see cref="Recipe.ExpertInput"/>
/// (FP8 with scales under <c>fp8</c>), gradients as <see cref="Recipe.ExpertGradient"/>; results that were added to nothing in the element type that the
/// recipe rounds them to (BF16), sums in float32. A dispatch leaves a handle in the movement; the other three movements follow it.
/// </summary>
/// <remarks>All ranks of the group call the same movements in the same order. Memory of the host is read and written; after the first use of each kind nothing is allocated.</remarks>
public sealed unsafe partial class RankExpertExchange : IExpertExchange, IDisposable
{
    readonly ExpertLayout _layout;
    readonly ProcessGroup _plane, _node;
    readonly bool _ownsParts;
    readonly int _rank, _ownNode, _place;
    readonly MessageBuffer[] _planeOut, _planeIn, _nodeOut, _nodeIn;
    readonly Transfer[] _batch;
    readonly int[] _counts;
    RowSums? _sums;

    /// <summary>An exchange over a group; all of its ranks make one at the same time.</summary>
    /// <param name="group">Its ranks, node by node.</param>
    /// <param name="layout">Which rank has which experts.</param>
    /// <exception cref="ArgumentException">The layout has another number of ranks, or does not divide.</exception>
    public RankExpertExchange(ProcessGroup group, ExpertLayout layout)
    {
        layout.Validate();
        if (group.Size != layout.Ranks) throw new ArgumentException($"The layout has {layout.Ranks} ranks and the group {group.Size}; expected the same.", nameof(group));
        _layout = layout;
        _rank = group.Rank;
        _ownNode = layout.Node(_rank);
        _place = _rank % layout.RanksPerNode;
        _ownsParts = layout.Nodes > 1 && layout.RanksPerNode > 1;
        _plane = layout.RanksPerNode == 1 ? group : layout.Nodes == 1 ? new SingleRank() : group.Split(_place, _ownNode)!;
        _node = layout.Nodes == 1 ? group : layout.RanksPerNode == 1 ? new SingleRank() : group.Split(_ownNode, _place)!;
        (_planeOut, _planeIn) = (MessageBuffer.Several(layout.Nodes), MessageBuffer.Several(layout.Nodes));
        (_nodeOut, _nodeIn) = (MessageBuffer.Several(layout.RanksPerNode), MessageBuffer.Several(layout.RanksPerNode));
        _batch = new Transfer[2 * Math.Max(layout.Nodes, layout.RanksPerNode)];
        _counts = GC.AllocateArray<int>(layout.RanksPerNode * layout.Nodes, pinned: true);
    }

    /// <summary>Where experts lie.</summary>
    public ExpertLayout Layout => _layout;

    /// <summary>What this rank has sent so far.</summary>
    public ExchangeTraffic Traffic { get; } = new();

    int FirstExpert => _rank * _layout.ExpertsPerRank;

    int ExpertsPerNode => _layout.ExpertsPerRank * _layout.RanksPerNode;

    /// <inheritdoc/>
    public ExpertPlacement PlacementOf(int experts) => experts == _layout.Experts
        ? new(_layout.Ranks, FirstExpert, _layout.ExpertsPerRank)
        : throw new ArgumentException($"A layer with {experts} experts was given; the exchange was made for {_layout.Experts}.", nameof(experts));

    /// <inheritdoc/>
    public void Dispatch(ChunkContext chunk, ExpertRows movement, Tensor tokens, Tensor weights, Tensor rows, Tensor rowWeights)
    {
        ArenaMark mark = chunk.Scratch.Mark();
        var payload = new RowPayload(chunk, chunk.Recipe.ExpertInput, tokens.Columns);
        ExchangeRoute route = Route(movement);
        int topK = route.TopK, head = sizeof(int) + (topK * (sizeof(int) + sizeof(float))), record = head + payload.Bytes;
        Reserve(route.Tokens, record);
        payload.Encode(tokens);

        // 1. To the rank of this place on each node that has experts of the token.
        ReadOnlySpan<int> chosen = movement.Experts.AsSpan<int>();
        ReadOnlySpan<float> gate = weights.AsSpan<float>();
        Count(movement, chosen);
        Array.Clear(route.SendCount);
        for (int t = 0; t < movement.Experts[0]; t++)
        {
            ReadOnlySpan<int> all = chosen.Slice(t * topK, topK);
            for (int node = 0; node < _layout.Nodes; node++)
            {
                (int start, int count) = ExchangeRoute.Within(all, node * ExpertsPerNode, (node + 1) * ExpertsPerNode);
                if (count == 0) continue;
                int i = route.SendCount[node]++;
                route.SendToken[(node * route.Tokens) + i] = t;
                Span<int> sent = route.Sent(node, i);
                sent.Fill(-1);
                all.Slice(start, count).CopyTo(sent);
                byte* to = _planeOut[node].Address + ((long)i * record);
                WriteHead(to, t, sent, gate.Slice((t * topK) + start, count), topK);
                payload.Write(t, to + head);
                if (node != _ownNode) Traffic.RowsBetweenNodes++;
            }
        }

        CountNaive(chosen, topK);
        _plane.ExchangeCounts(route.SendCount, route.RelayCount);
        Traffic.BytesBetweenNodes += (_layout.Nodes - 1) * sizeof(int);
        Move(_plane, _ownNode, _planeOut, _planeIn, route.SendCount, route.RelayCount, record, between: true);

        // 2. Inside the node, to the owners.
        Array.Clear(route.ForwardCount);
        for (int node = 0; node < _layout.Nodes; node++)
        {
            for (int i = 0; i < route.RelayCount[node]; i++)
            {
                byte* from = _planeIn[node].Address + ((long)i * record);
                Span<int> relayed = route.Relayed(node, i);
                new ReadOnlySpan<int>(from + sizeof(int), topK).CopyTo(relayed);
                CheckExperts(relayed, _ownNode * ExpertsPerNode, ExpertsPerNode, node);
            }
        }

        for (int owner = 0; owner < _layout.RanksPerNode; owner++)
        {
            int low = ((_ownNode * _layout.RanksPerNode) + owner) * _layout.ExpertsPerRank;
            long at = 0;
            for (int node = 0; node < _layout.Nodes; node++)
            {
                ref int count = ref route.ForwardCount[(owner * _layout.Nodes) + node];
                for (int i = 0; i < route.RelayCount[node]; i++)
                {
                    Span<int> relayed = route.Relayed(node, i);
                    (int start, int some) = ExchangeRoute.Within(relayed, low, low + _layout.ExpertsPerRank);
                    if (some == 0) continue;
                    route.ForwardToken[(((owner * _layout.Nodes) + node) * route.Tokens) + count++] = i;
                    byte* from = _planeIn[node].Address + ((long)i * record), to = _nodeOut[owner].Address + (at++ * record);
                    var gates = new ReadOnlySpan<float>(from + sizeof(int) + (topK * sizeof(int)), topK);
                    WriteHead(to, *(int*)from, relayed.Slice(start, some), gates.Slice(start, some), topK);
                    Buffer.MemoryCopy(from + head, to + head, payload.Bytes, payload.Bytes);
                    if (owner != _place) Traffic.RowsInsideNodes++;
                }
            }
        }

        TellCounts(route);
        MoveInside(route, record);

        // 3. Into rows, by expert and in the order of the tokens, those of each sender apart.
        for (int source = 0; source < _layout.Ranks; source++)
        {
            byte* records = Records(route, source, record);
            Plan(route, movement, source, records, record, movement.Part(rowWeights, source));
            payload.Begin(movement.SourceCapacity);
            for (int i = 0; i < route.OwnCount[source]; i++)
            {
                Span<int> places = route.OwnRow.AsSpan(((source * route.Tokens) + i) * topK, topK);
                for (int k = 0; k < ExchangeRoute.Used(route.Owned(source, i)).Length; k++) payload.Read(records + ((long)i * record) + head, places[k], movement.Part(rows, source));
            }

            payload.Decode(movement.Part(rows, source), movement.RowCountOf(source));
        }

        chunk.Scratch.Release(mark);
    }

    /// <inheritdoc/>
    public void Combine(ChunkContext chunk, ExpertRows movement, Tensor rows, Tensor y) =>
        Return(movement, rows, default, y, default, narrow: chunk.Recipe.Forward.Output == NumberFormat.BF16);

    /// <inheritdoc/>
    public void CombineBackward(ChunkContext chunk, ExpertRows movement, Tensor dy, Tensor dRows)
    {
        ArenaMark mark = chunk.Scratch.Mark();
        var payload = new RowPayload(chunk, chunk.Recipe.ExpertGradient, dy.Columns);
        ExchangeRoute route = Handle(movement);
        int record = payload.Bytes;
        Reserve(route.Tokens, record);
        payload.Encode(dy);
        for (int node = 0; node < _layout.Nodes; node++)
            for (int i = 0; i < route.SendCount[node]; i++) payload.Write(route.SendToken[(node * route.Tokens) + i], _planeOut[node].Address + ((long)i * record));
        Move(_plane, _ownNode, _planeOut, _planeIn, route.SendCount, route.RelayCount, record, between: true);
        for (int owner = 0; owner < _layout.RanksPerNode; owner++)
        {
            long at = 0;
            for (int node = 0; node < _layout.Nodes; node++)
                for (int i = 0; i < route.ForwardCount[(owner * _layout.Nodes) + node]; i++)
                {
                    int token = route.ForwardToken[(((owner * _layout.Nodes) + node) * route.Tokens) + i];
                    Buffer.MemoryCopy(_planeIn[node].Address + ((long)token * record), _nodeOut[owner].Address + (at++ * record), record, record);
                }
        }

        MoveInside(route, record);
        for (int source = 0; source < _layout.Ranks; source++)
        {
            byte* records = Records(route, source, record);
            payload.Begin(movement.SourceCapacity);
            for (int i = 0; i < route.OwnCount[source]; i++)
            {
                Span<int> places = route.OwnRow.AsSpan(((source * route.Tokens) + i) * route.TopK, route.TopK);
                for (int k = 0; k < ExchangeRoute.Used(route.Owned(source, i)).Length; k++) payload.Read(records + ((long)i * record), places[k], movement.Part(dRows, source));
            }

            payload.Decode(movement.Part(dRows, source), movement.RowCountOf(source));
        }

        chunk.Scratch.Release(mark);
    }

    /// <inheritdoc/>
    public void DispatchBackward(ChunkContext chunk, ExpertRows movement, Tensor dRows, Tensor dRowWeights, Tensor dTokens, Tensor dWeights) =>
        Return(movement, dRows, dRowWeights, dTokens, dWeights, narrow: chunk.Recipe.InputGradient.Output == NumberFormat.BF16);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (MessageBuffer buffer in (MessageBuffer[])[.. _planeOut, .. _planeIn, .. _nodeOut, .. _nodeIn]) buffer.Dispose();
        if (!_ownsParts) return;
        _plane.Dispose();
        _node.Dispose();
    }

    ExchangeRoute Handle(ExpertRows movement) => movement.Handle as ExchangeRoute
        ?? throw new InvalidOperationException("The movement was not dispatched by an exchange across ranks: Dispatch comes first.");

    ExchangeRoute Route(ExpertRows movement)
    {
        int tokens = movement.Experts[0], topK = movement.Experts[1];
        if (movement.Handle is ExchangeRoute there && there.Tokens == tokens && there.TopK == topK) return there;
        var made = new ExchangeRoute(_layout, tokens, topK);
        movement.Handle = made;
        return made;
    }

    static void Count(ExpertRows movement, ReadOnlySpan<int> chosen)
    {
        Span<int> counts = movement.Counts.AsSpan<int>();
        counts.Clear();
        foreach (int expert in chosen)
        {
            if (expert < 0) continue;
            if (expert >= counts.Length) throw new ArgumentException($"Expert {expert} was chosen; there are {counts.Length}.", nameof(movement));
            counts[expert]++;
        }
    }

    void CountNaive(ReadOnlySpan<int> chosen, int topK)
    {
        Traffic.Tokens += chosen.Length / topK;
        foreach (int expert in chosen)
        {
            if (expert < 0) continue;
            Traffic.Pairs++;
            if (expert / ExpertsPerNode != _ownNode) Traffic.NaiveRowsBetweenNodes++;
        }
    }

    static void WriteHead(byte* to, int token, ReadOnlySpan<int> experts, ReadOnlySpan<float> gates, int topK)
    {
        *(int*)to = token;
        var chosen = new Span<int>(to + sizeof(int), topK);
        var weights = new Span<float>(to + sizeof(int) + (topK * sizeof(int)), topK);
        chosen.Fill(-1);
        weights.Clear();
        experts.CopyTo(chosen);
        gates.CopyTo(weights);
    }

    void CheckExperts(ReadOnlySpan<int> experts, int low, int count, int node)
    {
        int before = low - 1;
        foreach (int expert in ExchangeRoute.Used(experts))
        {
            if (expert <= before || expert >= low + count)
                throw new InvalidOperationException($"A message from node {node} names expert {expert} among [{string.Join(", ", experts.ToArray())}]; rank {_rank} has experts {low} to {low + count - 1} in ascending order: the ranks do not run the same layout.");
            before = expert;
        }
    }

    // Offsets and places of one sender's tokens, ascending inside each expert.
    void Plan(ExchangeRoute route, ExpertRows movement, int source, byte* records, int record, Tensor rowWeights)
    {
        int topK = route.TopK;
        Span<int> offsets = movement.OffsetsOf(source).AsSpan<int>();
        offsets.Clear();
        for (int i = 0; i < route.OwnCount[source]; i++)
        {
            Span<int> own = route.Owned(source, i);
            new ReadOnlySpan<int>(records + ((long)i * record) + sizeof(int), topK).CopyTo(own);
            CheckExperts(own, FirstExpert, _layout.ExpertsPerRank, source / _layout.RanksPerNode);
            foreach (int expert in ExchangeRoute.Used(own)) offsets[expert + 1]++;
        }

        for (int e = 1; e < offsets.Length; e++) offsets[e] += offsets[e - 1];
        Span<int> next = stackalloc int[_layout.ExpertsPerRank];
        offsets.Slice(FirstExpert, next.Length).CopyTo(next);
        Span<int> tokens = movement.Part(movement.RowToken, source).AsSpan<int>();
        Span<float> weights = rowWeights.AsSpan<float>();
        for (int i = 0; i < route.OwnCount[source]; i++)
        {
            byte* from = records + ((long)i * record);
            var gates = new ReadOnlySpan<float>(from + sizeof(int) + (topK * sizeof(int)), topK);
            Span<int> own = route.Owned(source, i), places = route.OwnRow.AsSpan(((source * route.Tokens) + i) * topK, topK);
            for (int k = 0; k < topK && own[k] >= 0; k++)
            {
                int row = next[own[k] - FirstExpert]++;
                places[k] = row;
                tokens[row] = *(int*)from;
                weights[row] = gates[k];
            }
        }
    }

    void Reserve(int tokens, int record)
    {
        for (int node = 0; node < _layout.Nodes; node++)
        {
            _planeOut[node].Reserve((long)tokens * record);
            _planeIn[node].Reserve((long)tokens * record);
        }

        for (int owner = 0; owner < _layout.RanksPerNode; owner++)
        {
            _nodeOut[owner].Reserve((long)_layout.Nodes * tokens * record);
            _nodeIn[owner].Reserve((long)_layout.Nodes * tokens * record);
        }
    }

    // Where the records of a sender begin among those that its hander-on sent here.
    byte* Records(ExchangeRoute route, int source, int record)
    {
        int relay = source % _layout.RanksPerNode;
        long before = 0;
        for (int node = 0; node < source / _layout.RanksPerNode; node++) before += route.OwnCount[(node * _layout.RanksPerNode) + relay];
        return _nodeIn[relay].Address + (before * record);
    }

    // Every rank of the node learns how many tokens of each node come from here.
    void TellCounts(ExchangeRoute route)
    {
        int nodes = _layout.Nodes, batch = 0;
        fixed (int* send = route.ForwardCount, receive = _counts)
        {
            for (int peer = 0; peer < _layout.RanksPerNode; peer++)
            {
                if (peer == _place) continue;
                _batch[batch++] = new(IsSend: true, peer, (nint)(send + (peer * nodes)), nodes * sizeof(int));
                _batch[batch++] = new(IsSend: false, peer, (nint)(receive + (peer * nodes)), nodes * sizeof(int));
            }

            _node.Exchange(_batch.AsSpan(0, batch));
            Traffic.BytesInsideNodes += (_layout.RanksPerNode - 1) * (long)nodes * sizeof(int);
        }

        route.ForwardCount.AsSpan(_place * nodes, nodes).CopyTo(_counts.AsSpan(_place * nodes, nodes));
        for (int relay = 0; relay < _layout.RanksPerNode; relay++)
            for (int node = 0; node < nodes; node++)
            {
                int count = _counts[(relay * nodes) + node];
                if ((uint)count > (uint)route.Tokens) throw new InvalidOperationException($"Rank {relay} of the node announces {count} tokens of node {node}; expected 0 to {route.Tokens}: the ranks do not run the same layout.");
                route.OwnCount[(node * _layout.RanksPerNode) + relay] = count;
            }
    }

    void MoveInside(ExchangeRoute route, int record)
    {
        Span<int> send = stackalloc int[_layout.RanksPerNode], receive = stackalloc int[_layout.RanksPerNode];
        send.Clear();
        receive.Clear();
        for (int peer = 0; peer < _layout.RanksPerNode; peer++)
            for (int node = 0; node < _layout.Nodes; node++)
            {
                send[peer] += route.ForwardCount[(peer * _layout.Nodes) + node];
                receive[peer] += route.OwnCount[(node * _layout.RanksPerNode) + peer];
            }

        Move(_node, _place, _nodeOut, _nodeIn, send, receive, record, between: false);
    }

    void Move(ProcessGroup group, int self, MessageBuffer[] send, MessageBuffer[] receive, ReadOnlySpan<int> sendCounts, ReadOnlySpan<int> receiveCounts, int record, bool between)
    {
        for (int peer = 0; peer < group.Size; peer++)
        {
            if ((uint)receiveCounts[peer] > (uint)(receive[peer].Capacity / Math.Max(record, 1)))
                throw new InvalidOperationException($"Rank {peer} of {group.Size} announces {receiveCounts[peer]} tokens; expected at most {receive[peer].Capacity / Math.Max(record, 1)}: the ranks do not run the same layout.");
            send[peer].Length = (long)sendCounts[peer] * record;
            receive[peer].Length = (long)receiveCounts[peer] * record;
        }

        MoveMeasured(group, self, send, receive, between);
    }

    // Everything to its peer; what stays here is copied.
    void MoveMeasured(ProcessGroup group, int self, MessageBuffer[] send, MessageBuffer[] receive, bool between)
    {
        int batch = 0;
        for (int peer = 0; peer < group.Size; peer++)
        {
            if (peer == self)
            {
                Buffer.MemoryCopy(send[peer].Address, receive[peer].Address, receive[peer].Length, send[peer].Length);
                continue;
            }

            if (send[peer].Length > 0) _batch[batch++] = new(IsSend: true, peer, (nint)send[peer].Address, send[peer].Length);
            if (receive[peer].Length > 0) _batch[batch++] = new(IsSend: false, peer, (nint)receive[peer].Address, receive[peer].Length);
            if (between) Traffic.BytesBetweenNodes += send[peer].Length;
            else Traffic.BytesInsideNodes += send[peer].Length;
        }

        group.Exchange(_batch.AsSpan(0, batch));
    }
}
