using System.Net;
using System.Text;
using System.Text.Json;

namespace Hadal.Client.Tests;

/// <summary>An HTTP server on a loopback port that answers each request with the next of its scripted answers, and keeps what it was asked.</summary>
sealed class ScriptedServer : IAsyncDisposable
{
    readonly HttpListener _listener;
    readonly Task _loop;
    readonly Queue<Func<HttpListenerContext, Task>> _script = new();

    internal ScriptedServer()
    {
        for (int attempt = 0; ; attempt++)
        {
            int port = 20_000 + Random.Shared.Next(40_000);
            _listener = new HttpListener();
            _listener.Prefixes.Add($"http://127.0.0.1:{port}/");
            try
            {
                _listener.Start();
                Endpoint = new Uri($"http://127.0.0.1:{port}/v1");
                break;
            }
            catch (HttpListenerException) when (attempt < 50)
            {
                // The port is taken: another.
            }
        }

        _loop = Task.Run(ServeAsync);
    }

    internal Uri Endpoint { get; }

    internal List<(string Path, string? Authorization, JsonElement Body)> Requests { get; } = [];

    internal ScriptedServer Then(Func<HttpListenerContext, Task> answer)
    {
        _script.Enqueue(answer);
        return this;
    }

    internal ScriptedServer ThenJson(string json, int status = 200, string? retryAfter = null) => Then(context =>
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = "application/json";
        if (retryAfter is not null) context.Response.AddHeader("Retry-After", retryAfter);
        return context.Response.OutputStream.WriteAsync(Encoding.UTF8.GetBytes(json)).AsTask();
    });

    /// <summary>Events as they are; several writes, so that they arrive in pieces.</summary>
    internal ScriptedServer ThenStream(params string[] pieces) => Then(async context =>
    {
        context.Response.ContentType = "text/event-stream";
        context.Response.SendChunked = true;
        foreach (string piece in pieces)
        {
            await context.Response.OutputStream.WriteAsync(Encoding.UTF8.GetBytes(piece));
            await context.Response.OutputStream.FlushAsync();
        }
    });

    public async ValueTask DisposeAsync()
    {
        _listener.Close();
        await _loop;
    }

    async Task ServeAsync()
    {
        while (true)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
            {
                return;
            }

            using (var reader = new StreamReader(context.Request.InputStream))
                Requests.Add((context.Request.Url!.AbsolutePath, context.Request.Headers["Authorization"], JsonDocument.Parse(await reader.ReadToEndAsync()).RootElement));
            try
            {
                await _script.Dequeue()(context);
                context.Response.Close();
            }
            catch (Exception exception) when (exception is HttpListenerException or IOException or ObjectDisposedException)
            {
                // The client left, or the script cut the connection.
            }
        }
    }
}
