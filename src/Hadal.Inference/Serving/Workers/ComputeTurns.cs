namespace Hadal.Inference.Serving.Workers;

/// <summary>
/// Workers in one process that share one model and its threads compute in turns, first come first served: where both have work they alternate step by step, and where one has none
/// the other has the whole machine. Safe to call from many threads.
/// </summary>
sealed class ComputeTurns
{
    readonly object _gate = new();
    long _given, _now;

    /// <summary>Returns when it is the caller's turn; <see cref="Leave"/> must follow.</summary>
    public void Enter()
    {
        lock (_gate)
        {
            long mine = _given++;
            while (mine != _now) Monitor.Wait(_gate);
        }
    }

    /// <summary>Ends the turn.</summary>
    public void Leave()
    {
        lock (_gate)
        {
            _now++;
            Monitor.PulseAll(_gate);
        }
    }
}
