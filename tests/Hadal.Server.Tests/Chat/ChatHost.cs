using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.RegularExpressions;
using Hadal.Inference.Serving;
using Hadal.Server.Accounts;
using Hadal.Server.Hosting;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Chat;

/// <summary>A whole server on a free port of this machine, with a folder of its own.</summary>
sealed partial class ChatHost : IAsyncDisposable
{
    readonly WebApplication _app;
    readonly bool _ownsHome;

    ChatHost(WebApplication app, string home, bool ownsHome)
    {
        _app = app;
        Home = home;
        _ownsHome = ownsHome;
    }

    public string Home { get; }

    public string Address => _app.Urls.First();

    public IServiceProvider Services => _app.Services;

    public static async Task<ChatHost> StartAsync(IInferenceEngine engine, Func<ServerOptions, ServerOptions>? with = null, string? home = null)
    {
        string folder = home ?? Directory.CreateTempSubdirectory("hadal-chat-").FullName;
        var options = new ServerOptions
        {
            Plain = engine,
            Thinking = engine,
            Home = folder,
            Urls = ["http://127.0.0.1:0"],
            ApiKey = "a-key-of-the-host-for-tests",
            AddressLimits = new AddressLimits { SignUp = (1000, TimeSpan.FromMinutes(1)), SignIn = (1000, TimeSpan.FromMinutes(1)), Code = (1000, TimeSpan.FromMinutes(1)), Page = (100_000, TimeSpan.FromMinutes(1)), Stranger = (100_000, TimeSpan.FromMinutes(1)) },
            Logging = logging => logging.SetMinimumLevel(LogLevel.None),
        };
        WebApplication app = HadalServer.Build(with?.Invoke(options) ?? options);
        await app.StartAsync();
        return new ChatHost(app, folder, home is null);
    }

    /// <summary>A browser nobody is signed in with.</summary>
    public ChatBrowser Browse() => new(Address);

    /// <summary>A browser with a new account.</summary>
    public async Task<ChatBrowser> SignUpAsync(string email, string name = "Ada Lovelace", string password = "a long enough phrase")
    {
        ChatBrowser browser = Browse();
        int before = Outbox.Read(Home).Count(mail => string.Equals(mail.Recipient, email, StringComparison.Ordinal) && Digits().IsMatch(mail.Subject));
        JsonElement begun = await browser.PostAsync("/app/accounts/sign-up", new { email, fullName = name, password });
        await browser.PostAsync("/app/accounts/verify", new { ticket = begun.GetProperty("ticket").GetGuid(), code = await CodeAsync(email, before + 1) });
        return browser;
    }

    /// <summary>The newest code for an address, out of the outbox.</summary>
    public async Task<string> CodeAsync(string email, int number = 1)
    {
        for (int round = 0; round < 2400; round++)
        {
            OutboxMail[] mails = [.. Outbox.Read(Home).Where(mail => string.Equals(mail.Recipient, email, StringComparison.Ordinal) && Digits().IsMatch(mail.Subject))];
            if (mails.Length >= number) return Digits().Match(mails[number - 1].Subject).Value;
            await Task.Delay(25);
        }

        throw new TimeoutException($"No code number {number} for {email} came into the outbox.");
    }

    public async ValueTask DisposeAsync()
    {
        await _app.DisposeAsync();
        Microsoft.Data.Sqlite.SqliteConnection.ClearAllPools();
        if (_ownsHome) Folders.Delete(Home);
    }

    public async Task StopAsync(TimeSpan grace)
    {
        using var limit = new CancellationTokenSource(grace);
        await _app.StopAsync(limit.Token);
    }

    public T Service<T>(IServiceScope scope)
        where T : notnull => scope.ServiceProvider.GetRequiredService<T>();

    [GeneratedRegex("[0-9]{6}")]
    private static partial Regex Digits();
}

/// <summary>What a page does over HTTP: cookies, and the token in a header.</summary>
sealed class ChatBrowser(string address) : IDisposable
{
    readonly HttpClient _client = new(new HttpClientHandler { CookieContainer = new CookieContainer(), AllowAutoRedirect = false }) { BaseAddress = new Uri(address), Timeout = TimeSpan.FromMinutes(2) };
    string? _token;

    public HttpClient Client => _client;

    public void Dispose() => _client.Dispose();

    public async Task<JsonElement> GetAsync(string path) => await ReadAsync(await _client.GetAsync(path));

    public Task<JsonElement> PostAsync(string path, object body) => SendAsync(HttpMethod.Post, path, body);

    public async Task<JsonElement> SendAsync(HttpMethod method, string path, object? body = null) => await ReadAsync(await TryAsync(method, path, body));

    /// <summary>Sends and returns whatever comes back.</summary>
    public async Task<HttpResponseMessage> TryAsync(HttpMethod method, string path, object? body = null)
    {
        _token ??= (await GetAsync("/app/session")).GetProperty("token").GetString();
        using var request = new HttpRequestMessage(method, path);
        request.Headers.Add("X-Hadal-Token", _token);
        if (body is not null) request.Content = JsonContent.Create(body);
        HttpResponseMessage response = await _client.SendAsync(request);
        if (response.IsSuccessStatusCode && path.StartsWith("/app/accounts/", StringComparison.Ordinal)) _token = null;
        return response;
    }

    /// <summary>The status and the words of a refusal.</summary>
    public async Task<(HttpStatusCode Status, string Message, string? Field)> RefusedAsync(HttpMethod method, string path, object? body = null)
    {
        using HttpResponseMessage response = await TryAsync(method, path, body);
        string text = await response.Content.ReadAsStringAsync();
        Assert.False(response.IsSuccessStatusCode, $"{method} {path} was not refused: {text}");
        JsonElement error = JsonDocument.Parse(text).RootElement;
        return (response.StatusCode, error.GetProperty("message").GetString()!, error.GetProperty("field").GetString());
    }

    /// <summary>The events of an answer: all of them, or those up to the first that brought text. How many tokens one event carries is the server's choice.</summary>
    public async Task<List<(int Next, JsonElement Happened)>> EventsAsync(string path, bool untilText = false)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        using HttpResponseMessage response = await _client.GetAsync(path, HttpCompletionOption.ResponseHeadersRead, limit.Token);
        response.EnsureSuccessStatusCode();
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(limit.Token));
        var events = new List<(int, JsonElement)>();
        int next = 0;
        while (await reader.ReadLineAsync(limit.Token) is { } line)
        {
            if (line.StartsWith("id: ", StringComparison.Ordinal)) next = int.Parse(line[4..]);
            if (!line.StartsWith("data: ", StringComparison.Ordinal)) continue;
            JsonElement happened = JsonDocument.Parse(line[6..]).RootElement;
            events.Add((next, happened));
            if (untilText && happened.GetProperty("kind").GetString() is "text") break;
        }

        return events;
    }

    static async Task<JsonElement> ReadAsync(HttpResponseMessage response)
    {
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{response.RequestMessage?.Method} {response.RequestMessage?.RequestUri?.PathAndQuery}: {(int)response.StatusCode} {text}");
        return text.Length == 0 ? default : JsonDocument.Parse(text).RootElement;
    }
}
