using System.Net;
using Hadal.Server.Database;
using Hadal.Server.Web;
using Microsoft.AspNetCore.Identity;
using Microsoft.EntityFrameworkCore;

namespace Hadal.Server.Accounts;

/// <summary>
/// Sign-up, sign-in, reset. No answer tells whether somebody has an account at an address: a taken address at sign-up and an unknown one at reset get a ticket that
/// looks like any other, wrong passwords are counted for both, and a password is hashed in either case.
/// </summary>
sealed class AccountService(HadalDatabase database, UserManager<Person> people, CodeService codes, AddressThrottle throttle, Registration registration, IMailCarrier carrier, TimeProvider clock)
{
    const string WrongSignIn = "The e-mail address or the password is wrong.";
    static readonly Person Nobody = new() { UserName = "nobody" };

    // Made once: checking a password against it takes as long as against a real one.
    static readonly string NobodysHash = new PasswordHasher<Person>().HashPassword(Nobody, Guid.NewGuid().ToString());

    /// <summary>Begins a sign-up; the account comes to be when the code is entered.</summary>
    public async Task<Guid> SignUpAsync(string email, string fullName, string password, IPAddress? address, CancellationToken cancellationToken)
    {
        RequireOpen();
        throttle.Enter("sign-up", address);
        email = AccountRules.Normalize(email);
        fullName = StoredText.Clean(fullName).Trim();
        password ??= "";
        AppException.ThrowIfRefused("email", AccountRules.Email(email));
        AppException.ThrowIfRefused("fullName", AccountRules.Name(fullName));
        AppException.ThrowIfRefused("password", AccountRules.Password(password, email));
        string hash = people.PasswordHasher.HashPassword(Nobody, password);
        bool taken = await people.FindByEmailAsync(email) is not null;
        return await codes.SendAsync(CodePurpose.SignUp, email, isDecoy: taken, fullName, hash, cancellationToken);
    }

    /// <summary>Ends a sign-up: the account.</summary>
    public async Task<Person> VerifyAsync(Guid ticket, string code, IPAddress? address, CancellationToken cancellationToken)
    {
        throttle.Enter("code", address);
        VerificationCode proved = await codes.TakeAsync(ticket, CodePurpose.SignUp, code, cancellationToken);
        var person = new Person
        {
            Id = Guid.CreateVersion7(),
            UserName = proved.Email,
            Email = proved.Email,
            EmailConfirmed = true,
            FullName = proved.FullName!,
            PasswordHash = proved.PasswordHash,
            Created = clock.GetUtcNow(),
        };
        IdentityResult result = await people.CreateAsync(person);
        return result.Succeeded ? person : throw CodeService.Wrong();
    }

    /// <summary>Checks a password.</summary>
    public async Task<Person> SignInAsync(string email, string password, IPAddress? address, CancellationToken cancellationToken)
    {
        throttle.Enter("sign-in", address);
        email = AccountRules.Normalize(email);
        password ??= "";
        if (email.Length > AccountLimits.LongestEmail || password.Length > AccountLimits.LongestPassword) throw new AppException(StatusCode.BadRequest, WrongSignIn);
        string key = AccountRules.Key("sign-in", email);
        await ReserveAttemptAsync(key, cancellationToken);
        Person? person = await people.FindByEmailAsync(email);
        if (person?.PasswordHash is null)
        {
            people.PasswordHasher.VerifyHashedPassword(Nobody, NobodysHash, password);
            throw new AppException(StatusCode.BadRequest, WrongSignIn);
        }

        if (!await people.CheckPasswordAsync(person, password)) throw new AppException(StatusCode.BadRequest, WrongSignIn);
        await database.FailedAttempts.Where(attempts => attempts.Key == key).ExecuteDeleteAsync(cancellationToken);
        return person;
    }

    /// <summary>Begins a reset.</summary>
    public async Task<Guid> ResetAsync(string email, IPAddress? address, CancellationToken cancellationToken)
    {
        RequireOpen();
        throttle.Enter("sign-up", address);
        email = AccountRules.Normalize(email);
        AppException.ThrowIfRefused("email", AccountRules.Email(email));
        bool unknown = await people.FindByEmailAsync(email) is null;
        return await codes.SendAsync(CodePurpose.Reset, email, isDecoy: unknown, fullName: null, passwordHash: null, cancellationToken);
    }

    /// <summary>Ends a reset: the new password counts, and every session elsewhere ends.</summary>
    public async Task<Person> ConfirmResetAsync(Guid ticket, string code, string password, IPAddress? address, CancellationToken cancellationToken)
    {
        throttle.Enter("code", address);
        password ??= "";
        string email = await codes.EmailOfAsync(ticket, cancellationToken);
        AppException.ThrowIfRefused("password", AccountRules.Password(password, email));
        VerificationCode proved = await codes.TakeAsync(ticket, CodePurpose.Reset, code, cancellationToken);
        Person person = await people.FindByEmailAsync(proved.Email) ?? throw CodeService.Wrong();
        await SetPasswordAsync(person, password);
        string key = AccountRules.Key("sign-in", proved.Email);
        await database.FailedAttempts.Where(attempts => attempts.Key == key).ExecuteDeleteAsync(cancellationToken);
        return person;
    }

