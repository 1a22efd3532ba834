using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Hadal.Server.Database;
using Hadal.Server.Web;
using Microsoft.EntityFrameworkCore;

namespace Hadal.Server.Accounts;

/// <summary>Six-digit codes: made, sent, and taken once.</summary>
sealed class CodeService(HadalDatabase database, MailPump pump, TimeProvider clock)
{
    const int Digits = 6;
    const int Iterations = 20_000;

    /// <summary>The one answer to every code that does not open anything.</summary>
    public static AppException Wrong() => new(StatusCode.BadRequest, "This code is wrong or has expired. Check the newest mail, or have a new code sent.", "code");

    /// <summary>Makes a code and puts its mail in line.</summary>
    /// <returns>The ticket for the browser.</returns>
    public async Task<Guid> SendAsync(CodePurpose purpose, string email, bool isDecoy, string? fullName, string? passwordHash, CancellationToken cancellationToken)
    {
        DateTimeOffset now = clock.GetUtcNow(), hourAgo = now - TimeSpan.FromHours(1);
        int recent = await database.VerificationCodes.CountAsync(other => other.Email == email && other.Created > hourAgo, cancellationToken);
        if (recent >= AccountLimits.CodesPerHour) throw AppException.TooMany("Too many codes were asked for at this address.", TimeSpan.FromMinutes(30));
        var row = new VerificationCode
        {
            Id = new Guid(RandomNumberGenerator.GetBytes(16)),
            Purpose = purpose,
            Email = email,
            IsDecoy = isDecoy,
            Created = now,
            FullName = fullName,
            PasswordHash = isDecoy ? null : passwordHash,
        };
        database.VerificationCodes.Add(row);
        Issue(row);
        await database.SaveChangesAsync(cancellationToken);
        pump.Wake();
        return row.Id;
    }

    /// <summary>Replaces the code of a ticket and sends the new one.</summary>
    public async Task ResendAsync(Guid ticket, CancellationToken cancellationToken)
    {
        DateTimeOffset now = clock.GetUtcNow();
        VerificationCode row = await database.VerificationCodes.SingleOrDefaultAsync(code => code.Id == ticket, cancellationToken)
            ?? throw new AppException(StatusCode.BadRequest, "This has expired. Begin again.");
        if (row.Sends >= AccountLimits.CodeSends) throw AppException.TooMany("A code was sent three times. Look into the spam folder, or begin again later.", TimeSpan.FromMinutes(15));
        TimeSpan pause = row.LastSent + AccountLimits.ResendPause - now;
        if (pause > TimeSpan.Zero) throw AppException.TooMany("A code was sent a moment ago.", pause);

        // The code before is void; its mail need not go out any more.
        await database.OutgoingMails.Where(mail => mail.CodeId == ticket).ExecuteDeleteAsync(cancellationToken);
        Issue(row);
        await database.SaveChangesAsync(cancellationToken);
        pump.Wake();
    }

    /// <summary>The address of a ticket.</summary>
    public async Task<string> EmailOfAsync(Guid ticket, CancellationToken cancellationToken) =>
        await database.VerificationCodes.Where(code => code.Id == ticket).Select(code => code.Email).SingleOrDefaultAsync(cancellationToken) ?? throw Wrong();

    /// <summary>Checks a code and, when it is right, takes it out of the database: it opens one thing once.</summary>
    public async Task<VerificationCode> TakeAsync(Guid ticket, CodePurpose purpose, string? code, CancellationToken cancellationToken)
    {
        string digits = new([.. (code ?? "").Where(char.IsAsciiDigit)]);
        DateTimeOffset now = clock.GetUtcNow();
        int counted = await database.VerificationCodes.Where(row => row.Id == ticket && row.Purpose == purpose && row.AttemptsLeft > 0 && row.Expires > now)
            .ExecuteUpdateAsync(set => set.SetProperty(row => row.AttemptsLeft, row => row.AttemptsLeft - 1), cancellationToken);
        if (counted == 0) throw Wrong();
        VerificationCode? found = await database.VerificationCodes.AsNoTracking().SingleOrDefaultAsync(row => row.Id == ticket, cancellationToken);
        if (found is null) throw Wrong();
        bool right = CryptographicOperations.FixedTimeEquals(Hash(digits, found.Salt), found.Hash);
        if (!right || found.IsDecoy || digits.Length != Digits) throw Wrong();
        return await database.VerificationCodes.Where(row => row.Id == ticket).ExecuteDeleteAsync(cancellationToken) == 1 ? found : throw Wrong();
    }

    void Issue(VerificationCode row)
    {
        DateTimeOffset now = clock.GetUtcNow();
        string code = RandomNumberGenerator.GetInt32(1_000_000).ToString("D6", CultureInfo.InvariantCulture);
        row.Salt = RandomNumberGenerator.GetBytes(16);
        row.Hash = Hash(code, row.Salt);
        row.AttemptsLeft = AccountLimits.CodeAttempts;
        row.Sends++;
        row.LastSent = now;
        row.Expires = now + AccountLimits.MailTime;
        (string subject, string body) = Text(row, code);
        database.OutgoingMails.Add(new OutgoingMail
        {
            Id = Guid.CreateVersion7(),
            Recipient = row.Email,
            Subject = subject,
            Body = body,
            CodeId = row.Id,
            Created = now,
            NextTry = now,
        });
    }

    // Nothing that a stranger typed stands in these texts: they could be sent to anybody.
    static (string Subject, string Body) Text(VerificationCode row, string code) => (row.Purpose, row.IsDecoy) switch
    {
        (CodePurpose.SignUp, false) => ($"{code} is your Hadal code",
            $"Your code: {code}\n\nEnter it on the page where you signed up. It is valid for 15 minutes.\nIf you did not sign up, ignore this mail: without the code nothing happens.\n"),
        (CodePurpose.SignUp, true) => ("You already have a Hadal account",
            "Somebody, perhaps you, tried to sign up with this address. You already have an account here: sign in with your password, or choose \"Forgot password?\" there.\nIf it was not you, ignore this mail.\n"),
        (_, false) => ($"{code} is your code for a new password",
            $"Your code: {code}\n\nEnter it on the page where you asked for a new password. It is valid for 15 minutes.\nIf you did not ask, ignore this mail: your password stays as it is.\n"),
        (_, true) => ("No Hadal account at this address",
            "Somebody, perhaps you, asked for a new password, but there is no account at this address. Perhaps you signed up with another one.\nIf it was not you, ignore this mail.\n"),
    };

    static byte[] Hash(string code, byte[] salt) => Rfc2898DeriveBytes.Pbkdf2(Encoding.UTF8.GetBytes(code), salt, Iterations, HashAlgorithmName.SHA256, 32);
}
