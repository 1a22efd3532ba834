using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Design;

namespace Hadal.Server.Database;

/// <summary>Lets <c>dotnet ef</c> make migrations for SQLite; nothing is opened.</summary>
sealed class SqliteDesign : IDesignTimeDbContextFactory<SqliteHadalDatabase>
{
    public SqliteHadalDatabase CreateDbContext(string[] args) => new(new DbContextOptionsBuilder<SqliteHadalDatabase>().UseSqlite("Data Source=:memory:").Options);
}

/// <summary>Lets <c>dotnet ef</c> make migrations for PostgreSQL; nothing is opened.</summary>
sealed class PostgresDesign : IDesignTimeDbContextFactory<PostgresHadalDatabase>
{
    public PostgresHadalDatabase CreateDbContext(string[] args) => new(new DbContextOptionsBuilder<PostgresHadalDatabase>().UseNpgsql("Host=localhost").Options);
}
