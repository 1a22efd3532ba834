namespace Hadal.Server.Keys;

/// <summary>
/// A key to the API as it is kept: its secret half is not here, only the SHA-256 of the whole. A key is 256 bits of randomness, so that a slow hash would protect nothing.
/// </summary>
public sealed class ApiKey
{
    /// <summary>Never shown to other people.</summary>
    public Guid Id { get; init; }

    /// <summary>Whose it is; null for a key of the host.</summary>
    public Guid? PersonId { get; init; }

    /// <summary>The public half, <see cref="KeySecret.PrefixLength"/> characters: by it the key is found, and recognised by its owner. Unique.</summary>
    public required string Prefix { get; init; }

    /// <summary>SHA-256 of the key's text.</summary>
    public required byte[] Hash { get; init; }

    /// <summary>What its owner calls it.</summary>
    public required string Name { get; set; }

    /// <summary>When it was made.</summary>
    public DateTimeOffset Created { get; init; }

    /// <summary>When it was last accepted; null: never.</summary>
    public DateTimeOffset? LastUsed { get; set; }

    /// <summary>When it was revoked; null: it is in force.</summary>
    public DateTimeOffset? Revoked { get; set; }

    /// <summary>Requests in a minute; null: as many as there are.</summary>
    public int? RequestsPerMinute { get; set; }

    /// <summary>Tokens, read and written, in a day of UTC; null: as many as there are.</summary>
    public long? TokensPerDay { get; set; }

    /// <summary>The day of <see cref="UsageTokens"/>: days since 1970-01-01 in UTC.</summary>
    public int UsageDay { get; set; }

    /// <summary>Tokens read and written on <see cref="UsageDay"/>.</summary>
    public long UsageTokens { get; set; }
}
