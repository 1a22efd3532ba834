using System.Collections.Concurrent;
using Hadal.Parallel.Nccl;
using Hadal.Parallel.Ranks;
using Hadal.Tensors;

namespace Hadal.Parallel.Tests.Ranks;

/// <summary>
/// What the group over NCCL asks of a GPU, with memory of the host: messages move when both sides have queued them. Like the real ones, a copy to host memory blocks until all
/// before it has passed, and ending a communicator waits for its messages: both are noted instead of waited for. It shows the group's own decisions, nothing of NCCL.
/// </summary>
sealed unsafe class FakeNccl(ProcessGroup control, FakeNccl.Library library) : INcclDevice
{
    /// <summary>Shared by all ranks.</summary>
    internal sealed class Library
    {
        int _ids;

        /// <summary>Messages on their way: communicator, sender, receiver.</summary>
        internal ConcurrentDictionary<(int Id, int From, int To), ConcurrentQueue<byte[]>> Wires { get; } = new();

        /// <summary>How communicators ended: rank, how, and whether the loss was told by then.</summary>
        internal ConcurrentBag<(int Rank, string How, bool Told)> Ends { get; } = [];

        /// <summary>What would have hung.</summary>
        internal ConcurrentBag<string> Hangs { get; } = [];

        /// <summary>A rank whose communicators report an error, and after how many batches; −1 for none.</summary>
        internal (int Rank, int Batches) Broken { get; init; } = (-1, 0);

        internal int NextId() => Interlocked.Increment(ref _ids);
    }

    public string Version => "of a test";

    public NcclId Id()
    {
        NcclId id = default;
        *(int*)&id = library.NextId();
        return id;
    }

    public INcclLink Join(NcclId id, int rank, int size) => new Link(control, library, *(int*)&id, rank);

    sealed class Link(ProcessGroup control, Library library, int id, int rank) : INcclLink
    {
        readonly Queue<(Transfer Transfer, ulong Place)> _waiting = new();
        HostMemory? _memory;
        bool _ended;
        int _batches;

        public bool IsPassed => Advance();

        public string? Problem => Broken ? "unhandled system error" : null;

        bool Broken => control.Rank == library.Broken.Rank && _batches > library.Broken.Batches;

        public bool IsDevice(nint address) => false;

        public ulong Stage(long bytes)
        {
            if (bytes <= (_memory?.Bytes ?? 0)) return (ulong)(_memory?.Address ?? 0);
            _memory?.Dispose();
            _memory = new HostMemory(bytes);
            return (ulong)_memory.Address;
        }

        public void Upload(ulong to, nint from, long bytes) => Buffer.MemoryCopy((void*)from, (void*)to, bytes, bytes);

        public void Download(nint to, ulong from, long bytes)
        {
            if (!Advance()) library.Hangs.Add($"rank {control.Rank} copies to the host before its messages have come");
            Buffer.MemoryCopy((void*)from, (void*)to, bytes, bytes);
        }

        public void Start(ReadOnlySpan<Transfer> batch, ReadOnlySpan<ulong> places)
        {
            if (_ended) library.Hangs.Add($"rank {control.Rank} uses a communicator that has ended");
            _batches++;
            for (int i = 0; i < batch.Length; i++)
            {
                if (!batch[i].IsSend) _waiting.Enqueue((batch[i], places[i]));
                else Wire(rank, batch[i].Peer).Enqueue(new ReadOnlySpan<byte>((void*)places[i], (int)batch[i].Bytes).ToArray());
            }
        }

        public void Mark()
        {
        }

        public void End()
        {
            if (!Advance()) library.Hangs.Add($"rank {control.Rank} ends a communicator whose messages have not come");
            Note("ended");
        }

        public void Abort() => Note("aborted");

        public void Dispose() => _memory?.Dispose();

        void Note(string how)
        {
            if (!_ended) library.Ends.Add((control.Rank, how, control.Loss is not null));
            _ended = true;
        }

        bool Advance()
        {
            if (Broken) return false;
            while (_waiting.TryPeek(out (Transfer Transfer, ulong Place) next))
            {
                if (!Wire(next.Transfer.Peer, rank).TryDequeue(out byte[]? bytes)) return false;
                bytes.CopyTo(new Span<byte>((void*)next.Place, (int)next.Transfer.Bytes));
                _waiting.Dequeue();
            }

            return true;
        }

        ConcurrentQueue<byte[]> Wire(int from, int to) => library.Wires.GetOrAdd((id, from, to), _ => new());
    }
}
