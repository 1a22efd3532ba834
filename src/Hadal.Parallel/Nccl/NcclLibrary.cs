using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Hadal.Parallel.Nccl;

/// <summary>What ranks need to find each other: NCCL's ncclUniqueId.</summary>
[InlineArray(Bytes)]
struct NcclId
{
    public const int Bytes = 128;
    byte _first;
}

/// <summary>The few functions of NCCL (libnccl.so.2) that move bytes. Its reductions are not used: ours have a fixed order.</summary>
sealed unsafe class NcclLibrary
{
    const string File = "libnccl.so.2";
    const int Byte = 1; // ncclUint8
    static readonly Lazy<NcclLibrary> Loaded = new(static () => new NcclLibrary());

    readonly delegate* unmanaged<int*, int> _version;
    readonly delegate* unmanaged<NcclId*, int> _id;
    readonly delegate* unmanaged<nint*, int, NcclId, int, int> _begin;
    readonly delegate* unmanaged<nint, int> _end, _abort;
    readonly delegate* unmanaged<int> _groupStart, _groupEnd;
    readonly delegate* unmanaged<nint, nuint, int, int, nint, nint, int> _send, _receive;
    readonly delegate* unmanaged<int, nint> _text;
    readonly delegate* unmanaged<nint, int*, int> _asyncError;

    NcclLibrary()
    {
        if (!NativeLibrary.TryLoad(File, out nint library))
            throw new DllNotFoundException($"NCCL was not found ({File}). Install it, or name its folder in LD_LIBRARY_PATH; without GPUs use the transport {Ranks.RankTransports.InProcess} or {Ranks.RankTransports.Mpi}.");
        _version = (delegate* unmanaged<int*, int>)Get("ncclGetVersion");
        _id = (delegate* unmanaged<NcclId*, int>)Get("ncclGetUniqueId");
        _begin = (delegate* unmanaged<nint*, int, NcclId, int, int>)Get("ncclCommInitRank");
        _end = (delegate* unmanaged<nint, int>)Get("ncclCommDestroy");
        _abort = (delegate* unmanaged<nint, int>)Get("ncclCommAbort");
        _groupStart = (delegate* unmanaged<int>)Get("ncclGroupStart");
        _groupEnd = (delegate* unmanaged<int>)Get("ncclGroupEnd");
        _send = (delegate* unmanaged<nint, nuint, int, int, nint, nint, int>)Get("ncclSend");
        _receive = (delegate* unmanaged<nint, nuint, int, int, nint, nint, int>)Get("ncclRecv");
        _text = (delegate* unmanaged<int, nint>)Get("ncclGetErrorString");
        _asyncError = (delegate* unmanaged<nint, int*, int>)Get("ncclCommGetAsyncError");

        nint Get(string name) => NativeLibrary.TryGetExport(library, name, out nint address) ? address : throw new DllNotFoundException($"{File} has no {name}; expected NCCL 2.7 or newer.");
    }

    /// <summary>The library, loaded at the first use.</summary>
    /// <exception cref="DllNotFoundException">It is not there.</exception>
    public static NcclLibrary Instance => Loaded.Value;

    /// <summary>For example 2.27.3.</summary>
    public string Version()
    {
        int version;
        Check(_version(&version), "ncclGetVersion");
        return version >= 10_000 ? $"{version / 10_000}.{version % 10_000 / 100}.{version % 100}" : $"{version / 1000}.{version % 1000 / 100}.{version % 100}";
    }

    /// <summary>A fresh id, on one rank.</summary>
    public NcclId Id()
    {
        NcclId id;
        Check(_id(&id), "ncclGetUniqueId");
        return id;
    }

    /// <summary>Joins the ranks of an id; all call it at the same time, each with its GPU's context current.</summary>
    public nint Begin(NcclId id, int rank, int size)
    {
        nint communicator;
        Check(_begin(&communicator, size, id, rank), "ncclCommInitRank");
        return communicator;
    }

    /// <summary>Ends a communicator whose messages are all done.</summary>
    public void End(nint communicator) => Check(_end(communicator), "ncclCommDestroy");

    /// <summary>Ends one whose messages will never be done.</summary>
    public void Abort(nint communicator) => _ = _abort(communicator);

    /// <summary>Messages until <see cref="EndBatch"/> start together.</summary>
    public void BeginBatch() => Check(_groupStart(), "ncclGroupStart");

    /// <summary>Queues the batch.</summary>
    public void EndBatch() => Check(_groupEnd(), "ncclGroupEnd");

    /// <summary>One message of a batch, in device memory.</summary>
    public void Move(bool send, ulong address, long bytes, int peer, nint communicator, nint stream) =>
        Check(send ? _send((nint)address, (nuint)bytes, Byte, peer, communicator, stream) : _receive((nint)address, (nuint)bytes, Byte, peer, communicator, stream), send ? "ncclSend" : "ncclRecv");

    /// <summary>What went wrong since, in NCCL's words; null for nothing.</summary>
    public string? Problem(nint communicator)
    {
        const int InProgress = 7;
        int code;
        if (_asyncError(communicator, &code) != 0 || code is 0 or InProgress) return null;
        return Text(code);
    }

    string Text(int code) => Marshal.PtrToStringUTF8(_text(code)) ?? $"error {code}";

    void Check(int code, string function)
    {
        if (code != 0) throw new InvalidOperationException($"{function}: {Text(code)}");
    }
}
