using System.Collections.Concurrent;

namespace Hadal.Server.Keys;

/// <summary>Where keys are kept. What one call changed, the next sees.</summary>
public interface IApiKeyStore
{
    /// <summary>The key with this public half, revoked or not; a copy.</summary>
    Task<ApiKey?> FindAsync(string prefix, CancellationToken cancellationToken);

    /// <summary>The keys of one person, or with null the host's; the youngest first.</summary>
    Task<IReadOnlyList<ApiKey>> ListAsync(Guid? personId, CancellationToken cancellationToken);

    /// <summary>Tokens that all keys of a person used on a day, revoked ones included.</summary>
    Task<long> TokensOfAsync(Guid personId, int day, CancellationToken cancellationToken);

    /// <summary>Keeps a new key.</summary>
    Task AddAsync(ApiKey key, CancellationToken cancellationToken);

    /// <summary>Revokes a key of this person (null: of the host).</summary>
    /// <returns>False when there is no such key of theirs, or it was revoked before.</returns>
    Task<bool> RevokeAsync(Guid? personId, Guid id, DateTimeOffset now, CancellationToken cancellationToken);

    /// <summary>Notes that a key was used, and adds tokens to its day.</summary>
    Task RecordAsync(Guid id, DateTimeOffset now, long tokens, CancellationToken cancellationToken);
}

/// <summary>Keys in memory, gone with the process.</summary>
public sealed class MemoryApiKeyStore : IApiKeyStore
{
    readonly ConcurrentDictionary<string, ApiKey> _keys = new(StringComparer.Ordinal);

    /// <inheritdoc/>
    public Task<ApiKey?> FindAsync(string prefix, CancellationToken cancellationToken)
    {
        if (!_keys.TryGetValue(prefix, out ApiKey? key)) return Task.FromResult<ApiKey?>(null);
        lock (key) return Task.FromResult<ApiKey?>(Copy(key));
    }

    /// <inheritdoc/>
    public Task<IReadOnlyList<ApiKey>> ListAsync(Guid? personId, CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<ApiKey>>([.. _keys.Values.Where(key => key.PersonId == personId).OrderByDescending(key => key.Created).Select(Copy)]);

    /// <inheritdoc/>
    public async Task<long> TokensOfAsync(Guid personId, int day, CancellationToken cancellationToken) =>
        (await ListAsync(personId, cancellationToken)).Where(key => key.UsageDay == day).Sum(key => key.UsageTokens);

    /// <inheritdoc/>
    public Task AddAsync(ApiKey key, CancellationToken cancellationToken)
    {
        if (!_keys.TryAdd(key.Prefix, Copy(key))) throw new InvalidOperationException($"There is a key {key.Prefix} already.");
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public Task<bool> RevokeAsync(Guid? personId, Guid id, DateTimeOffset now, CancellationToken cancellationToken)
    {
        ApiKey? key = _keys.Values.FirstOrDefault(candidate => candidate.Id == id && candidate.PersonId == personId);
        if (key is null) return Task.FromResult(false);
        lock (key)
        {
            if (key.Revoked is not null) return Task.FromResult(false);
            key.Revoked = now;
            return Task.FromResult(true);
        }
    }

    /// <inheritdoc/>
    public Task RecordAsync(Guid id, DateTimeOffset now, long tokens, CancellationToken cancellationToken)
    {
        ApiKey? key = _keys.Values.FirstOrDefault(candidate => candidate.Id == id);
        if (key is null) return Task.CompletedTask;
        lock (key)
        {
            int day = KeyLimiter.DayOf(now);
            key.UsageTokens = key.UsageDay == day ? key.UsageTokens + tokens : tokens;
            key.UsageDay = day;
            key.LastUsed = now;
        }

        return Task.CompletedTask;
    }

    static ApiKey Copy(ApiKey key) => new()
    {
        Id = key.Id,
        PersonId = key.PersonId,
        Prefix = key.Prefix,
        Hash = key.Hash,
        Name = key.Name,
        Created = key.Created,
        LastUsed = key.LastUsed,
        Revoked = key.Revoked,
        RequestsPerMinute = key.RequestsPerMinute,
        TokensPerDay = key.TokensPerDay,
        UsageDay = key.UsageDay,
        UsageTokens = key.UsageTokens,
    };
}
