using Hadal.Model;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Experts;

/// <content>The way back: results to the tokens that asked for them.</content>
public sealed unsafe partial class RankExpertExchange
{
    // Rows and numbers of the experts back to the tokens, added on the way. Everyone knows the sizes of all messages from the route.
    void Return(ExpertRows movement, Tensor rows, Tensor rowNumbers, Tensor y, Tensor numbers, bool narrow)
    {
        ExchangeRoute route = Handle(movement);
        int topK = route.TopK, columns = rows.Columns;
        bool numbered = !rowNumbers.IsEmpty;
        ReserveReturn(route, columns);
        RowSums sums = _sums is { } there && there.Columns == columns && there.Most >= topK ? there : _sums = new RowSums(columns, topK);
        Span<nint> addresses = stackalloc nint[topK];

        // 1. The owner adds its experts, and what it cannot add goes beside.
        for (int relay = 0; relay < _layout.RanksPerNode; relay++)
        {
            MessageBuffer message = _nodeOut[relay];
            message.Length = 0;
            for (int node = 0; node < _layout.Nodes; node++)
            {
                int source = (node * _layout.RanksPerNode) + relay;
                Tensor part = movement.Part(rows, source);
                for (int i = 0; i < route.OwnCount[source]; i++)
                {
                    ReadOnlySpan<int> experts = ExchangeRoute.Used(route.Owned(source, i)), places = route.OwnRow.AsSpan(((source * route.Tokens) + i) * topK, topK);
                    sums.Clear();
                    for (int k = 0; k < experts.Length; k++)
                    {
                        sums.Announce(experts[k], experts[k], 1);
                        addresses[k] = (nint)(part.Pointer<float>() + (places[k] * part.RowStride));
                    }

                    sums.Plan(FirstExpert, FirstExpert + _layout.ExpertsPerRank);
                    sums.Add(addresses, narrow: false);
                    for (int k = 0; k < sums.Runs; k++) sums.Write(k, narrow, message.Take(sums.Bytes(k, narrow)));
                    if (!numbered) continue;
                    float* own = movement.Part(rowNumbers, source).Pointer<float>();
                    for (int k = 0; k < experts.Length; k++) *(float*)message.Take(sizeof(float)) = own[places[k]];
                }
            }
        }

        for (int owner = 0; owner < _layout.RanksPerNode; owner++) _nodeIn[owner].Length = ReturnedInside(route, owner, sums, narrow, numbered, columns);
        MoveMeasured(_node, _place, _nodeOut, _nodeIn, between: false);

        // 2. The rank that handed on adds what its node's ranks have.
        foreach (MessageBuffer message in _nodeIn) message.Length = 0;
        Span<float> scalars = stackalloc float[topK];
        for (int node = 0; node < _layout.Nodes; node++)
        {
            MessageBuffer message = _planeOut[node];
            message.Length = 0;
            for (int i = 0; i < route.RelayCount[node]; i++)
            {
                ReadOnlySpan<int> experts = ExchangeRoute.Used(route.Relayed(node, i));
                sums.Clear();
                int given = 0, runs = 0;
                for (int at = 0; at < experts.Length;)
                {
                    int rank = _layout.Owner(experts[at]), low = rank * _layout.ExpertsPerRank;
                    MessageBuffer from = _nodeIn[rank % _layout.RanksPerNode];
                    int count = ExchangeRoute.Within(experts, low, low + _layout.ExpertsPerRank).Count;
                    AnnounceSums(sums, experts.Slice(at, count), low, low + _layout.ExpertsPerRank);
                    for (; runs < sums.Runs; runs++) addresses[runs] = (nint)from.Take(sums.Bytes(runs, narrow));
                    for (int k = 0; numbered && k < count; k++) scalars[given++] = *(float*)from.Take(sizeof(float));
                    at += count;
                }

                sums.Plan(_ownNode * (long)ExpertsPerNode, (_ownNode + 1L) * ExpertsPerNode);
                sums.Add(addresses, narrow);
                for (int k = 0; k < sums.Runs; k++) sums.Write(k, narrow, message.Take(sums.Bytes(k, narrow)));
                for (int k = 0; k < given; k++) *(float*)message.Take(sizeof(float)) = scalars[k];
            }
        }

        for (int node = 0; node < _layout.Nodes; node++) _planeIn[node].Length = ReturnedBetween(route, node, sums, narrow, numbered, columns);
        MoveMeasured(_plane, _ownNode, _planeOut, _planeIn, between: true);

        // 3. The sender adds what the nodes have.
        foreach (MessageBuffer message in _planeIn) message.Length = 0;
        ReadOnlySpan<int> chosen = movement.Experts.AsSpan<int>();
        for (int t = 0; t < movement.Experts[0]; t++)
        {
            ReadOnlySpan<int> all = ExchangeRoute.Used(chosen.Slice(t * topK, topK));
            Span<float> result = y.Row<float>(t);
            if (numbered) numbers.Row<float>(t).Clear();
            if (all.IsEmpty)
            {
                result.Clear();
                continue;
            }

            sums.Clear();
            int runs = 0;
            for (int at = 0; at < all.Length;)
            {
                int node = all[at] / ExpertsPerNode, count = ExchangeRoute.Within(all, node * ExpertsPerNode, (node + 1) * ExpertsPerNode).Count;
                AnnounceNode(sums, all.Slice(at, count), node);
                for (; runs < sums.Runs; runs++) addresses[runs] = (nint)_planeIn[node].Take(sums.Bytes(runs, narrow));
                for (int k = 0; numbered && k < count; k++) numbers.Row<float>(t)[at + k] = *(float*)_planeIn[node].Take(sizeof(float));
                at += count;
            }

            sums.Plan(0, long.MaxValue);
            sums.Add(addresses, narrow);
            sums.Sum(0).CopyTo(result);
        }
    }

