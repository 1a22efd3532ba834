using System.Collections.Concurrent;
using System.Net;
using System.Text;

namespace Hadal.Cli.Tests;

/// <summary>An OpenTelemetry collector of a few words: takes what is exported over HTTP and keeps its bytes. Names and values of the protocol's messages stand in them as UTF-8.</summary>
sealed class Collector : IDisposable
{
    readonly HttpListener _listener = new();

    public Collector()
    {
        int port = Ports.Free();
        Address = $"http://127.0.0.1:{port}";
        _listener.Prefixes.Add(Address + "/");
        _listener.Start();
        _ = Task.Run(ServeAsync);
    }

    public string Address { get; }

    /// <summary>Bodies by path, as Latin-1.</summary>
    public ConcurrentQueue<(string Path, string Body)> Received { get; } = new();

    public bool Holds(string path, string text) => Received.Any(sent => string.Equals(sent.Path, path, StringComparison.Ordinal) && sent.Body.Contains(text, StringComparison.Ordinal));

    public void Dispose() => _listener.Close();

    async Task ServeAsync()
    {
        try
        {
            while (true)
            {
                HttpListenerContext context = await _listener.GetContextAsync();
                using var reader = new StreamReader(context.Request.InputStream, Encoding.Latin1);
                Received.Enqueue((context.Request.Url!.AbsolutePath, await reader.ReadToEndAsync()));
                context.Response.StatusCode = 200;
                context.Response.Close();
            }
        }
        catch (Exception end) when (end is HttpListenerException or ObjectDisposedException or InvalidOperationException)
        {
            // the end
        }
    }
}
