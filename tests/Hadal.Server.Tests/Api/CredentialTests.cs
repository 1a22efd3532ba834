using System.Collections.Concurrent;
using System.Net;
using System.Text;
using Hadal.Server.Api;
using Hadal.Server.Keys;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging;

namespace Hadal.Server.Tests.Api;

/// <summary>Who gets in: asked of every endpoint that the server has, not of a list that could be forgotten.</summary>
public sealed class CredentialTests
{
    const string Hello = """{"model":"deepseek-chat","messages":[{"role":"user","content":"Hi"}],"prompt":"Hi","tokens":[5]}""";

    // What may be seen without a key or an account: pages and their assets, signs of life, the description, and the ways to sign in.
    static readonly string[] Open = ["/health", "/ready", "/openapi/v1.json", "/docs", "/docs/style.css"];

    static IEnumerable<(string Method, string Path)> ApiRoutes(WebApplication app) => ((IEndpointRouteBuilder)app).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>()
        .Where(endpoint => endpoint.Metadata.GetMetadata<ApiEndpoint>() is not null)
        .SelectMany(endpoint => (endpoint.Metadata.GetMetadata<HttpMethodMetadata>()?.HttpMethods ?? ["GET"]).Select(method => (method, "/" + endpoint.RoutePattern.RawText!.TrimStart('/').Replace("{name}", "deepseek-chat", StringComparison.Ordinal))));

    [Fact]
    public async Task Every_endpoint_belongs_to_the_API_to_the_chat_or_is_open_by_name()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        foreach (RouteEndpoint endpoint in ((IEndpointRouteBuilder)host.App).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>())
        {
            string path = "/" + endpoint.RoutePattern.RawText!.TrimStart('/');
            bool chat = endpoint.Metadata.Any(item => string.Equals(item.GetType().Name, "ChatEndpoint", StringComparison.Ordinal));
            bool api = endpoint.Metadata.GetMetadata<ApiEndpoint>() is not null;
            Assert.True(api || chat || Open.Contains(path, StringComparer.Ordinal), $"{path} belongs to no room: mark it, or name it among the open ones.");
            if (api) Assert.Contains(endpoint.Metadata.GetOrderedMetadata<IAuthorizeData>(), data => string.Equals(data.Policy, "ApiKey", StringComparison.Ordinal));
        }

