using System.Net.Http.Json;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Server.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Measurement;

/// <summary>
/// An engine seen through HTTP: a whole server on a free port of this machine, whose streams are read by a client as they come. What it costs more than the engine behind it
/// is the cost of HTTP. Texts go on over end tokens, so that both do the same work.
/// </summary>
public sealed class HttpLoad : IInferenceEngine
{
    const string Key = "the key of a measurement";
    readonly WebApplication _app;
    readonly string _home;
    readonly HttpClient _client;

    HttpLoad(WebApplication app, string home, ServedModel model)
    {
        _app = app;
        _home = home;
        Model = model;
        _client = new HttpClient(new SocketsHttpHandler { UseProxy = false, MaxConnectionsPerServer = 4096 }) { BaseAddress = new Uri(app.Urls.First()), Timeout = Timeout.InfiniteTimeSpan };
        _client.DefaultRequestHeaders.Authorization = new("Bearer", Key);
    }

    /// <inheritdoc/>
    public ServedModel Model { get; }

    /// <inheritdoc/>
    public EngineStatistics Statistics => new();

    /// <summary>Starts a server over an engine.</summary>
    /// <param name="engine">Is disposed with the server.</param>
    /// <param name="home">A folder for the server's state.</param>
    public static async Task<HttpLoad> StartAsync(IInferenceEngine engine, string home)
    {
        var endless = new Endless(engine);
        WebApplication app = HadalServer.Build(new ServerOptions
        {
            Plain = endless, Thinking = endless, Home = home, Urls = ["http://127.0.0.1:0"], ApiKey = Key, Logging = logging => logging.SetMinimumLevel(LogLevel.Error),
        });
        await app.StartAsync();
        return new HttpLoad(app, home, engine.Model);
    }

    /// <summary>Streams a text completion; each event that shows text counts as a token, and the usage at the end makes up for what they hid.</summary>
    public async IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        using var message = new HttpRequestMessage(HttpMethod.Post, "/v1/completions")
        {
            Content = JsonContent.Create(new { model = "deepseek-chat", prompt = request.Prompt.ToArray(), max_tokens = request.MaxNewTokens, temperature = request.Sampling.Temperature, stream = true, stream_options = new { include_usage = true } }),
        };
        using HttpResponseMessage response = await _client.SendAsync(message, HttpCompletionOption.ResponseHeadersRead, cancellationToken);
        response.EnsureSuccessStatusCode();
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(cancellationToken));
        int generated = 0, counted = 0;
        string? reason = null;
        while (await reader.ReadLineAsync(cancellationToken) is { } line)
        {
            if (line is "data: [DONE]") break;
            if (!line.StartsWith("data: ", StringComparison.Ordinal)) continue;
            using JsonDocument json = JsonDocument.Parse(line.AsMemory("data: ".Length));
            if (json.RootElement.TryGetProperty("usage", out JsonElement usage) && usage.ValueKind == JsonValueKind.Object) generated = usage.GetProperty("completion_tokens").GetInt32();
            if (!json.RootElement.TryGetProperty("choices", out JsonElement choices) || choices.GetArrayLength() == 0) continue;
            reason = choices[0].TryGetProperty("finish_reason", out JsonElement finish) && finish.ValueKind == JsonValueKind.String ? finish.GetString() : reason;
            if (choices[0].GetProperty("text").GetString() is not { Length: > 0 }) continue;
            counted++;
            yield return new TokensGenerated("", [0], []);
        }

        // Events with several tokens, or with none that shows, are made up for at the end: the time is that of the last one.
        if (generated > counted) yield return new TokensGenerated("", new int[generated - counted], []);
        yield return new RequestFinished(reason is "length" ? FinishReason.Length : reason is "stop" ? FinishReason.Stop : FinishReason.InsufficientResources, new TokenUsage(request.Prompt.Length, 0, generated, 0, 0));
    }

    /// <inheritdoc/>
    public Task DrainAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _app.StopAsync();
        await _app.DisposeAsync();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        if (Directory.Exists(_home)) Directory.Delete(_home, recursive: true);
    }

    sealed class Endless(IInferenceEngine engine) : IInferenceEngine
    {
        public ServedModel Model => engine.Model;

        public EngineStatistics Statistics => engine.Statistics;

        public IAsyncEnumerable<GenerationEvent> GenerateAsync(GenerationRequest request, CancellationToken cancellationToken = default) =>
            engine.GenerateAsync(request with { IgnoreEndTokens = true }, cancellationToken);

        public Task DrainAsync(CancellationToken cancellationToken = default) => engine.DrainAsync(cancellationToken);

        public ValueTask DisposeAsync() => engine.DisposeAsync();
    }
}
