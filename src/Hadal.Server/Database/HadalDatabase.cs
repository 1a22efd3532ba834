using Hadal.Server.Accounts;
using Hadal.Server.Conversations;
using Hadal.Server.Keys;
using Microsoft.AspNetCore.Identity.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Storage.ValueConversion;

namespace Hadal.Server.Database;

/// <summary>
/// What the server remembers: people (ASP.NET Core Identity), keys to the API, codes and mail on their way, conversations. One model for SQLite and PostgreSQL; each has its own
/// migrations, made for the types derived from this one.
/// </summary>
public abstract class HadalDatabase : IdentityUserContext<Person, Guid>
{
    /// <summary>Opens nothing yet.</summary>
    protected HadalDatabase(DbContextOptions options)
        : base(options)
    {
    }

    /// <summary>Keys to the API.</summary>
    public DbSet<ApiKey> ApiKeys => Set<ApiKey>();

    internal DbSet<VerificationCode> VerificationCodes => Set<VerificationCode>();

    internal DbSet<OutgoingMail> OutgoingMails => Set<OutgoingMail>();

    internal DbSet<FailedAttempts> FailedAttempts => Set<FailedAttempts>();

    internal DbSet<Conversation> Conversations => Set<Conversation>();

    internal DbSet<Message> Messages => Set<Message>();

    /// <inheritdoc/>
    protected override void ConfigureConventions(ModelConfigurationBuilder configurationBuilder)
    {
        base.ConfigureConventions(configurationBuilder);

        // SQLite can neither sort nor compare its text form of a time; a number sorts everywhere.
        configurationBuilder.Properties<DateTimeOffset>().HaveConversion<UnixMilliseconds>();
    }

    /// <inheritdoc/>
    protected override void OnModelCreating(ModelBuilder builder)
    {
        base.OnModelCreating(builder);
        builder.Entity<Person>(person =>
        {
            person.ToTable("People");
            person.Property(p => p.FullName).HasMaxLength(AccountLimits.LongestName);
        });
        builder.Entity<Microsoft.AspNetCore.Identity.IdentityUserClaim<Guid>>().ToTable("PeopleClaims");
        builder.Entity<Microsoft.AspNetCore.Identity.IdentityUserLogin<Guid>>().ToTable("PeopleLogins");
        builder.Entity<Microsoft.AspNetCore.Identity.IdentityUserToken<Guid>>().ToTable("PeopleTokens");
        builder.Entity<ApiKey>(key =>
        {
            key.Property(k => k.Id).ValueGeneratedNever();
            key.Property(k => k.Prefix).HasMaxLength(KeySecret.PrefixLength);
            key.Property(k => k.Name).HasMaxLength(ApiKeyService.LongestName);
            key.HasOne<Person>().WithMany().HasForeignKey(k => k.PersonId).OnDelete(DeleteBehavior.Cascade);
            key.HasIndex(k => k.Prefix).IsUnique();
        });
        builder.Entity<VerificationCode>(code =>
        {
            code.Property(c => c.Id).ValueGeneratedNever();
            code.Property(c => c.Email).HasMaxLength(AccountLimits.LongestEmail);
            code.Property(c => c.FullName).HasMaxLength(AccountLimits.LongestName);
            code.HasIndex(c => c.Expires);
            code.HasIndex(c => c.Email);
        });
        builder.Entity<OutgoingMail>(mail =>
        {
            mail.Property(m => m.Id).ValueGeneratedNever();
            mail.HasIndex(m => m.NextTry);
        });
        builder.Entity<FailedAttempts>(attempts =>
        {
            attempts.HasKey(a => a.Key);
            attempts.Property(a => a.Key).HasMaxLength(100);
            attempts.HasIndex(a => a.Expires);
        });
        builder.Entity<Conversation>(conversation =>
        {
            conversation.Property(c => c.Id).ValueGeneratedNever();
            conversation.Property(c => c.Title).HasMaxLength(ConversationLimits.LongestTitle);
            conversation.HasOne<Person>().WithMany().HasForeignKey(c => c.PersonId).OnDelete(DeleteBehavior.Cascade);
            conversation.HasIndex(c => new { c.PersonId, c.Updated });
        });
        builder.Entity<Message>(message =>
        {
            message.Property(m => m.Id).ValueGeneratedNever();
            message.HasOne<Conversation>().WithMany().HasForeignKey(m => m.ConversationId).OnDelete(DeleteBehavior.Cascade);
            message.HasIndex(m => m.ConversationId);
            message.HasIndex(m => m.State);
        });
    }

    sealed class UnixMilliseconds() : ValueConverter<DateTimeOffset, long>(time => time.ToUnixTimeMilliseconds(), number => DateTimeOffset.FromUnixTimeMilliseconds(number));
}

/// <summary>The database in one file, the default.</summary>
public sealed class SqliteHadalDatabase(DbContextOptions<SqliteHadalDatabase> options) : HadalDatabase(options);

/// <summary>The database on a PostgreSQL server.</summary>
public sealed class PostgresHadalDatabase(DbContextOptions<PostgresHadalDatabase> options) : HadalDatabase(options);
