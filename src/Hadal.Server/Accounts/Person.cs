using Microsoft.AspNetCore.Identity;

namespace Hadal.Server.Accounts;

/// <summary>Somebody with an account. The user name is the e-mail address, always one that was proved by a code.</summary>
public sealed class Person : IdentityUser<Guid>
{
    /// <summary>As entered at sign-up.</summary>
    public string FullName { get; set; } = "";

    /// <summary>When the address was proved.</summary>
    public DateTimeOffset Created { get; set; }

    /// <summary>May see the operator's page. Given on the host alone: <c>hadal serve grant-operator</c>.</summary>
    public bool IsOperator { get; set; }
}

/// <summary>Extents of what an account may hold, and of what may be tried.</summary>
static class AccountLimits
{
    public const int LongestEmail = 254;
    public const int LongestName = 100;
    public const int ShortestPassword = 10;
    public const int LongestPassword = 256;

    /// <summary>Wrong passwords for one address, known or not, until it has to wait.</summary>
    public const int PasswordAttempts = 5;

    /// <summary>Wrong entries of one code.</summary>
    public const int CodeAttempts = 5;

    /// <summary>Times one code may be sent anew.</summary>
    public const int CodeSends = 3;

    /// <summary>Codes for one address in an hour.</summary>
    public const int CodesPerHour = 6;

    public static readonly TimeSpan LockoutTime = TimeSpan.FromMinutes(15);
    public static readonly TimeSpan CodeTime = TimeSpan.FromMinutes(15);
    public static readonly TimeSpan ResendPause = TimeSpan.FromSeconds(20);

    /// <summary>How long a mail server may be away before its mail is given up.</summary>
    public static readonly TimeSpan MailTime = TimeSpan.FromHours(24);
}
