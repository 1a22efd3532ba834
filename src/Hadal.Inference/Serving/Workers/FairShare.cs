namespace Hadal.Inference.Serving.Workers;

/// <summary>
/// Tokens counted for each owner. One who comes, or comes back from a pause, starts level with the least served of those present: silence earns no credit, and owners who are
/// away are forgotten. Not thread safe.
/// </summary>
sealed class FairShare
{
    readonly Dictionary<string, (double Served, int Present)> _owners = new(StringComparer.Ordinal);

    /// <summary>Owners that are remembered.</summary>
    public int Count => _owners.Count;

    /// <summary>One more request of an owner is here.</summary>
    public void Come(string owner)
    {
        if (!_owners.TryGetValue(owner, out (double Served, int Present) share)) share = (_owners.Count == 0 ? 0 : _owners.Values.Min(other => other.Served), 0);
        _owners[owner] = (share.Served, share.Present + 1);
    }

    /// <summary>One request of an owner is over.</summary>
    public void Leave(string owner)
    {
        if (!_owners.TryGetValue(owner, out (double Served, int Present) share)) return;
        if (share.Present > 1) _owners[owner] = (share.Served, share.Present - 1);
        else _owners.Remove(owner);
    }

    /// <summary>Counts tokens for an owner who is here.</summary>
    public void Charge(string owner, double tokens)
    {
        if (_owners.TryGetValue(owner, out (double Served, int Present) share)) _owners[owner] = (share.Served + tokens, share.Present);
    }

    /// <summary>Tokens counted.</summary>
    public double Of(string owner) => _owners.TryGetValue(owner, out (double Served, int Present) share) ? share.Served : 0;
}
