namespace Hadal.Server.Accounts;

/// <summary>What a code proves.</summary>
enum CodePurpose
{
    SignUp = 1,
    Reset = 2,
}

/// <summary>
/// A code on its way to an address. The identifier is the ticket that the browser holds: a code counts only together with the ticket of its own request, so nobody
/// can prove an address for somebody else's password. For an address that must not get one (taken at sign-up, unknown at reset) a decoy is kept that looks the
/// same from outside and never opens anything.
/// </summary>
sealed class VerificationCode
{
    public Guid Id { get; set; }

    public CodePurpose Purpose { get; set; }

    /// <summary>Normalised address.</summary>
    public string Email { get; set; } = "";

    public byte[] Salt { get; set; } = [];

    /// <summary>PBKDF2 of the code; the code itself is kept nowhere but in the mail until it is sent.</summary>
    public byte[] Hash { get; set; } = [];

    public bool IsDecoy { get; set; }

    public int AttemptsLeft { get; set; }

    public int Sends { get; set; }

    public DateTimeOffset Created { get; set; }

    public DateTimeOffset LastSent { get; set; }

    /// <summary>Late while the mail waits for its server; a quarter of an hour once it was sent.</summary>
    public DateTimeOffset Expires { get; set; }

    /// <summary>Sign-up only.</summary>
    public string? FullName { get; set; }

    /// <summary>Sign-up only: of the password that was chosen.</summary>
    public string? PasswordHash { get; set; }
}

/// <summary>A mail that waits to be sent; deleted when it was.</summary>
sealed class OutgoingMail
{
    public Guid Id { get; set; }

    public string Recipient { get; set; } = "";

    public string Subject { get; set; } = "";

    public string Body { get; set; } = "";

    /// <summary>The code whose time begins when this mail is sent.</summary>
    public Guid? CodeId { get; set; }

    public DateTimeOffset Created { get; set; }

    public DateTimeOffset NextTry { get; set; }

    public int Tries { get; set; }

    public string? LastError { get; set; }
}

/// <summary>Wrong passwords for one address, whether somebody has an account there or not: both are answered alike.</summary>
sealed class FailedAttempts
{
    /// <summary>Hash of the normalised address.</summary>
    public string Key { get; set; } = "";

    public int Count { get; set; }

    /// <summary>When the count begins anew.</summary>
    public DateTimeOffset Expires { get; set; }
}
