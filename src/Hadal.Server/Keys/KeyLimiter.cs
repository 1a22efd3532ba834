using System.Collections.Concurrent;

namespace Hadal.Server.Keys;

/// <summary>Counts requests by key. A key of N requests a minute may send N at once and regains one every 60/N seconds.</summary>
public sealed class KeyLimiter(TimeProvider time)
{
    readonly ConcurrentDictionary<Guid, Bucket> _buckets = new();

    /// <summary>The day that tokens are counted by: days since 1970-01-01 in UTC.</summary>
    public static int DayOf(DateTimeOffset now) => (int)(now.ToUnixTimeSeconds() / 86_400);

    /// <summary>Takes one request.</summary>
    /// <returns>Zero when it may be served, else the time until one may.</returns>
    public TimeSpan Take(ApiKey key)
    {
        if (key.RequestsPerMinute is not int limit) return TimeSpan.Zero;
        Bucket bucket = _buckets.GetOrAdd(key.Id, _ => new Bucket { Left = limit, At = time.GetTimestamp() });
        lock (bucket)
        {
            long now = time.GetTimestamp();
            double perSecond = limit / 60.0;
            bucket.Left = Math.Min(limit, bucket.Left + perSecond * time.GetElapsedTime(bucket.At, now).TotalSeconds);
            bucket.At = now;
            if (bucket.Left < 1) return TimeSpan.FromSeconds((1 - bucket.Left) / perSecond);
            bucket.Left--;
            return TimeSpan.Zero;
        }
    }

    /// <summary>Tokens that the key may still use today; null: as many as there are.</summary>
    public long? TokensLeft(ApiKey key) => key.TokensPerDay is long limit ? Math.Max(0, limit - TokensUsed(key)) : null;

    /// <summary>Tokens that the key used today.</summary>
    public long TokensUsed(ApiKey key) => key.UsageDay == DayOf(time.GetUtcNow()) ? key.UsageTokens : 0;

    /// <summary>Until tokens are counted anew.</summary>
    public TimeSpan UntilTomorrow
    {
        get
        {
            DateTimeOffset now = time.GetUtcNow();
            return DateTimeOffset.FromUnixTimeSeconds((DayOf(now) + 1L) * 86_400) - now;
        }
    }

    sealed class Bucket
    {
        public double Left;
        public long At;
    }
}
