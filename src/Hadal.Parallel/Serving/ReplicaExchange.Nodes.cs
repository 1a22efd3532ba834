using Hadal.Parallel.Experts;
using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Serving;

/// <content>The way through nodes: one hop to the rank of the sender's place on the other node, one inside it.</content>
public sealed unsafe partial class ReplicaExchange
{
    readonly ProcessGroup? _node;
    readonly MessageBuffer[] _nodeOut, _nodeIn;
    readonly int[] _told;

    // Ranks of one place on all nodes, and ranks of one node. Straight: all ranks, and none.
    static (ProcessGroup Far, ProcessGroup? Node) Groups(ProcessGroup group, ExpertUnit unit, UnitPath path)
    {
        if (path == UnitPath.Straight) return (group, null);
        int place = group.Rank % unit.GpusPerNode, node = group.Rank / unit.GpusPerNode;
        ProcessGroup far = unit.GpusPerNode == 1 ? group : unit.Nodes == 1 ? new SingleRank() : group.Split(place, node)!;
        return (far, unit.Nodes == 1 ? group : unit.GpusPerNode == 1 ? new SingleRank() : group.Split(node, place)!);
    }

    // What came from each node goes to the places of this node that hold the replicas, once to each.
    void HandOn(ReplicaRoute route, int topK, int record)
    {
        int perGpu = _unit.SlotsPerGpu, nodes = _unit.Nodes, own = _node!.Rank;
        Array.Clear(route.HandedTokens);
        Array.Clear(route.HandedPairs);
        foreach (MessageBuffer message in _nodeOut) message.Length = 0;
        for (int node = 0; node < nodes; node++)
        {
            Span<byte> places = route.Places(node);
            int pairs = 0;
            for (int i = 0; i < route.CameTokens[node]; i++)
            {
                byte* from = _in[node].Address + ((long)i * record);
                Span<int> slots = Slots(from, topK);
                int count = 0;
                for (; count < topK && slots[count] >= 0; count++)
                {
                    if (slots[count] >= _goalSlots) throw new InvalidOperationException($"Node {node} names slot {slots[count]}; this node has {_goalSlots}: the ranks do not run the same unit.");
                    places[pairs + count] = (byte)(slots[count] / perGpu);
                }

                Span<byte> mine = places.Slice(pairs, count);
                for (int k = 0; k < count; k++)
                {
                    byte place = mine[k];
                    route.HandedPairs[place]++;
                    if (mine[..k].Contains(place)) continue;
                    route.HandedTokens[(place * nodes) + node]++;
                    byte* to = _nodeOut[place].Take(record);
                    Buffer.MemoryCopy(from, to, record, record);
                    Span<int> sent = Slots(to, topK);
                    Span<float> gates = Gates(from, topK), sentGates = Gates(to, topK);
                    sent.Fill(-1);
                    sentGates.Clear();
                    int at = 0;
                    for (int j = k; j < count; j++)
                    {
                        if (mine[j] != place) continue;
                        sent[at] = slots[j] % perGpu;
                        sentGates[at++] = gates[j];
                    }
                }

                pairs += count;
            }

            route.CamePairs[node] = pairs;
        }

        TellNode(route);
        for (int place = 0; place < _nodeIn.Length; place++)
        {
            long tokens = 0;
            for (int node = 0; node < nodes; node++) tokens += route.OwnTokens[(node * _unit.GpusPerNode) + place];
            _nodeIn[place].Length = tokens * record;
            if (place != own) SentRows += _nodeOut[place].Length / record;
        }

        Move(_node, own, _nodeOut, _nodeIn);
    }

    // How many tokens of each node every place of this node hands on here.
    void TellNode(ReplicaRoute route)
    {
        int nodes = _unit.Nodes, own = _node!.Rank, batch = 0;
        fixed (int* send = route.HandedTokens, receive = _told)
        {
            for (int place = 0; place < _nodeIn.Length; place++)
            {
                if (place == own) continue;
                _batch[batch++] = new(IsSend: true, place, (nint)(send + (place * nodes)), nodes * sizeof(int));
                _batch[batch++] = new(IsSend: false, place, (nint)(receive + (place * nodes)), nodes * sizeof(int));
            }

            _node.Exchange(_batch.AsSpan(0, batch));
        }

        route.HandedTokens.AsSpan(own * nodes, nodes).CopyTo(_told.AsSpan(own * nodes, nodes));
        for (int place = 0; place < _nodeIn.Length; place++)
            for (int node = 0; node < nodes; node++)
            {
                int count = _told[(place * nodes) + node];
                if ((uint)count > (uint)_tokens) throw new InvalidOperationException($"Rank {_node.WorldRank(place)} announces {count} tokens of node {node}; expected 0 to {_tokens}: the ranks do not run the same unit.");
                route.OwnTokens[(node * _unit.GpusPerNode) + place] = count;
            }
    }

    // Results of this node's places go on to the nodes that asked, in the order of their pairs.
    void HandBack(ReplicaRoute route, int bytes)
    {
        for (int place = 0; place < _nodeIn.Length; place++) _nodeIn[place].Length = (long)route.HandedPairs[place] * bytes;
        Move(_node!, _node!.Rank, _nodeOut, _nodeIn);
        foreach (MessageBuffer message in _nodeIn) message.Length = 0;
        for (int node = 0; node < _out.Length; node++)
        {
            _out[node].Length = 0;
            foreach (byte place in route.Places(node)[..route.CamePairs[node]]) Buffer.MemoryCopy(_nodeIn[place].Take(bytes), _out[node].Take(bytes), bytes, bytes);
        }
    }

    // Where the records of a sender begin: those of one place lie node after node.
    byte* Records(ReplicaRoute route, int source, int record)
    {
        if (_path == UnitPath.Straight) return _in[source].Address;
        int place = source % _unit.GpusPerNode;
        long before = 0;
        for (int other = place; other < source; other += _unit.GpusPerNode) before += route.OwnTokens[other];
        return _nodeIn[place].Address + (before * record);
    }

    // At worst every token goes everywhere.
    void Reserve(long bytes, int topK)
    {
        long far = _tokens * (long)Math.Min(topK, _goalSlots) * bytes, near = _unit.Nodes * (long)_tokens * Math.Min(topK, _unit.SlotsPerGpu) * bytes;
        foreach (MessageBuffer[] buffers in (ReadOnlySpan<MessageBuffer[]>)[_out, _in])
            foreach (MessageBuffer buffer in buffers) buffer.Reserve(far);
        foreach (MessageBuffer[] buffers in (ReadOnlySpan<MessageBuffer[]>)[_nodeOut, _nodeIn])
            foreach (MessageBuffer buffer in buffers) buffer.Reserve(near);
    }

    // Everything to its peer; what stays here is copied.
    void Move(ProcessGroup group, int self, MessageBuffer[] send, MessageBuffer[] receive)
    {
        int batch = 0;
        for (int peer = 0; peer < send.Length; peer++)
        {
            if (peer == self)
            {
                Buffer.MemoryCopy(send[peer].Address, receive[peer].Address, receive[peer].Capacity, send[peer].Length);
                continue;
            }

            SentBytes += send[peer].Length;
            if (send[peer].Length > 0) _batch[batch++] = new(IsSend: true, peer, (nint)send[peer].Address, send[peer].Length);
            if (receive[peer].Length > 0) _batch[batch++] = new(IsSend: false, peer, (nint)receive[peer].Address, receive[peer].Length);
        }

        group.Exchange(_batch.AsSpan(0, batch));
    }
}
