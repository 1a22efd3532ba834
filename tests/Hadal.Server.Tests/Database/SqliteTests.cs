using Hadal.Server.Database;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;

namespace Hadal.Server.Tests.Database;

/// <summary>The database in a file: made by its migrations, the same as the model, refused when it is newer.</summary>
public sealed class SqliteTests
{
    [Fact]
    public async Task Migrations_make_the_database_of_the_model_and_run_once()
    {
        string folder = Directory.CreateTempSubdirectory("hadal-sqlite-").FullName, connection = $"Data Source={Path.Combine(folder, "hadal.db")};Pooling=False";
        try
        {
            for (int round = 0; round < 2; round++)
            {
                await using HadalDatabase database = Open(connection);
                await DatabaseSetup.MigrateAsync(database, TestContext.Current.CancellationToken);
                Assert.Empty(await database.Database.GetPendingMigrationsAsync(TestContext.Current.CancellationToken));
                Assert.NotEmpty(await database.Database.GetAppliedMigrationsAsync(TestContext.Current.CancellationToken));
                Assert.False(database.Database.HasPendingModelChanges());
                Assert.Equal(0, await database.Messages.CountAsync(TestContext.Current.CancellationToken));
            }

            await using (var own = new SqliteConnection(connection))
            {
                await own.OpenAsync(TestContext.Current.CancellationToken);
                await using SqliteCommand command = own.CreateCommand();
                command.CommandText = """INSERT INTO "__EFMigrationsHistory" ("MigrationId", "ProductVersion") VALUES ('29990101000000_Later', '99.0.0')""";
                await command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
            }

            await using HadalDatabase newer = Open(connection);
            Assert.Contains("29990101000000_Later", (await Assert.ThrowsAsync<InvalidOperationException>(() => DatabaseSetup.MigrateAsync(newer))).Message, StringComparison.Ordinal);
        }
        finally
        {
            Folders.Delete(folder);
        }
    }

    static SqliteHadalDatabase Open(string connection)
    {
        var options = new DbContextOptionsBuilder<SqliteHadalDatabase>();
        DatabaseSetup.ConfigureSqlite(options, connection);
        return new SqliteHadalDatabase(options.Options);
    }
}
