using System.Net;
using System.Net.Sockets;
using System.Threading.RateLimiting;
using Hadal.Server.Web;

namespace Hadal.Server.Accounts;

/// <summary>How often one network address may knock. In memory: it guards against floods, the counts that matter are in the database.</summary>
sealed class AddressThrottle : IDisposable
{
    readonly PartitionedRateLimiter<(string Purpose, string Address)> _limiter;

    public AddressThrottle(AddressLimits limits)
    {
        _limiter = PartitionedRateLimiter.Create<(string Purpose, string Address), string>(key =>
        {
            (int permits, TimeSpan window) = limits.For(key.Purpose);
            return RateLimitPartition.GetSlidingWindowLimiter(key.Purpose + " " + key.Address, _ => new SlidingWindowRateLimiterOptions
            {
                PermitLimit = permits,
                Window = window,
                SegmentsPerWindow = 6,
                QueueLimit = 0,
            });
        });
    }

    /// <summary>Counts one attempt.</summary>
    /// <exception cref="AppException">Status 429: too many.</exception>
    public void Enter(string purpose, IPAddress? address)
    {
        using RateLimitLease lease = _limiter.AttemptAcquire((purpose, Group(address)));
        if (lease.IsAcquired) return;
        TimeSpan wait = lease.TryGetMetadata(MetadataName.RetryAfter, out TimeSpan given) ? given : TimeSpan.FromMinutes(1);
        throw AppException.TooMany("Too many attempts from your network.", wait);
    }

    public void Dispose() => _limiter.Dispose();

    // Whoever has one IPv6 address usually has the whole /64.
    static string Group(IPAddress? address)
    {
        if (address is null) return "none";
        if (address.IsIPv4MappedToIPv6) address = address.MapToIPv4();
        if (address.AddressFamily != AddressFamily.InterNetworkV6) return address.ToString();
        byte[] bytes = address.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return new IPAddress(bytes).ToString();
    }
}

/// <summary>Attempts that one network address has in a window.</summary>
sealed record AddressLimits
{
    public (int Permits, TimeSpan Window) SignUp { get; init; } = (20, TimeSpan.FromHours(1));

    public (int Permits, TimeSpan Window) SignIn { get; init; } = (40, TimeSpan.FromMinutes(10));

    public (int Permits, TimeSpan Window) Code { get; init; } = (60, TimeSpan.FromMinutes(10));

    public (int Permits, TimeSpan Window) For(string purpose) => purpose switch
    {
        "sign-up" => SignUp,
        "sign-in" => SignIn,
        _ => Code,
    };
}
