using System.Net;
using System.Net.Sockets;
using System.Threading.RateLimiting;
using Hadal.Server.Web;

namespace Hadal.Server.Accounts;

/// <summary>How often one network address may knock, and one person ask. In memory: it guards against floods, the counts that matter are in the database.</summary>
sealed class AddressThrottle : IDisposable
{
    readonly PartitionedRateLimiter<(string Purpose, string Address)> _limiter;
    readonly AddressLimits _limits;

    public AddressThrottle(AddressLimits limits)
    {
        _limits = limits;
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
    public void Enter(string purpose, IPAddress? address, int permits = 1) => Enter(purpose, Group(address), permits, "Too many attempts from your network.");

    /// <summary>Counts what somebody asked for.</summary>
    /// <param name="permits">How much it is; more than there are in a window counts as all of them.</param>
    /// <exception cref="AppException">Status 429: too much.</exception>
    public void Enter(string purpose, string who, int permits, string refusal)
    {
        using RateLimitLease lease = _limiter.AttemptAcquire((purpose, who), Math.Min(permits, _limits.For(purpose).Permits));
        if (!lease.IsAcquired) throw AppException.TooMany(refusal, WaitOf(lease));
    }

    /// <summary>Counts one attempt of an address that is let in anyway, as far as there are attempts left.</summary>
    public void Count(string purpose, IPAddress? address) => _limiter.AttemptAcquire((purpose, Group(address))).Dispose();

    /// <summary>Until an address that has used up its attempts has one more; null while it has some. Counts nothing.</summary>
    public TimeSpan? UntilNext(string purpose, IPAddress? address)
    {
        using RateLimitLease lease = _limiter.AttemptAcquire((purpose, Group(address)), permitCount: 0);
        return lease.IsAcquired ? null : WaitOf(lease);
    }

    public void Dispose() => _limiter.Dispose();

    static TimeSpan WaitOf(RateLimitLease lease) => lease.TryGetMetadata(MetadataName.RetryAfter, out TimeSpan given) ? given : TimeSpan.FromMinutes(1);

    /// <summary>Whom an address stands for: whoever has one IPv6 address usually has the whole /64.</summary>
    internal static string Group(IPAddress? address)
    {
        if (address is null) return "none";
        if (address.IsIPv4MappedToIPv6) address = address.MapToIPv4();
        if (address.AddressFamily != AddressFamily.InterNetworkV6) return address.ToString();
        byte[] bytes = address.GetAddressBytes();
        bytes.AsSpan(8).Clear();
        return new IPAddress(bytes).ToString();
    }
}

/// <summary>Attempts that one network address, or one person, has in a window.</summary>
sealed record AddressLimits
{
    public (int Permits, TimeSpan Window) SignUp { get; init; } = (20, TimeSpan.FromHours(1));

    public (int Permits, TimeSpan Window) SignIn { get; init; } = (40, TimeSpan.FromMinutes(10));

    public (int Permits, TimeSpan Window) Code { get; init; } = (60, TimeSpan.FromMinutes(10));

    /// <summary>Requests of one person to the pages' endpoints: three answers that grow in three windows, and room for the rest.</summary>
    public (int Permits, TimeSpan Window) Page { get; init; } = (2400, TimeSpan.FromMinutes(1));

    /// <summary>Requests of strangers at one network address, behind which there may be a school.</summary>
    public (int Permits, TimeSpan Window) Stranger { get; init; } = (1200, TimeSpan.FromMinutes(1));

    /// <summary>Keys to the API that are nobody's.</summary>
    public (int Permits, TimeSpan Window) WrongKey { get; init; } = (60, TimeSpan.FromMinutes(1));

    public (int Permits, TimeSpan Window) For(string purpose) => purpose switch
    {
        "sign-up" => SignUp,
        "sign-in" => SignIn,
        "page" => Page,
        "stranger" => Stranger,
        "key" => WrongKey,
        _ => Code,
    };
}
