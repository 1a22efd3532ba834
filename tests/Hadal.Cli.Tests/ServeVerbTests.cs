using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Hadal.Cli.Tests;

/// <summary>One <c>hadal serve</c> of two models for a class of tests: at its first start, without a key of the host, and with a collector.</summary>
public sealed class ServedPair : IAsyncLifetime
{
    internal Scratch Scratch { get; } = new();

    internal Collector Collector { get; } = new();

    internal ServeProcess Server { get; private set; } = null!;

    internal string Home => Scratch["home"];

    internal string Key => Server.Outputs.First();

    internal Dictionary<string, string> Environment { get; } = new(StringComparer.Ordinal) { ["HADAL_API_KEY"] = "", ["HADAL_SMTP"] = "", ["HADAL_DATABASE"] = "" };

    public async ValueTask InitializeAsync()
    {
        ServedFolder.Write(Scratch["plain"]);
        ServedFolder.Write(Scratch["thinking"], seed: 6);
        var environment = new Dictionary<string, string>(Environment, StringComparer.Ordinal)
        {
            ["OTEL_EXPORTER_OTLP_ENDPOINT"] = Collector.Address, ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf", ["OTEL_METRIC_EXPORT_INTERVAL"] = "400", ["OTEL_BSP_SCHEDULE_DELAY"] = "200",
        };
        Server = await ServeProcess.StartAsync(Scratch, environment, "--model", Scratch["plain"], "--thinking-model", Scratch["thinking"], "--urls", "http://127.0.0.1:0", "--home", Home, "--threads", "1");
        for (int round = 0; round < 1200 && !Server.Outputs.Any(); round++) await Task.Delay(50);
    }

    public ValueTask DisposeAsync()
    {
        Server?.Dispose();
        Collector.Dispose();
        Scratch.Dispose();
        return ValueTask.CompletedTask;
    }

    internal static HttpClient Connect(Uri address, string? key)
    {
        var client = new HttpClient(new SocketsHttpHandler { CookieContainer = new CookieContainer() }) { BaseAddress = address, Timeout = TimeSpan.FromSeconds(120) };
        if (key is not null) client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        return client;
    }
}

