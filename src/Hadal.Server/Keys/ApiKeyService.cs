using Hadal.Server.Database;

namespace Hadal.Server.Keys;

/// <summary>Makes, lists, revokes and recognises keys.</summary>
public sealed class ApiKeyService
{
    /// <summary>Most characters of a key's name.</summary>
    public const int LongestName = 100;

    readonly IApiKeyStore _store;
    readonly TimeProvider _time;
    readonly byte[]? _hostHash;
    readonly bool _countsByPerson;

    /// <summary>Keys of a store and the one that the host chose.</summary>
    /// <param name="store">Where keys are kept.</param>
    /// <param name="time">The clock.</param>
    /// <param name="hostKey">HADAL_API_KEY; null when there is none.</param>
    /// <param name="countsByPerson">Whether callers come with the tokens that all keys of their person used today.</param>
    public ApiKeyService(IApiKeyStore store, TimeProvider time, string? hostKey, bool countsByPerson = false)
    {
        _countsByPerson = countsByPerson;
        _store = store;
        _time = time;
        _hostHash = hostKey is null ? null : KeySecret.Hash(hostKey);
    }

    /// <summary>Makes a key. Its text is in the result and nowhere else: show it once.</summary>
    /// <param name="personId">Whose; null for the host.</param>
    /// <param name="name">What its owner calls it; cut to <see cref="LongestName"/> characters.</param>
    /// <param name="requestsPerMinute">At least 1; null for no limit.</param>
    /// <param name="tokensPerDay">At least 1; null for no limit.</param>
    /// <param name="cancellationToken">Gives it up.</param>
    /// <exception cref="ArgumentException">The name is empty or a limit is below 1.</exception>
    public async Task<NewApiKey> MakeAsync(Guid? personId, string name, int? requestsPerMinute = null, long? tokensPerDay = null, CancellationToken cancellationToken = default)
    {
        name = StoredText.Clean(name).Trim();
        if (name.Length == 0) throw new ArgumentException("The key has no name; expected 1 to 100 characters by which you will know it.", nameof(name));
        if (requestsPerMinute < 1) throw new ArgumentException($"{requestsPerMinute} requests per minute were given; expected at least 1, or nothing for no limit.", nameof(requestsPerMinute));
        if (tokensPerDay < 1) throw new ArgumentException($"{tokensPerDay} tokens per day were given; expected at least 1, or nothing for no limit.", nameof(tokensPerDay));
        string secret = KeySecret.Make();
        var key = new ApiKey
        {
            Id = Guid.CreateVersion7(_time.GetUtcNow()),
            PersonId = personId,
            Prefix = KeySecret.PrefixOf(secret)!,
            Hash = KeySecret.Hash(secret),
            Name = StoredText.Clean(name, LongestName),
            Created = _time.GetUtcNow(),
            RequestsPerMinute = requestsPerMinute,
            TokensPerDay = tokensPerDay,
        };
        await _store.AddAsync(key, cancellationToken);
        return new NewApiKey(key, secret);
    }

    /// <summary>The keys of one person, or with null the host's, revoked ones included; the youngest first.</summary>
    public Task<IReadOnlyList<ApiKey>> ListAsync(Guid? personId, CancellationToken cancellationToken = default) => _store.ListAsync(personId, cancellationToken);

    /// <summary>Revokes a key: from now on it is refused.</summary>
    /// <returns>False when this person has no such key in force.</returns>
    public Task<bool> RevokeAsync(Guid? personId, Guid id, CancellationToken cancellationToken = default) => _store.RevokeAsync(personId, id, _time.GetUtcNow(), cancellationToken);

    /// <summary>Makes a key for a host that has none: no HADAL_API_KEY, and none in force in the store.</summary>
    /// <returns>The new key's text; null when there was one.</returns>
    public async Task<string?> EnsureHostKeyAsync(CancellationToken cancellationToken = default)
    {
        if (_hostHash is not null || (await ListAsync(null, cancellationToken)).Any(key => key.Revoked is null)) return null;
        return (await MakeAsync(null, "made at the first start", cancellationToken: cancellationToken)).Secret;
    }

    /// <summary>Finds whose key a text is; null when it is nobody's or was revoked.</summary>
    public async Task<ApiCaller?> RecognizeAsync(string text, CancellationToken cancellationToken)
    {
        if (text.Length is 0 or > KeySecret.LongestKey) return null;
        if (_hostHash is not null && KeySecret.Matches(text, _hostHash)) return ApiCaller.Host;
        if (KeySecret.PrefixOf(text) is not string prefix) return null;
        ApiKey? key = await _store.FindAsync(prefix, cancellationToken);
        if (key is not { Revoked: null } || !KeySecret.Matches(text, key.Hash)) return null;
        long all = _countsByPerson && key.PersonId is Guid person ? await _store.TokensOfAsync(person, KeyLimiter.DayOf(_time.GetUtcNow()), cancellationToken) : 0;
        return new ApiCaller(key, all);
    }

    /// <summary>Notes that a caller used the API, and adds tokens to the day of its key.</summary>
    public Task RecordAsync(ApiCaller caller, long tokens, CancellationToken cancellationToken) =>
        caller.Key is ApiKey key ? _store.RecordAsync(key.Id, _time.GetUtcNow(), tokens, cancellationToken) : Task.CompletedTask;
}

/// <summary>A key just made.</summary>
/// <param name="Key">As it is kept.</param>
/// <param name="Secret">Its text, which is not kept.</param>
public sealed record NewApiKey(ApiKey Key, string Secret);

/// <summary>Who calls the API.</summary>
/// <param name="Key">The key as it was at the beginning of the request; null for the host's own.</param>
/// <param name="PersonTokens">Tokens that all keys of the key's person had used that day, revoked ones included; 0 where the host does not limit them together.</param>
public sealed record ApiCaller(ApiKey? Key, long PersonTokens = 0)
{
    /// <summary>The holder of HADAL_API_KEY.</summary>
    public static ApiCaller Host { get; } = new((ApiKey?)null);

    /// <summary>Whether the key is the host's; keys of people are not.</summary>
    public bool IsHost => Key?.PersonId is null;

    /// <summary>Whose cached prefixes and whose turn in the queue: a person has one for all keys.</summary>
    public string Owner => Key is null ? "host" : Key.PersonId is Guid person ? $"person:{person:N}" : $"key:{Key.Id:N}";
}
