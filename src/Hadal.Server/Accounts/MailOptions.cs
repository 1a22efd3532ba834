using System.Net;
using MailKit.Security;

namespace Hadal.Server.Accounts;

/// <summary>The mail server that carries codes.</summary>
/// <param name="Host">Its name.</param>
/// <param name="Port">Its port.</param>
/// <param name="ImplicitTls">TLS from the first byte (<c>smtps</c>); otherwise STARTTLS.</param>
/// <param name="RequireTls">Whether STARTTLS must succeed; without it mail to a server on this machine may go in the clear.</param>
/// <param name="User">Name to sign in with, or null.</param>
/// <param name="Password">Password to sign in with, or null.</param>
/// <param name="From">The sender's address.</param>
public sealed record MailOptions(string Host, int Port, bool ImplicitTls, bool RequireTls, string? User, string? Password, string From)
{
    internal SecureSocketOptions Security =>
        ImplicitTls ? SecureSocketOptions.SslOnConnect : RequireTls ? SecureSocketOptions.StartTls : SecureSocketOptions.StartTlsWhenAvailable;

    /// <summary>
    /// Reads an address such as <c>smtp://user@mail.example.org:587</c> (STARTTLS, required unless the server is on this machine) or <c>smtps://user@mail.example.org</c>.
    /// </summary>
    /// <param name="address">The address; a bare host name means <c>smtp://</c>.</param>
    /// <param name="password">Password of the user; one in the address wins.</param>
    /// <param name="from">The sender, or null for <c>hadal@HOST</c>, or the user's name if that is an address.</param>
    /// <exception cref="ArgumentException">The address is not of this form.</exception>
    public static MailOptions Parse(string address, string? password = null, string? from = null)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(address);
        string text = address.Contains("://", StringComparison.Ordinal) ? address : "smtp://" + address;
        if (!Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) || uri.Scheme is not ("smtp" or "smtps") || uri.Host.Length == 0 || uri.PathAndQuery.Trim('/').Length > 0)
            throw new ArgumentException($"The mail server \"{WithoutUser(address)}\" cannot be read; expected smtp://user@host:587 or smtps://user@host:465, with the password in HADAL_SMTP_PASSWORD.", nameof(address));
        bool implicitTls = uri.Scheme is "smtps";
        string[] parts = uri.UserInfo.Split(':', 2);
        string? user = parts[0].Length > 0 ? Uri.UnescapeDataString(parts[0]) : null;
        string? secret = parts.Length > 1 ? Uri.UnescapeDataString(parts[1]) : password;
        bool local = uri.IsLoopback || (IPAddress.TryParse(uri.Host.Trim('[', ']'), out IPAddress? ip) && IPAddress.IsLoopback(ip));
        string sender = from ?? (user is not null && user.Contains('@', StringComparison.Ordinal) ? user : $"hadal@{uri.Host}");
        if (!MimeKit.MailboxAddress.TryParse(sender, out _))
            throw new ArgumentException($"The sender \"{sender}\" is no mail address; expected one such as hadal@example.org.", nameof(from));
        return new MailOptions(uri.Host, uri.Port > 0 ? uri.Port : implicitTls ? 465 : 587, implicitTls, !local, user, user is null ? null : secret, sender);
    }

    // A password may stand in it.
    static string WithoutUser(string address)
    {
        int at = address.LastIndexOf('@'), scheme = address.IndexOf("://", StringComparison.Ordinal);
        return at < 0 ? address : (scheme >= 0 && scheme < at ? address[..(scheme + 3)] : "") + "…" + address[at..];
    }

    /// <summary>From <c>HADAL_SMTP</c>, <c>HADAL_SMTP_PASSWORD</c> and <c>HADAL_MAIL_FROM</c>; null when the first is not set.</summary>
    /// <param name="variable">Reads a variable of the environment.</param>
    /// <param name="address">Wins over <c>HADAL_SMTP</c> when given.</param>
    public static MailOptions? FromEnvironment(Func<string, string?> variable, string? address = null)
    {
        ArgumentNullException.ThrowIfNull(variable);
        string? server = string.IsNullOrWhiteSpace(address) ? variable("HADAL_SMTP") : address;
        return string.IsNullOrWhiteSpace(server) ? null : Parse(server, variable("HADAL_SMTP_PASSWORD"), variable("HADAL_MAIL_FROM"));
    }
}
