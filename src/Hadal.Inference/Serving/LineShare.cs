namespace Hadal.Inference.Serving;

/// <summary>
/// Who may join a line of bounded length. One owner may have three times as many requests in it as there are free places: alone three quarters of it, two of them three sevenths
/// each. So nobody can fill it: there is always a place for one who has none in it yet. Requests without an owner are nobody's and have no such limit. Counts owners; safe to call from many threads.
/// </summary>
/// <param name="length">Places.</param>
/// <param name="fair">Whether owners are told apart.</param>
sealed class LineShare(int length, bool fair)
{
    /// <summary>Requests of an owner for each free place.</summary>
    const int PerFreePlace = 3;

    readonly Lock _gate = new();
    readonly Dictionary<string, int> _own = new(StringComparer.Ordinal);
    int _waiting;

    /// <summary>Requests in the line.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>Takes a place for an owner.</summary>
    /// <param name="owner">Whose request it is.</param>
    /// <param name="secondsPerPlace">How long one in line lasts, as measured.</param>
    /// <exception cref="EngineBusyException">No place is free, or the free ones are for others.</exception>
    public void Enter(string owner, double secondsPerPlace)
    {
        lock (_gate)
        {
            int own = _own.GetValueOrDefault(owner);
            TimeSpan wait = TimeSpan.FromSeconds(_waiting * secondsPerPlace);
            if (_waiting >= length) throw new EngineBusyException(_waiting + 1, wait);
            if (fair && owner.Length > 0 && own > 0 && own >= PerFreePlace * (length - _waiting)) throw new EngineBusyException(_waiting + 1, wait, own, length);
            _own[owner] = own + 1;
            Volatile.Write(ref _waiting, _waiting + 1);
        }
    }

    /// <summary>A request of an owner left the line.</summary>
    public void Leave(string owner)
    {
        lock (_gate)
        {
            int own = _own.GetValueOrDefault(owner);
            if (own == 0) return;
            if (own == 1) _own.Remove(owner);
            else _own[owner] = own - 1;
            Volatile.Write(ref _waiting, _waiting - 1);
        }
    }

    /// <summary>All left it.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            _own.Clear();
            Volatile.Write(ref _waiting, 0);
        }
    }
}
