using System.Diagnostics;

namespace Hadal.Parallel.Ranks;

/// <summary>Ranks that are threads of this process. A message is copied from the sender's memory to the receiver's, small ones by way of the channel.</summary>
sealed class InProcessGroup(InProcessHub hub, int rank) : ProcessGroup(rank, hub.WorldRanks.Length)
{
    readonly List<(int Peer, long Number)> _open = [];

    public override string Transport => "in-process";

    public override int WorldRank(int rank) => hub.WorldRanks[rank];

    internal override RankLostException? Loss => hub.World.Loss;

    internal override RankLostException Lose(int rank, string reason) => hub.World.Lose(rank, reason);

    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        _open.Clear();
        try
        {
            RunAll(batch);
        }
        catch (RankLostException)
        {
            foreach ((int peer, _) in _open) hub.Channel(Rank, peer).Withdraw();
            throw;
        }
    }

    unsafe void RunAll(ReadOnlySpan<Transfer> batch)
    {
        foreach (ref readonly Transfer send in batch)
            if (send.IsSend) _open.Add((send.Peer, hub.Channel(Rank, send.Peer).Post(send.Address, send.Bytes)));

        foreach (ref readonly Transfer receive in batch)
        {
            if (receive.IsSend) continue;
            InProcessChannel channel = hub.Channel(receive.Peer, Rank);
            nint address;
            long bytes;
            var waiting = new Waiting(this, receive);
            while (true)
            {
                bool ended = hub.World.HasEnded(WorldRank(receive.Peer)); // first: what an ended rank has sent is there
                if (channel.TryBegin(out address, out bytes)) break;
                waiting.Check(ended);
                channel.Sleep(forMessage: true, 0);
            }

            waiting.Done();
            if (bytes != receive.Bytes)
            {
                channel.Take();
                int peer = WorldRank(receive.Peer);
                throw hub.World.Lose(peer, $"Rank {peer} was lost: rank {WorldRank(Rank)} was told to {receive.Words} it and {bytes} bytes came: a message was cut, or came out of order.");
            }

            Buffer.MemoryCopy((void*)address, (void*)receive.Address, bytes, bytes);
            channel.Take();
        }

        int sent = 0;
        foreach (ref readonly Transfer send in batch)
        {
            if (!send.IsSend) continue;
            (int peer, long number) = _open[sent++];
            InProcessChannel channel = hub.Channel(Rank, peer);
            var waiting = new Waiting(this, send);
            while (true)
            {
                bool ended = hub.World.HasEnded(WorldRank(peer));
                if (channel.IsTaken(number)) break;
                waiting.Check(ended);
                channel.Sleep(forMessage: false, number);
            }

            waiting.Done();
        }
    }

    protected override ProcessGroup CreatePart(int split, int color, int[] members) =>
        new InProcessGroup(hub.Part(split, color, members), Array.IndexOf(members, Rank));

    /// <summary>One wait: knows when to give up, and says whom it was for.</summary>
    ref struct Waiting(InProcessGroup group, Transfer transfer)
    {
        long _since;

        public void Check(bool peerEnded)
        {
            InProcessWorld world = group.World;
            int self = group.WorldRank(group.Rank), peer = group.WorldRank(transfer.Peer);
            if (world.Loss is { } loss)
                throw new RankLostException(loss.Rank, $"{loss.Message} Rank {self} was waiting to {transfer.Words} rank {peer}.", loss);
            if (peerEnded) throw world.Lose(peer, $"Rank {peer} was lost: its work ended while rank {self} was waiting to {transfer.Words} it.");
            if (_since == 0)
            {
                _since = Stopwatch.GetTimestamp();
                world.Wait(self, peer);
            }
            else if (world.Patience is { } patience && Stopwatch.GetElapsedTime(_since) > patience)
            {
                throw world.LoseSilent(self);
            }
        }

        public readonly void Done()
        {
            if (_since != 0) group.World.Wait(group.WorldRank(group.Rank), -1);
        }
    }

    InProcessWorld World => hub.World;
}
