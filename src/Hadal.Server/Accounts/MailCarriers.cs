using MailKit.Net.Smtp;
using MimeKit;

namespace Hadal.Server.Accounts;

/// <summary>Carries one mail to where its reader finds it.</summary>
interface IMailCarrier
{
    /// <summary>Returns when the mail has been taken; any exception means that it was not and is to be tried again.</summary>
    Task CarryAsync(OutgoingMail mail, CancellationToken cancellationToken);

    /// <summary>Drops what was carried to this address and is still in its hands.</summary>
    void Forget(string recipient)
    {
    }
}

/// <summary>Over SMTP.</summary>
sealed class SmtpCarrier(MailOptions options) : IMailCarrier
{
    const int TimeoutMilliseconds = 20_000;

    public async Task CarryAsync(OutgoingMail mail, CancellationToken cancellationToken)
    {
        using var message = new MimeMessage();
        message.From.Add(MailboxAddress.Parse(options.From));
        message.To.Add(new MailboxAddress("", mail.Recipient));
        message.Subject = mail.Subject;
        message.Headers.Add("Auto-Submitted", "auto-generated");
        message.Body = new TextPart("plain") { Text = mail.Body };
        using var client = new SmtpClient { Timeout = TimeoutMilliseconds };
        await client.ConnectAsync(options.Host, options.Port, options.Security, cancellationToken);
        if (options.User is not null) await client.AuthenticateAsync(options.User, options.Password ?? "", cancellationToken);
        await client.SendAsync(message, cancellationToken);
        await client.DisconnectAsync(quit: true, cancellationToken);
    }
}

/// <summary>Into a file on the host, when no mail server was given.</summary>
sealed class OutboxCarrier(string home) : IMailCarrier
{
    public Task CarryAsync(OutgoingMail mail, CancellationToken cancellationToken)
    {
        Outbox.Add(home, mail);
        return Task.CompletedTask;
    }

    public void Forget(string recipient) => Outbox.Remove(home, recipient);
}
