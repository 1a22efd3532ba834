using System.Globalization;
using System.Net;

namespace Hadal.Server.Hosting;

/// <summary>An address to listen on.</summary>
/// <param name="Host">A name, an address, or <c>*</c> for every interface.</param>
/// <param name="Port">0 for a free one.</param>
public sealed record BindingAddress(string Host, int Port)
{
    /// <summary>Whether only this machine reaches it.</summary>
    public bool IsLoopback => string.Equals(Host, "localhost", StringComparison.OrdinalIgnoreCase) || (IPAddress.TryParse(Host.Trim('[', ']'), out IPAddress? address) && IPAddress.IsLoopback(address));

    /// <summary>Reads <c>http://host:port</c>.</summary>
    /// <exception cref="ArgumentException">It is no such address.</exception>
    public static BindingAddress Parse(string url)
    {
        const string Scheme = "http://";
        const string Expected = "expected http://HOST:PORT, such as http://127.0.0.1:8080, or http://*:8080 for every interface";
        ArgumentNullException.ThrowIfNull(url);
        if (url.StartsWith("https://", StringComparison.OrdinalIgnoreCase))
            throw new ArgumentException($"The address {url} asks for TLS; {Expected}. TLS is the work of a proxy before the server (docs/serving.md).");
        string rest = url.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? url[Scheme.Length..].TrimEnd('/') : "";
        int colon = rest.LastIndexOf(':');
        string host = colon > 0 && !rest.EndsWith(']') ? rest[..colon] : rest;
        int port = 80;
        bool isPort = host.Length == rest.Length || int.TryParse(rest.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out port);
        if (!isPort || port > IPEndPoint.MaxPort || host.Length == 0 || (host is not ("*" or "+") && Uri.CheckHostName(host) == UriHostNameType.Unknown))
            throw new ArgumentException($"The address \"{url}\" cannot be listened on; {Expected}.");
        return new BindingAddress(host, port);
    }
}