    // The sums that whoever has the experts [low, high) sends for some of them.
    static void AnnounceSums(RowSums sums, ReadOnlySpan<int> experts, long low, long high)
    {
        int first = 0;
        for (int k = 0; k < experts.Length; k++)
        {
            if (k + 1 < experts.Length && TreeJoins.Height(experts[k], experts[k + 1], low, high) != TreeJoins.Never) continue;
            sums.Announce(experts[first], experts[k], k - first + 1);
            first = k + 1;
        }
    }

    // The sums that the rank of this place on a node sends for some of its experts.
    void AnnounceNode(RowSums sums, ReadOnlySpan<int> experts, int node) => AnnounceSums(sums, experts, node * (long)ExpertsPerNode, (node + 1L) * ExpertsPerNode);

    // At worst nothing can be added on the way.
    void ReserveReturn(ExchangeRoute route, int columns)
    {
        long row = (columns + 1L) * sizeof(float), between = route.Tokens * (long)Math.Min(route.TopK, ExpertsPerNode) * row;
        long inside = _layout.Nodes * (long)route.Tokens * Math.Min(route.TopK, _layout.ExpertsPerRank) * row;
        for (int node = 0; node < _layout.Nodes; node++)
        {
            _planeOut[node].Reserve(between);
            _planeIn[node].Reserve(between);
        }

        for (int owner = 0; owner < _layout.RanksPerNode; owner++)
        {
            _nodeOut[owner].Reserve(inside);
            _nodeIn[owner].Reserve(inside);
        }
    }

    long ReturnedInside(ExchangeRoute route, int owner, RowSums sums, bool narrow, bool numbered, int columns)
    {
        int low = ((_ownNode * _layout.RanksPerNode) + owner) * _layout.ExpertsPerRank;
        long bytes = 0;
        for (int node = 0; node < _layout.Nodes; node++)
            for (int i = 0; i < route.ForwardCount[(owner * _layout.Nodes) + node]; i++)
            {
                Span<int> all = route.Relayed(node, route.ForwardToken[(((owner * _layout.Nodes) + node) * route.Tokens) + i]);
                (int start, int count) = ExchangeRoute.Within(all, low, low + _layout.ExpertsPerRank);
                sums.Clear();
                AnnounceSums(sums, all.Slice(start, count), low, low + _layout.ExpertsPerRank);
                for (int k = 0; k < sums.Runs; k++) bytes += RowSums.BytesOf(sums.Run(k).Count, columns, narrow);
                if (numbered) bytes += count * sizeof(float);
            }

        return bytes;
    }

    long ReturnedBetween(ExchangeRoute route, int node, RowSums sums, bool narrow, bool numbered, int columns)
    {
        long bytes = 0;
        for (int i = 0; i < route.SendCount[node]; i++)
        {
            ReadOnlySpan<int> experts = ExchangeRoute.Used(route.Sent(node, i));
            sums.Clear();
            AnnounceNode(sums, experts, node);
            for (int k = 0; k < sums.Runs; k++) bytes += RowSums.BytesOf(sums.Run(k).Count, columns, narrow);
            if (numbered) bytes += experts.Length * sizeof(float);
        }

        return bytes;
    }
}
