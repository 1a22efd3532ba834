using Hadal.Server.Accounts;
using Hadal.Server.Database;
using Hadal.Server.Tests.Accounts;
using Hadal.Server.Tests.Chat;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;

namespace Hadal.Server.Tests.Database;

/// <summary>Everything about conversations, on PostgreSQL.</summary>
[Trait("tier", "full")]
public sealed class PostgresConversationTests(PostgresServer server) : ConversationTests, IClassFixture<PostgresServer>
{
    string? _connection;

    protected override string? Database => _connection ??= server.NewDatabase();
}

/// <summary>Answers without their conversation or their database, on PostgreSQL.</summary>
[Trait("tier", "full")]
public sealed class PostgresDeletionTests(PostgresServer server) : DeletionTests, IClassFixture<PostgresServer>
{
    string? _connection;

    protected override string? Database => _connection ??= server.NewDatabase();
}

/// <summary>Everything about accounts, on PostgreSQL.</summary>
[Trait("tier", "full")]
public sealed class PostgresAccountTests(PostgresServer server) : AccountTests, IClassFixture<PostgresServer>
{
    string? _connection;

    protected override string? Database => _connection ??= server.NewDatabase();
}

/// <summary>The database on PostgreSQL: made by its migrations, the same as the model, refused when it is newer.</summary>
[Trait("tier", "full")]
public sealed class PostgresTests(PostgresServer server) : IClassFixture<PostgresServer>
{
    [Fact]
    public async Task Migrations_make_the_database_of_the_model_and_run_once()
    {
        string connection = server.NewDatabase();
        for (int round = 0; round < 2; round++)
        {
            await using HadalDatabase database = Open(connection);
            await DatabaseSetup.MigrateAsync(database, TestContext.Current.CancellationToken);
            Assert.Empty(await database.Database.GetPendingMigrationsAsync(TestContext.Current.CancellationToken));
            Assert.False(database.Database.HasPendingModelChanges());
        }

        await using HadalDatabase made = Open(connection);
        Assert.Equal(0, await made.Messages.CountAsync(TestContext.Current.CancellationToken));
        await using var own = new NpgsqlConnection(connection);
        await own.OpenAsync(TestContext.Current.CancellationToken);
        await using NpgsqlCommand command = own.CreateCommand();
        command.CommandText = """INSERT INTO "__EFMigrationsHistory" ("MigrationId", "ProductVersion") VALUES ('29990101000000_Later', '99.0.0')""";
        await command.ExecuteNonQueryAsync(TestContext.Current.CancellationToken);
        await using HadalDatabase newer = Open(connection);
        Assert.Contains("29990101000000_Later", (await Assert.ThrowsAsync<InvalidOperationException>(() => DatabaseSetup.MigrateAsync(newer))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_keeps_everything_on_PostgreSQL_over_a_restart()
    {
        string connection = server.NewDatabase();
        string home = Directory.CreateTempSubdirectory("hadal-chat-").FullName;
        try
        {
            await using (ChatHost first = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { Database = connection }, home))
            {
                using ChatBrowser me = await first.SignUpAsync("kept@example.org");
                await me.PostAsync("/app/conversations", new { text = "Kept?", deepThink = false });
                Assert.True(await Operators.SetAsync(home, connection, "kept@example.org"));
            }

            await using ChatHost second = await ChatHost.StartAsync(new ScriptedEngine(), options => options with { Database = connection }, home);
            using ChatBrowser again = second.Browse();
            await again.PostAsync("/app/accounts/sign-in", new { email = "kept@example.org", password = "a long enough phrase" });
            Assert.Equal("Kept?", (await again.GetAsync("/app/conversations")).GetProperty("conversations")[0].GetProperty("title").GetString());
            Assert.Equal(1, (await again.GetAsync("/app/operator")).GetProperty("people").GetInt32());
            Assert.Equal(0, new FileInfo(Path.Combine(home, "hadal.db")).Length); // nothing of it lies in the file
        }
        finally
        {
            Folders.Delete(home);
        }
    }

    static HadalDatabase Open(string connection)
    {
        var services = new ServiceCollection();
        services.AddHadalDatabase(Path.GetTempPath(), connection);
        return services.BuildServiceProvider().GetRequiredService<HadalDatabase>();
    }
}
