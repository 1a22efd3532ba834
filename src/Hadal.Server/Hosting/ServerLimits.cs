namespace Hadal.Server.Hosting;

/// <summary>What one client may cost the server before it is refused.</summary>
public sealed record ServerLimits
{
    /// <summary>Most bytes of a request's body; more is answered 413.</summary>
    public long BodyBytes { get; init; } = 4 << 20;

    /// <summary>Most bytes of all headers of a request; more is answered 431.</summary>
    public int HeaderBytes { get; init; } = 16 << 10;

    /// <summary>Most headers of a request; more are answered 431.</summary>
    public int Headers { get; init; } = 64;

    /// <summary>Time for a client to send all headers; answered 408 after it.</summary>
    public TimeSpan HeaderTime { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Bytes per second that a client must send of a body, and read of an answer, after <see cref="RateGrace"/>; slower ones are cut off.</summary>
    public double BytesPerSecond { get; init; } = 240;

    /// <summary>Time before <see cref="BytesPerSecond"/> counts; above one second.</summary>
    public TimeSpan RateGrace { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Time that an unused connection is kept.</summary>
    public TimeSpan IdleConnection { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Most open connections; further ones are closed.</summary>
    public long Connections { get; init; } = 4096;

    /// <summary>Time that a request may wait in line before it is given up with 503.</summary>
    public TimeSpan QueueTime { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>While a request waits, a sign of life is sent each time this has passed.</summary>
    public TimeSpan KeepAlive { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Time that a shutdown gives the answers that are being written.</summary>
    public TimeSpan ShutdownGrace { get; init; } = TimeSpan.FromMinutes(5);
}
