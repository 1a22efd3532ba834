using Hadal.Kernels.Driver;
using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Nccl;

/// <summary>A GPU whose messages go through libnccl.so.2.</summary>
sealed class NcclDevice(NcclLibrary library, CudaContext context) : INcclDevice
{
    public string Version => library.Version();

    public NcclId Id() => library.Id();

    public INcclLink Join(NcclId id, int rank, int size)
    {
        context.MakeCurrent();
        return new NcclLink(library, context, library.Begin(id, rank, size));
    }
}

/// <summary>A communicator of the library on a stream of its own.</summary>
sealed class NcclLink(NcclLibrary library, CudaContext context, nint communicator) : INcclLink
{
    readonly CudaStream _stream = context.CreateStream();
    readonly CudaEvent _mark = new(timed: false);
    nint _communicator = communicator;
    DeviceMemory? _staging;

    public bool IsPassed => _mark.IsPassed;

    public string? Problem => library.Problem(_communicator);

    public bool IsDevice(nint address) => CudaContext.IsDevice(address);

    public ulong Stage(long bytes)
    {
        if (bytes > (_staging?.Bytes ?? 0))
        {
            _staging?.Dispose();
            _staging = context.Allocate(Math.Max(bytes, 1 << 20));
        }

        return bytes > 0 ? _staging!.Address : 0;
    }

    public void Upload(ulong to, nint from, long bytes) => _stream.Upload(to, from, bytes);

    public void Download(nint to, ulong from, long bytes) => _stream.Download(to, from, bytes);

    public void Start(ReadOnlySpan<Transfer> batch, ReadOnlySpan<ulong> places)
    {
        library.BeginBatch();
        for (int i = 0; i < batch.Length; i++) library.Move(batch[i].IsSend, places[i], batch[i].Bytes, batch[i].Peer, _communicator, _stream.Handle);
        library.EndBatch();
    }

    public void Mark() => _stream.Record(_mark);

    public void End()
    {
        nint ended = _communicator;
        _communicator = 0;
        if (ended != 0) library.End(ended);
    }

    public void Abort()
    {
        nint ended = _communicator;
        _communicator = 0;
        if (ended != 0) library.Abort(ended);
    }

    public void Dispose()
    {
        Abort(); // nothing, where it has ended
        _mark.Dispose();
        _stream.Dispose();
        _staging?.Dispose();
        _staging = null;
    }
}
