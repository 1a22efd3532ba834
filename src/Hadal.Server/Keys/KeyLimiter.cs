using Hadal.Server.Api;

namespace Hadal.Server.Keys;

/// <summary>
/// Counts requests and tokens by key, and by person where the host set a ceiling for the keys of people. A key of N requests a minute may send N at once and regains one every 60/N seconds.
/// The most that a request may use of a day's tokens is set aside while it is answered, so that requests beside each other do not go over together.
/// </summary>
/// <param name="time">The clock.</param>
/// <param name="personRequestsPerMinute">Requests a minute of all keys of one person; null: as many as there are.</param>
/// <param name="personTokensPerDay">Tokens a day of all keys of one person; null: as many as there are.</param>
public sealed class KeyLimiter(TimeProvider time, int? personRequestsPerMinute = null, long? personTokensPerDay = null)
{
    static readonly TimeSpan SweepPause = TimeSpan.FromMinutes(1);

    readonly Lock _gate = new();
    readonly Dictionary<Guid, Bucket> _buckets = [];
    readonly Dictionary<Guid, Tally> _tallies = [];
    long _swept = time.GetTimestamp();

    /// <summary>The day that tokens are counted by: days since 1970-01-01 in UTC.</summary>
    public static int DayOf(DateTimeOffset now) => (int)(now.ToUnixTimeSeconds() / 86_400);

    /// <summary>How much is remembered; what says nothing any more is dropped once a minute.</summary>
    internal int Remembered
    {
        get
        {
            lock (_gate) return _buckets.Count + _tallies.Count;
        }
    }

    /// <summary>Takes one request.</summary>
    /// <returns>Zero when it may be served, else the time until one may.</returns>
    public TimeSpan Take(ApiKey key)
    {
        lock (_gate)
        {
            Sweep();
            Bucket? own = BucketOf(key.Id, key.RequestsPerMinute), all = key.PersonId is Guid person ? BucketOf(person, personRequestsPerMinute) : null;
            double wait = Math.Max(own?.Wait ?? 0, all?.Wait ?? 0);
            if (wait > 0) return TimeSpan.FromSeconds(wait);
            if (own is not null) own.Left--;
            if (all is not null) all.Left--;
            return TimeSpan.Zero;
        }
    }

    /// <summary>Requests that a key may send in a minute, by its own limit and its person's; null: as many as there are.</summary>
    public int? RequestsPerMinute(ApiKey key) => key.PersonId is null || personRequestsPerMinute is null ? key.RequestsPerMinute : Math.Min(key.RequestsPerMinute ?? int.MaxValue, personRequestsPerMinute.Value);

    /// <summary>Tokens that a key may use in a day, by its own limit and its person's; null: as many as there are.</summary>
    public long? TokensPerDay(ApiKey key) => key.PersonId is null || personTokensPerDay is null ? key.TokensPerDay : Math.Min(key.TokensPerDay ?? long.MaxValue, personTokensPerDay.Value);

    /// <summary>Tokens that the caller may still use today; null: as many as there are.</summary>
    public long? TokensLeft(ApiCaller caller)
    {
        lock (_gate)
        {
            long? left = null;
            foreach ((Guid id, long limit, long used) in LimitsOf(caller)) left = Math.Min(left ?? long.MaxValue, Math.Max(0, limit - UsedOf(id, used)));
            return left;
        }
    }

    /// <summary>Tokens that the key used today.</summary>
    public long TokensUsed(ApiKey key) => key.UsageDay == DayOf(time.GetUtcNow()) ? key.UsageTokens : 0;

    /// <summary>Sets aside what a request may use of the day's tokens. A request that runs alone may use more than there is left, so that its answer is whole; beside others it may not.</summary>
    /// <param name="caller">Who asks.</param>
    /// <param name="most">Tokens of the prompt and of the longest answer.</param>
    /// <returns>To be ended with what was used.</returns>
    /// <exception cref="ApiException">The tokens of the day are used up, or those left may be used by answers being written.</exception>
    internal Reservation Reserve(ApiCaller caller, long most)
    {
        lock (_gate)
        {
            Sweep();
            (Guid Id, long Limit, long Used)[] limits = [.. LimitsOf(caller)];
            foreach ((Guid id, long limit, long used) in limits)
            {
                long sure = UsedOf(id, used), aside = _tallies.TryGetValue(id, out Tally? known) ? known.Reserved : 0;
                if (sure >= limit) throw new ApiException(NoneLeft(limit));
                if (aside > 0 && sure + aside + most > limit)
                {
                    throw new ApiException(ApiError.TooMany(
                        $"{limit - sure} of {limit} tokens per day are left, answers being written may use {aside} of them, and this request {most}; expected no more than is left. Try again when those are done, or lower max_tokens.", "tokens_reserved", TimeSpan.FromSeconds(5)));
                }
            }

            foreach ((Guid id, _, long used) in limits)
            {
                if (!_tallies.TryGetValue(id, out Tally? tally)) _tallies[id] = tally = new Tally();
                tally.Used = UsedOf(id, used);
                tally.Day = DayOf(time.GetUtcNow());
                tally.Reserved += most;
            }

            return new Reservation(this, [.. limits.Select(limit => limit.Id)], most);
        }
    }

