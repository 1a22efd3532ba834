using System.Net;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;

namespace Hadal.Server.Accounts;

/// <summary>
/// Whether strangers may make accounts. Without a mail server a code can reach only the person at this machine, so a server that others can reach refuses.
/// </summary>
sealed class Registration(MailOptions? mail, IServiceProvider services)
{
    public const string Closed = "Sign-up and password reset are closed: this server can be reached from other machines, and it has no mail server to send codes with. "
        + "Whoever runs it can start it with --smtp smtp://user@host:587, or bind it to this machine alone (--urls http://127.0.0.1:8080).";

    /// <summary>Null when open, otherwise why not.</summary>
    public string? Refusal => mail is not null || Addresses.All(IsLoopback) ? null : Closed;

    /// <summary>Whether codes go to the outbox on the host rather than by mail.</summary>
    public bool UsesOutbox => mail is null;

    ICollection<string> Addresses => services.GetService<IServer>()?.Features.Get<IServerAddressesFeature>()?.Addresses ?? [];

    /// <summary>Whether only this machine can reach an address that a server listens on.</summary>
    public static bool IsLoopback(string address)
    {
        int start = address.IndexOf("://", StringComparison.Ordinal);
        if (start < 0) return false;
        string rest = address[(start + 3)..];
        if (rest.StartsWith("unix:", StringComparison.OrdinalIgnoreCase) || rest.StartsWith("pipe:", StringComparison.OrdinalIgnoreCase)) return true;
        int slash = rest.IndexOf('/', StringComparison.Ordinal);
        if (slash >= 0) rest = rest[..slash];
        string host = rest;
        if (rest.StartsWith('['))
        {
            int end = rest.IndexOf(']', StringComparison.Ordinal);
            if (end < 0) return false;
            host = rest[1..end];
        }
        else if (rest.LastIndexOf(':') is var colon and >= 0)
        {
            host = rest[..colon];
        }

        return host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || (IPAddress.TryParse(host, out IPAddress? ip) && IPAddress.IsLoopback(ip));
    }
}
