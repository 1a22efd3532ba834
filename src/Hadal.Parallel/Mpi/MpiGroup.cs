using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Mpi;

/// <summary>Ranks that are processes, started by mpirun. Reductions stay ours: the library moves bytes.</summary>
sealed class MpiGroup : ProcessGroup
{
    const int MostBytes = 1 << 30, Spins = 200, Yields = 2000;
    readonly MpiLibrary _library;
    readonly RankWatch _watch;
    readonly nint _communicator;
    readonly int[] _worldRanks;
    nint[] _requests = new nint[16];
    MpiStatus[] _statuses = new MpiStatus[16];

    public MpiGroup(MpiLibrary library, RankWatch watch, nint communicator, int[] worldRanks, int rank)
        : base(rank, worldRanks.Length) => (_library, _watch, _communicator, _worldRanks) = (library, watch, communicator, worldRanks);

    public override string Transport => "MPI (Open MPI)";

    public override int WorldRank(int rank) => _worldRanks[rank];

    internal override RankLostException? Loss => _watch.Loss;

    internal override RankLostException Lose(int rank, string reason) => _watch.Lose(rank, reason);

    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        _watch.Check(batch, this); // nothing is sent any more once a loss is known
        int count = 0;
        foreach (ref readonly Transfer transfer in batch)
        {
            long at = 0;
            do
            {
                if (count == _requests.Length)
                {
                    Array.Resize(ref _requests, 2 * count);
                    Array.Resize(ref _statuses, 2 * count);
                }

                int bytes = (int)Math.Min(MostBytes, transfer.Bytes - at);
                _requests[count++] = _library.Start(transfer.IsSend, transfer.Address + (nint)at, bytes, transfer.Peer, _communicator);
                at += MostBytes;
            }
            while (at < transfer.Bytes);
        }

        Span<nint> requests = _requests.AsSpan(0, count);
        Span<MpiStatus> statuses = _statuses.AsSpan(0, count);
        for (int turn = 0; !_library.Ended(requests, statuses); turn++)
        {
            _watch.Check(batch, this);
            if (turn < Spins) continue;
            if (turn < Yields) Thread.Yield();
            else Thread.Sleep(1);
        }

        int request = 0;
        foreach (ref readonly Transfer transfer in batch)
        {
            long at = 0;
            do
            {
                int bytes = (int)Math.Min(MostBytes, transfer.Bytes - at);
                MpiStatus status = statuses[request++];
                if (status.Error != 0 || (!transfer.IsSend && (long)status.Bytes != bytes))
                {
                    int peer = WorldRank(transfer.Peer);
                    string why = status.Error != 0 ? _library.Text(status.Error) : $"{status.Bytes} bytes came";
                    throw _watch.Lose(peer, $"Rank {peer} was lost: rank {WorldRank(Rank)} was told to {transfer.Words} it and {why}: a message was cut, or came out of order.");
                }

                at += MostBytes;
            }
            while (at < transfer.Bytes);
        }
    }

    protected override ProcessGroup CreatePart(int split, int color, int[] members)
    {
        int[] world = [.. members.Select(member => _worldRanks[member])];
        return new MpiGroup(_library, _watch, _library.Part(_communicator, members, split), world, Array.IndexOf(members, Rank));
    }
}