    /// <summary>What a caller whose tokens are used up is told.</summary>
    internal ApiError NoneLeft(long limit) =>
        ApiError.NoBalance($"Insufficient Balance: this key may use {limit} tokens per day, other keys of the same person included where the host limits them together, and has used them; they are counted anew at midnight UTC.", UntilTomorrow);

    /// <summary>Until tokens are counted anew.</summary>
    public TimeSpan UntilTomorrow
    {
        get
        {
            DateTimeOffset now = time.GetUtcNow();
            return DateTimeOffset.FromUnixTimeSeconds((DayOf(now) + 1L) * 86_400) - now;
        }
    }

    IEnumerable<(Guid Id, long Limit, long Used)> LimitsOf(ApiCaller caller)
    {
        if (caller.Key is not ApiKey key) yield break;
        if (key.TokensPerDay is long own) yield return (key.Id, own, TokensUsed(key));
        if (key.PersonId is Guid person && personTokensPerDay is long all) yield return (person, all, caller.PersonTokens);
    }

    // What the store said when the request came may lack what was recorded since.
    long UsedOf(Guid id, long stored) => _tallies.TryGetValue(id, out Tally? tally) && tally.Day == DayOf(time.GetUtcNow()) ? Math.Max(tally.Used, stored) : stored;

    Bucket? BucketOf(Guid id, int? limit)
    {
        if (limit is not int most) return null;
        long now = time.GetTimestamp();
        if (!_buckets.TryGetValue(id, out Bucket? bucket)) _buckets[id] = bucket = new Bucket { Left = most, At = now };
        bucket.Limit = most;
        bucket.Left = Math.Min(most, bucket.Left + most / 60.0 * time.GetElapsedTime(bucket.At, now).TotalSeconds);
        bucket.At = now;
        return bucket;
    }

    // A full bucket and the tally of a day gone by say nothing that a new one would not.
    void Sweep()
    {
        long now = time.GetTimestamp();
        if (time.GetElapsedTime(_swept, now) < SweepPause) return;
        _swept = now;
        int today = DayOf(time.GetUtcNow());
        foreach ((Guid id, Bucket bucket) in _buckets)
            if (bucket.Left + bucket.Limit / 60.0 * time.GetElapsedTime(bucket.At, now).TotalSeconds >= bucket.Limit) _buckets.Remove(id);
        foreach ((Guid id, Tally tally) in _tallies)
            if (tally.Reserved == 0 && tally.Day != today) _tallies.Remove(id);
    }

    void Return(Guid[] ids, long most, long used)
    {
        lock (_gate)
        {
            int today = DayOf(time.GetUtcNow());
            foreach (Guid id in ids)
            {
                Tally tally = _tallies[id]; // kept while anything is set aside
                tally.Reserved -= most;
                tally.Used = (tally.Day == today ? tally.Used : 0) + used;
                tally.Day = today;
            }
        }
    }

    /// <summary>Tokens set aside for one request.</summary>
    internal sealed class Reservation(KeyLimiter limiter, Guid[] ids, long most) : IDisposable
    {
        int _ended;

        /// <summary>The request is over.</summary>
        /// <param name="used">Tokens that it used.</param>
        public void End(long used)
        {
            if (Interlocked.Exchange(ref _ended, 1) == 0) limiter.Return(ids, most, used);
        }

        public void Dispose() => End(0);
    }

    sealed class Bucket
    {
        public double Left;
        public long At;
        public int Limit;

        public double Wait => Left < 1 ? (1 - Left) * 60 / Limit : 0;
    }

    sealed class Tally
    {
        public int Day;
        public long Used;
        public long Reserved;
    }
}
