#if SERVER
using System.Data.Common;
using System.Net.Sockets;
using Hadal.Cli.Framework;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;

namespace Hadal.Cli.Verbs;

/// <summary>The start of a server, with errors in the one style.</summary>
static class ServeStart
{
    /// <summary>Begins to listen.</summary>
    /// <param name="app">The server.</param>
    /// <param name="urls">What it was told to listen on.</param>
    /// <param name="cancellation">Ctrl-C.</param>
    /// <exception cref="CommandError">The addresses or the database cannot be had; the message says why.</exception>
    public static async Task StartAsync(WebApplication app, IReadOnlyList<string> urls, CancellationToken cancellation)
    {
        try
        {
            await app.StartAsync(cancellation);
        }
        catch (Exception taken) when (taken.GetBaseException() is AddressInUseException or SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse })
        {
            throw CommandError.Failed($"{Join(urls)} cannot be listened on: another program does so already.", "a free address and port", "stop that program, or choose another port: --urls http://127.0.0.1:8081 (port 0 takes a free one)");
        }
        catch (Exception refused) when (refused.GetBaseException() is SocketException { SocketErrorCode: not (SocketError.ConnectionRefused or SocketError.HostNotFound or SocketError.TimedOut) } reason && refused is not DbException)
        {
            throw CommandError.Failed($"{Join(urls)} cannot be listened on: {reason.Message}.", "an address of this machine, and a port that this account may use (1024 and above)", "choose others with --urls, such as http://127.0.0.1:8080");
        }
        catch (DbException database)
        {
            throw CommandError.Failed($"The database cannot be opened: {ErrorReport.Text(database)}", "a database that answers and that this account may write to",
                "check --database (or HADAL_DATABASE) and --home, and that the database server runs");
        }
    }

    static string Join(IReadOnlyList<string> urls) => string.Join(" or ", urls);
}
#endif
