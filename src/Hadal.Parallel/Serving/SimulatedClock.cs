namespace Hadal.Parallel.Serving;

/// <summary>A clock that stands still until it is advanced: what simulations and tests give to whatever asks a <see cref="TimeProvider"/> for the time.</summary>
public sealed class SimulatedClock : TimeProvider
{
    long _ticks;

    /// <summary>Since the simulation began.</summary>
    public TimeSpan Now => new(Volatile.Read(ref _ticks));

    /// <inheritdoc/>
    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    /// <summary>Moves the clock on.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Time would run backwards.</exception>
    public void Advance(TimeSpan by)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(by, TimeSpan.Zero);
        Interlocked.Add(ref _ticks, by.Ticks);
    }

    /// <inheritdoc/>
    public override long GetTimestamp() => Volatile.Read(ref _ticks);

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch + Now;
}
