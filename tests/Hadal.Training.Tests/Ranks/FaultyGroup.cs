using Hadal.Parallel.Ranks;

namespace Hadal.Training.Tests.Ranks;

/// <summary>What happens to one message.</summary>
public enum MessageFault
{
    /// <summary>It takes a while.</summary>
    Delayed,

    /// <summary>It comes again before the next one.</summary>
    Duplicated,

    /// <summary>Its end is missing.</summary>
    Truncated,

    /// <summary>A bit of it changes.</summary>
    Changed,

    /// <summary>Its sender dies instead.</summary>
    Killed,
}

/// <summary>A transport that harms one message of one rank.</summary>
sealed unsafe class FaultyGroup(ProcessGroup inner, FaultyGroup.Plan plan) : ProcessGroup(inner.Rank, inner.Size)
{
    /// <summary>Which message of which rank of the world, counted over all its groups; happens once.</summary>
    internal sealed class Plan(MessageFault fault, int rank, int message)
    {
        int _count;

        internal MessageFault Fault => fault;

        internal bool Happened { get; private set; }

        internal bool IsDue(int worldRank, in Transfer transfer)
        {
            if (worldRank != rank || !transfer.IsSend || transfer.Bytes < 64 || _count++ != message) return false;
            return Happened = true;
        }
    }

    public override string Transport => "faulty " + inner.Transport;

    public override int WorldRank(int rank) => inner.WorldRank(rank);

    protected override void Run(ReadOnlySpan<Transfer> batch)
    {
        var harmed = new List<Transfer>();
        foreach (ref readonly Transfer transfer in batch)
        {
            if (_again is { } again && transfer.IsSend && transfer.Peer == again.Peer)
            {
                harmed.Add(again);
                _again = null;
            }

            harmed.Add(transfer);
            if (!plan.IsDue(WorldRank(Rank), transfer)) continue;
            switch (plan.Fault)
            {
                case MessageFault.Delayed:
                    Thread.Sleep(300);
                    break;
                case MessageFault.Duplicated:
                    _again = transfer with { Address = Copy(transfer, change: false) };
                    break;
                case MessageFault.Truncated:
                    harmed[^1] = transfer with { Bytes = transfer.Bytes - 8 };
                    break;
                case MessageFault.Changed:
                    harmed[^1] = transfer with { Address = Copy(transfer, change: true) };
                    break;
                default:
                    throw new InvalidDataException("the power went out");
            }
        }

        inner.Exchange(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(harmed));
    }

    readonly List<Hadal.Tensors.HostMemory> _kept = [];
    Transfer? _again;

    nint Copy(Transfer transfer, bool change)
    {
        var memory = new Hadal.Tensors.HostMemory(transfer.Bytes);
        Buffer.MemoryCopy((void*)transfer.Address, (void*)memory.Address, transfer.Bytes, transfer.Bytes);
        if (change) ((byte*)memory.Address)[transfer.Bytes / 2] ^= 4;
        _kept.Add(memory);
        return memory.Address;
    }

    protected override ProcessGroup CreatePart(int split, int color, int[] members) => new FaultyGroup(inner.Split(color, Array.IndexOf(members, Rank))!, plan);
}