        Assert.True(ApiRoutes(host.App).Count() >= 22);
    }

    [Fact]
    public async Task Every_endpoint_of_the_API_refuses_no_key_a_wrong_one_a_revoked_one_and_takes_a_good_one()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        NewApiKey good = await host.Keys.MakeAsync(null, "good"), revoked = await host.Keys.MakeAsync(null, "revoked");
        using (HttpClient client = host.Connect(revoked.Secret)) Assert.Equal(HttpStatusCode.OK, (await client.GetAsync("/v1/models")).StatusCode);
        Assert.False(await host.Keys.RevokeAsync(Guid.NewGuid(), revoked.Key.Id)); // not another's to revoke
        Assert.True(await host.Keys.RevokeAsync(null, revoked.Key.Id));
        Assert.False(await host.Keys.RevokeAsync(null, revoked.Key.Id));
        string forged = good.Secret[..^1] + (good.Secret[^1] == 'A' ? 'B' : 'A');
        foreach ((string? key, bool accepted) in ((string?, bool)[])[(null, false), (KeySecret.Make(), false), (forged, false), (revoked.Secret, false), (good.Secret, true), (ApiHost.HostKey, true)])
        {
            using HttpClient client = host.Connect(key);
            foreach ((string method, string path) in ApiRoutes(host.App))
            {
                using var request = new HttpRequestMessage(new HttpMethod(method), path);
                if (string.Equals(method, "POST", StringComparison.Ordinal)) request.Content = new StringContent(Hello, Encoding.UTF8, "application/json");
                using HttpResponseMessage response = await client.SendAsync(request);
                string body = await response.Content.ReadAsStringAsync();
                Assert.True(accepted ? response.IsSuccessStatusCode : response.StatusCode == HttpStatusCode.Unauthorized, $"{method} {path} with {key ?? "no key"}: {(int)response.StatusCode} {body}");
                if (accepted) continue;
                Assert.Contains("authentication_error", body, StringComparison.Ordinal);
                if (key is not null) Assert.DoesNotContain(key, body, StringComparison.Ordinal);
            }
        }
    }

    [Fact]
    public async Task Metrics_are_for_keys_of_the_host()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        NewApiKey hosts = await host.Keys.MakeAsync(null, "scraper"), persons = await host.Keys.MakeAsync(await host.AddPersonAsync(), "curious");
        using HttpClient scraper = host.Connect(hosts.Secret), curious = host.Connect(persons.Secret);
        Assert.Equal(HttpStatusCode.OK, (await scraper.GetAsync("/metrics")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await curious.GetAsync("/v1/models")).StatusCode);
        using HttpResponseMessage refused = await curious.GetAsync("/metrics");
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
        string body = await refused.Content.ReadAsStringAsync();
        Assert.Contains("key of the host", body, StringComparison.Ordinal);
        Assert.DoesNotContain("hadal_queue", body, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Limits_of_a_key_are_kept()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        NewApiKey slow = await host.Keys.MakeAsync(null, "slow", requestsPerMinute: 2), poor = await host.Keys.MakeAsync(null, "poor", tokensPerDay: 10);
        using HttpClient first = host.Connect(slow.Secret), second = host.Connect(poor.Secret);
        for (int i = 0; i < 2; i++) Assert.Equal(HttpStatusCode.OK, (await host.SendAsync("/v1/chat/completions", Hello, first)).StatusCode);
        (HttpStatusCode status, string message, _, HttpResponseMessage response) = await host.RefusedAsync("/v1/chat/completions", Hello, first);
        Assert.Equal(HttpStatusCode.TooManyRequests, status);
        Assert.InRange(response.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 31);
        Assert.Contains("2 requests per minute", message, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, (await host.SendAsync("/v1/chat/completions", Hello, second)).StatusCode);
        (status, message, _, response) = await host.RefusedAsync("/v1/chat/completions", Hello, second);
        Assert.Equal(HttpStatusCode.PaymentRequired, status);
        Assert.Contains("10 tokens per day", message, StringComparison.Ordinal);
        Assert.Contains("\"is_available\":false", await second.GetStringAsync("/user/balance"), StringComparison.Ordinal);
        ApiKey kept = (await host.Keys.ListAsync(null)).Single(key => key.Id == poor.Key.Id);
        Assert.True(kept.UsageTokens > 10);
        Assert.NotNull(kept.LastUsed);
    }

    [Fact]
    public async Task Answers_written_beside_each_other_do_not_go_over_the_tokens_of_a_day()
    {
        using var gate = new SemaphoreSlim(0);
        var engine = new ApiEngine { Wait = cancel => gate.WaitAsync(cancel) };
        await using ApiHost host = await ApiHost.StartAsync(engine);
        NewApiKey key = await host.Keys.MakeAsync(null, "shared", tokensPerDay: 1000);
        using HttpClient client = host.Connect(key.Secret);
        string body = Hello.Replace("{\"model\"", "{\"max_tokens\":300,\"model\"", StringComparison.Ordinal);
        Task<HttpResponseMessage>[] asked = [.. Enumerable.Range(0, 12).Select(_ => host.SendAsync("/v1/chat/completions", body, client))];

        // Three times prompt and 300 fit into 1,000; nine are refused while nothing has been used yet.
        for (int round = 0; round < 600 && asked.Count(task => task.IsCompleted) < 9; round++) await Task.Delay(50);
        Assert.Equal(9, asked.Count(task => task.IsCompleted));
        gate.Release(10_000);
        HttpStatusCode[] statuses = [.. (await Task.WhenAll(asked)).Select(response => response.StatusCode).Order()];
        Assert.Equal([.. Enumerable.Repeat(HttpStatusCode.OK, 3), .. Enumerable.Repeat(HttpStatusCode.TooManyRequests, 9)], statuses);

        // What was set aside and not used is free again.
        HttpStatusCode again = HttpStatusCode.TooManyRequests;
        for (int round = 0; round < 300 && again == HttpStatusCode.TooManyRequests; round++)
        {
            using HttpResponseMessage response = await host.SendAsync("/v1/chat/completions", body, client);
            again = response.StatusCode;
            if (again == HttpStatusCode.TooManyRequests) await Task.Delay(50);
        }

        Assert.Equal(HttpStatusCode.OK, again);
    }

    [Fact]
    public async Task Keys_of_one_person_share_the_ceiling_of_the_host()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine(), options => options with { KeyTokensPerDay = 5, KeyRequestsPerMinute = 3 });
        Guid person = await host.AddPersonAsync();
        NewApiKey first = await host.Keys.MakeAsync(person, "first"), second = await host.Keys.MakeAsync(person, "second"), others = await host.Keys.MakeAsync(await host.AddPersonAsync(), "other");
        using HttpClient one = host.Connect(first.Secret), two = host.Connect(second.Secret), other = host.Connect(others.Secret);
        Assert.Equal(HttpStatusCode.OK, (await host.SendAsync("/v1/chat/completions", Hello, one)).StatusCode);
        Assert.Equal(HttpStatusCode.PaymentRequired, (await host.SendAsync("/v1/chat/completions", Hello, two)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await two.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(HttpStatusCode.TooManyRequests, (await one.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await host.SendAsync("/v1/chat/completions", Hello, other)).StatusCode);
        for (int i = 0; i < 4; i++) Assert.Equal(HttpStatusCode.OK, (await host.SendAsync("/v1/chat/completions", Hello)).StatusCode);
    }

    [Fact]
    public void What_limits_remember_of_keys_goes_when_it_says_nothing_more()
    {
        var clock = new Clock();
        var limiter = new KeyLimiter(clock);
        for (int i = 0; i < 100; i++)
        {
            var key = new ApiKey { Id = Guid.NewGuid(), Prefix = "p", Hash = [], Name = "n", RequestsPerMinute = 2, TokensPerDay = 1000 };
            Assert.Equal(TimeSpan.Zero, limiter.Take(key));
            limiter.Reserve(new ApiCaller(key), 10).End(5);
            Assert.Equal(995, limiter.TokensLeft(new ApiCaller(key)));
        }

        Assert.Equal(200, limiter.Remembered);
        clock.Now += TimeSpan.FromDays(1);
        Assert.Equal(TimeSpan.Zero, limiter.Take(new ApiKey { Id = Guid.NewGuid(), Prefix = "p", Hash = [], Name = "n", RequestsPerMinute = 2 }));
        Assert.Equal(1, limiter.Remembered);
    }

    sealed class Clock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2030, 1, 1, 12, 0, 0, TimeSpan.Zero);

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override DateTimeOffset GetUtcNow() => Now;

        public override long GetTimestamp() => Now.UtcTicks;
    }

    [Fact]
    public async Task Guessing_keys_ends_at_the_address_where_it_is_done_and_nowhere_else()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine(), options => options with { AddressLimits = options.AddressLimits with { WrongKey = (5, TimeSpan.FromHours(1)) } });
        NewApiKey known = await host.Keys.MakeAsync(null, "known"), late = await host.Keys.MakeAsync(null, "late");
        using HttpClient client = host.Connect(null);
        async Task<(HttpStatusCode Status, string Body, TimeSpan? Wait)> AskAsync(string address, string? key)
        {
            // As a proxy on this machine would say it.
            using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
            request.Headers.Add("X-Forwarded-For", address);
            if (key is not null) request.Headers.Authorization = new("Bearer", key);
            using HttpResponseMessage response = await client.SendAsync(request);
            return (response.StatusCode, await response.Content.ReadAsStringAsync(), response.Headers.RetryAfter?.Delta);
        }

        Assert.Equal(HttpStatusCode.OK, (await AskAsync("203.0.113.7", known.Secret)).Status);
        for (int i = 0; i < 5; i++) Assert.Equal(HttpStatusCode.Unauthorized, (await AskAsync("203.0.113.7", i < 3 ? KeySecret.Make() : "short")).Status);
        (HttpStatusCode status, string body, TimeSpan? wait) = await AskAsync("203.0.113.7", KeySecret.Make());
        Assert.Equal(HttpStatusCode.TooManyRequests, status);
        Assert.InRange(wait!.Value.TotalSeconds, 1, 3600);
        Assert.Contains("\"code\":\"too_many_wrong_keys\"", body, StringComparison.Ordinal);

        // Nothing is learned by going on, not even of a key that is right; who was there before is served, and so is everybody elsewhere.
        Assert.Equal(HttpStatusCode.TooManyRequests, (await AskAsync("203.0.113.7", late.Secret)).Status);
        Assert.Equal(HttpStatusCode.TooManyRequests, (await AskAsync("203.0.113.7", ApiHost.HostKey)).Status);
        Assert.Equal(HttpStatusCode.OK, (await AskAsync("203.0.113.7", known.Secret)).Status);
        Assert.Equal(HttpStatusCode.Unauthorized, (await AskAsync("203.0.113.7", null)).Status);
        Assert.Equal(HttpStatusCode.OK, (await AskAsync("203.0.113.8", late.Secret)).Status);
        Assert.Equal(HttpStatusCode.OK, (await AskAsync("203.0.113.8", ApiHost.HostKey)).Status);
        Assert.True(await host.Keys.RevokeAsync(null, known.Key.Id));
        Assert.Equal(HttpStatusCode.Unauthorized, (await AskAsync("203.0.113.7", known.Secret)).Status);

        // Of IPv6 the whole /64 is one.
        for (int i = 0; i < 5; i++) Assert.Equal(HttpStatusCode.Unauthorized, (await AskAsync($"2001:db8::{i}", KeySecret.Make())).Status);
        Assert.Equal(HttpStatusCode.TooManyRequests, (await AskAsync("2001:db8::99", KeySecret.Make())).Status);
        Assert.Equal(HttpStatusCode.Unauthorized, (await AskAsync("2001:db8:0:1::1", KeySecret.Make())).Status);
    }

    [Fact]
    public async Task A_key_is_made_once_and_its_text_is_nowhere_on_disk_and_in_no_log()
    {
        var log = new ListLog();
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine(), options => options with
        {
            ApiKey = null,
            Logging = logging => logging.SetMinimumLevel(LogLevel.Debug).AddProvider(log),
        });
        string secret = (await host.Keys.EnsureHostKeyAsync())!;
        Assert.Null(await host.Keys.EnsureHostKeyAsync());
        using HttpClient client = host.Connect(secret), stranger = host.Connect(secret + "x");
        Assert.Equal(HttpStatusCode.OK, (await host.SendAsync("/v1/chat/completions", Hello.Replace("Hi", "a private question", StringComparison.Ordinal), client)).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.GetAsync("/v1/models")).StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await host.SendAsync("/v1/chat/completions", "{", client)).StatusCode);
        Assert.NotEmpty(log.Lines);
        Assert.DoesNotContain(log.Lines, line => line.Contains(secret[KeySecret.PrefixLength..], StringComparison.Ordinal) || line.Contains("a private question", StringComparison.Ordinal));
        byte[] text = Encoding.UTF8.GetBytes(secret[KeySecret.PrefixLength..]);
        Assert.All(Directory.EnumerateFiles(host.Home, "*", SearchOption.AllDirectories), file =>
        {
            using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            Assert.True(bytes.AsSpan().IndexOf(text) < 0, $"{file} holds the key.");
        });
    }

    [Fact]
    public async Task Metrics_name_queue_batch_cache_acceptance_experts_and_times()
    {
        await using ApiHost host = await ApiHost.StartAsync(new ApiEngine());
        await host.PostAsync("/v1/chat/completions", Hello);
        string[] names = ["hadal_queue_requests", "hadal_batch_requests", "hadal_cache_pages_in_use", "hadal_speculation_accepted_tokens", "hadal_expert_tokens", "hadal_expert_recent_tokens", "hadal_goal_first_token_held", "hadal_step_prompt_tokens_per_second", "hadal_time_to_first_token_seconds_bucket", "hadal_time_per_token_seconds_bucket", "http_server_request_duration", "expert=\"1\""];

        // A request is counted a moment after its answer, and a scrape's answer is kept for 0.3 s.
        string metrics = "";
        for (int round = 0; round < 150 && !names.All(name => metrics.Contains(name, StringComparison.Ordinal)); round++)
        {
            await Task.Delay(400);
            metrics = await host.Client.GetStringAsync("/metrics");
        }

        foreach (string name in names) Assert.Contains(name, metrics, StringComparison.Ordinal);
    }

    sealed class ListLog : ILoggerProvider, ILogger
    {
        public ConcurrentQueue<string> Lines { get; } = new();

        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => Lines.Enqueue(formatter(state, exception) + exception);

        public void Dispose()
        {
        }
    }
}
