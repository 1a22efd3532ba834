using System.Data.Common;
using Microsoft.AspNetCore.DataProtection;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Database;

/// <summary>Where the database is, and how it is opened.</summary>
public static class DatabaseSetup
{
    /// <summary>Registers <see cref="HadalDatabase"/>.</summary>
    /// <param name="services">The application's.</param>
    /// <param name="home">The folder of the server's state; SQLite's file <c>hadal.db</c> lies in it.</param>
    /// <param name="connection">A PostgreSQL connection string (<c>Host=…;Database=…;Username=…;Password=…</c> or <c>postgres://…</c>), <c>Data Source=FILE</c> for another SQLite file, or null for the usual one.</param>
    /// <exception cref="ArgumentException">The connection string is none of PostgreSQL.</exception>
    public static IServiceCollection AddHadalDatabase(this IServiceCollection services, string home, string? connection)
    {
        if (IsSqlite(connection))
        {
            string text = SqliteConnection(home, connection);
            services.AddDbContext<HadalDatabase, SqliteHadalDatabase>(options => ConfigureSqlite(options, text));
        }
        else
        {
            string text = PostgresConnection(connection!);
            services.AddDbContext<HadalDatabase, PostgresHadalDatabase>(options => options.UseNpgsql(text));
        }

        return services;
    }

    /// <summary>The options for one SQLite file.</summary>
    public static void ConfigureSqlite(DbContextOptionsBuilder options, string connection) =>
        options.UseSqlite(connection).AddInterceptors(UnicodeCase.Instance);

    /// <summary>Makes the folder and the file of state that only their owner may read.</summary>
    /// <exception cref="IOException">The folder cannot be made.</exception>
    public static void PrepareFolder(string home)
    {
        PrivateFiles.CreateFolder(home);
        string file = Path.Combine(home, "hadal.db");
        if (!File.Exists(file)) PrivateFiles.Append(file, "");
    }

    /// <summary>Brings the database to the newest form; one of a newer version of Hadal is refused.</summary>
    /// <exception cref="InvalidOperationException">The database was made by a newer version.</exception>
    public static async Task MigrateAsync(HadalDatabase database, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(database);
        var known = database.Database.GetMigrations().ToHashSet(StringComparer.Ordinal);
        string? unknown = null;
        if (await database.Database.CanConnectAsync(cancellationToken))
            unknown = (await database.Database.GetAppliedMigrationsAsync(cancellationToken)).FirstOrDefault(name => !known.Contains(name));
        if (unknown is not null)
            throw new InvalidOperationException($"The database has the migration {unknown}, which this version of hadal does not know: it was used by a newer one. Run that version, or restore a backup made before.");
        await database.Database.MigrateAsync(cancellationToken);
        if (database is SqliteHadalDatabase)
            await database.Database.ExecuteSqlRawAsync("PRAGMA journal_mode = WAL;", cancellationToken);
    }

    internal static void AddProtection(IServiceCollection services, string home)
    {
        string folder = Path.Combine(home, "protection");
        PrivateFiles.CreateFolder(folder);
        services.AddDataProtection().SetApplicationName("hadal").PersistKeysToFileSystem(new DirectoryInfo(folder));
    }

    static bool IsSqlite(string? connection) => string.IsNullOrWhiteSpace(connection) || connection.TrimStart().StartsWith("Data Source=", StringComparison.OrdinalIgnoreCase);

    static string SqliteConnection(string home, string? connection)
    {
        var given = new SqliteConnectionStringBuilder(connection) { ForeignKeys = true, DefaultTimeout = 30 };
        if (given.DataSource.Length == 0) given.DataSource = Path.Combine(home, "hadal.db");
        return given.ToString();
    }

    static string PostgresConnection(string text)
    {
        if (!text.StartsWith("postgres://", StringComparison.Ordinal) && !text.StartsWith("postgresql://", StringComparison.Ordinal))
        {
            try
            {
                return new Npgsql.NpgsqlConnectionStringBuilder(text).ToString();
            }
            catch (ArgumentException)
            {
                // The library's words may quote a part of the text, and that may be a part of the password.
#pragma warning disable MA0054 // for that reason the cause is left out
                throw new ArgumentException("The database connection string cannot be read; expected PostgreSQL's, such as \"Host=localhost;Database=hadal;Username=hadal;Password=…\" (a value with ; or = in it stands in quotes) or \"postgres://hadal:…@localhost/hadal\".", nameof(text));
#pragma warning restore MA0054
            }
        }

        if (!Uri.TryCreate(text, UriKind.Absolute, out Uri? address))
            throw new ArgumentException("The database address cannot be read; expected postgres://user:password@host:port/database.", nameof(text));
        string[] user = address.UserInfo.Split(':', 2);
        return new Npgsql.NpgsqlConnectionStringBuilder
        {
            Host = address.Host,
            Port = address.Port > 0 ? address.Port : 5432,
            Database = Uri.UnescapeDataString(address.AbsolutePath.TrimStart('/')),
            Username = Uri.UnescapeDataString(user[0]),
            Password = user.Length > 1 ? Uri.UnescapeDataString(user[1]) : null,
        }.ToString();
    }

    // SQLite's own lower() knows ASCII only; a search must find "É" by "é".
    sealed class UnicodeCase : DbConnectionInterceptor
    {
        public static UnicodeCase Instance { get; } = new();

        public override void ConnectionOpened(DbConnection connection, ConnectionEndEventData eventData) => Add(connection);

        public override Task ConnectionOpenedAsync(DbConnection connection, ConnectionEndEventData eventData, CancellationToken cancellationToken = default)
        {
            Add(connection);
            return Task.CompletedTask;
        }

        static void Add(DbConnection connection) =>
            ((SqliteConnection)connection).CreateFunction("lower", (string? text) => text?.ToLowerInvariant(), isDeterministic: true);
    }
}
