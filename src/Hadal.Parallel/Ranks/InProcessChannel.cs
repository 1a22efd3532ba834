using Hadal.Tensors;

namespace Hadal.Parallel.Ranks;

/// <summary>
/// Messages from one in-process rank to another, in order. The bytes of a message stay with the sender until the receiver copies them; but the first that wait are kept in the channel when they are not large, and
/// their sender goes on: a pipeline's rank need not wait for a neighbour that still computes.
/// </summary>
/// <param name="nap">Milliseconds after which a waiting rank looks whether somebody was lost.</param>
sealed unsafe class InProcessChannel(int nap)
{
    /// <summary>Largest message that is kept, and how many of them at once.</summary>
    internal const long MostKeptBytes = 1 << 20, MostKept = 2;

    readonly Queue<(nint Address, long Bytes, HostMemory? Kept)> _posted = new();
    readonly Stack<HostMemory> _free = new();
    long _sent, _taken;
    int _kept;
    bool _copying;

    /// <summary>Lays a message out.</summary>
    /// <returns>Its number, to be waited for with <see cref="IsTaken"/>; −1 when it was kept.</returns>
    public long Post(nint address, long bytes)
    {
        HostMemory? kept = null;
        if (bytes <= MostKeptBytes)
        {
            lock (_posted)
            {
                if (_kept < MostKept)
                {
                    _kept++;
                    _free.TryPop(out kept);
                    kept = Room(kept, bytes);
                }
            }

            if (kept is not null) Buffer.MemoryCopy((void*)address, (void*)kept.Address, bytes, bytes);
        }

        lock (_posted)
        {
            _posted.Enqueue((kept?.Address ?? address, bytes, kept));
            Monitor.PulseAll(_posted);
            long number = _sent++;
            return kept is null ? number : -1;
        }
    }

    /// <summary>The oldest message, for copying: its sender keeps it until <see cref="Take"/>.</summary>
    public bool TryBegin(out nint address, out long bytes)
    {
        lock (_posted)
        {
            _copying = _posted.TryPeek(out (nint Address, long Bytes, HostMemory? Kept) message);
            (address, bytes) = (message.Address, message.Bytes);
            return _copying;
        }
    }

    /// <summary>The oldest message was copied: its sender may go on.</summary>
    public void Take()
    {
        lock (_posted)
        {
            _copying = false;
            if (_posted.Dequeue().Kept is { } kept)
            {
                _free.Push(kept);
                _kept--;
            }

            _taken++;
            Monitor.PulseAll(_posted);
        }
    }

    /// <summary>The sender gives up: when this returns nobody reads its memory any more.</summary>
    public void Withdraw()
    {
        lock (_posted)
        {
            while (_copying) Monitor.Wait(_posted);
            _posted.Clear();
        }
    }

    /// <summary>True when the receiver has copied the message.</summary>
    public bool IsTaken(long number)
    {
        lock (_posted) return _taken > number;
    }

    /// <summary>Waits until something happens on the channel, or for a short while.</summary>
    public void Sleep(bool forMessage, long number)
    {
        lock (_posted)
        {
            if (forMessage ? _posted.Count > 0 : _taken > number) return;
            Monitor.Wait(_posted, nap);
        }
    }

    static HostMemory Room(HostMemory? there, long bytes)
    {
        if (there is not null && there.Bytes >= bytes) return there;
        there?.Dispose();
        return new HostMemory((long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)Math.Max(bytes, 64)));
    }
}
