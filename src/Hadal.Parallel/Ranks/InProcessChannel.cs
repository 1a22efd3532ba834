namespace Hadal.Parallel.Ranks;

/// <summary>Messages from one in-process rank to another, in order. The bytes stay with the sender until the receiver copies them.</summary>
/// <param name="nap">Milliseconds after which a waiting rank looks whether somebody was lost.</param>
sealed class InProcessChannel(int nap)
{
    readonly Queue<(nint Address, long Bytes)> _posted = new();
    long _sent, _taken;
    bool _copying;

    /// <summary>Lays a message out.</summary>
    /// <returns>Its number, to be waited for with <see cref="IsTaken"/>.</returns>
    public long Post(nint address, long bytes)
    {
        lock (_posted)
        {
            _posted.Enqueue((address, bytes));
            Monitor.PulseAll(_posted);
            return _sent++;
        }
    }

    /// <summary>The oldest message, for copying: its sender keeps it until <see cref="Take"/>.</summary>
    public bool TryBegin(out nint address, out long bytes)
    {
        lock (_posted)
        {
            _copying = _posted.TryPeek(out (nint Address, long Bytes) message);
            (address, bytes) = message;
            return _copying;
        }
    }

    /// <summary>The oldest message was copied: its sender may go on.</summary>
    public void Take()
    {
        lock (_posted)
        {
            _copying = false;
            _posted.Dequeue();
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
}
