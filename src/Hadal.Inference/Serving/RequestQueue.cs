namespace Hadal.Inference.Serving;

/// <summary>
/// Requests that wait. Fair between owners: each owner's tokens are counted, the owner with the fewest is served next, and one who comes back from a pause starts
/// level with the least served of those present, so that silence earns no credit. Without fairness: first come, first served. Not thread safe.
/// </summary>
sealed class RequestQueue(bool fair)
{
    const int MostRemembered = 4096;

    sealed class Line(string owner)
    {
        public string Owner { get; } = owner;
        public List<RequestState> Waiting { get; } = [];
        public double Served { get; set; }
        public int Running { get; set; }
        public bool IsActive => Waiting.Count > 0 || Running > 0;
    }

    readonly Dictionary<string, Line> _lines = new(StringComparer.Ordinal);
    readonly PriorityQueue<(Line Line, int Index), (double Served, long Arrival)> _order = new();
    long _arrivals;

    /// <summary>Requests that wait.</summary>
    public int Count { get; private set; }

    /// <summary>Owners that are remembered.</summary>
    public int Owners => _lines.Count;

    /// <summary>Adds a request.</summary>
    public void Add(RequestState state)
    {
        Line line = LineOf(state);
        if (!line.IsActive)
        {
            double least = double.PositiveInfinity;
            foreach (Line other in _lines.Values)
                if (other.IsActive) least = Math.Min(least, other.Served);
            if (double.IsFinite(least)) line.Served = Math.Max(line.Served, least);
        }

        state.Arrival = _arrivals++;
        line.Waiting.Add(state);
        Count++;
    }

    /// <summary>The request to serve next; null when none waits.</summary>
    public RequestState? Next()
    {
        Line? best = null;
        foreach (Line line in _lines.Values)
        {
            if (line.Waiting.Count == 0) continue;
            if (best is null || line.Served < best.Served || (line.Served == best.Served && line.Waiting[0].Arrival < best.Waiting[0].Arrival)) best = line;
        }

        return best?.Waiting[0];
    }

    /// <summary>Takes a waiting request out to serve it.</summary>
    public void Start(RequestState state)
    {
        Line line = LineOf(state);
        line.Waiting.Remove(state);
        line.Running++;
        Count--;
    }

    /// <summary>Counts tokens computed for an owner.</summary>
    public void Charge(RequestState state, double tokens) => LineOf(state).Served += tokens;

    /// <summary>Tokens counted for the request's owner.</summary>
    public double Served(RequestState state) => LineOf(state).Served;

    /// <summary>A request that was served is over.</summary>
    public void Finish(RequestState state)
    {
        Line line = LineOf(state);
        line.Running--;
        Forget();
    }

    /// <summary>Takes out the waiting requests that were given up, and hands them over.</summary>
    public void RemoveCancelled(Action<RequestState> removed)
    {
        bool any = false;
        foreach (Line line in _lines.Values)
        {
            for (int i = line.Waiting.Count - 1; i >= 0; i--)
            {
                RequestState state = line.Waiting[i];
                if (!state.IsCancelled) continue;
                line.Waiting.RemoveAt(i);
                Count--;
                any = true;
                removed(state);
            }
        }

        if (any) Forget();
    }

    /// <summary>Calls <paramref name="visit"/> with each waiting request and its place in line, 1 first: the order they would be served in if nothing else came.</summary>
    public void Places(Action<RequestState, int> visit)
    {
        _order.Clear();
        foreach (Line line in _lines.Values)
            if (line.Waiting.Count > 0) _order.Enqueue((line, 0), (line.Served, line.Waiting[0].Arrival));
        int place = 0;
        while (_order.TryDequeue(out (Line Line, int Index) first, out (double Served, long Arrival) priority))
        {
            RequestState state = first.Line.Waiting[first.Index];
            visit(state, ++place);
            int next = first.Index + 1;
            if (next < first.Line.Waiting.Count)
                _order.Enqueue((first.Line, next), (fair ? priority.Served + state.PromptLength + state.Limit : 0, first.Line.Waiting[next].Arrival));
        }
    }

    /// <summary>All that wait, in no order.</summary>
    public IEnumerable<RequestState> Waiting => _lines.Values.SelectMany(line => line.Waiting);

    Line LineOf(RequestState state)
    {
        string owner = fair ? state.Request.Owner : "";
        if (!_lines.TryGetValue(owner, out Line? line)) _lines.Add(owner, line = new Line(owner));
        return line;
    }

    // An owner who is away is forgotten once he would begin level with the others anyway, or when too many are remembered.
    void Forget()
    {
        double least = double.PositiveInfinity;
        int away = 0;
        foreach (Line line in _lines.Values)
        {
            if (line.IsActive) least = Math.Min(least, line.Served);
            else away++;
        }

        if (away == 0) return;
        foreach (Line line in _lines.Values)
            if (!line.IsActive && (line.Served <= least || away > MostRemembered)) _lines.Remove(line.Owner);
    }
}
