using Hadal.Server.Database;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Keys;

/// <summary>Keys of the host, made on the host.</summary>
public static class HostKeys
{
    /// <summary>Makes a key in a server's database; the server may be running.</summary>
    /// <param name="home">The folder of the server's state.</param>
    /// <param name="connection">PostgreSQL's connection string, or null for SQLite.</param>
    /// <param name="name">What the host will know it by.</param>
    /// <param name="requestsPerMinute">At least 1; null for no limit.</param>
    /// <param name="tokensPerDay">At least 1; null for no limit.</param>
    /// <param name="cancellationToken">Gives it up.</param>
    /// <returns>The key's text, which is kept nowhere.</returns>
    public static async Task<string> MakeAsync(string home, string? connection, string name, int? requestsPerMinute, long? tokensPerDay, CancellationToken cancellationToken = default)
    {
        var services = new ServiceCollection();
        DatabaseSetup.PrepareFolder(home);
        services.AddHadalDatabase(home, connection);
        await using ServiceProvider provider = services.BuildServiceProvider();
        await using (AsyncServiceScope scope = provider.CreateAsyncScope())
            await DatabaseSetup.MigrateAsync(scope.ServiceProvider.GetRequiredService<HadalDatabase>(), cancellationToken);
        var keys = new ApiKeyService(new DatabaseApiKeyStore(provider.GetRequiredService<IServiceScopeFactory>()), TimeProvider.System, hostKey: null);
        return (await keys.MakeAsync(null, name, requestsPerMinute, tokensPerDay, cancellationToken)).Secret;
    }
}