/// <summary><c>hadal serve</c> and its verbs as somebody uses them: processes, one of which serves all tests.</summary>
[Trait("tier", "full")]
public sealed class ServeVerbTests(ServedPair served) : IClassFixture<ServedPair>
{
    [Fact]
    public async Task The_first_start_prints_a_key_once_and_keeps_it_nowhere_in_clear()
    {
        string key = Assert.Single(served.Server.Outputs);
        Assert.Matches("^hk-[A-Za-z0-9_-]{52}$", key);
        using HttpClient client = ServedPair.Connect(served.Server.Address, key), stranger = ServedPair.Connect(served.Server.Address, null);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.GetAsync("/v1/models")).StatusCode);
        Assert.DoesNotContain(served.Server.Errors, line => line.Contains(key[12..], StringComparison.Ordinal));
        byte[] secret = Encoding.UTF8.GetBytes(key[12..]);
        foreach (string file in Directory.EnumerateFiles(served.Home, "*", SearchOption.AllDirectories))
        {
            await using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var bytes = new byte[stream.Length];
            await stream.ReadExactlyAsync(bytes);
            Assert.True(bytes.AsSpan().IndexOf(secret) < 0, $"{file} holds the key.");
        }
    }

    [Fact]
    public async Task Another_start_prints_no_key_says_what_fast_gives_up_and_beyond_loopback_without_a_mail_server_nobody_can_register()
    {
        using ServeProcess second = await ServeProcess.StartAsync(served.Scratch, served.Environment, "--model", served.Scratch["plain"], "--urls", "http://0.0.0.0:0", "--home", served.Home, "--threads", "1", "--fast");
        await SaidAsync(second, "the same seed may give another one");
        await SaidAsync(second, "nobody can sign up");
        await SaidAsync(second, "API keys were made before");
        var address = new Uri($"http://127.0.0.1:{second.Address.Port}");
        using HttpClient client = ServedPair.Connect(address, served.Key), page = ServedPair.Connect(address, null);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode); // the key of the first start counts
        using HttpResponseMessage refused = await SendAsync(page, HttpMethod.Post, "/app/accounts/sign-up", new { email = "ada@example.org", fullName = "Ada Lovelace", password = "a long enough phrase" });
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        Assert.Contains("--smtp", await refused.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal(0, await second.EndAsync());
        Assert.Empty(second.Outputs);
        Assert.Contains("Stopped.", second.Errors, StringComparer.Ordinal);
    }

    [Fact]
    public async Task The_hosts_own_key_and_the_mail_servers_password_are_used_and_never_printed()
    {
        const string Key = "the-key-that-the-host-chose", MailPassword = "the-password-for-the-mail-server";
        var environment = new Dictionary<string, string>(served.Environment, StringComparer.Ordinal)
        {
            ["HADAL_API_KEY"] = Key, ["HADAL_SMTP"] = $"smtp://hadal@127.0.0.1:{Ports.Free()}", ["HADAL_SMTP_PASSWORD"] = MailPassword,
        };
        using ServeProcess server = await ServeProcess.StartAsync(served.Scratch, environment, "--model", served.Scratch["plain"], "--urls", "http://127.0.0.1:0", "--home", served.Scratch["own-key"], "--threads", "1");
        await SaidAsync(server, "as HADAL_API_KEY says");
        using HttpClient client = ServedPair.Connect(server.Address, Key), wrong = ServedPair.Connect(server.Address, Key + "!"), page = ServedPair.Connect(server.Address, null);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await wrong.GetAsync("/v1/models")).StatusCode);
        using HttpResponseMessage begun = await SendAsync(page, HttpMethod.Post, "/app/accounts/sign-up", new { email = "ada@example.org", fullName = "Ada Lovelace", password = "a long enough phrase" });
        Assert.Equal(HttpStatusCode.OK, begun.StatusCode);
        await SaidAsync(server, "A mail could not be sent"); // nobody listens there: the warning is on standard error
        Assert.Equal(0, await server.EndAsync());
        Assert.Empty(server.Outputs);
        Assert.DoesNotContain(server.Errors, line => line.Contains(Key, StringComparison.Ordinal) || line.Contains(MailPassword, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Two_models_are_listed_and_each_answers_as_itself()
    {
        using HttpClient client = ServedPair.Connect(served.Server.Address, served.Key);
        JsonElement models = (await client.GetFromJsonAsync<JsonElement>("/v1/models")).GetProperty("data");
        var prints = models.EnumerateArray().ToDictionary(model => model.GetProperty("id").GetString()!, model => model.GetProperty("system_fingerprint").GetString()!, StringComparer.Ordinal);
        Assert.Equal(["deepseek-chat", "deepseek-reasoner"], prints.Keys.Order(StringComparer.Ordinal), StringComparer.Ordinal);
        Assert.NotEqual(prints["deepseek-chat"], prints["deepseek-reasoner"], StringComparer.Ordinal);
        var texts = new List<string>();
        foreach (string name in prints.Keys)
        {
            JsonElement answer = await PostAsync(client, "/v1/chat/completions", new { model = name, max_tokens = 12, temperature = 0, messages = new[] { new { role = "user", content = "the deep sea" } } });
            Assert.Equal(prints[name], answer.GetProperty("system_fingerprint").GetString());
            JsonElement message = answer.GetProperty("choices")[0].GetProperty("message");
            texts.Add(message.GetProperty("content").GetString() + (message.TryGetProperty("reasoning_content", out JsonElement thought) ? thought.GetString() : ""));
            Assert.Equal(name is "deepseek-reasoner", message.TryGetProperty("reasoning_content", out _));
        }

        Assert.NotEqual(texts[0], texts[1], StringComparer.Ordinal);
    }

    [Fact]
    public async Task A_key_made_while_the_server_runs_counts_at_once_with_its_limits()
    {
        Outcome made = HadalProcess.Run("serve", "make-key", "laptop", "--requests-per-minute", "1", "--home", served.Home);
        Assert.True(made.Code == 0 && made.Error.Length == 0, made.ToString());
        string key = made.Output.Trim();
        Assert.Matches("^hk-[A-Za-z0-9_-]{52}$", key);
        using HttpClient client = ServedPair.Connect(served.Server.Address, key);
        Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(HttpStatusCode.TooManyRequests, (await client.GetAsync("/v1/models")).StatusCode);
        Outcome wrong = HadalProcess.Run("serve", "make-key", "laptop", "--tokens-per-day", "0", "--home", served.Home);
        Assert.True(wrong.Code == 2, wrong.ToString());
        Assert.Contains("--tokens-per-day", wrong.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_outbox_shows_the_code_and_the_host_grants_and_takes_operators_rights()
    {
        using HttpClient page = ServedPair.Connect(served.Server.Address, null);
        using HttpResponseMessage begun = await SendAsync(page, HttpMethod.Post, "/app/accounts/sign-up", new { email = "ada@example.org", fullName = "Ada Lovelace", password = "a long enough phrase" });
        Guid ticket = JsonDocument.Parse(await begun.Content.ReadAsStringAsync()).RootElement.GetProperty("ticket").GetGuid();
        string code = "";
        for (int round = 0; round < 60 && code.Length == 0; round++)
        {
            Outcome shown = HadalProcess.Run("serve", "outbox", "--last", "1", "--json", "--home", served.Home);
            Assert.True(shown.Code == 0, shown.ToString());
            JsonElement mail = JsonDocument.Parse(shown.Output).RootElement.GetProperty("mails").EnumerateArray().LastOrDefault();
            if (mail.ValueKind == JsonValueKind.Object && mail.GetProperty("recipient").GetString() is "ada@example.org") code = Regex.Match(mail.GetProperty("subject").GetString()!, "[0-9]{6}", RegexOptions.None, TimeSpan.FromSeconds(1)).Value;
            else await Task.Delay(250);
        }

        Outcome words = HadalProcess.Run("serve", "outbox", "--home", served.Home);
        Assert.Contains(code + " is your Hadal code", words.Output, StringComparison.Ordinal);
        using HttpResponseMessage verified = await SendAsync(page, HttpMethod.Post, "/app/accounts/verify", new { ticket, code });
        Assert.True(verified.IsSuccessStatusCode, await verified.Content.ReadAsStringAsync());
        Assert.Equal(HttpStatusCode.NotFound, (await page.GetAsync("/app/operator")).StatusCode);
        Outcome granted = HadalProcess.Run("serve", "grant-operator", "Ada@example.org", "--home", served.Home);
        Assert.True(granted.Code == 0, granted.ToString());
        JsonElement seen = await page.GetFromJsonAsync<JsonElement>("/app/operator");
        Assert.Equal(2, seen.GetProperty("engines").GetArrayLength());
        Outcome taken = HadalProcess.Run("serve", "grant-operator", "ada@example.org", "--revoke", "--home", served.Home);
        Assert.True(taken.Code == 0, taken.ToString());
        Assert.Equal(HttpStatusCode.NotFound, (await page.GetAsync("/app/operator")).StatusCode);
        Outcome nobody = HadalProcess.Run("serve", "grant-operator", "nobody@example.org", "--home", served.Home);
        Assert.True(nobody.Code == 1, nobody.ToString());
        Assert.Contains("Nobody has an account with the address nobody@example.org", nobody.Error, StringComparison.Ordinal);
        Assert.Contains("to fix:", nobody.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_collector_gets_the_meters_and_the_spans_and_no_text()
    {
        using HttpClient client = ServedPair.Connect(served.Server.Address, served.Key);
        await PostAsync(client, "/v1/completions", new { model = "deepseek-chat", prompt = "a private deep sea", max_tokens = 20, temperature = 0 });
        string[] meters =
        [
            "hadal.queue.requests", "hadal.batch.requests", "hadal.cache.pages", "hadal.cache.pages_in_use", "hadal.cache.pages_cached", "hadal.prompt.tokens", "hadal.prompt.cached_tokens", "hadal.generated.tokens",
            "hadal.speculation.drafted_tokens", "hadal.speculation.accepted_tokens", "hadal.expert.tokens", "hadal.expert.recent_tokens", "hadal.time_to_first_token", "hadal.time_per_token", "hadal.request_duration",
            "hadal.requests", "http.server.request.duration",
        ];
        string[] spans = ["generate", "gen_ai.request.model", "gen_ai.usage.input_tokens", "hadal.cached_tokens", "hadal.outcome", "first token", "deepseek-chat", "POST /v1/completions"];
        bool Whole() => meters.All(name => served.Collector.Holds("/v1/metrics", name)) && spans.All(name => served.Collector.Holds("/v1/traces", name));
        for (int round = 0; round < 600 && !Whole(); round++) await Task.Delay(100);
        Assert.All(meters, name => Assert.True(served.Collector.Holds("/v1/metrics", name), name));
        Assert.All(spans, name => Assert.True(served.Collector.Holds("/v1/traces", name), name));
        foreach (string secret in (string[])["a private deep sea", served.Key[12..]])
            Assert.DoesNotContain(served.Collector.Received, sent => sent.Body.Contains(secret, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("There is no folder nowhere", "check the path given to --model", "--model", "nowhere")]
    [InlineData("There is no folder nowhere", "check the path given to --thinking-model", "--model", "{plain}", "--thinking-model", "nowhere")]
    [InlineData("holds no config.json", "check the path given to --model", "--model", ".")]
    [InlineData("\"http://localhost:99999\" cannot be listened on", "expected http://HOST:PORT", "--model", "{plain}", "--urls", "http://localhost:99999")]
    [InlineData("asks for TLS", "expected http://HOST:PORT", "--model", "{plain}", "--urls", "https://127.0.0.1:8443")]
    [InlineData("another program does so already", "--urls", "--model", "{plain}", "--urls", "{taken}")]
    [InlineData("cannot be listened on", "an address of this machine", "--model", "{plain}", "--urls", "http://192.0.2.1:8080")]
    [InlineData("The database cannot be opened", "HADAL_DATABASE", "--model", "{plain}", "--database", "Host=127.0.0.1;Port=1;Database=hadal;Username=hadal;Password=SECRET", "--urls", "http://127.0.0.1:0")]
    [InlineData("The database connection string cannot be read", "expected PostgreSQL's", "--model", "{plain}", "--database", "Host=127.0.0.1;SECRET=1", "--urls", "http://127.0.0.1:0")]
    [InlineData("cannot be read; expected smtp://", "HADAL_SMTP_PASSWORD", "--model", "{plain}", "--smtp", "imap://hadal:SECRET@example.org")]
    public void An_impossible_start_says_what_was_given_what_is_expected_and_how_to_mend_it(string given, string expected, params string[] arguments)
    {
        string[] line = [.. arguments.Select(argument => argument.Replace("{plain}", served.Scratch["plain"], StringComparison.Ordinal).Replace("{taken}", served.Server.Address.ToString().TrimEnd('/'), StringComparison.Ordinal))];
        Outcome outcome = HadalProcess.Run(new Setting { Environment = served.Environment, Folder = served.Home }, ["serve", .. line, "--home", served.Scratch["errors"]]);
        Assert.True(outcome.Code is 1 or 2 && outcome.Output.Length == 0, outcome.ToString());
        Assert.Contains(given, outcome.Error, StringComparison.Ordinal);
        Assert.Contains(expected, outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("SECRET", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal); // no stack trace
    }

    [Fact]
    public void A_key_of_the_host_that_is_too_short_is_refused_without_showing_it()
    {
        var environment = new Dictionary<string, string>(served.Environment, StringComparer.Ordinal) { ["HADAL_API_KEY"] = "tooshort" };
        Outcome outcome = HadalProcess.Run(new Setting { Environment = environment }, "serve", "--model", served.Scratch["plain"], "--urls", "http://127.0.0.1:0", "--home", served.Scratch["errors"]);
        Assert.True(outcome.Code is 1 or 2, outcome.ToString());
        Assert.Contains("expected at least 16", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("tooshort", outcome.Error, StringComparison.Ordinal);
    }

    static async Task SaidAsync(ServeProcess server, string words)
    {
        for (int round = 0; round < 1200 && !server.Errors.Any(line => line.Contains(words, StringComparison.Ordinal)); round++) await Task.Delay(50);
        Assert.Contains(server.Errors, line => line.Contains(words, StringComparison.Ordinal));
    }

    /// <summary>A request as the pages send it.</summary>
    static async Task<HttpResponseMessage> SendAsync(HttpClient page, HttpMethod method, string path, object body)
    {
        JsonElement session = await page.GetFromJsonAsync<JsonElement>("/app/session");
        using var request = new HttpRequestMessage(method, path) { Content = JsonContent.Create(body) };
        request.Headers.Add("X-Hadal-Token", session.GetProperty("token").GetString());
        return await page.SendAsync(request);
    }

    static async Task<JsonElement> PostAsync(HttpClient client, string path, object body)
    {
        using HttpResponseMessage response = await client.PostAsJsonAsync(path, body);
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(response.IsSuccessStatusCode, $"{path}: {(int)response.StatusCode} {text}");
        return JsonDocument.Parse(text).RootElement;
    }
}
