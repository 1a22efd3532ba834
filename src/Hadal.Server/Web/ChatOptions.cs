using Hadal.Server.Accounts;

namespace Hadal.Server.Web;

/// <summary>What the chat web app is started with.</summary>
public sealed record ChatOptions
{
    /// <summary>Folder of the server's state: database, outbox, keys that protect cookies. Made when it is missing, readable by its owner alone.</summary>
    public required string Home { get; init; }

    /// <summary>PostgreSQL's connection string; null: SQLite in <see cref="Home"/>.</summary>
    public string? DatabaseConnection { get; init; }

    /// <summary>The mail server; null: codes go to the outbox in <see cref="Home"/>.</summary>
    public MailOptions? Mail { get; init; }

    /// <summary>Attempts of network addresses; tests tighten or loosen them.</summary>
    internal AddressLimits AddressLimits { get; init; } = new();
}
