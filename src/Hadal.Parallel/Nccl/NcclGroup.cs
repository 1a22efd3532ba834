using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Nccl;

/// <summary>
/// Ranks with a GPU each; NCCL carries their messages between device memories. Messages in host memory go through a buffer on the device. The group that
/// its constructor is given has the same ranks on another transport: it hands round what NCCL needs to begin, and names a lost rank.
/// </summary>
/// <remarks>
/// A rank that was lost is told on that other group first, and then every communicator is aborted, not ended: ending one waits for ranks that will not come. The one wait that
/// cannot be left is inside the library while ranks join, where it offers none: a rank lost there leaves the others waiting.
/// </remarks>
sealed unsafe class NcclGroup : ProcessGroup
{
    const int Alignment = 256, Spins = 1000;
    readonly INcclDevice _device;
    readonly INcclLink _link;
    readonly ProcessGroup _control;
    readonly bool _ownsControl;
    ulong[] _places = [];
    bool _moving;

    public NcclGroup(INcclDevice device, ProcessGroup control, bool ownsControl = false)
        : base(control.Rank, control.Size)
    {
        (_device, _control, _ownsControl) = (device, control, ownsControl);
        using var memory = new HostMemory(NcclId.Bytes);
        Tensor id = Tensor.View(memory, 0, DType.U8, NcclId.Bytes);
        if (control.Rank == 0) *(NcclId*)memory.Address = device.Id();
        control.Broadcast(0, id);
        _link = device.Join(*(NcclId*)memory.Address, control.Rank, control.Size);
        try
        {
            Connect();
        }
        catch
        {
            _link.Abort();
            _link.Dispose();
            throw;
        }
    }

    // NCCL connects two ranks when they first talk, and then both must name the same directions: where one first only sends and the other sends and receives, they would
    // wait for ever. So everyone talks to everyone once.
    void Connect()
    {
        using var memory = new HostMemory(2L * Size);
        var batch = new Transfer[2 * (Size - 1)];
        for (int i = 1, at = 0; i < Size; i++)
        {
            int peer = (Rank + i) % Size;
            batch[at++] = new(IsSend: true, peer, memory.Address + peer, 1);
            batch[at++] = new(IsSend: false, peer, memory.Address + Size + peer, 1);
        }

        Run(batch);
    }

    public override string Transport => $"NCCL {_device.Version}";

    public override int WorldRank(int rank) => _control.WorldRank(rank);

    internal override RankLostException? Loss => _control.Loss;

    internal override RankLostException Lose(int rank, string reason) => _control.Lose(rank, reason);

    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        if (batch.Length == 0) return;
        if (Loss is not null) GiveUp(batch, problem: null); // the communicator may be gone
        if (_places.Length < batch.Length) _places = new ulong[batch.Length];
        long staged = 0;
        for (int i = 0; i < batch.Length; i++)
        {
            bool device = batch[i].Bytes > 0 && _link.IsDevice(batch[i].Address);
            _places[i] = device ? (ulong)batch[i].Address : ulong.MaxValue;
            if (!device) staged += Rounded(batch[i].Bytes);
        }

        ulong next = _link.Stage(staged);
        for (int i = 0; i < batch.Length; i++)
        {
            if (_places[i] != ulong.MaxValue) continue;
            _places[i] = next;
            next += (ulong)Rounded(batch[i].Bytes);
            if (batch[i].IsSend && batch[i].Bytes > 0) _link.Upload(_places[i], batch[i].Address, batch[i].Bytes);
        }

        _moving = true;
        _link.Start(batch, _places.AsSpan(0, batch.Length));
        Wait(batch);

        // Only now: a copy to memory that is not pinned waits inside the driver for all before it, and a peer may have been lost.
        bool copied = false;
        for (int i = 0; i < batch.Length; i++)
        {
            if (batch[i].IsSend || batch[i].Bytes == 0 || _places[i] == (ulong)batch[i].Address) continue;
            _link.Download(batch[i].Address, _places[i], batch[i].Bytes);
            copied = true;
        }

        if (copied) Wait(batch);
        _moving = false;
    }

    protected override ProcessGroup CreatePart(int split, int color, int[] members)
    {
        ProcessGroup control = _control.Split(color, Array.IndexOf(members, Rank))!;
        return new NcclGroup(_device, control, ownsControl: true);
    }

    protected override void Dispose(bool disposing)
    {
        if (_moving || Loss is not null) _link.Abort();
        else _link.End();
        _link.Dispose();
        if (_ownsControl) _control.Dispose();
    }

    static long Rounded(long bytes) => (Math.Max(bytes, 1) + Alignment - 1) / Alignment * Alignment;

    // Until all that was queued has passed, or somebody was lost.
    void Wait(ReadOnlySpan<Transfer> batch)
    {
        _link.Mark();
        for (int turn = 0; !_link.IsPassed; turn++)
        {
            if (Loss is not null) GiveUp(batch, problem: null);
            if (turn % Spins == Spins - 1 && _link.Problem is { } problem) GiveUp(batch, problem);
            if (turn > Spins) Thread.Yield();
        }
    }

    // The others first, then the communicator: whoever waits in it may be waiting for this rank.
    [System.Diagnostics.CodeAnalysis.DoesNotReturn]
    void GiveUp(ReadOnlySpan<Transfer> batch, string? problem)
    {
        string what = $"rank {WorldRank(Rank)} was waiting to {batch[0].Words} rank {WorldRank(batch[0].Peer)}";
        RankLostException loss = problem is null ? Loss! : Lose(-1, $"NCCL gave up while {what}: {problem}");
        _link.Abort();
        throw new RankLostException(loss.Rank, problem is null ? $"{loss.Message} R{what[1..]}." : loss.Message, loss);
    }
}
