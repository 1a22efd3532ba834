using Hadal.Inference.Serving;
using Hadal.Server.Accounts;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Hosting;

/// <summary>What a server serves, where, and how strictly.</summary>
public sealed record ServerOptions
{
    /// <summary>The engine of <c>deepseek-chat</c>. The server owns it: it is disposed with the server.</summary>
    public required IInferenceEngine Plain { get; init; }

    /// <summary>The engine of <c>deepseek-reasoner</c>; may be the same as <see cref="Plain"/>. The server owns it.</summary>
    public required IInferenceEngine Thinking { get; init; }

    /// <summary>Folder of the server's state (database, keys of cookies); made when it is missing.</summary>
    public required string Home { get; init; }

    /// <summary>Addresses to listen on. Loopback by default; <c>http</c> only, TLS is a proxy's work. Port 0 takes a free one.</summary>
    public IReadOnlyList<string> Urls { get; init; } = [DefaultUrl];

    /// <summary>A connection string of SQLite or PostgreSQL; null for <c>hadal.db</c> in <see cref="Home"/>.</summary>
    public string? Database { get; init; }

    /// <summary>The mail server that carries codes of the chat's accounts; null: codes go to a file on the host, and a server that others can reach takes no sign-ups.</summary>
    public MailOptions? Mail { get; init; }

    /// <summary>How often one network address may knock at the door of accounts.</summary>
    internal AddressLimits AddressLimits { get; init; } = new();

    /// <summary>A key of the host's choice (HADAL_API_KEY), never stored; null for keys made by the server alone.</summary>
    public string? ApiKey { get; init; }

    /// <summary>Requests in a minute that all keys of one person may send together; also the limit of each where they ask for none. Null: as many as there are. Keys of the host have limits of their own.</summary>
    public int? KeyRequestsPerMinute { get; init; }

    /// <summary>Tokens in a day of UTC that all keys of one person may use together; also the limit of each where they ask for none. Null: as many as there are.</summary>
    public long? KeyTokensPerDay { get; init; }

    /// <summary>Whether the reasoner refuses what the original refuses: reasoning sent back, log probabilities, tools, fill in the middle, longer answers.</summary>
    public bool StrictDeepSeek { get; init; }

    /// <summary>What one client may cost.</summary>
    public ServerLimits Limits { get; init; } = new();

    /// <summary>The clock.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Adds receivers of the server's log; null for warnings and errors on standard error.</summary>
    public Action<ILoggingBuilder>? Logging { get; init; }

    /// <summary>Where <c>hadal serve</c> listens when nothing is said.</summary>
    public const string DefaultUrl = "http://127.0.0.1:8080";

    /// <summary>Whether every address is of this machine alone.</summary>
    public bool IsLoopback => Urls.All(url => BindingAddress.Parse(url).IsLoopback);

    /// <summary>Refuses what cannot be served.</summary>
    /// <exception cref="ArgumentException">The message names the option, what was given and what is expected.</exception>
    public ServerOptions Validate()
    {
        if (string.IsNullOrWhiteSpace(Home)) throw new ArgumentException("No folder for the server's state was given; expected a path.", nameof(Home));
        if (Urls.Count == 0) throw new ArgumentException($"No address to listen on was given; expected at least one such as {DefaultUrl}.", nameof(Urls));
        foreach (string url in Urls) _ = BindingAddress.Parse(url);
        if (ApiKey is { Length: < 16 })
            throw new ArgumentException($"The API key of the host has {ApiKey.Length} characters; expected at least 16, for example from: openssl rand -hex 24.", nameof(ApiKey));
        if (KeyRequestsPerMinute < 1) throw new ArgumentException($"{KeyRequestsPerMinute} requests per minute for keys of people were given; expected at least 1, or nothing for no limit.", nameof(KeyRequestsPerMinute));
        if (KeyTokensPerDay < 1) throw new ArgumentException($"{KeyTokensPerDay} tokens per day for keys of people were given; expected at least 1, or nothing for no limit.", nameof(KeyTokensPerDay));
        return this;
    }
}
