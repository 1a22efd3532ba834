using Hadal.Parallel.Ranks;

namespace Hadal.Parallel.Nccl;

/// <summary>One rank's GPU as a group of ranks needs it: the library's communicators, and a queue of work for each.</summary>
interface INcclDevice
{
    /// <summary>For example 2.27.3.</summary>
    string Version { get; }

    /// <summary>A fresh id, on one rank.</summary>
    NcclId Id();

    /// <summary>Joins the ranks of an id; all call it at the same time.</summary>
    INcclLink Join(NcclId id, int rank, int size);
}

/// <summary>A communicator with its queue and its place for messages of host memory. It is ended by <see cref="End"/> or <see cref="Abort"/>, then disposed.</summary>
interface INcclLink : IDisposable
{
    /// <summary>True for memory of the GPU.</summary>
    bool IsDevice(nint address);

    /// <summary>Memory of the GPU for messages of host memory; its content lasts until the next call.</summary>
    ulong Stage(long bytes);

    /// <summary>Queues a copy from host memory.</summary>
    void Upload(ulong to, nint from, long bytes);

    /// <summary>Queues a copy to host memory. It waits for all that was queued before it, and cannot be interrupted: call it when that has passed.</summary>
    void Download(nint to, ulong from, long bytes);

    /// <summary>Queues a batch; its messages start together.</summary>
    /// <param name="batch">Peers and sizes.</param>
    /// <param name="places">Where each message lies on the GPU.</param>
    void Start(ReadOnlySpan<Transfer> batch, ReadOnlySpan<ulong> places);

    /// <summary>Marks the end of what was queued so far.</summary>
    void Mark();

    /// <summary>True when the last mark was passed.</summary>
    bool IsPassed { get; }

    /// <summary>What went wrong since, in NCCL's words; null for nothing.</summary>
    string? Problem { get; }

    /// <summary>Ends a communicator whose messages are all done; it waits for the other ranks to do so too.</summary>
    void End();

    /// <summary>Ends one whose messages will never be done; it waits for nobody.</summary>
    void Abort();
}
