using Hadal.Server.Database;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Keys;

/// <summary>Keys in the server's database: what one server changes, every server on that database sees with its next request.</summary>
sealed class DatabaseApiKeyStore(IServiceScopeFactory scopes) : IApiKeyStore
{
    public Task<ApiKey?> FindAsync(string prefix, CancellationToken cancellationToken) =>
        WithAsync(database => database.ApiKeys.AsNoTracking().FirstOrDefaultAsync(key => key.Prefix == prefix, cancellationToken));

    public Task<IReadOnlyList<ApiKey>> ListAsync(Guid? personId, CancellationToken cancellationToken) =>
        WithAsync<IReadOnlyList<ApiKey>>(async database => await database.ApiKeys.AsNoTracking().Where(key => key.PersonId == personId).OrderByDescending(key => key.Created).ToListAsync(cancellationToken));

    public Task<long> TokensOfAsync(Guid personId, int day, CancellationToken cancellationToken) =>
        WithAsync(database => database.ApiKeys.Where(key => key.PersonId == personId && key.UsageDay == day).SumAsync(key => key.UsageTokens, cancellationToken));

    public Task AddAsync(ApiKey key, CancellationToken cancellationToken) => WithAsync(database =>
    {
        database.ApiKeys.Add(key);
        return database.SaveChangesAsync(cancellationToken);
    });

    public Task<bool> RevokeAsync(Guid? personId, Guid id, DateTimeOffset now, CancellationToken cancellationToken) => WithAsync(async database =>
        await database.ApiKeys.Where(key => key.Id == id && key.PersonId == personId && key.Revoked == null)
            .ExecuteUpdateAsync(key => key.SetProperty(k => k.Revoked, now), cancellationToken) > 0);

    // One statement each, so that requests at the same time lose nothing.
    public Task RecordAsync(Guid id, DateTimeOffset now, long tokens, CancellationToken cancellationToken)
    {
        int day = KeyLimiter.DayOf(now);
        return WithAsync(database => database.ApiKeys.Where(key => key.Id == id).ExecuteUpdateAsync(key => key
            .SetProperty(k => k.UsageTokens, k => k.UsageDay == day ? k.UsageTokens + tokens : tokens)
            .SetProperty(k => k.UsageDay, day)
            .SetProperty(k => k.LastUsed, now), cancellationToken));
    }

    async Task<T> WithAsync<T>(Func<HadalDatabase, Task<T>> work)
    {
        await using AsyncServiceScope scope = scopes.CreateAsyncScope();
        return await work(scope.ServiceProvider.GetRequiredService<HadalDatabase>());
    }
}