    /// <summary>Sends the code of a ticket anew.</summary>
    public Task ResendAsync(Guid ticket, IPAddress? address, CancellationToken cancellationToken)
    {
        RequireOpen();
        throttle.Enter("sign-up", address);
        return codes.ResendAsync(ticket, cancellationToken);
    }

    /// <summary>Sets another password; sessions elsewhere end.</summary>
    public async Task ChangePasswordAsync(Person person, string current, string password, CancellationToken cancellationToken)
    {
        password ??= "";
        await RequirePasswordAsync(person, current, "current", cancellationToken);
        AppException.ThrowIfRefused("password", AccountRules.Password(password, person.Email!));
        await SetPasswordAsync(person, password);
    }

    /// <summary>Ends every session: the cookies out there carry an older stamp.</summary>
    public async Task SignOutEverywhereAsync(Person person) => Require(await people.UpdateSecurityStampAsync(person));

    /// <summary>Renames a person.</summary>
    public async Task RenameAsync(Person person, string fullName)
    {
        fullName = StoredText.Clean(fullName).Trim();
        AppException.ThrowIfRefused("fullName", AccountRules.Name(fullName));
        person.FullName = fullName;
        Require(await people.UpdateAsync(person));
    }

    /// <summary>Deletes an account with everything that belongs to it.</summary>
    public async Task DeleteAsync(Person person, string password, CancellationToken cancellationToken)
    {
        await RequirePasswordAsync(person, password, "password", cancellationToken);
        string email = AccountRules.Normalize(person.Email);
        await database.VerificationCodes.Where(code => code.Email == email).ExecuteDeleteAsync(cancellationToken);
        await database.OutgoingMails.Where(mail => mail.Recipient == email).ExecuteDeleteAsync(cancellationToken);
        Require(await people.DeleteAsync(person));
        carrier.Forget(person.Email!);
        if (email is not null) carrier.Forget(email);
    }

    // A stolen session must not become a place to guess the password: the same count as at the door.
    async Task RequirePasswordAsync(Person person, string? password, string field, CancellationToken cancellationToken)
    {
        string key = AccountRules.Key("sign-in", AccountRules.Normalize(person.Email));
        await ReserveAttemptAsync(key, cancellationToken);
        if (password is null || password.Length > AccountLimits.LongestPassword || !await people.CheckPasswordAsync(person, password))
            throw new AppException(StatusCode.BadRequest, "The password is wrong.", field);
        await database.FailedAttempts.Where(attempts => attempts.Key == key).ExecuteDeleteAsync(cancellationToken);
    }

    async Task SetPasswordAsync(Person person, string password)
    {
        person.PasswordHash = people.PasswordHasher.HashPassword(person, password);
        Require(await people.UpdateSecurityStampAsync(person)); // saves the hash as well
    }

    // An attempt is counted before the password is looked at, so that attempts at the same moment cannot slip by together.
    async Task ReserveAttemptAsync(string key, CancellationToken cancellationToken)
    {
        DateTimeOffset now = clock.GetUtcNow(), expires = now + AccountLimits.LockoutTime;
        for (int round = 0; ; round++)
        {
            int counted = await database.FailedAttempts.Where(attempts => attempts.Key == key && attempts.Expires > now && attempts.Count < AccountLimits.PasswordAttempts)
                .ExecuteUpdateAsync(set => set.SetProperty(attempts => attempts.Count, attempts => attempts.Count + 1).SetProperty(attempts => attempts.Expires, expires), cancellationToken);
            if (counted > 0) return;
            FailedAttempts? row = await database.FailedAttempts.AsNoTracking().SingleOrDefaultAsync(attempts => attempts.Key == key, cancellationToken);
            if (row is not null && row.Expires > now)
            {
                if (row.Count < AccountLimits.PasswordAttempts && round < 5) continue;
                throw AppException.TooMany("Too many wrong passwords. You can also reset the password.", row.Expires - now);
            }

            if (row is not null) await database.FailedAttempts.Where(attempts => attempts.Key == key && attempts.Expires <= now).ExecuteDeleteAsync(cancellationToken);
            var first = new FailedAttempts { Key = key, Count = 1, Expires = expires };
            database.FailedAttempts.Add(first);
            try
            {
                await database.SaveChangesAsync(cancellationToken);
                return;
            }
            catch (DbUpdateException) when (round < 5)
            {
                // another attempt made the row first
            }
            finally
            {
                database.Entry(first).State = EntityState.Detached;
            }
        }
    }

    void RequireOpen()
    {
        if (registration.Refusal is { } refusal) throw new AppException(StatusCode.Forbidden, refusal);
    }

    static void Require(IdentityResult result)
    {
        if (!result.Succeeded) throw new AppException(StatusCode.Conflict, "The account was changed at the same time from elsewhere. Try again.");
    }
}
