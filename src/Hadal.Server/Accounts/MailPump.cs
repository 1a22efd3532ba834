using Hadal.Server.Database;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Accounts;

/// <summary>
/// Sends what waits in the database, and tries again with growing pauses while the mail server is away: nobody who signs up has to wait for it, and a restart loses
/// nothing.
/// </summary>
sealed partial class MailPump(IServiceScopeFactory scopes, IMailCarrier carrier, TimeProvider clock, ILogger<MailPump> log) : BackgroundService
{
    const int Batch = 20;
    static readonly TimeSpan Pause = TimeSpan.FromSeconds(2);
    static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(10);
    readonly SemaphoreSlim _signal = new(0, 1);
    volatile bool _failing;

    /// <summary>Whether the last attempt failed.</summary>
    public bool IsFailing => _failing;

    /// <summary>Says that something was put into the database.</summary>
    public void Wake()
    {
        try
        {
            _signal.Release();
        }
        catch (SemaphoreFullException)
        {
            // it is awake already
        }
    }

    public override void Dispose()
    {
        _signal.Dispose();
        base.Dispose();
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            try
            {
                await SendDueAsync(stoppingToken);
                await _signal.WaitAsync(Pause, stoppingToken);
            }
            catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
            {
                return;
            }
            catch (ObjectDisposedException)
            {
                return; // a start that failed: the server is gone, and nobody ended this
            }
            catch (Exception exception) when (exception is DbUpdateException or System.Data.Common.DbException or InvalidOperationException or IOException)
            {
                DatabaseFailed(log, exception);
                await Task.Delay(Pause, clock, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    /// <summary>Sends everything whose time has come; returns how many went out.</summary>
    public async Task<int> SendDueAsync(CancellationToken cancellationToken)
    {
        using IServiceScope scope = scopes.CreateScope();
        var database = scope.ServiceProvider.GetRequiredService<HadalDatabase>();
        DateTimeOffset now = clock.GetUtcNow();
        await database.VerificationCodes.Where(code => code.Expires < now).ExecuteDeleteAsync(cancellationToken);
        await database.FailedAttempts.Where(attempts => attempts.Expires < now).ExecuteDeleteAsync(cancellationToken);
        List<OutgoingMail> due = await database.OutgoingMails.Where(mail => mail.NextTry <= now).OrderBy(mail => mail.NextTry).Take(Batch).ToListAsync(cancellationToken);
        int sent = 0;
        foreach (OutgoingMail mail in due)
        {
            if (await SendAsync(database, mail, cancellationToken)) sent++;
        }

        return sent;
    }

    async Task<bool> SendAsync(HadalDatabase database, OutgoingMail mail, CancellationToken cancellationToken)
    {
        try
        {
            await carrier.CarryAsync(mail, cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
        {
            _failing = true;
            mail.Tries++;
            mail.LastError = exception.Message;
            mail.NextTry = clock.GetUtcNow() + Delay(mail.Tries);
            if (mail.Created + AccountLimits.MailTime < clock.GetUtcNow()) database.OutgoingMails.Remove(mail);
            await database.SaveChangesAsync(CancellationToken.None);
            SendingFailed(log, mail.Tries, exception.Message);
            return false;
        }

        // From here on the mail is out: the bookkeeping is finished even when the server stops.
        _failing = false;
        DateTimeOffset expires = clock.GetUtcNow() + AccountLimits.CodeTime;
        if (mail.CodeId is { } id) await database.VerificationCodes.Where(code => code.Id == id).ExecuteUpdateAsync(set => set.SetProperty(code => code.Expires, expires), CancellationToken.None);
        await database.OutgoingMails.Where(row => row.Id == mail.Id).ExecuteDeleteAsync(CancellationToken.None);
        return true;
    }

    static TimeSpan Delay(int tries)
    {
        double seconds = Math.Min(LongestPause.TotalSeconds, 2 * Math.Pow(2, Math.Min(tries, 12)));
        return TimeSpan.FromSeconds(seconds);
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "A mail could not be sent (attempt {Tries}) and will be tried again: {Reason}")]
    static partial void SendingFailed(ILogger logger, int tries, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "The queue of mail could not be read; trying again.")]
    static partial void DatabaseFailed(ILogger logger, Exception exception);
}
