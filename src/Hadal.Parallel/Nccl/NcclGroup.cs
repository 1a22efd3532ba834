using Hadal.Kernels.Driver;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Nccl;

/// <summary>
/// Ranks with a GPU each; NCCL carries their messages between device memories. Messages in host memory go through a buffer on the device. The group that
/// its constructor is given has the same ranks on another transport: it hands round what NCCL needs to begin, and names a lost rank.
/// </summary>
sealed unsafe class NcclGroup : ProcessGroup
{
    const int Alignment = 256, Spins = 1000;
    readonly NcclLibrary _library;
    readonly CudaContext _context;
    readonly ProcessGroup _control;
    readonly CudaStream _stream;
    readonly CudaEvent _done;
    readonly bool _ownsControl;
    nint _communicator;
    DeviceMemory? _staging;
    ulong[] _places = [];

    public NcclGroup(NcclLibrary library, CudaContext context, ProcessGroup control, bool ownsControl = false)
        : base(control.Rank, control.Size)
    {
        (_library, _context, _control, _ownsControl) = (library, context, control, ownsControl);
        using var memory = new HostMemory(NcclId.Bytes);
        Tensor id = Tensor.View(memory, 0, DType.U8, NcclId.Bytes);
        if (control.Rank == 0) *(NcclId*)memory.Address = library.Id();
        control.Broadcast(0, id);
        context.MakeCurrent();
        _communicator = library.Begin(*(NcclId*)memory.Address, control.Rank, control.Size);
        _stream = context.CreateStream();
        _done = new CudaEvent(timed: false);
        Connect();
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

    public override string Transport => $"NCCL {_library.Version()}";

    public override int WorldRank(int rank) => _control.WorldRank(rank);

    internal override void ThrowIfLost() => _control.ThrowIfLost();

    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        if (batch.Length == 0) return;
        if (_places.Length < batch.Length) _places = new ulong[batch.Length];
        long staged = 0;
        for (int i = 0; i < batch.Length; i++)
        {
            bool device = batch[i].Bytes > 0 && CudaContext.IsDevice(batch[i].Address);
            _places[i] = device ? (ulong)batch[i].Address : ulong.MaxValue;
            if (!device) staged += Rounded(batch[i].Bytes);
        }

        if (staged > (_staging?.Bytes ?? 0))
        {
            _staging?.Dispose();
            _staging = _context.Allocate(Math.Max(staged, 1 << 20));
        }

        ulong next = staged > 0 ? _staging!.Address : 0;
        for (int i = 0; i < batch.Length; i++)
        {
            if (_places[i] != ulong.MaxValue) continue;
            _places[i] = next;
            next += (ulong)Rounded(batch[i].Bytes);
            if (batch[i].IsSend && batch[i].Bytes > 0) _stream.Upload(_places[i], batch[i].Address, batch[i].Bytes);
        }

        _library.BeginBatch();
        for (int i = 0; i < batch.Length; i++) _library.Move(batch[i].IsSend, _places[i], batch[i].Bytes, batch[i].Peer, _communicator, _stream.Handle);
        _library.EndBatch();
        for (int i = 0; i < batch.Length; i++)
            if (!batch[i].IsSend && batch[i].Bytes > 0 && _places[i] != (ulong)batch[i].Address) _stream.Download(batch[i].Address, _places[i], batch[i].Bytes);
        _stream.Record(_done);
        for (int turn = 0; !_done.IsPassed; turn++)
        {
            try
            {
                _control.ThrowIfLost();
            }
            catch (RankLostException)
            {
                Abort();
                throw;
            }

            if (turn % Spins == Spins - 1 && _library.Problem(_communicator) is { } problem)
            {
                Abort();
                throw new RankLostException(-1, $"NCCL gave up while rank {WorldRank(Rank)} was waiting to {batch[0].Words} rank {WorldRank(batch[0].Peer)}: {problem}");
            }

            if (turn > Spins) Thread.Yield();
        }
    }

    protected override ProcessGroup CreatePart(int split, int color, int[] members)
    {
        ProcessGroup control = _control.Split(color, Array.IndexOf(members, Rank))!;
        return new NcclGroup(_library, _context, control, ownsControl: true);
    }

    protected override void Dispose(bool disposing)
    {
        if (_communicator != 0) _library.End(_communicator);
        _communicator = 0;
        _done.Dispose();
        _stream.Dispose();
        _staging?.Dispose();
        if (_ownsControl) _control.Dispose();
    }

    static long Rounded(long bytes) => (Math.Max(bytes, 1) + Alignment - 1) / Alignment * Alignment;

    void Abort()
    {
        nint communicator = _communicator;
        _communicator = 0;
        _library.Abort(communicator);
    }
}
