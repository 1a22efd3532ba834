using Hadal.Server.Database;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Accounts;

/// <summary>Rights that are given on the host alone.</summary>
public static class Operators
{
    /// <summary>Lets a person see the operator's page, or takes the right back.</summary>
    /// <param name="home">The folder of the server's state.</param>
    /// <param name="connection">PostgreSQL's connection string, or null for SQLite.</param>
    /// <param name="email">The address of an account.</param>
    /// <param name="granted">False takes the right back.</param>
    /// <returns>False when nobody has an account with this address.</returns>
    public static async Task<bool> SetAsync(string home, string? connection, string email, bool granted = true, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(email);
        var services = new ServiceCollection();
        DatabaseSetup.PrepareFolder(home);
        services.AddHadalDatabase(home, connection);
        await using ServiceProvider provider = services.BuildServiceProvider();
        await using AsyncServiceScope scope = provider.CreateAsyncScope();
        var database = scope.ServiceProvider.GetRequiredService<HadalDatabase>();
        await DatabaseSetup.MigrateAsync(database, cancellationToken);
        string normalized = AccountRules.Normalize(email).ToUpperInvariant();
        return await database.Users.Where(person => person.NormalizedEmail == normalized)
            .ExecuteUpdateAsync(set => set.SetProperty(person => person.IsOperator, granted), cancellationToken) > 0;
    }
}
