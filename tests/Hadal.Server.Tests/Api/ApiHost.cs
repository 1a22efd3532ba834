using System.Net;
using System.Text;
using System.Text.Json;
using Hadal.Inference.Serving;
using Hadal.Server.Accounts;
using Hadal.Server.Database;
using Hadal.Server.Hosting;
using Hadal.Server.Keys;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Api;

/// <summary>A whole server on a free port, and a client with the host's key.</summary>
sealed class ApiHost : IAsyncDisposable
{
    public const string HostKey = "the-key-of-the-host-in-tests";

    ApiHost(WebApplication app, string home)
    {
        App = app;
        Home = home;
        Client = Connect(HostKey);
    }

    public WebApplication App { get; }

    public string Home { get; }

    public Uri Address => new(App.Urls.First());

    public HttpClient Client { get; }

    public ApiKeyService Keys => App.Services.GetRequiredService<ApiKeyService>();

    public static async Task<ApiHost> StartAsync(IInferenceEngine engine, Func<ServerOptions, ServerOptions>? with = null)
    {
        string home = Directory.CreateTempSubdirectory("hadal-api-").FullName;
        var options = new ServerOptions
        {
            Plain = engine,
            Thinking = engine,
            Home = home,
            Urls = ["http://127.0.0.1:0"],
            ApiKey = HostKey,
            AddressLimits = new AddressLimits { WrongKey = (100_000, TimeSpan.FromMinutes(1)) },
            Logging = logging => logging.SetMinimumLevel(LogLevel.None),
        };
        WebApplication app = HadalServer.Build(with?.Invoke(options) ?? options);
        await app.StartAsync();
        return new ApiHost(app, home);
    }

    /// <summary>An account that nobody signs in to; for keys that are not the host's.</summary>
    public async Task<Guid> AddPersonAsync()
    {
        using IServiceScope scope = App.Services.CreateScope();
        var database = scope.ServiceProvider.GetRequiredService<HadalDatabase>();
        var id = Guid.NewGuid();
        string address = $"{id:N}@example.org";
        database.Users.Add(new Person { Id = id, UserName = address, NormalizedUserName = address.ToUpperInvariant(), Email = address, NormalizedEmail = address.ToUpperInvariant(), FullName = "Ada Lovelace", SecurityStamp = "stamp" });
        await database.SaveChangesAsync();
        return id;
    }

    public HttpClient Connect(string? key)
    {
        var client = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 1024 }) { BaseAddress = Address, Timeout = TimeSpan.FromMinutes(3) };
        if (key is not null) client.DefaultRequestHeaders.Authorization = new("Bearer", key);
        return client;
    }

    public Task<HttpResponseMessage> SendAsync(string path, string body, HttpClient? client = null) =>
        (client ?? Client).PostAsync(path, new StringContent(body, Encoding.UTF8, "application/json"));

    public async Task<JsonElement> PostAsync(string path, string body)
    {
        using HttpResponseMessage response = await SendAsync(path, body);
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{path}: {(int)response.StatusCode} {text}");
        return JsonDocument.Parse(text).RootElement;
    }

    /// <summary>A refusal's status and error object.</summary>
    public async Task<(HttpStatusCode Status, string Message, string? Parameter, HttpResponseMessage Response)> RefusedAsync(string path, string body, HttpClient? client = null)
    {
        HttpResponseMessage response = await SendAsync(path, body, client);
        string text = await response.Content.ReadAsStringAsync();
        Assert.False(response.IsSuccessStatusCode, $"{path} was not refused: {text}");
        JsonElement error = JsonDocument.Parse(text).RootElement.GetProperty("error");
        Assert.NotNull(error.GetProperty("type").GetString());
        Assert.NotNull(error.GetProperty("code").GetString());
        return (response.StatusCode, error.GetProperty("message").GetString()!, error.GetProperty("param").GetString(), response);
    }

    /// <summary>The objects of a stream; it must end with [DONE].</summary>
    public async Task<List<JsonElement>> StreamAsync(string path, string body, HttpClient? client = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        using HttpResponseMessage response = await (client ?? Client).SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.True(response.IsSuccessStatusCode, await (response.IsSuccessStatusCode ? Task.FromResult("") : response.Content.ReadAsStringAsync()));
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var events = new List<JsonElement>();
        string[] lines = (await response.Content.ReadAsStringAsync()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("data: [DONE]", lines[^1]);
        foreach (string line in lines[..^1].Where(line => !line.StartsWith(':'))) events.Add(JsonDocument.Parse(line["data: ".Length..]).RootElement);
        return events;
    }

    /// <summary>All text of one kind in a stream of chat chunks.</summary>
    public static string Joined(IEnumerable<JsonElement> events, string kind) => string.Concat(events
        .Where(e => e.GetProperty("choices").GetArrayLength() > 0)
        .Select(e => e.GetProperty("choices")[0].GetProperty("delta").TryGetProperty(kind, out JsonElement text) ? text.GetString() : ""));

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await App.DisposeAsync();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        Folders.Delete(Home);
    }
}
