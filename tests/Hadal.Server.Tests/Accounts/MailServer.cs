using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Hadal.Server.Tests.Accounts;

/// <summary>A mail server of a few words: takes every mail and keeps its text.</summary>
sealed class MailServer : IAsyncDisposable
{
    readonly CancellationTokenSource _end = new();
    readonly TcpListener _listener;
    readonly Task _serving;

    public MailServer(int port = 0)
    {
        _listener = new TcpListener(IPAddress.Loopback, port);
        _listener.Start();
        _serving = Task.Run(ServeAsync);
    }

    /// <summary>Times that a sign-in is refused, whatever its password; then every one is taken.</summary>
    public int Refusals { get; set; }

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    /// <summary>Whole mails, headers included.</summary>
    public ConcurrentQueue<string> Mails { get; } = new();

    /// <summary>The first mail to an address.</summary>
    public async Task<string> MailAsync(string recipient)
    {
        for (int round = 0; round < 600; round++)
        {
            if (Mails.FirstOrDefault(mail => mail.Contains($"To: {recipient}", StringComparison.Ordinal)) is { } found) return found;
            await Task.Delay(100);
        }

        throw new TimeoutException($"No mail for {recipient} came within a minute.");
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        _listener.Dispose();
        await _serving;
        _end.Dispose();
    }

    async Task ServeAsync()
    {
        try
        {
            while (true)
            {
                using TcpClient client = await _listener.AcceptTcpClientAsync(_end.Token);
                await TalkAsync(client);
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // the end
        }
    }

    async Task TalkAsync(TcpClient client)
    {
        try
        {
            await using NetworkStream stream = client.GetStream();
            using var reader = new StreamReader(stream, Encoding.UTF8);
            await using var writer = new StreamWriter(stream, new UTF8Encoding(false)) { NewLine = "\r\n", AutoFlush = true };
            await writer.WriteLineAsync("220 test");
            while (await reader.ReadLineAsync(_end.Token) is { } line)
            {
                if (line.StartsWith("DATA", StringComparison.OrdinalIgnoreCase))
                {
                    await writer.WriteLineAsync("354 go on");
                    var mail = new StringBuilder();
                    while (await reader.ReadLineAsync(_end.Token) is { } text && text is not ".") mail.Append(text).Append('\n');
                    Mails.Enqueue(mail.ToString());
                    await writer.WriteLineAsync("250 taken");
                }
                else if (line.StartsWith("EHLO", StringComparison.OrdinalIgnoreCase))
                {
                    await writer.WriteLineAsync("250-test");
                    await writer.WriteLineAsync("250 AUTH PLAIN");
                }
                else if (line.StartsWith("AUTH", StringComparison.OrdinalIgnoreCase))
                {
                    await writer.WriteLineAsync(Refusals-- > 0 ? "535 refused" : "235 welcome");
                }
                else if (line.StartsWith("QUIT", StringComparison.OrdinalIgnoreCase))
                {
                    await writer.WriteLineAsync("221 bye");
                    return;
                }
                else
                {
                    await writer.WriteLineAsync("250 fine");
                }
            }
        }
        catch (IOException)
        {
            // the other side is gone
        }
    }
}
